/*
 * What replies of real servers mean by the rules that are shipped, and by rules of one's own: their
 * order, their files, what is refused and where.
 */
#include "core/classifier.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/conf_settings.h"
#include "tests/kit/conf_kit.h"

#define TEXT_BYTES (64 * KIB)

static char said[TEXT_BYTES + 1]; /* by the last load */
static char shipped[TEXT_BYTES];  /* packaging/etc/iana.toml */

static struct conf *load(const char *const *files, const char *set)
{
    return conf_kit_load(files, &set, set != NULL, said, sizeof(said));
}

static int read_shipped(void **state)
{
    (void)state;
    FILE *file = fopen("packaging/etc/iana.toml", "r");
    if (file == NULL) {
        return -1;
    }
    size_t size = fread(shipped, 1, sizeof(shipped) - 1, file);
    shipped[size] = '\0';
    fclose(file);
    return size == 0;
}

static void check(const struct conf *conf, struct patterns_scratch *scratch, const char *reply,
                  const char *label)
{
    struct slice got = classifier_label(conf->classifier, scratch, slice_from_string(reply));
    if (!slice_equal(got, slice_from_string(label))) {
        fail_msg("%s: %.*s, not %s", reply, (int)got.size, (const char *)got.data, label);
    }
}

static const struct {
    const char *reply;
    const char *label;
} real_replies[] = {
    {"550 5.1.1 The email account that you tried to reach does not exist. Please try "
     "double-checking the recipient's email address for typos - gsmtp", "InvalidRecipient"},
    {"550 5.1.1 <x@example.com>: Recipient address rejected: User unknown in virtual mailbox "
     "table", "InvalidRecipient"},
    {"501 5.1.3 Bad recipient address syntax", "InvalidRecipient"},
    {"553 5.1.3 <a b@x>... User address required", "InvalidRecipient"},
    {"550 5.1.2 <x@nowhere.example>: Recipient address rejected: Domain not found",
     "BadDomain"},
    {"556 5.1.10 Domain example.com does not accept mail (nullMX)", "BadDomain"},
    {"551 5.7.17 mailbox owner has changed", "InvalidRecipient"},
    {"551 5.7.18 domain owner has changed", "BadDomain"},
    {"550 5.2.1 The email account that you tried to reach is inactive.", "InactiveMailbox"},
    {"525 5.7.13 User account disabled", "InactiveMailbox"},
    {"551 5.1.6 Recipient no longer on server: x@example.com", "InactiveMailbox"},
    {"452 4.2.2 The recipient's inbox is out of storage space. - gsmtp", "QuotaIssues"},
    {"552 5.2.2 Mailbox size limit exceeded", "QuotaIssues"},
    {"452 4.3.1 Insufficient system storage", "QuotaIssues"},
    {"552 5.3.4 Message size exceeds fixed limit", "ContentRelated"},
    {"550 5.6.0 Lone CR or LF in body (see RFC2822 section 2.3)", "ContentRelated"},
    {"553 5.6.7 SMTPUTF8 required", "ContentRelated"},
    {"553 5.1.8 <x@nowhere.example>... Domain of sender address does not exist",
     "InvalidSender"},
    {"550 5.7.27 Sender address has null MX", "InvalidSender"},
    {"550 5.3.5 System incorrectly configured", "BadConfiguration"},
    {"421 4.3.2 Service not available, closing transmission channel", "TransientFailure"},
    {"451 4.4.5 system too busy, try again", "TransientFailure"},
    {"451 4.4.1 Ringpost internal: no connection", "NoAnswerFromHost"},
    {"421 4.4.2 mx.example.com Error: timeout exceeded", "BadConnection"},
    {"451 4.4.3 temporary lookup failure", "DNSFailure"},
    {"554 5.4.6 Hop count exceeded - possible mail loop detected", "RoutingErrors"},
    {"551 5.4.7 Ringpost internal: delivery time expired", "MessageExpired"},
    {"452 4.5.3 Too many recipients", "TooManyRecipients"},
    {"503 5.5.1 Error: need RCPT command", "ProtocolErrors"},
    {"550 5.7.26 Unauthenticated email from example.com is not accepted due to domain's DMARC "
     "policy.", "AuthenticationFailed"},
    {"550 5.7.23 The message was rejected because the SPF check failed",
     "AuthenticationFailed"},
    {"550 5.7.25 The IP address sending this message does not have a PTR record",
     "AuthenticationFailed"},
    {"535 5.7.8 Error: authentication failed", "AuthenticationFailed"},
    {"421 4.7.28 Our system has detected an unusual rate of unsolicited mail", "SpamBlock"},
    {"554 5.7.1 Service unavailable; Client host [192.0.2.1] blocked", "PolicyRelated"},
    {"421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily deferred", "PolicyRelated"},
    {"550 5.7.30 REQUIRETLS support required", "PolicyRelated"},
    {"554 Message not allowed - [PH01] Email not accepted for policy reasons",
     "Uncategorized"},
    {"550 5.0.0 rejected", "Uncategorized"},
    {"250 2.1.5 OK", "Uncategorized"},
    {"352 5.2.2 mailbox is stuffed", "Uncategorized"},
    {"550 15.1.1 no code of ours", "Uncategorized"},
    {"550 5.1.11 no code of ours", "Uncategorized"},
    {"", "Uncategorized"},
};

static void replies_of_real_servers_have_the_labels_of_their_codes(void **state)
{
    (void)state;
    const char *const files[] = {
        "t.toml", "bounce_classifier.files = [\"iana.toml\"]", "iana.toml", shipped, NULL};
    struct conf *conf = load(files, NULL);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    assert_int_equal(patterns_confirmed(conf->classifier->patterns), 0);
    struct patterns_scratch *scratch = patterns_scratch_open(conf->classifier->patterns);
    for (size_t i = 0; i < COUNT_OF(real_replies); i++) {
        check(conf, scratch, real_replies[i].reply, real_replies[i].label);
    }
    patterns_scratch_close(scratch);
    conf_free(conf);
}

static void the_first_rule_as_written_wins(void **state)
{
    (void)state;
    const char *const files[] = {
        "etc/t.toml",
        "include = [\"more.toml\"]\n"
        "[bounce_classifier]\nfiles = [\"one.toml\", \"two.toml\"]\n"
        "[bounce_classifier.rules]\nzz = ['inline']\nyy = ['inline', 'both']\n",
        "etc/more.toml", "[bounce_classifier.rules]\naa = ['inline', 'both', 'more']",
        "etc/one.toml", "[rules]\nzebra = ['first', 'a1']\n\"my own\" = ['first', 'b1', 'inline']",
        "etc/two.toml", "[rules]\naardvark = ['b1', 'only two', 'more']\nzebra = ['z2']\n",
        NULL};
    struct conf *conf = load(files, NULL);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    struct patterns_scratch *scratch = patterns_scratch_open(conf->classifier->patterns);
    check(conf, scratch, "inline", "zz");
    check(conf, scratch, "both", "yy");
    check(conf, scratch, "more", "aa");
    check(conf, scratch, "first", "zebra");
    check(conf, scratch, "b1", "my own");
    check(conf, scratch, "only two", "aardvark");
    check(conf, scratch, "z2", "zebra");
    check(conf, scratch, "none", "Uncategorized");
    assert_non_null(conf_setting_find(conf, SLICE("bounce_classifier.\"one.toml\".rules.zebra")));
    patterns_scratch_close(scratch);
    conf_free(conf);
}

/* A reload sees it: what stands in a file is a setting like any other. */
static void a_change_in_a_file_is_a_change(void **state)
{
    (void)state;
    const char *const main = "bounce_classifier.files = [\"one.toml\"]";
    const char *const before[] = {"t.toml", main, "one.toml", "[rules]\na = ['x']", NULL};
    const char *const after[] = {"t.toml", main, "one.toml", "[rules]\na = ['y']", NULL};
    const struct conf_change *changes;
    struct conf *old = load(before, NULL);
    struct conf *next = load(after, NULL);
    struct heap heap;
    heap_init(&heap);
    assert_non_null(old);
    assert_non_null(next);
    assert_int_equal(conf_difference(old, next, &heap, &changes), 1);
    assert_true(slice_equal(changes[0].key, SLICE("bounce_classifier.\"one.toml\".rules.a")));
    assert_int_equal(changes[0].effect, CONF_NOW);
    heap_fini(&heap);
    conf_free(next);
    conf_free(old);
}

static void without_rules_there_is_no_classifier(void **state)
{
    (void)state;
    const char *const none[] = {"t.toml", "", NULL};
    const char *const empty[] = {"t.toml", "bounce_classifier.files = [\"e.toml\"]", "e.toml",
                                 "[rules]\na = []\n", NULL};
    struct conf *conf = load(none, NULL);
    assert_non_null(conf);
    assert_null(conf->classifier);
    conf_free(conf);
    conf = load(empty, NULL);
    assert_non_null(conf);
    assert_null(conf->classifier);
    conf_free(conf);
    conf = load(none, "bounce_classifier.rules.a=[\"x\"]");
    assert_non_null(conf);
    assert_int_equal(patterns_count(conf->classifier->patterns), 1);
    conf_free(conf);
}

static void what_is_amiss_is_refused_where_it_stands(void **state)
{
    (void)state;
    static const struct {
        const char *main;
        const char *file; /* r.toml */
        const char *said; /* a part of it */
    } cases[] = {
        {NULL, "[rules]\na = [\n  'fine',\n  'a(b',\n]", "r.toml:4:3: error"},
        {NULL, "[rules]\na = ['x*', 'a{3000}']", "r.toml:2:12: error"},
        {NULL, "[rules]\na = ['(?<=x+)y']", "r.toml:2:6: error"},
        {NULL, "[rules]\na = 'x'", "r.toml:2:1: error"},
        {NULL, "[rules]\na = [7]", "r.toml:2:6: error"},
        {NULL, "[rules]\n\"a\\\"b\" = ['x']", "is no label"},
        {NULL, "[rules]\n\"\" = ['x']", "is no label"},
        {NULL, "rules = ['x']", "wants a table"},
        {NULL, "[rule]\na = ['x']", "r.toml:1:"},
        {NULL, "files = ['x']", "main file only"},
        {NULL, "[rules", "r.toml:1:"},
        {"bounce_classifier = 1", "", "wants a table"},
        {"bounce_classifier.files = ['none.toml']", "", "cannot read none.toml"},
        {"bounce_classifier.files = ['r.toml', 'r.toml']", "", "stands there already"},
        {"bounce_classifier.files = ['rules']\n[bounce_classifier.rules]\n", "", "already"},
        {"bounce_classifier.files = ['r.json']", "", "r.json: error: the document is no object"},
        {"bounce_classifier.files = [1]", "", "names of files"},
        {"bounce_classifier.rulez.a = ['x']", "", "rulez"},
        {"bounce_classifier.file = ['x']", "", "files"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const char *const files[] = {
            "t.toml",
            cases[i].main == NULL ? "bounce_classifier.files = [\"r.toml\"]" : cases[i].main,
            "r.toml", cases[i].file, "rules", "", "r.json", "[]", NULL};
        struct conf *conf = load(files, NULL);
        if (conf != NULL || strstr(said, cases[i].said) == NULL) {
            fail_msg("case %zu: %s", i, conf != NULL ? "taken" : said);
        }
    }
}

static void every_bad_pattern_is_told(void **state)
{
    (void)state;
    const char *const files[] = {
        "t.toml", "bounce_classifier.files = [\"a.toml\", \"b.toml\"]",
        "a.toml", "[rules]\na = ['(', 'fine', '[']", "b.toml", "[rules]\nb = ['*']", NULL};
    assert_null(load(files, NULL));
    assert_non_null(strstr(said, "a.toml:2:6: error"));
    assert_non_null(strstr(said, "a.toml:2:19: error"));
}

static void an_event_is_judged_by_its_code_and_text(void **state)
{
    (void)state;
    const char *const files[] = {
        "t.toml",
        "[bounce_classifier.rules]\nA = ['^550 5\\.1\\.1 two lines$']\nB = ['^451 plain$']\n"
        "C = ['^421 $']\nD = ['end$']", NULL};
    char text[2 * PATTERNS_TEXT_BYTES_MAX];
    memset(text, 'x', sizeof(text));
    memcpy(text + PATTERNS_TEXT_BYTES_MAX - 7, "end", 3);
    const struct {
        struct event event;
        const char *label; /* empty: none */
    } cases[] = {
        {{.type = EVENT_BOUNCE, .code = 550, .enhanced = {5, 1, 1}, .content = SLICE("two\nlines")},
         "A"},
        {{.type = EVENT_REJECTION, .code = 451, .content = SLICE("plain")}, "B"},
        {{.type = EVENT_TRANSIENT_FAILURE, .code = 421}, "C"},
        {{.type = EVENT_ADMIN_BOUNCE, .code = 551, .content = SLICE("x")}, "Uncategorized"},
        {{.type = EVENT_EXPIRATION, .code = 551, .content = slice_make(text, sizeof(text))}, "D"},
        {{.type = EVENT_DELIVERY, .code = 451, .content = SLICE("plain")}, ""},
        {{.type = EVENT_RECEPTION, .code = 451, .content = SLICE("plain")}, ""},
    };
    struct conf *conf = load(files, NULL);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    struct patterns_scratch *scratch = patterns_scratch_open(conf->classifier->patterns);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct event event = cases[i].event;
        classifier_judge(conf->classifier, scratch, &event);
        if (!slice_equal(event.classification, slice_from_string(cases[i].label))) {
            fail_msg("case %zu: %.*s", i, (int)event.classification.size,
                     (const char *)event.classification.data);
        }
    }
    struct event event = cases[0].event;
    classifier_judge(NULL, NULL, &event);
    assert_int_equal(event.classification.size, 0);
    patterns_scratch_close(scratch);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replies_of_real_servers_have_the_labels_of_their_codes),
        cmocka_unit_test(the_first_rule_as_written_wins),
        cmocka_unit_test(a_change_in_a_file_is_a_change),
        cmocka_unit_test(without_rules_there_is_no_classifier),
        cmocka_unit_test(what_is_amiss_is_refused_where_it_stands),
        cmocka_unit_test(every_bad_pattern_is_told),
        cmocka_unit_test(an_event_is_judged_by_its_code_and_text),
    };
    return cmocka_run_group_tests(tests, read_shipped, NULL);
}
