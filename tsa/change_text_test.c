/* What a subscriber makes of messages: of the hub's own, and of what nobody should obey. */
#include "tsa/change_text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tsa/hub.h"

#define NOW_S  1757000000ull
#define NOW_NS (NOW_S * NS_PER_S)
#define EPOCH  "\"epoch\":\"0123456789abcdef0123456789abcdef\""

static struct heap heap;
static struct change_text text;
static struct change_message message;

static int set_up(void **state)
{
    (void)state;
    heap_init(&heap);
    change_text_init(&text, &heap);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    change_text_fini(&text);
    heap_fini(&heap);
    return 0;
}

static const char *reads(struct slice said)
{
    return change_read(&text, said, NOW_NS, &message);
}

static void check(struct slice found, struct slice wanted)
{
    if (!slice_equal(found, wanted)) {
        fail_msg("%.*s, wanted %.*s", (int)found.size, (const char *)found.data,
                 (int)wanted.size, (const char *)wanted.data);
    }
}

/* --- the hub's own ---------------------------------------------------------------------------- */

#define S(literal) {(const uint8_t *)(literal), sizeof(literal) - 1}

static const struct automation_effect effects[] = {
    {.kind = SHAPING_SUSPEND, .site = S("ip1->(mx1|mx2).a.test@smtp_client"), .source = S("ip1"),
     .reason = S("421 4.7.0 [TSS04] \"slow\" \\ \n")},
    {.kind = SHAPING_SUSPEND_TENANT, .domain = S("a.test"), .tenant = S("t")},
    {.kind = SHAPING_SUSPEND_CAMPAIGN, .domain = S("a.test"), .tenant = S("t"),
     .campaign = S("c d")},
    {.kind = SHAPING_BOUNCE, .domain = S("a.test")},
    {.kind = SHAPING_BOUNCE_TENANT, .domain = S("a.test"), .tenant = S("t")},
    {.kind = SHAPING_BOUNCE_CAMPAIGN, .domain = S("a.test"), .tenant = S("t"), .campaign = S("c")},
    {.kind = SHAPING_SET_CONFIG, .rollup = true, .site = S("ip1->mx.a.test@smtp_client"),
     .domain = S("a.test"), .source = S("ip1"), .name = S("max_message_rate"),
     .value = S("\"1/minute\"")},
    {.kind = SHAPING_SET_DOMAIN_CONFIG, .domain = S("a.test"), .source = S("ip1"),
     .name = S("connection_limit"), .value = S("1")},
};

static void told(struct hub_subscriber *subscriber)
{
    (void)subscriber;
}

static void what_the_hub_says_is_read_as_it_was_meant(void **state)
{
    static const struct automation empty;
    static struct hub hub;
    struct hub_subscriber subscriber = {.form = HUB_CHANGES, .told = told};
    struct hub_options options = {.changes_max = 64, .bytes_max = 4 * HUB_MESSAGE_BYTES_MAX,
                                  .first = 1000};
    struct slice said;
    (void)state;
    memset(options.epoch.bytes, 7, sizeof(options.epoch.bytes));
    hub_init(&hub, &heap, &empty, &options);
    hub_subscribe(&hub, &subscriber, 0, SLICE_NONE);
    assert_int_equal(hub_next(&hub, &subscriber, &said), HUB_MESSAGE);
    assert_null(reads(said));
    assert_true(message.what == CHANGE_COMPLETE && message.snapshot && message.number == 999);
    assert_true(id_equal(&message.epoch, &options.epoch));
    hub_said(&hub, &subscriber);
    for (size_t i = 0; i < COUNT_OF(effects); i++) {
        struct automation_effect effect = effects[i];
        effect.id = i + 1;
        effect.rule_hash = 0xf000000000000000ull + i;
        effect.event_ns = NOW_NS - 5 * NS_PER_MS;
        effect.expires_ns = NOW_NS + 90 * NS_PER_MS;
        hub_tell(&hub, i == 3 ? AUTOMATION_CANCELLED : AUTOMATION_BEGUN, &effect, NULL);
        assert_int_equal(hub_next(&hub, &subscriber, &said), HUB_MESSAGE);
        assert_null(reads(said));
        hub_said(&hub, &subscriber);
        const struct automation_effect *found = &message.effect;
        assert_int_equal(message.number, 1000 + i);
        assert_int_equal(message.what, i == 3 ? CHANGE_CANCELLED : CHANGE_IN_FORCE);
        assert_int_equal(found->kind, effect.kind);
        assert_true(found->rollup == effect.rollup && found->rule_hash == effect.rule_hash);
        assert_true(found->event_ns == effect.event_ns && found->expires_ns == effect.expires_ns);
        check(found->site, effect.site);
        check(found->source, effect.source);
        check(found->domain, effect.domain);
        check(found->tenant, effect.tenant);
        check(found->campaign, effect.campaign);
        check(found->name, effect.name);
        check(found->value, effect.value);
        check(found->reason, effect.reason);
    }
}

/* --- and others ------------------------------------------------------------------------------- */

#define HEAD    "{\"seq\":7," EPOCH ",\"snapshot\":false,\"change\":\"begun\","
#define EXPIRES "\"expires\":\"2025-09-04T15:33:30Z\""
#define RULE    "\"rule_hash\":\"1\","
#define BOUNCE(members) HEAD "\"event\":{\"SchedQBounce\":{" members "}}}"

static void an_order_that_names_nothing_is_none(void **state)
{
    static const char *const rows[] = {
        "",
        "7",
        "{}",
        "{\"seq\":7," EPOCH "}",
        "{\"seq\":7,\"snapshot\":true,\"complete\":true}",
        "{\"seq\":-7," EPOCH ",\"snapshot\":true,\"complete\":true}",
        "{\"seq\":0," EPOCH ",\"snapshot\":true,\"complete\":true}",
        "{\"seq\":7," EPOCH ",\"complete\":true}", /* no snapshot */
        HEAD "\"id\":7}",
        HEAD "\"event\":{}}",
        HEAD "\"event\":{\"Other\":{}}}",
        BOUNCE(RULE EXPIRES),                                     /* all mail there is */
        BOUNCE(RULE EXPIRES ",\"domain\":\"\""),
        BOUNCE(RULE EXPIRES ",\"domain\":7"),
        BOUNCE(RULE EXPIRES ",\"domain\":\"a.test\",\"campaign\":\"c\""),
        BOUNCE(RULE EXPIRES ",\"domain\":\"a\\u0000b\""),
        BOUNCE(RULE EXPIRES ",\"domain\":\"a\\nb\""),
        BOUNCE(EXPIRES ",\"domain\":\"a.test\""),
        BOUNCE("\"rule_hash\":\"12345678901234567\"," EXPIRES ",\"domain\":\"a.test\""),
        BOUNCE("\"rule_hash\":\"x\"," EXPIRES ",\"domain\":\"a.test\""),
        BOUNCE(RULE "\"domain\":\"a.test\""),
        BOUNCE(RULE "\"expires\":\"soon\",\"domain\":\"a.test\""),
        HEAD "\"event\":{\"SchedQSuspension\":{" RULE EXPIRES ",\"domain\":\"a.test\"}}}",
        HEAD "\"event\":{\"SchedQSuspension\":{" RULE EXPIRES ",\"tenant\":\"t\"}}}",
        HEAD "\"event\":{\"ReadyQSuspension\":{" RULE EXPIRES "}}}",
        HEAD "\"config\":{" RULE EXPIRES ",\"domain\":\"a.test\",\"source\":\"s\","
             "\"name\":\"connection_limit\"}}",
        HEAD "\"config\":{" RULE EXPIRES ",\"domain\":\"a.test\",\"source\":\"s\","
             "\"name\":\"n\",\"value\":\"1\",\"mx_rollup\":1}}",
        "{\"seq\":7," EPOCH ",\"change\":\"other\",\"event\":{\"SchedQBounce\":{" RULE EXPIRES
        ",\"domain\":\"a.test\"}}}",
        "{\"seq\":7," EPOCH ",\"snapshot\":true,\"change\":\"begun\",\"event\":{\"SchedQBounce\":{"
        RULE EXPIRES ",\"domain\":\"a.test\"}}}", /* a part with a number */
    };
    (void)state;
    assert_null(reads(slice_from_string(BOUNCE(RULE EXPIRES ",\"domain\":\"a.test\""))));
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        if (reads(slice_from_string(rows[i])) == NULL) {
            fail_msg("%s is taken", rows[i]);
        }
    }
}

static void times_and_texts_are_bounded(void **state)
{
    char said[4096];
    char filler[1000];
    (void)state;
    memset(filler, 'x', sizeof(filler));
    assert_null(reads(slice_from_string(
        BOUNCE(RULE "\"domain\":\"a.test\",\"expires\":\"2190-01-01T00:00:00Z\""))));
    assert_true(message.effect.expires_ns == NOW_NS + CHANGE_EXPIRES_MAX_NS);
    assert_int_equal(message.effect.event_ns, 0);
    assert_null(reads(slice_from_string(
        HEAD "\"event_ms\":9999999999999,\"event\":{\"SchedQBounce\":{" RULE EXPIRES
             ",\"domain\":\"a.test\"}}}")));
    assert_true(message.effect.event_ns == NOW_NS); /* of the future: now */
    snprintf(said, sizeof(said), BOUNCE(RULE EXPIRES ",\"domain\":\"a\",\"reason\":\"%.*s\""),
             (int)sizeof(filler), filler);
    assert_null(reads(slice_from_string(said)));
    assert_int_equal(message.effect.reason.size, AUTOMATION_REASON_BYTES_MAX);
    snprintf(said, sizeof(said), BOUNCE(RULE EXPIRES ",\"domain\":\"%.*s\""),
             (int)sizeof(filler), filler);
    assert_non_null(reads(slice_from_string(said)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_the_hub_says_is_read_as_it_was_meant, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_order_that_names_nothing_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(times_and_texts_are_bounded, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
