#include "tools/cmd_explain.h"

#include <stdio.h>
#include <string.h>

#include "core/id.h"
#include "shard/queue/hold.h"
#include "tools/clock.h"
#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/fields.h"
#include "tools/table.h"

#define PATH_BYTES (8 * KIB)
#define TIMES_MAX  64u /* reasons */

/* --- words ------------------------------------------------------------------------------------ */

static const char *sentence_of(enum hold_reason reason)
{
    switch (reason) {
    case HOLD_none:
        return "nothing that is due waits";
    case HOLD_empty:
        return "there is no mail";
    case HOLD_not_due:
        return "all of it is deferred until its next attempt";
    case HOLD_quiet_hours:
        return "the queue sends at other hours";
    case HOLD_suspended_admin:
        return "an operator has suspended it";
    case HOLD_suspended_rule:
        return "a rule of automation has suspended it";
    case HOLD_connection_limit:
        return "as many connections as are allowed are busy";
    case HOLD_connection_rate:
        return "connections are made as fast as is allowed";
    case HOLD_message_rate:
        return "messages are sent as fast as is allowed";
    case HOLD_queue_rate:
        return "the queue, alone or with others, sends as fast as it may";
    case HOLD_source_rate:
        return "its sources are chosen as fast as is allowed";
    case HOLD_no_source:
        return "no source of its pool can be sent from";
    case HOLD_dns:
        return "no server is known that may be sent to";
    case HOLD_connect_failing:
        return "the last connections to all servers failed";
    case HOLD_remote_slow:
        return "the servers do not answer";
    case HOLD_ready_full:
        return "as many messages as are allowed are under way";
    case HOLD_spool_unhealthy:
        return "the spool stores nothing";
    case HOLD_memory:
        return "memory is short";
    case HOLD_REASONS_COUNT:
        break;
    }
    return NULL;
}

/* What a word of the server means; null: it is not known here, as it is of another version. */
static const char *sentence_for(struct slice word)
{
    for (unsigned i = 0; i < HOLD_REASONS_COUNT; i++) {
        if (slice_equal(word, slice_from_string(hold_name((enum hold_reason)i)))) {
            return sentence_of((enum hold_reason)i);
        }
    }
    return NULL;
}

/* --- the answer for people -------------------------------------------------------------------- */

static void print_head(const struct json_value *answer, uint64_t now_ns)
{
    char text[READABLE_BYTES];
    struct slice reason = answer_text(answer, "reason");
    uint64_t since_ns = answer_time(answer, "since");
    const char *sentence = sentence_for(reason);
    readable_print(stdout, answer_text(answer, "name"));
    printf(": ");
    readable_print(stdout, answer_text(answer, "state"));
    if (since_ns > 0) {
        printf(" for %s", readable_duration(text, answer_ago_ms(now_ns, since_ns)));
    }
    printf("\n\n");
    fields_key("reason");
    readable_print(stdout, reason);
    printf("%s%s\n", sentence != NULL ? ": " : "", sentence != NULL ? sentence : "");
}

static void print_mail(const struct json_value *answer)
{
    char text[READABLE_BYTES];
    uint64_t queues = answer_u64(answer, "queues");
    uint64_t attempts = answer_u64(answer, "attempts");
    fields_key("recipients");
    printf("%s", readable_count(text, answer_u64(answer, "count")));
    if (queues > 1) {
        printf(" in %s queues", readable_count(text, queues));
    }
    printf(", %s of them due\n", readable_count(text, answer_u64(answer, "due")));
    if (attempts > 0) {
        fields_key("attempts");
        printf("%s%s\n", readable_count(text, attempts),
               answer_u64(answer, "count") > 1 ? " at most" : "");
    }
}

/* Times by reason, the longest first. */
static void print_times(const struct json_value *answer)
{
    static const struct table_column columns[] = {{.title = "  time by reason"},
                                                  {.title = "", .right = true}};
    const struct json_value *times = answer_member(answer, "time_by_reason_ms");
    uint32_t count = MIN_OF(answer_count(times), TIMES_MAX);
    uint64_t told = 0;
    struct table table;
    if (count == 0 || times->kind != JSON_OBJECT) {
        return;
    }
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t n = 0; n < count; n++) {
        const struct json_member *longest = NULL;
        uint32_t at = 0;
        for (uint32_t i = 0; i < count; i++) {
            const struct json_member *one = &times->members[i];
            if ((told & 1ull << i) == 0 && one->value.kind == JSON_INTEGER &&
                (longest == NULL || one->value.integer > longest->value.integer)) {
                longest = one;
                at = i;
            }
        }
        if (longest != NULL) {
            char name[64];
            struct slice key = json_value_text(&longest->key);
            snprintf(name, sizeof(name), "    %.*s", (int)key.size, (const char *)key.data);
            table_text(&table, slice_from_string(name));
            table_duration(&table, (uint64_t)longest->value.integer);
            told |= 1ull << at;
        }
    }
    putchar('\n');
    table_print(&table, stdout);
    table_fini(&table);
}

static void print_limits(const struct json_value *answer)
{
    static const struct table_column columns[] = {
        {.title = "  limit"},
        {.title = "of", .flexible = true},
        {.title = "allowed", .right = true},
        {.title = "used", .right = true},
        {.title = "free in", .right = true},
    };
    const struct json_value *limits = answer_member(answer, "limits");
    struct table table;
    if (answer_count(limits) == 0 || limits->kind != JSON_ARRAY) {
        return;
    }
    table_init(&table, columns, COUNT_OF(columns));
    for (uint32_t i = 0; i < limits->size; i++) {
        const struct json_value *limit = &limits->elements[i];
        struct slice rate = answer_text(limit, "limit");
        struct slice kind = answer_text(limit, "kind");
        char name[64];
        snprintf(name, sizeof(name), "    %.*s", (int)kind.size, (const char *)kind.data);
        table_text(&table, slice_from_string(name));
        table_text(&table, answer_text(limit, "name"));
        if (rate.size > 0) {
            table_text(&table, rate);
        } else {
            table_count(&table, answer_u64(limit, "limit"));
        }
        table_count(&table, answer_u64(limit, "used"));
        if (answer_u64(limit, "retry_in_ms") > 0) {
            table_duration(&table, answer_u64(limit, "retry_in_ms"));
        } else {
            table_text(&table, SLICE_NONE);
        }
    }
    putchar('\n');
    table_print(&table, stdout);
    table_fini(&table);
}

static void print_answer(const struct json_value *answer)
{
    uint64_t now_ns = clock_wall_ns();
    struct slice queue = answer_text(answer, "queue");
    print_head(answer, now_ns);
    fields_text("detail", answer_text(answer, "detail"));
    fields_time("since", answer_text(answer, "since"), now_ns);
    fields_time("until", answer_text(answer, "until"), now_ns);
    print_mail(answer);
    fields_time("next attempt", answer_text(answer, "next_attempt"), now_ns);
    fields_text("last said", answer_text(answer, "last_response"));
    if (!slice_equal(queue, answer_text(answer, "name"))) {
        fields_text("queue", queue);
    }
    fields_text("site", answer_text(answer, "site"));
    print_times(answer);
    print_limits(answer);
}

/* --- the question ----------------------------------------------------------------------------- */

/* Of a text alone: an id, the name of a queue, or a domain. */
static enum verb_option guess(struct slice text)
{
    struct id id;
    if (id_parse(text, &id)) {
        return OPTION_ID;
    }
    bool plain = slice_find(text, '@') == text.size && slice_find(text, '!') == text.size &&
                 slice_find(text, '>') == text.size && slice_find(text, ':') == text.size;
    return plain ? OPTION_DOMAIN : OPTION_QUEUE;
}

static unsigned ask(struct dialogue *dialogue, enum verb_option what, const char *text)
{
    uint8_t bytes[PATH_BYTES];
    struct buf path;
    buf_init(&path, bytes, sizeof(bytes));
    buf_put_string(&path, "/api/admin/explain/v1");
    endpoint_put_parameter(&path,
                           what == OPTION_ID       ? "id"
                           : what == OPTION_DOMAIN ? "domain"
                                                   : "queue",
                           slice_from_string(text));
    buf_put_byte(&path, 0);
    if (path.overflow) {
        fprintf(stderr, "ringpost explain: that name is too long\n");
        return 0;
    }
    return dialogue_ask(dialogue, "GET", (const char *)path.data, NULL);
}

static int explain(struct dialogue *dialogue, enum verb_option what, const char *text)
{
    unsigned status = ask(dialogue, what, text);
    if (status == 404) {
        static const char *const words[] = {[OPTION_ID] = "no recipient with the id ",
                                            [OPTION_DOMAIN] = "no mail for the domain ",
                                            [OPTION_QUEUE] = "no queue "};
        fprintf(stderr, "ringpost explain: there is %s", words[what]);
        readable_print(stderr, slice_from_string(text));
        fprintf(stderr, " now; `ringpost events` says what became of mail\n");
        return EXIT_FAILED;
    }
    if (status != 200) {
        return status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
    }
    if (verb_options_given(dialogue->options, OPTION_JSON)) {
        return dialogue_print(dialogue);
    }
    const struct json_value *answer = dialogue_value(dialogue);
    if (answer == NULL) {
        return EXIT_FAILED;
    }
    print_answer(answer);
    return dialogue_end(EXIT_FINE);
}

int cmd_explain(const struct verb_options *options)
{
    const uint32_t whats = OPTION_BIT(QUEUE) | OPTION_BIT(DOMAIN) | OPTION_BIT(ID);
    struct dialogue dialogue;
    if (verb_options_count(options, whats) + (options->positional != NULL) != 1 ||
        options->queue_count > 1) {
        fprintf(stderr,
                "ringpost explain: say one queue, one domain or one id: ringpost explain x.test\n");
        return EXIT_USAGE;
    }
    enum verb_option what = options->values[OPTION_ID] != NULL       ? OPTION_ID
                            : options->values[OPTION_DOMAIN] != NULL ? OPTION_DOMAIN
                                                                     : OPTION_QUEUE;
    const char *text = options->values[what];
    if (options->positional != NULL) {
        text = options->positional;
        what = guess(slice_from_string(text));
    }
    if (text[0] == 0) {
        fprintf(stderr, "ringpost explain: an empty name is none\n");
        return EXIT_USAGE;
    }
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = explain(&dialogue, what, text);
    dialogue_close(&dialogue);
    return code;
}
