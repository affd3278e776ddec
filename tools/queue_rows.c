#include "tools/queue_rows.h"

#include "tools/answer.h"

#define REASONS_MAX 32u

const struct table_column queue_rows_columns[QUEUE_ROWS_COLUMNS] = {
    {.title = "queue", .flexible = true},
    {.title = "count", .right = true},
    {.title = "due", .right = true},
    {.title = "state"},
    {.title = "reason"},
    {.title = "for", .right = true},
};

const struct table_column queue_rows_narrow_columns[QUEUE_ROWS_NARROW] = {
    {.title = "queue", .flexible = true},
    {.title = "count", .right = true},
    {.title = "reason"},
};

uint32_t queue_rows_count(const struct json_value *answer)
{
    const struct json_value *queues = answer_member(answer, "queues");
    return queues != NULL && queues->kind == JSON_ARRAY ? MIN_OF(queues->size, QUEUE_ROWS_MAX) : 0;
}

void queue_rows_put(struct table *table, const struct json_value *queue, uint64_t now_ns)
{
    uint64_t since_ns = answer_time(queue, "since");
    table_text(table, answer_text(queue, "name"));
    table_count(table, answer_u64(queue, "count"));
    table_count(table, answer_u64(queue, "due"));
    table_text(table, answer_text(queue, "state"));
    table_text(table, answer_text(queue, "reason"));
    if (since_ns > 0) {
        table_duration(table, answer_ago_ms(now_ns, since_ns));
    } else {
        table_text(table, SLICE_NONE);
    }
}

void queue_rows_put_narrow(struct table *table, const struct json_value *queue)
{
    table_text(table, answer_text(queue, "name"));
    table_count(table, answer_u64(queue, "count"));
    table_text(table, answer_text(queue, "reason"));
}

static void put_quantity(struct buf *buf, uint64_t count, const char *word)
{
    char text[READABLE_BYTES];
    buf_put_string(buf, readable_count(text, count));
    buf_put_byte(buf, ' ');
    buf_put_string(buf, word);
    if (count != 1) {
        buf_put_byte(buf, 's');
    }
}

/* The largest first. */
static void put_reasons(struct buf *buf, const struct json_value *reasons)
{
    uint32_t count = MIN_OF(answer_count(reasons), REASONS_MAX);
    uint32_t told = 0;
    char text[READABLE_BYTES];
    for (uint32_t n = 0; n < count; n++) {
        uint32_t largest = count;
        uint64_t most = 0;
        for (uint32_t i = 0; i < count; i++) {
            uint64_t size = answer_u64(&reasons->members[i].value, "count");
            if ((told & 1u << i) == 0 && size > most) {
                largest = i;
                most = size;
            }
        }
        if (largest == count) {
            return; /* the rest is empty */
        }
        told |= 1u << largest;
        buf_put(buf, n == 0 ? SLICE(": ") : SLICE(", "));
        buf_put_string(buf, readable_count(text, most));
        buf_put_byte(buf, ' ');
        readable_put(buf, json_value_text(&reasons->members[largest].key));
    }
}

void queue_rows_put_sum(struct buf *buf, const struct json_value *answer)
{
    const struct json_value *reasons = answer_member(answer, "reasons");
    put_quantity(buf, answer_u64(answer, "total_count"), "recipient");
    buf_put_string(buf, " in ");
    put_quantity(buf, answer_u64(answer, "total_queues"), "queue");
    if (reasons != NULL && reasons->kind == JSON_OBJECT) {
        put_reasons(buf, reasons);
    }
}
