#include "tools/cmd_orders.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "core/json_member.h"
#include "tools/clock.h"
#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/order_text.h"
#include "tools/table.h"

#define BODY_BYTES     (512 * KIB) /* names of queues, escaped */
#define CRITERIA_BYTES (2 * KIB)   /* of an entry, shown */

struct order {
    const char *verb;
    const char *path;
    const char *would;
    const char *done;
    const char *empty; /* of a list */
};

static const struct order suspend_order = {"suspend", "/api/admin/suspend/v1", "would suspend",
                                           "suspended", "nothing is suspended"};
static const struct order ready_order = {"suspend", "/api/admin/suspend-ready-q/v1",
                                         "would suspend", "suspended", "nothing is suspended"};
static const struct order bounce_order = {"bounce", "/api/admin/bounce/v1", "would bounce",
                                          "bounces", "nothing is bounced"};
static const struct order flush_order = {"flush", "/api/admin/flush/v1", "would flush",
                                         "flushed", NULL};
static const struct order rebind_order = {"rebind", "/api/admin/rebind/v1", "would rebind",
                                          "meant were", NULL};

static bool is_json(const struct dialogue *dialogue)
{
    return verb_options_given(dialogue->options, OPTION_JSON);
}

/* --- what an order is about ------------------------------------------------------------------- */

static void print_found(FILE *out, const char *does, const struct json_value *answer)
{
    char text[READABLE_BYTES];
    uint64_t queues = answer_u64(answer, "queues");
    uint64_t recipients = answer_u64(answer, "recipients");
    fprintf(out, "%s %s queue%s", does, readable_count(text, queues), queues == 1 ? "" : "s");
    fprintf(out, " with %s recipient%s", readable_count(text, recipients),
            recipients == 1 ? "" : "s");
}

static void print_samples(FILE *out, const struct json_value *answer)
{
    const struct json_value *samples = answer_member(answer, "samples");
    uint64_t queues = answer_u64(answer, "queues");
    uint32_t count = answer_count(samples);
    char text[READABLE_BYTES];
    for (uint32_t i = 0; i < count; i++) {
        if (samples->elements[i].kind == JSON_STRING) {
            fprintf(out, "  ");
            readable_print(out, json_value_text(&samples->elements[i]));
            fputc('\n', out);
        }
    }
    if (queues > count) {
        fprintf(out, "  and %s more\n", readable_count(text, queues - count));
    }
}

static void print_done(const struct order *order, const struct json_value *answer)
{
    char text[READABLE_BYTES];
    uint64_t now_ns = clock_wall_ns();
    uint64_t expires_ns = answer_time(answer, "expires");
    struct slice id = answer_text(answer, "id");
    print_found(stdout, order->done, answer);
    if (order == &rebind_order) {
        printf(": %s are in another queue now",
               readable_count(text, answer_u64(answer, "rebound")));
        printf(", %s stayed", readable_count(text, answer_u64(answer, "left")));
    }
    if (expires_ns == 0) {
        putchar('\n');
        return;
    }
    uint64_t left_s = (MAX_OF(expires_ns, now_ns) - now_ns + NS_PER_S - 1) / NS_PER_S;
    printf(", and what comes, for %s\n", readable_duration(text, left_s * 1000));
    printf("id ");
    readable_print(stdout, id);
    printf("; to take it back: ringpost resume ");
    readable_print(stdout, id);
    putchar('\n');
}

/* --- ordering --------------------------------------------------------------------------------- */

/* The exit code; `good_out`: it was answered well, and the answer stands. */
static int ask_order(struct dialogue *dialogue, const struct order *order, bool dry_run,
                     bool *good_out)
{
    struct buf body;
    uint8_t *bytes = malloc(BODY_BYTES);
    CHECK(bytes != NULL);
    buf_init(&body, bytes, BODY_BYTES);
    order_put(&body, dialogue->options, dry_run);
    struct slice text = buf_slice(&body);
    unsigned status = 0;
    if (body.overflow) {
        fprintf(stderr, "ringpost %s: that is too much text\n", order->verb);
    } else {
        status = dialogue_ask(dialogue, "POST", order->path, &text);
    }
    free(bytes);
    *good_out = status == 200;
    if (status == 200 || status == 0) {
        return status == 200 ? EXIT_FINE : EXIT_FAILED;
    }
    return dialogue_refused(dialogue);
}

/* FINE: whoever sits there wants it. */
static int ask_operator(struct dialogue *dialogue, const struct order *order)
{
    char line[16];
    bool good;
    if (isatty(STDIN_FILENO) != 1 || isatty(STDERR_FILENO) != 1) {
        fprintf(stderr,
                "ringpost %s: say --yes to do it, or --dry-run to see what it would do\n",
                order->verb);
        return EXIT_USAGE;
    }
    int code = ask_order(dialogue, order, true, &good);
    const struct json_value *answer = good ? dialogue_value(dialogue) : NULL;
    if (answer == NULL) {
        return good ? EXIT_FAILED : code;
    }
    print_found(stderr, order->would, answer);
    fputc('\n', stderr);
    print_samples(stderr, answer);
    fprintf(stderr, "Do it? [y/N] ");
    if (fgets(line, sizeof(line), stdin) != NULL &&
        (strcmp(line, "y\n") == 0 || strcmp(line, "yes\n") == 0)) {
        return EXIT_FINE;
    }
    fprintf(stderr, "ringpost %s: nothing is done\n", order->verb);
    return EXIT_FAILED;
}

static int give_order(struct dialogue *dialogue, const struct order *order)
{
    bool dry_run = verb_options_given(dialogue->options, OPTION_DRY_RUN);
    bool good;
    if (!dry_run && !verb_options_given(dialogue->options, OPTION_YES)) {
        int code = ask_operator(dialogue, order);
        if (code != EXIT_FINE) {
            return code;
        }
    }
    int code = ask_order(dialogue, order, dry_run, &good);
    if (!good) {
        return code;
    }
    if (is_json(dialogue)) {
        return dialogue_print(dialogue);
    }
    const struct json_value *answer = dialogue_value(dialogue);
    if (answer == NULL) {
        return EXIT_FAILED;
    }
    if (dry_run) {
        print_found(stdout, order->would, answer);
        putchar('\n');
        print_samples(stdout, answer);
    } else {
        print_done(order, answer);
    }
    return dialogue_end(EXIT_FINE);
}

/* --- lists ------------------------------------------------------------------------------------ */

static void put_entry(struct table *table, const struct json_value *entry, bool bounces)
{
    uint8_t bytes[CRITERIA_BYTES];
    struct buf buf;
    uint64_t now_ns = clock_wall_ns();
    uint64_t expires_ns = answer_time(entry, "expires");
    buf_init(&buf, bytes, sizeof(bytes));
    order_put_criteria(&buf, entry);
    table_text(table, answer_text(entry, "id"));
    table_duration(table, (MAX_OF(expires_ns, now_ns) - now_ns) / NS_PER_MS);
    if (bounces) {
        table_count(table, answer_u64(entry, "total_bounced"));
    }
    table_text(table, buf_slice(&buf));
    table_text(table, answer_text(entry, "reason"));
}

/* Asks for a list; null, and an exit code: it has been printed, or there is none. */
static const struct json_value *ask_list(struct dialogue *dialogue, const struct order *order,
                                         int *code_out)
{
    unsigned status = dialogue_ask(dialogue, "GET", order->path, NULL);
    *code_out = EXIT_FAILED;
    if (status != 200) {
        *code_out = status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
        return NULL;
    }
    const struct json_value *entries = dialogue_value(dialogue);
    return entries != NULL && entries->kind == JSON_ARRAY ? entries : NULL;
}

static int add_list(struct dialogue *dialogue, const struct order *order, struct table *table)
{
    int code;
    const struct json_value *entries = ask_list(dialogue, order, &code);
    if (entries == NULL) {
        return code;
    }
    if (is_json(dialogue)) {
        return dialogue_print(dialogue);
    }
    for (uint32_t i = 0; i < entries->size; i++) {
        put_entry(table, &entries->elements[i], order == &bounce_order);
    }
    return EXIT_FINE;
}

static int list_orders(struct dialogue *dialogue, const struct order *order)
{
    static const struct table_column columns[] = {{.title = "id"},
                                                  {.title = "left", .right = true},
                                                  {.title = "which", .flexible = true},
                                                  {.title = "why", .flexible = true}};
    static const struct table_column bounce_columns[] = {{.title = "id"},
                                                         {.title = "left", .right = true},
                                                         {.title = "ended", .right = true},
                                                         {.title = "which", .flexible = true},
                                                         {.title = "why", .flexible = true}};
    struct table table;
    if (order == &bounce_order) {
        table_init(&table, bounce_columns, COUNT_OF(bounce_columns));
    } else {
        table_init(&table, columns, COUNT_OF(columns));
    }
    int code = add_list(dialogue, order, &table);
    if (code == EXIT_FINE && order == &suspend_order) {
        code = add_list(dialogue, &ready_order, &table);
    }
    if (code == EXIT_FINE && !is_json(dialogue)) {
        if (table_rows(&table) > 0) {
            table_print(&table, stdout);
        } else {
            printf("%s\n", order->empty);
        }
        code = dialogue_end(EXIT_FINE);
    }
    table_fini(&table);
    return code;
}

/* --- taking back ------------------------------------------------------------------------------ */

/* The status of the answer, or 0. */
static unsigned cancel(struct dialogue *dialogue, const struct order *order, struct slice id)
{
    uint8_t bytes[128];
    struct buf body;
    struct json json;
    buf_init(&body, bytes, sizeof(bytes));
    json_init(&json, &body);
    json_object(&json);
    json_member_text(&json, "id", id);
    json_object_end(&json);
    struct slice text = buf_slice(&body);
    return body.overflow ? 404 : dialogue_ask(dialogue, "DELETE", order->path, &text);
}

static int cancelled(struct dialogue *dialogue, struct slice id, const char *what)
{
    if (is_json(dialogue)) {
        return dialogue_print(dialogue);
    }
    printf("taken back: %s ", what);
    readable_print(stdout, id);
    putchar('\n');
    return dialogue_end(EXIT_FINE);
}

static int resume_id(struct dialogue *dialogue, struct slice id)
{
    static const struct order *const orders[] = {&suspend_order, &ready_order, &bounce_order};
    static const char *const words[] = {"suspension", "suspension of a ready queue", "bounce"};
    for (size_t i = 0; i < COUNT_OF(orders); i++) {
        unsigned status = cancel(dialogue, orders[i], id);
        if (status == 200) {
            return cancelled(dialogue, id, words[i]);
        }
        if (status != 404) {
            return status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
        }
    }
    fprintf(stderr, "ringpost resume: no order has this id now: ringpost suspend --list\n");
    return EXIT_FAILED;
}

/* Copies of the ids, as each answer goes with the next question. */
static uint32_t matching_ids(const struct verb_options *options, const struct json_value *entries,
                             uint8_t (*ids)[ID_TEXT_BYTES])
{
    uint32_t count = 0;
    for (uint32_t i = 0; i < entries->size; i++) {
        struct slice id = answer_text(&entries->elements[i], "id");
        if (id.size == ID_TEXT_BYTES && order_matches(options, &entries->elements[i])) {
            memcpy(ids[count++], id.data, ID_TEXT_BYTES);
        }
    }
    return count;
}

static int resume_ids(struct dialogue *dialogue, const struct order *order,
                      uint8_t (*ids)[ID_TEXT_BYTES], uint32_t count)
{
    int code = EXIT_FINE;
    for (uint32_t i = 0; i < count && code == EXIT_FINE; i++) {
        struct slice id = slice_make(ids[i], ID_TEXT_BYTES);
        if (verb_options_given(dialogue->options, OPTION_DRY_RUN)) {
            printf("would take back: %.*s\n", (int)id.size, (const char *)id.data);
            continue;
        }
        unsigned status = cancel(dialogue, order, id);
        if (status == 200) {
            code = cancelled(dialogue, id, "suspension");
        } else if (status != 404) { /* that one is over */
            code = status == 0 ? EXIT_FAILED : dialogue_refused(dialogue);
        }
    }
    return code == EXIT_FINE ? dialogue_end(EXIT_FINE) : code;
}

static int resume_matching(struct dialogue *dialogue)
{
    const struct order *order = verb_options_given(dialogue->options, OPTION_READY_QUEUE)
                                    ? &ready_order
                                    : &suspend_order;
    int code;
    const struct json_value *entries = ask_list(dialogue, order, &code);
    if (entries == NULL) {
        return code;
    }
    uint8_t(*ids)[ID_TEXT_BYTES] = calloc(entries->size + 1, ID_TEXT_BYTES);
    CHECK(ids != NULL);
    uint32_t count = matching_ids(dialogue->options, entries, ids);
    if (count > 0) {
        code = resume_ids(dialogue, order, ids, count);
    } else {
        fprintf(stderr, "ringpost resume: nothing is suspended by exactly that: ringpost suspend "
                        "--list\n");
        code = EXIT_FAILED;
    }
    free(ids);
    return code;
}

/* --- verbs ------------------------------------------------------------------------------------ */

/* Null: it can be asked for. */
static const char *order_problem(const struct verb_options *options)
{
    const char *problem = order_criteria_problem(options);
    if (problem == NULL && !verb_options_given(options, OPTION_REASON)) {
        return "--reason \"...\" is needed: others will see it";
    }
    return problem;
}

static int run_order(const struct verb_options *options, const struct order *order)
{
    struct dialogue dialogue;
    bool list = verb_options_given(options, OPTION_LIST);
    const char *problem = order_problem(options);
    if (list) {
        uint32_t others = SUSPEND_OPTIONS & ~(OPTIONS_COMMON | OPTION_BIT(LIST));
        problem = verb_options_count(options, others) > 0 ? "--list stands alone" : NULL;
    }
    if (problem != NULL) {
        fprintf(stderr, "ringpost %s: %s\n", options->verb, problem);
        return EXIT_USAGE;
    }
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = list ? list_orders(&dialogue, order) : give_order(&dialogue, order);
    dialogue_close(&dialogue);
    return code;
}

int cmd_suspend(const struct verb_options *options)
{
    return run_order(options, verb_options_given(options, OPTION_READY_QUEUE) ? &ready_order
                                                                              : &suspend_order);
}

int cmd_bounce(const struct verb_options *options)
{
    return run_order(options, &bounce_order);
}

int cmd_flush(const struct verb_options *options)
{
    return run_order(options, &flush_order);
}

int cmd_rebind(const struct verb_options *options)
{
    const char *problem = order_change_problem(options);
    if (problem != NULL) {
        fprintf(stderr, "ringpost rebind: %s\n", problem);
        return EXIT_USAGE;
    }
    return run_order(options, &rebind_order);
}

int cmd_resume(const struct verb_options *options)
{
    const char *given = options->positional != NULL ? options->positional
                                                    : options->values[OPTION_ID];
    bool by_id = given != NULL;
    uint32_t others = OPTIONS_CRITERIA | OPTION_BIT(READY_QUEUE) | OPTION_BIT(DRY_RUN);
    const char *problem = by_id ? NULL : order_criteria_problem(options);
    struct dialogue dialogue;
    struct id id;
    if (by_id && (verb_options_count(options, others) > 0 ||
                  (options->positional != NULL && options->values[OPTION_ID] != NULL))) {
        problem = "an id stands alone";
    } else if (by_id && !id_parse(slice_from_string(given), &id)) {
        problem = "an id has 32 hexadecimal digits; else say --domain, --queue, ...";
    }
    if (problem != NULL) {
        fprintf(stderr, "ringpost resume: %s\n", problem);
        return EXIT_USAGE;
    }
    if (!dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = by_id ? resume_id(&dialogue, slice_from_string(given)) : resume_matching(&dialogue);
    dialogue_close(&dialogue);
    return code;
}
