#include "shard/event_batch.h"

#include "core/check.h"

#include <assert.h>

static_assert(EVENT_BATCH_BYTES >= EVENT_JSON_BYTES_MAX, "a batch holds any record");

static void feed_batch_home(struct shard *shard, struct mail *mail);

static void feed_timer_fire(struct timer *timer)
{
    event_feed_flush(CONTAINER_OF(timer, struct event_feed, timer));
}

static void free_push(struct event_feed *feed, struct event_batch *batch)
{
    batch->next = feed->free;
    feed->free = batch;
}

void event_feed_init(struct event_feed *feed, struct shard *shard,
                     const struct event_feed_options *options)
{
    CHECK(options->batches >= 2);
    *feed = (struct event_feed){
        .shard = shard,
        .to = options->to,
        .batches = options->batches,
        .ready = options->ready,
        .mark = options->mark,
        .durable_changed = options->durable,
    };
    timer_init(&feed->timer, feed_timer_fire);
    for (unsigned i = 0; i < options->batches; i++) {
        struct event_batch *batch = heap_take(options->heap, sizeof(*batch));
        batch->mail.arrive = options->arrive;
        batch->arrive = options->arrive;
        batch->feed = feed;
        batch->sink = options->sink;
        free_push(feed, batch);
    }
}

bool event_feed_room(const struct event_feed *feed, unsigned count)
{
    /* A batch holds at least one record of any size. */
    unsigned whole = feed->batches - feed->away - (feed->open != NULL);
    return count <= whole;
}

void event_feed_flush(struct event_feed *feed)
{
    struct event_batch *batch = feed->open;
    shard_timer_clear(feed->shard, &feed->timer);
    if (batch == NULL) {
        return;
    }
    if (feed->mark != NULL) {
        batch->mark = feed->mark(feed);
    }
    feed->open = NULL;
    feed->away++;
    feed->sent++;
    batch->mail.arrive = batch->arrive;
    shard_send(feed->shard, feed->to, &batch->mail);
}

/* Opens a batch when none is open; false when all are away. */
static bool batch_open(struct event_feed *feed)
{
    if (feed->open != NULL) {
        return true;
    }
    struct event_batch *batch = feed->free;
    if (batch == NULL) {
        return false;
    }
    feed->free = batch->next;
    batch->next = NULL;
    batch->size = 0;
    batch->lines = 0;
    feed->open = batch;
    shard_timer_set(feed->shard, &feed->timer, EVENT_BATCH_WAIT_MS * NS_PER_MS);
    return true;
}

static bool batch_append(struct event_batch *batch, const struct event *event)
{
    struct buf buf;
    buf_init(&buf, batch->data + batch->size, EVENT_BATCH_BYTES - batch->size);
    event_put_json(&buf, event);
    if (buf.overflow) {
        return false;
    }
    batch->size += (uint32_t)buf.size;
    batch->lines++;
    return true;
}

/* The open batch is full when the record does not fit behind what it holds. */
static bool feed_append(struct event_feed *feed, const struct event *event)
{
    if (!batch_open(feed)) {
        return false;
    }
    if (batch_append(feed->open, event)) {
        feed->events++;
        return true;
    }
    event_feed_flush(feed);
    if (!batch_open(feed)) {
        return false;
    }
    bool fits = batch_append(feed->open, event);
    CHECK(fits);
    feed->events++;
    return true;
}

void event_feed_wait(struct event_feed *feed)
{
    feed->waited = true;
}

bool event_feed_put(struct event_feed *feed, const struct event *event)
{
    if (!feed_append(feed, event)) {
        event_feed_wait(feed);
        return false;
    }
    return true;
}

void event_feed_offer(struct event_feed *feed, const struct event *event)
{
    if (!feed_append(feed, event)) {
        feed->dropped++;
        counters_add(&feed->shard->counters, COUNTER_events_dropped, 1);
    }
}

uint64_t event_feed_memory(const struct event_feed *feed)
{
    return (feed->away + (feed->open != NULL)) * sizeof(struct event_batch);
}

bool event_feed_idle(const struct event_feed *feed)
{
    return feed->open == NULL && feed->away == 0;
}

bool event_feed_settled(const struct event_feed *feed)
{
    return feed->open == NULL && feed->settled == feed->sent;
}

void event_batch_give(struct shard *receiver, struct event_batch *batch)
{
    batch->mail.arrive = feed_batch_home;
    shard_send(receiver, batch->feed->shard->index, &batch->mail);
}

static void feed_batch_home(struct shard *shard, struct mail *mail)
{
    struct event_batch *batch = CONTAINER_OF(mail, struct event_batch, mail);
    struct event_feed *feed = batch->feed;
    CHECK(feed->shard == shard);
    CHECK(feed->away > 0);
    feed->away--;
    free_push(feed, batch);
    if (feed->waited) {
        feed->waited = false;
        if (feed->ready != NULL) {
            feed->ready(feed);
        }
    }
}

static void feed_ack(struct shard *shard, struct mail *mail)
{
    struct event_ack *ack = CONTAINER_OF(mail, struct event_ack, mail);
    struct event_feed *feed = ack->feed;
    CHECK(feed->shard == shard);
    feed->durable = ack->mark;
    feed->settled = ack->batches;
    feed->lost = ack->lost;
    ack->mail.arrive = ack->home;
    shard_send(shard, feed->to, &ack->mail);
    if (feed->durable_changed != NULL) {
        feed->durable_changed(feed);
    }
}

void event_ack_send(struct shard *log, struct event_ack *ack)
{
    ack->mail.arrive = feed_ack;
    shard_send(log, ack->feed->shard->index, &ack->mail);
}
