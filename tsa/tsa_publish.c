#include "tsa/tsa_publish.h"

#include "shard/io/http_route.h"
#include "tsa/tsa.h"

#define TYPE SLICE("application/json")

/* One that is being judged. */
struct tsa_batch {
    struct tsa *tsa;
    struct http_exchange *exchange;
    struct publish_batch batch;
    struct deferred step;
};

void tsa_publish_init(struct tsa *tsa)
{
    pool_init(&tsa->batches,
              boot_pages_take(tsa->options.pages,
                              pool_memory(sizeof(struct tsa_batch), TSA_BATCHES_MAX)),
              sizeof(struct tsa_batch), TSA_BATCHES_MAX);
}

static void take(void *context, struct automation_record *record)
{
    tsa_judge(context, record);
}

static void answer(struct tsa *tsa, struct http_exchange *exchange,
                   const struct publish_batch *batch)
{
    uint8_t memory[PUBLISH_ANSWER_BYTES_MAX];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    publish_batch_put_json(batch, &text);
    tsa->stats.accepted += batch->accepted;
    tsa->stats.rejected += batch->rejected;
    http_answer(exchange, 200, TYPE, buf_slice(&text));
}

static void step(struct deferred *deferred)
{
    struct tsa_batch *batch = CONTAINER_OF(deferred, struct tsa_batch, step);
    struct tsa *tsa = batch->tsa;
    if (publish_batch_step(&batch->batch, &tsa->publish, TSA_TURN_RECORDS, take, tsa)) {
        shard_defer(tsa->shard, deferred);
        return;
    }
    answer(tsa, batch->exchange, &batch->batch);
    pool_give(&tsa->batches, batch);
}

static void one_record(struct tsa *tsa, struct http_exchange *exchange)
{
    struct automation_record record;
    const struct publish_batch good = {.accepted = 1};
    const char *fault;
    switch (publish_read(&tsa->publish, exchange->body, &record, &fault)) {
    case PUBLISH_TAKEN:
        tsa_judge(tsa, &record);
        answer(tsa, exchange, &good);
        return;
    case PUBLISH_SKIPPED:
        answer(tsa, exchange, &good);
        return;
    case PUBLISH_BAD:
        tsa->stats.rejected++;
        http_answer_text(exchange, 400, slice_from_string(fault));
        return;
    }
}

static void begin_batch(struct tsa *tsa, struct http_exchange *exchange)
{
    struct tsa_batch *batch = pool_take(&tsa->batches);
    if (batch == NULL) {
        tsa->stats.batches_refused++;
        http_answer_fields(exchange, 429, SLICE("text/plain; charset=utf-8"),
                           SLICE("Retry-After: 1\r\n"), SLICE("too many batches at once\n"));
        return;
    }
    tsa->stats.batches++;
    batch->tsa = tsa;
    batch->exchange = exchange;
    publish_batch_begin(&batch->batch, exchange->body);
    deferred_init(&batch->step, step);
    shard_defer(tsa->shard, &batch->step);
}

void tsa_publish_handle(struct http_exchange *exchange)
{
    struct tsa *tsa = exchange->context;
    if (!tsa_is_open(tsa)) {
        http_answer_later(exchange, 1, SLICE("starting, or stopping"));
    } else if (http_type_of(exchange->head) == HTTP_CARRIES_JSON) {
        one_record(tsa, exchange);
    } else {
        begin_batch(tsa, exchange);
    }
}
