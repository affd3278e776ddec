#include "tools/cmd_queues.h"

#include <stdio.h>

#include "tools/dialogue.h"
#include "tools/exit_codes.h"
#include "tools/queue_rows.h"

#define LIMIT_DEFAULT 100u
#define SUM_BYTES     2048u

static void print_rows(const struct json_value *answer)
{
    const struct json_value *queues = answer_member(answer, "queues");
    uint64_t now_ns = answer_time(answer, "now");
    uint32_t count = queue_rows_count(answer);
    struct table table;
    table_init(&table, queue_rows_columns, QUEUE_ROWS_COLUMNS);
    for (uint32_t i = 0; i < count; i++) {
        queue_rows_put(&table, &queues->elements[i], now_ns);
    }
    if (count > 0) {
        putchar('\n');
        table_print(&table, stdout);
    }
    table_fini(&table);
}

static void print_answer(const struct json_value *answer)
{
    const struct json_value *others = answer_member(answer, "others");
    uint64_t left_out = answer_u64(others, "queues");
    uint8_t bytes[SUM_BYTES];
    char queues[READABLE_BYTES];
    char recipients[READABLE_BYTES];
    struct buf sum;
    buf_init(&sum, bytes, sizeof(bytes));
    queue_rows_put_sum(&sum, answer);
    printf("%.*s\n", (int)sum.size, (const char *)sum.data);
    print_rows(answer);
    if (left_out > 0) {
        printf("\n%s more with %s recipients: --limit N shows up to %u\n",
               readable_count(queues, left_out),
               readable_count(recipients, answer_u64(others, "count")), QUEUE_ROWS_MAX);
    }
}

static int list(struct dialogue *dialogue, unsigned limit)
{
    char path[96];
    snprintf(path, sizeof(path), "/api/admin/queues/v1?kind=%s&limit=%u",
             verb_options_given(dialogue->options, OPTION_READY) ? "ready" : "scheduled", limit);
    unsigned status = dialogue_ask(dialogue, "GET", path, NULL);
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

int cmd_queues(const struct verb_options *options)
{
    struct dialogue dialogue;
    unsigned limit;
    if (!verb_options_limit(options, QUEUE_ROWS_MAX, LIMIT_DEFAULT, &limit) ||
        !dialogue_open(&dialogue, options)) {
        return EXIT_USAGE;
    }
    int code = list(&dialogue, limit);
    dialogue_close(&dialogue);
    return code;
}
