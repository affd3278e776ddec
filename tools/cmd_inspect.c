/* Content may hold bytes that a strict reader of JSON refuses, so answers are read by path. */
#include "tools/cmd_inspect.h"

#include <stdio.h>
#include <string.h>

#include "core/date.h"
#include "core/id.h"
#include "smtp/inspect.h"
#include "tools/clock.h"
#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/fields.h"
#include "tools/table.h"

#define PATH_BYTES    (8 * KIB)
#define POINTER_BYTES 128u
#define LIMIT_DEFAULT 5u

/* --- members by path -------------------------------------------------------------------------- */

/* `base` is the pointer of the object. */
static struct slice text_at(const struct json_reader *reader, const char *base, const char *member)
{
    char pointer[POINTER_BYTES];
    struct slice text = SLICE_NONE;
    snprintf(pointer, sizeof(pointer), "%.90s/%s", base, member);
    return json_read_string(reader, pointer, &text) ? text : SLICE_NONE;
}

static uint64_t u64_at(const struct json_reader *reader, const char *base, const char *member)
{
    char pointer[POINTER_BYTES];
    uint64_t value = 0;
    snprintf(pointer, sizeof(pointer), "%.90s/%s", base, member);
    return json_read_u64(reader, pointer, &value) ? value : 0;
}

static bool bool_at(const struct json_reader *reader, const char *base, const char *member)
{
    char pointer[POINTER_BYTES];
    bool value = false;
    snprintf(pointer, sizeof(pointer), "%.90s/%s", base, member);
    return json_read_bool(reader, pointer, &value) && value;
}

static uint64_t time_at(const struct json_reader *reader, const char *base, const char *member)
{
    uint64_t ns = 0;
    return date_parse_rfc3339(text_at(reader, base, member), &ns) ? ns : 0;
}

/* --- a message -------------------------------------------------------------------------------- */

static void print_body(const struct json_reader *reader, const char *base)
{
    char pointer[POINTER_BYTES];
    struct slice data = SLICE_NONE;
    snprintf(pointer, sizeof(pointer), "%.100s/data", base);
    putchar('\n');
    if (!json_read_string(reader, pointer, &data)) {
        printf("  its content could not be read\n");
        return;
    }
    readable_lines(stdout, data);
    if (bool_at(reader, base, "data_cut")) {
        printf("\n  there is more of it than is shown\n");
    }
}

/* `base` is that of the object with "id" and "message". */
static void print_message(const struct dialogue *dialogue, const char *base)
{
    const struct json_reader *reader = dialogue->reader;
    char message[POINTER_BYTES];
    char size[READABLE_BYTES];
    uint64_t now_ns = clock_wall_ns();
    snprintf(message, sizeof(message), "%.64s/message", base);
    readable_print(stdout, text_at(reader, base, "id"));
    printf(": ");
    readable_print(stdout, text_at(reader, message, "state"));
    printf("\n\n");
    struct slice sender = text_at(reader, message, "sender");
    fields_text("from", sender.size > 0 ? sender : SLICE("<>"));
    fields_text("to", text_at(reader, message, "recipient"));
    fields_text("queue", text_at(reader, message, "queue"));
    fields_time("next attempt", text_at(reader, message, "due"), now_ns);
    fields_count("attempts", u64_at(reader, message, "num_attempts"));
    fields_time("received", text_at(reader, message, "created"), now_ns);
    fields_text("by", text_at(reader, message, "meta/reception_protocol"));
    fields_text("from host", text_at(reader, message, "meta/received_from"));
    fields_text("hello", text_at(reader, message, "meta/hello"));
    fields_text("tenant", text_at(reader, message, "meta/tenant"));
    fields_text("campaign", text_at(reader, message, "meta/campaign"));
    fields_text("class", text_at(reader, message, "meta/class"));
    fields_text("size", slice_from_string(readable_size(size, u64_at(reader, message, "size"))));
    if (verb_options_given(dialogue->options, OPTION_BODY)) {
        print_body(reader, message);
    }
}

/* --- a queue ---------------------------------------------------------------------------------- */

static void print_queue_head(const struct json_reader *reader, const char *count, const char *what)
{
    char text[READABLE_BYTES];
    readable_print(stdout, text_at(reader, "", "queue_name"));
    printf(": ");
    readable_print(stdout, text_at(reader, "", "state"));
    printf(", ");
    readable_print(stdout, text_at(reader, "", "reason"));
    printf(", %s %s\n", readable_count(text, u64_at(reader, "", count)), what);
}

static void put_message(struct table *table, const struct json_reader *reader, const char *base)
{
    uint64_t now_ns = time_at(reader, "", "now");
    uint64_t due_ns = time_at(reader, base, "message/due");
    table_text(table, text_at(reader, base, "id"));
    table_text(table, text_at(reader, base, "message/state"));
    if (due_ns > now_ns) {
        table_duration(table, (due_ns - now_ns) / NS_PER_MS);
    } else {
        table_text(table, SLICE_NONE);
    }
    table_count(table, u64_at(reader, base, "message/num_attempts"));
    table_duration(table, answer_ago_ms(now_ns, time_at(reader, base, "message/created")));
    table_size(table, u64_at(reader, base, "message/size"));
    table_text(table, text_at(reader, base, "message/sender"));
    table_text(table, text_at(reader, base, "message/recipient"));
}

static void print_messages(const struct dialogue *dialogue)
{
    static const struct table_column columns[] = {
        {.title = "id"},
        {.title = "state"},
        {.title = "due in", .right = true},
        {.title = "tried", .right = true},
        {.title = "age", .right = true},
        {.title = "size", .right = true},
        {.title = "from", .flexible = true},
        {.title = "to", .flexible = true},
    };
    const struct json_reader *reader = dialogue->reader;
    bool whole = verb_options_given(dialogue->options, OPTION_BODY);
    size_t count = json_read_count(reader, "/messages");
    char base[POINTER_BYTES];
    struct table table;
    print_queue_head(reader, "num_scheduled", "recipients");
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < count; i++) {
        snprintf(base, sizeof(base), "/messages/%zu", i);
        if (whole) {
            putchar('\n');
            print_message(dialogue, base);
        } else {
            put_message(&table, reader, base);
        }
    }
    if (count > 0 && !whole) {
        putchar('\n');
        table_print(&table, stdout);
    }
    if (bool_at(reader, "", "cut_short")) {
        printf("\nThere are more than these %zu: --limit N shows up to %u.\n", count,
               INSPECT_LIMIT_MAX);
    }
    table_fini(&table);
}

static void print_connections(const struct dialogue *dialogue)
{
    static const struct table_column columns[] = {
        {.title = "session"},
        {.title = "server", .flexible = true},
        {.title = "state"},
        {.title = "transactions", .right = true},
    };
    const struct json_reader *reader = dialogue->reader;
    size_t count = json_read_count(reader, "/connections");
    char base[POINTER_BYTES];
    struct table table;
    print_queue_head(reader, "num_ready", "messages due or under way");
    table_init(&table, columns, COUNT_OF(columns));
    for (size_t i = 0; i < count; i++) {
        snprintf(base, sizeof(base), "/connections/%zu", i);
        table_text(&table, text_at(reader, base, "session_id"));
        table_text(&table, text_at(reader, base, "peer"));
        table_text(&table, text_at(reader, base, "state"));
        table_count(&table, u64_at(reader, base, "transactions"));
    }
    putchar('\n');
    if (count > 0) {
        table_print(&table, stdout);
    } else {
        printf("no connection is open\n");
    }
    if (bool_at(reader, "", "cut_short")) {
        printf("\nThere are more than these %zu: --limit N shows up to %u.\n", count,
               INSPECT_LIMIT_MAX);
    }
    table_fini(&table);
}

/* --- the question ----------------------------------------------------------------------------- */

static const char *const paths[] = {
    [OPTION_ID] = "/api/admin/inspect-message/v1",
    [OPTION_QUEUE] = "/api/admin/inspect-sched-q/v1",
    [OPTION_READY_QUEUE] = "/api/admin/inspect-ready-q/v1",
};

static unsigned ask(struct dialogue *dialogue, enum verb_option what, const char *text,
                    unsigned limit)
{
    uint8_t bytes[PATH_BYTES];
    char digits[16];
    struct buf path;
    snprintf(digits, sizeof(digits), "%u", limit);
    buf_init(&path, bytes, sizeof(bytes));
    buf_put_string(&path, paths[what]);
    endpoint_put_parameter(&path, what == OPTION_ID ? "id" : "queue_name",
                           slice_from_string(text));
    if (what != OPTION_ID) {
        endpoint_put_parameter(&path, "limit", slice_from_string(digits));
    }
    if (verb_options_given(dialogue->options, OPTION_BODY)) {
        endpoint_put_parameter(&path, "want_body", SLICE("true"));
    }
    buf_put_byte(&path, 0);
    if (path.overflow) {
        fprintf(stderr, "ringpost inspect: that name is too long\n");
        return 0;
    }
    return dialogue_ask(dialogue, "GET", (const char *)path.data, NULL);
}

static int inspect(struct dialogue *dialogue, enum verb_option what, const char *text,
                   unsigned limit)
{
    unsigned status = ask(dialogue, what, text, limit);
    if (status == 404) {
        fprintf(stderr, "ringpost inspect: there is no %s ",
                what == OPTION_ID      ? "recipient with the id"
                : what == OPTION_QUEUE ? "queue"
                                       : "ready queue");
        readable_print(stderr, slice_from_string(text));
        fprintf(stderr, " now\n");
        return EXIT_FAILED;
    }
    if (status != 200) {
        return status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
    }
    if (verb_options_given(dialogue->options, OPTION_JSON)) {
        return dialogue_print(dialogue);
    }
    if (!json_read(dialogue->reader, dialogue_answer(dialogue))) {
        return dialogue_no_json(dialogue);
    }
    if (what == OPTION_ID) {
        print_message(dialogue, "");
    } else if (what == OPTION_QUEUE) {
        print_messages(dialogue);
    } else {
        print_connections(dialogue);
    }
    return dialogue_end(EXIT_FINE);
}

static enum verb_option guess(const char *text)
{
    struct id id;
    if (id_parse(slice_from_string(text), &id)) {
        return OPTION_ID;
    }
    return strstr(text, "->") != NULL ? OPTION_READY_QUEUE : OPTION_QUEUE;
}

static const char *problem_of(const struct verb_options *options, enum verb_option what)
{
    const uint32_t whats = OPTION_BIT(QUEUE) | OPTION_BIT(READY_QUEUE) | OPTION_BIT(ID);
    if (verb_options_count(options, whats) + (options->positional != NULL) != 1 ||
        options->queue_count > 1 ||
        (options->positional != NULL && options->positional[0] == 0)) {
        return "say one id, one queue or one ready queue";
    }
    if (what == OPTION_ID && verb_options_given(options, OPTION_LIMIT)) {
        return "--limit is for queues";
    }
    if (what == OPTION_READY_QUEUE && verb_options_given(options, OPTION_BODY)) {
        return "--body is for messages";
    }
    return NULL;
}

int cmd_inspect(const struct verb_options *options)
{
    struct dialogue dialogue;
    unsigned limit;
    enum verb_option what = options->values[OPTION_ID] != NULL            ? OPTION_ID
                            : options->values[OPTION_READY_QUEUE] != NULL ? OPTION_READY_QUEUE
                                                                          : OPTION_QUEUE;
    const char *text = options->values[what];
    if (options->positional != NULL) {
        text = options->positional;
        what = guess(text);
    }
    const char *problem = problem_of(options, what);
    if (problem != NULL) {
        fprintf(stderr, "ringpost inspect: %s\n", problem);
        return EXIT_USAGE;
    }
    if (!verb_options_limit(options, INSPECT_LIMIT_MAX, LIMIT_DEFAULT, &limit) ||
        !dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = inspect(&dialogue, what, text, limit);
    dialogue_close(&dialogue);
    return code;
}
