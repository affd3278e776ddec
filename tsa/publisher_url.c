/*
 * One URL. `step` looks at what stands and begins the next thing; it does nothing while a batch is
 * under way or a pause lasts. A batch, once made, is offered until it is taken.
 *
 *   outbox or file ─► batch ─► (zstd, by the cpu worker) ─► POST ─► taken: the cursor follows
 *                       ▲                                     └─► not taken: a pause
 *                       └── without what has expired ◄────────────────┘
 */
#include "tsa/publisher.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <zstd.h>

#include "core/backoff.h"
#include "core/check.h"
#include "core/json_read.h"

static_assert(PUBLISHER_PACKED_BYTES >= ZSTD_COMPRESSBOUND(PUBLISHER_BATCH_BYTES),
              "a batch fits, packed");
static_assert(HTTP_CALLER_BODY_BYTES >= PUBLISH_ANSWER_BYTES_MAX, "an answer is read whole");

#define LINES_MAX    256 /* of a file, looked at in one go */
#define UNREAD_NS    NS_PER_S
#define PACK_LEVEL   1
#define STATUS_TAKEN 200

static void step(struct publisher_url *url);
static void post(struct publisher_url *url);

/* --- what is said ----------------------------------------------------------------------------- */

static void say(const struct publisher_url *url, const char *state, const char *error)
{
    struct logline line;
    logline_begin(&line, "publish");
    logline_text(&line, "url", url->url->text);
    logline_string(&line, "state", state);
    if (error != NULL) {
        logline_string(&line, "error", error);
    }
    logline_end(&line, &url->publisher->sink);
}

/* --- its place -------------------------------------------------------------------------------- */

/* A place in the log's text, where it stands in a file. False: that is not known any more. */
static bool place_of(const struct publisher *publisher, uint64_t told, struct event_offset *place)
{
    uint64_t oldest = publisher->frame_count - MIN_OF(publisher->frame_count, PUBLISHER_FRAMES);
    for (uint64_t i = publisher->frame_count; i > oldest; i--) {
        const struct publisher_frame *frame = &publisher->frames[(i - 1) % PUBLISHER_FRAMES];
        if (told >= frame->begin && told <= frame->begin + frame->text_bytes) {
            *place = (struct event_offset){.frame = frame->at,
                                           .text = (uint32_t)(told - frame->begin)};
            memcpy(place->file, frame->file, sizeof(place->file));
            return true;
        }
    }
    return false;
}

/* Of one that has its records from the outbox. */
static void cursor_follow(struct publisher_url *url)
{
    const struct publisher *publisher = url->publisher;
    struct event_offset place;
    if (url->next == publisher->outbox.next) {
        url->told = publisher->taken; /* the rest was not for it */
    }
    if (place_of(publisher, MIN_OF(url->told, publisher->stored), &place)) {
        url->cursor = place;
        publisher_changed(url->publisher);
    }
}

static void age_follow(struct publisher_url *url)
{
    const struct outbox *outbox = &url->publisher->outbox;
    if (url->next == outbox->next) {
        url->since_ns = 0;
    } else if (url->next >= outbox->oldest) {
        url->since_ns = outbox_at(outbox, url->next)->taken_ns;
    }
}

static void read_from_cursor(struct publisher_url *url)
{
    event_reader_start(&url->reader, &url->cursor);
}

static void fall_behind(struct publisher_url *url)
{
    url->behind = true;
    say(url, "behind", NULL);
    read_from_cursor(url);
}

/* Everything durable has been read, and the outbox has what comes behind it. */
static void catch_up(struct publisher_url *url)
{
    struct publisher *publisher = url->publisher;
    url->behind = false;
    url->told = publisher->stored;
    url->next = outbox_find(&publisher->outbox, publisher->stored);
    age_follow(url);
    say(url, "caught_up", NULL);
    shard_defer(publisher->shard, &url->step);
}

/* --- the batch -------------------------------------------------------------------------------- */

static void batch_clear(struct publisher_url *url)
{
    buf_reset(&url->batch);
    url->batch_lines = 0;
}

/* All of the batch is told, or not to be told. */
static void batch_taken(struct publisher_url *url)
{
    batch_clear(url);
    if (url->behind) {
        url->cursor = url->batch_cursor;
        publisher_changed(url->publisher);
    } else {
        url->next = url->batch_next;
        url->told = url->batch_told;
        age_follow(url);
        cursor_follow(url);
    }
    shard_defer(url->publisher->shard, &url->step);
}

static bool is_over(const struct publisher_url *url, uint64_t expires_ns)
{
    return expires_ns > 0 && expires_ns <= url->publisher->shard->wall_ns;
}

static void batch_send(struct publisher_url *url)
{
    url->busy = true;
    url->repeated = false;
    url->body = buf_slice(&url->batch);
    url->job.kind = WORK_COMPRESS;
    url->job.level = PACK_LEVEL;
    url->job.data = url->batch.data;
    url->job.data_size = url->batch.size;
    url->job.output = url->packed;
    url->job.output_capacity = url->packed_capacity;
    if (url->batch.size < PUBLISHER_PACK_BYTES ||
        !work_submit(url->publisher->shard->work, url->publisher->shard, &url->job)) {
        post(url);
    }
}

static void packed(struct work_job *job)
{
    struct publisher_url *url = CONTAINER_OF(job, struct publisher_url, job);
    if (url->closed) {
        publisher_url_ended(url->publisher);
        return;
    }
    if (job->result >= 0) {
        url->body = slice_make(url->packed, (size_t)job->size);
    }
    post(url);
}

/* What of it has expired during a pause is left out. */
static void batch_renew(struct publisher_url *url)
{
    struct publish_filter *filter = &url->publisher->filter;
    struct slice rest = buf_slice(&url->batch);
    struct buf kept;
    buf_init(&kept, url->batch.data, url->batch.capacity);
    url->batch_lines = 0;
    while (rest.size > 0) {
        struct slice line = slice_first(rest, slice_find(rest, '\n') + 1);
        uint64_t expires_ns;
        rest = slice_skip(rest, line.size);
        if (publish_filter_wants(filter, line, &expires_ns) && !is_over(url, expires_ns)) {
            memmove(kept.data + kept.size, line.data, line.size);
            kept.size += line.size;
            url->batch_lines++;
        } else {
            url->counts.expired++;
        }
    }
    url->batch = kept;
}

static void batch_offer(struct publisher_url *url)
{
    if (url->batch_lines > 0) {
        batch_send(url);
    } else {
        batch_taken(url);
    }
}

static void from_outbox(struct publisher_url *url)
{
    const struct outbox *outbox = &url->publisher->outbox;
    if (url->next < outbox->oldest) {
        fall_behind(url);
        return;
    }
    uint64_t number = url->next;
    for (; number < outbox->next; number++) {
        const struct outbox_record *record = outbox_at(outbox, number);
        if (record->text.size > buf_room(&url->batch)) {
            break;
        }
        if (is_over(url, record->expires_ns)) {
            url->counts.expired++;
        } else {
            buf_put(&url->batch, record->text);
            url->batch_lines++;
        }
        url->batch_told = record->begin + record->text.size;
    }
    if (number > url->next) {
        url->batch_next = number;
        batch_offer(url);
    }
}

/* True: the batch has no room for the next line. */
static bool lines_take(struct publisher_url *url)
{
    struct slice line;
    unsigned lines = 0;
    while (lines++ < LINES_MAX && event_reader_line(&url->reader, &line)) {
        uint64_t expires_ns;
        if (line.size > buf_room(&url->batch)) {
            event_reader_back(&url->reader, line.size);
            return true;
        }
        url->batch_cursor = url->reader.place;
        bool wanted = publish_filter_wants(&url->publisher->filter, line, &expires_ns);
        bool over = wanted && is_over(url, expires_ns);
        url->counts.expired += over;
        if (wanted && !over) {
            buf_put(&url->batch, line);
            url->batch_lines++;
        }
        if (url->batch_lines == 0) {
            url->cursor = url->batch_cursor; /* there was nothing for it up to here */
        }
    }
    return false;
}

/* Has it read all that this process has made durable? */
static bool is_at_end(const struct publisher_url *url)
{
    const struct publisher *publisher = url->publisher;
    const struct event_offset *place = &url->reader.place;
    if (publisher->frame_count == 0) {
        return true;
    }
    const struct publisher_frame *last =
        &publisher->frames[(publisher->frame_count - 1) % PUBLISHER_FRAMES];
    int order = strcmp(place->file, last->file);
    return order > 0 || (order == 0 && place->frame >= publisher->stored_end);
}

static void at_end(struct publisher_url *url)
{
    const struct publisher *publisher = url->publisher;
    if (!is_at_end(url)) {
        event_reader_more(&url->reader);
    } else if (publisher->outbox.gone <= publisher->stored) {
        catch_up(url);
    } /* else there will be news of the log */
}

static void rest(struct publisher_url *url, uint64_t ns)
{
    shard_timer_set(url->publisher->shard, &url->timer, ns);
}

static void from_log(struct publisher_url *url)
{
    bool full = false;
    if (url->reader.state == EVENT_READER_LINES) {
        full = lines_take(url);
    }
    if (full || (url->batch_lines > 0 && url->reader.state != EVENT_READER_LINES)) {
        batch_send(url);
        return;
    }
    switch (url->reader.state) {
    case EVENT_READER_READING:
        return;
    case EVENT_READER_LINES:
        shard_defer(url->publisher->shard, &url->step);
        return;
    case EVENT_READER_END:
        at_end(url);
        return;
    case EVENT_READER_GONE:
    case EVENT_READER_NOWHERE:
        url->counts.lost++;
        say(url, "lost", NULL);
        url->cursor = (struct event_offset){0};
        read_from_cursor(url);
        return;
    case EVENT_READER_FAILED:
        rest(url, UNREAD_NS);
        return;
    }
}

/* --- the request ------------------------------------------------------------------------------ */

static void post(struct publisher_url *url)
{
    struct buf head;
    struct slice token = url->publisher->conf->token;
    bool is_packed = url->body.data == url->packed;
    buf_init(&head, url->head, sizeof(url->head));
    buf_put(&head, SLICE("POST /publish_log_v1 HTTP/1.1\r\nHost: "));
    buf_put(&head, url->url->where);
    buf_put(&head, SLICE("\r\nUser-Agent: ringpostd/" RINGPOST_VERSION
                         "\r\nContent-Type: application/x-ndjson\r\n"));
    if (is_packed) {
        buf_put(&head, SLICE("Content-Encoding: zstd\r\n"));
    }
    if (token.size > 0) {
        buf_put(&head, SLICE("Authorization: Bearer "));
        buf_put(&head, token);
        buf_put(&head, SLICE("\r\n"));
    }
    buf_put(&head, SLICE("Content-Length: "));
    buf_put_u64(&head, url->body.size);
    buf_put(&head, SLICE("\r\n\r\n"));
    CHECK(!head.overflow);
    http_caller_ask(&url->caller, buf_slice(&head), url->body, PUBLISHER_TIMEOUT_NS);
}

/* A first failure is said when it is followed by a second one: a connection may break. */
static void fail(struct publisher_url *url, const char *error, uint64_t retry_after_s)
{
    uint64_t asked_ns = MIN_OF(retry_after_s, PUBLISHER_RETRY_AFTER_MAX_NS / NS_PER_S) * NS_PER_S;
    url->counts.failures++;
    url->failures++;
    if (url->failures > 1 && !url->failing) {
        url->failing = true;
        say(url, "failing", error);
    }
    uint64_t pause_ns = backoff_ns(url->failures, PUBLISHER_PAUSE_MIN_NS, PUBLISHER_PAUSE_MAX_NS,
                                   &url->publisher->shard->prng);
    rest(url, MAX_OF(asked_ns, pause_ns));
    if (url->publisher->stopping) {
        publisher_url_stop(url, true);
    }
}

static void rejected(struct publisher_url *url, uint64_t accepted)
{
    bool some = accepted < url->batch_lines;
    url->counts.rejected += url->batch_lines - MIN_OF(accepted, url->batch_lines);
    if (some && !url->rejecting) {
        say(url, "rejected", NULL);
    }
    url->rejecting = some;
}

static void answered(struct publisher_url *url)
{
    const struct http_response *response = &url->caller.response;
    struct json_reader *json = url->publisher->filter.publish.reader;
    char error[32];
    uint64_t accepted;
    if (response->status != STATUS_TAKEN) {
        snprintf(error, sizeof(error), "status %u", response->status);
        fail(url, error, response->retry_after_s);
        return;
    }
    if (!json_read(json, buf_slice(&response->body)) ||
        !json_read_u64(json, "/accepted", &accepted)) {
        fail(url, "an answer that is none of ringpost-tsad's", 0);
        return;
    }
    if (url->failing) {
        say(url, "well", NULL);
    }
    url->failing = false;
    url->failures = 0;
    url->counts.published += url->batch_lines;
    rejected(url, accepted);
    batch_taken(url);
}

static void done(struct http_caller *caller, enum http_call_end end)
{
    struct publisher_url *url = CONTAINER_OF(caller, struct publisher_url, caller);
    if (end == HTTP_CALL_STALE && !url->repeated) {
        url->repeated = true;
        post(url);
        return;
    }
    url->busy = false;
    if (end == HTTP_CALL_ANSWERED) {
        answered(url);
    } else {
        fail(url, http_call_end_name(end), 0);
    }
}

/* --- what happens ----------------------------------------------------------------------------- */

static bool is_done(const struct publisher_url *url)
{
    return !url->behind && !url->busy && url->batch_lines == 0 &&
           url->next == url->publisher->outbox.next;
}

static void step(struct publisher_url *url)
{
    if (url->closed || url->busy || timer_is_set(&url->timer) || !url->publisher->loaded) {
        return;
    }
    if (url->publisher->stopping && is_done(url)) {
        publisher_url_stop(url, true);
        return;
    }
    if (url->behind) {
        from_log(url);
    } else {
        from_outbox(url);
    }
}

static void run(struct deferred *deferred)
{
    step(CONTAINER_OF(deferred, struct publisher_url, step));
}

static void pause_over(struct timer *timer)
{
    struct publisher_url *url = CONTAINER_OF(timer, struct publisher_url, timer);
    if (url->batch_lines > 0) {
        batch_renew(url);
        batch_offer(url);
    } else if (url->behind && url->reader.state == EVENT_READER_FAILED) {
        read_from_cursor(url);
    }
}

static void reader_ready(struct event_reader *reader)
{
    struct publisher_url *url = CONTAINER_OF(reader, struct publisher_url, reader);
    shard_defer(url->publisher->shard, &url->step);
    if (url->closed) {
        publisher_url_ended(url->publisher);
    }
}

static void log_news(struct event_watch *watch)
{
    struct publisher_url *url = CONTAINER_OF(watch, struct publisher_url, watch);
    if (url->behind) {
        shard_defer(url->publisher->shard, &url->step);
    }
}

static const struct http_caller_user caller_user = {.done = done};

/* --- from outside ----------------------------------------------------------------------------- */

void publisher_url_init(struct publisher_url *url, uint8_t *memory)
{
    struct publisher *publisher = url->publisher;
    buf_init(&url->batch, memory, PUBLISHER_BATCH_BYTES);
    url->packed = memory + PUBLISHER_BATCH_BYTES;
    url->packed_capacity = PUBLISHER_PACKED_BYTES;
    url->reader.chunk = url->packed + PUBLISHER_PACKED_BYTES;
    url->reader.text = url->reader.chunk + EVENT_READER_CHUNK_BYTES;
    url->reader.shard = publisher->shard;
    url->reader.ends = event_log_ends(publisher->log);
    url->reader.ready = reader_ready;
    url->watch.news = log_news;
    url->job.done = packed;
    url->caller.shard = publisher->shard;
    url->caller.resolver = publisher->resolver;
    url->caller.url = url->url;
    url->caller.user = &caller_user;
    http_caller_init(&url->caller);
    timer_init(&url->timer, pause_over);
    deferred_init(&url->step, run);
    event_ends_watch(url->reader.ends, &url->watch);
}

void publisher_url_begin(struct publisher_url *url, bool behind)
{
    url->behind = behind;
    if (behind) {
        url->since_ns = url->publisher->shard->now_ns;
        read_from_cursor(url);
    } else {
        shard_defer(url->publisher->shard, &url->step);
    }
}

void publisher_url_news(struct publisher_url *url)
{
    if (url->since_ns == 0) {
        age_follow(url);
    }
    if (!url->behind) {
        shard_defer(url->publisher->shard, &url->step);
    }
}

void publisher_url_stored(struct publisher_url *url)
{
    if (!url->behind && url->publisher->loaded && !url->closed) {
        cursor_follow(url);
    }
}

void publisher_url_stop(struct publisher_url *url, bool now)
{
    if (!now && !url->behind && !timer_is_set(&url->timer) && url->publisher->loaded) {
        shard_defer(url->publisher->shard, &url->step);
        return;
    }
    url->closed = true;
    shard_timer_clear(url->publisher->shard, &url->timer);
    http_caller_close(&url->caller);
    publisher_url_ended(url->publisher);
}

bool publisher_url_idle(const struct publisher_url *url)
{
    return url->closed && http_caller_closed(&url->caller) && !url->job.in_flight &&
           event_reader_idle(&url->reader);
}

uint64_t publisher_lag_ns(const struct publisher_url *url)
{
    uint64_t now_ns = url->publisher->shard->now_ns;
    return url->since_ns == 0 || url->since_ns > now_ns ? 0 : now_ns - url->since_ns;
}
