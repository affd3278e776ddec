/*
 * One job is under way at a time; `log_step` looks at what stands and starts the next one:
 *
 *   at start     list → open → close: what a crash left behind becomes read-only
 *   per flush    compress → (make directory, open a file) → append and sync
 *   per file     close, read-only, when it is full, old, spoilt, or the log stops
 *
 * Text is collected in `fill` while `flush` is on its way; the two change places. A failed append
 * may have left half a frame, so its file is ended and the same frame goes into a new one; a file
 * in which nothing else stands is removed.
 */
#include "tsa/event_log.h"

#include <errno.h>
#include <string.h>
#include <zstd.h>

#include "core/check.h"
#include "core/date.h"

#define RETRY_NS        NS_PER_S
#define BUSY_NS         (10 * NS_PER_MS)
#define NAME_BYTES      EVENT_FILE_NAME_BYTES
#define NAME_TRIES_MAX  1000000

/* What a text holds of one shard. */
struct text_share {
    struct spool_position mark; /* of the last batch */
    uint32_t batches;
};

struct text {
    uint8_t *data; /* EVENT_LOG_FLUSH_BYTES */
    size_t size;
    uint64_t lines;
    uint64_t since_ns; /* of its oldest line */
    struct text_share *shares; /* by shard */
};

/* What a shard is to be told. */
struct lane {
    struct event_ack ack; /* on its way while `away` */
    struct event_feed *feed; /* borrowed; null before its first batch */
    struct spool_position mark;
    uint64_t batches;
    bool news;
    bool away;
};

struct event_log {
    struct shard *shard; /* borrowed */
    struct event_log_tap *tap; /* borrowed; null: nobody listens */
    struct event_log_options options;
    struct text fill;
    struct text flush;
    uint8_t *frame;
    size_t frame_capacity;
    size_t frame_size;         /* 0: flush is not compressed yet */
    struct event_batch *first; /* came while fill was full */
    struct event_batch *last;
    struct work_job job;
    bool working;              /* a job is under way */
    struct timer timer;
    uint64_t retry_ns;         /* no job before then; 0: none */
    bool left_listed;          /* the directory was looked at after the start */
    int left_fd;               /* of the file left behind, to be closed; -1 */
    bool left_found;           /* its path stands in path_text */
    bool directory_made;
    int fd;                    /* of the open file; -1 */
    bool spoilt;               /* an append failed: the file ends here */
    uint64_t file_bytes;       /* of text */
    uint64_t file_since_ns;
    uint32_t name_bump;        /* microseconds added to a name that was taken */
    bool troubled;             /* said */
    bool empty_left;           /* a spoilt file without a whole frame: path_text is to be removed */
    bool hurry;                /* the node stops */
    bool lost;                 /* the last try has failed: nothing is taken any more */
    bool stopping;
    struct lane *lanes;        /* by shard */
    unsigned lane_count;
    struct event_retention retention;
    struct event_ends ends;
    struct event_log_counts counts;
    char path_text[EVENT_LOG_PATH_MAX + NAME_BYTES + 2];
};

static void log_step(struct event_log *log);

/* --- what the lanes are told ------------------------------------------------------------------ */

static void lane_tell(struct event_log *log, struct lane *lane)
{
    if (!lane->news || lane->away) {
        return;
    }
    lane->news = false;
    lane->away = true;
    lane->ack.feed = lane->feed;
    lane->ack.mark = lane->mark;
    lane->ack.batches = lane->batches;
    lane->ack.lost = log->lost;
    event_ack_send(log->shard, &lane->ack);
}

/* Meanwhile there may be more to tell: at most one mail is under way to a lane. */
static void lane_home(struct shard *shard, struct mail *mail)
{
    struct event_ack *ack = CONTAINER_OF(mail, struct event_ack, mail);
    struct event_log *log = ack->log;
    struct lane *lane = CONTAINER_OF(ack, struct lane, ack);
    CHECK(log->shard == shard);
    lane->away = false;
    lane_tell(log, lane);
}

/* The flush is durable. */
static void lanes_tell(struct event_log *log)
{
    for (unsigned i = 0; i < log->lane_count; i++) {
        struct text_share *share = &log->flush.shares[i];
        struct lane *lane = &log->lanes[i];
        if (share->batches > 0) {
            lane->mark = share->mark;
            lane->batches += share->batches;
            lane->news = true;
            share->batches = 0;
            lane_tell(log, lane);
        }
    }
}

static void lanes_tell_lost(struct event_log *log)
{
    for (unsigned i = 0; i < log->lane_count; i++) {
        struct lane *lane = &log->lanes[i];
        log->flush.shares[i].batches = 0;
        log->fill.shares[i].batches = 0;
        lane->news = lane->feed != NULL;
        lane_tell(log, lane);
    }
}

static bool lanes_away(const struct event_log *log)
{
    bool away = false;
    for (unsigned i = 0; i < log->lane_count; i++) {
        away = away || log->lanes[i].away || log->lanes[i].news;
    }
    return away;
}

/* --- batches ---------------------------------------------------------------------------------- */

static bool fill_has_room(const struct event_log *log, const struct event_batch *batch)
{
    return log->fill.size + batch->size <= EVENT_LOG_FLUSH_BYTES;
}

static void batch_take(struct event_log *log, struct event_batch *batch)
{
    struct text *fill = &log->fill;
    unsigned from = batch->feed->shard->index;
    log->lanes[from].feed = batch->feed;
    if (log->lost) {
        log->lanes[from].news = true;
        event_batch_give(log->shard, batch);
        lane_tell(log, &log->lanes[from]);
        return;
    }
    fill->shares[from].mark = batch->mark;
    fill->shares[from].batches++;
    if (fill->size == 0) {
        fill->since_ns = log->shard->now_ns;
    }
    memcpy(fill->data + fill->size, batch->data, batch->size);
    if (log->tap != NULL) {
        log->tap->taken(log->tap, slice_make(fill->data + fill->size, batch->size));
    }
    fill->size += batch->size;
    fill->lines += batch->lines;
    log->counts.batches++;
    log->counts.lines += batch->lines;
    event_batch_give(log->shard, batch);
}

static void waiting_take(struct event_log *log)
{
    while (log->first != NULL && fill_has_room(log, log->first)) {
        struct event_batch *batch = log->first;
        log->first = batch->next;
        log->counts.lines_waiting -= batch->lines;
        batch_take(log, batch);
    }
}

void event_log_arrive(struct shard *shard, struct mail *mail)
{
    struct event_batch *batch = CONTAINER_OF(mail, struct event_batch, mail);
    struct event_log *log = batch->sink;
    CHECK(log->shard == shard);
    if (log->first == NULL && fill_has_room(log, batch)) {
        batch_take(log, batch);
    } else {
        batch->next = NULL;
        if (log->first == NULL) {
            log->first = batch;
        } else {
            log->last->next = batch;
        }
        log->last = batch;
        log->counts.lines_waiting += batch->lines;
    }
    log_step(log);
}

/* --- what is said ----------------------------------------------------------------------------- */

static void say(struct event_log *log, const char *event, int error, uint64_t lines)
{
    struct logline line;
    logline_begin(&line, event);
    logline_string(&line, "path", log->options.path);
    if (error != 0) {
        logline_i64(&line, "error", error);
    }
    logline_u64(&line, "lines", lines);
    logline_end(&line, &log->options.sink);
}

/* The last try of a log that stops: the next start makes it again, but for rejections. */
static void give_up(struct event_log *log)
{
    log->lost = true;
    uint64_t lines = log->flush.lines + log->fill.lines;
    while (log->first != NULL) {
        struct event_batch *batch = log->first;
        log->first = batch->next;
        lines += batch->lines;
        log->counts.lines_waiting -= batch->lines;
        log->lanes[batch->feed->shard->index].feed = batch->feed;
        event_batch_give(log->shard, batch);
    }
    log->flush.size = 0;
    log->fill.size = 0;
    log->flush.lines = 0;
    log->fill.lines = 0;
    log->frame_size = 0;
    log->retry_ns = 0;
    say(log, "event_log_unwritten", 0, lines);
    lanes_tell_lost(log);
}

static void trouble(struct event_log *log, int error)
{
    log->counts.failures++;
    log->retry_ns = log->shard->now_ns + RETRY_NS;
    if (!log->troubled) {
        log->troubled = true;
        say(log, "event_log_failing", error, log->flush.lines);
    }
    if (log->hurry && !log->lost) {
        give_up(log);
    }
}

/* --- ends of jobs ----------------------------------------------------------------------------- */

static void append_done(struct event_log *log, int32_t result)
{
    if (result < 0) {
        log->spoilt = true;
        event_ends_fail(&log->ends);
        trouble(log, result);
        return;
    }
    lanes_tell(log);
    size_t frame_size = log->frame_size;
    if (log->tap != NULL) {
        const struct event_log_frame frame = {
            log->ends.last.file, log->ends.last.bytes, frame_size, log->flush.size};
        log->tap->stored(log->tap, &frame);
    }
    log->file_bytes += log->flush.size;
    log->counts.bytes += log->flush.size;
    log->counts.frame_bytes += log->frame_size;
    log->counts.flushes++;
    counters_add(&log->shard->counters, COUNTER_events_logged, log->flush.lines);
    log->flush.size = 0;
    log->flush.lines = 0;
    log->frame_size = 0;
    if (log->troubled) {
        log->troubled = false;
        say(log, "event_log_well", 0, log->fill.lines);
    }
    event_ends_grow(&log->ends, frame_size);
}

static void file_opened(struct event_log *log, int32_t result)
{
    if (log->left_found) {
        log->left_found = false;
        log->left_fd = result < 0 ? -1 : result;
        return;
    }
    if (result == -EEXIST && log->name_bump < NAME_TRIES_MAX) {
        log->name_bump++;
        return;
    }
    log->name_bump = 0;
    if (result < 0) {
        log->directory_made = false;
        trouble(log, result);
        return;
    }
    log->fd = result;
    log->file_bytes = 0;
    log->file_since_ns = log->shard->now_ns;
    log->spoilt = false;
    log->counts.files++;
    struct slice path = slice_from_string(log->path_text);
    struct slice name = slice_skip(path, path.size - NAME_BYTES);
    event_ends_begin(&log->ends, name);
    event_retention_file(&log->retention, name);
}

static void path_make(struct event_log *log, struct slice name)
{
    struct buf path;
    buf_init(&path, log->path_text, sizeof(log->path_text) - 1);
    buf_put_string(&path, log->options.path);
    buf_put_byte(&path, '/');
    buf_put(&path, name);
    CHECK(!path.overflow);
    log->path_text[path.size] = 0;
}

/* Names come sorted: the last one of ours is the newest file. */
static void list_done(struct event_log *log, int32_t result, size_t size)
{
    struct slice newest = SLICE_NONE;
    if (result < 0) {
        return;
    }
    for (size_t at = 0; at < size;) {
        struct slice rest = slice_make(log->frame + at, size - at);
        struct slice name = slice_first(rest, slice_find(rest, 0));
        if (event_file_name(name)) {
            newest = name;
        }
        at += name.size + 1;
    }
    if (newest.size > 0) {
        path_make(log, newest);
        log->left_found = true;
    }
}

static void job_done(struct work_job *job)
{
    struct event_log *log = CONTAINER_OF(job, struct event_log, job);
    int32_t result = job->result;
    log->working = false;
    switch ((enum work_kind)job->kind) {
    case WORK_LIST:
        list_done(log, result, (size_t)job->size);
        break;
    case WORK_COMPRESS:
        if (result < 0) {
            trouble(log, result);
        } else {
            log->frame_size = (size_t)job->size;
        }
        break;
    case WORK_MAKE_DIR:
        log->directory_made = result >= 0;
        if (result < 0) {
            trouble(log, result);
        }
        break;
    case WORK_OPEN:
        file_opened(log, result);
        break;
    case WORK_APPEND:
        append_done(log, result);
        break;
    case WORK_CLOSE:
    case WORK_REMOVE:
        /* Closed whatever it says; a file that stayed writable is whole all the same. An empty one
         * that stays does no harm. */
        break;
    case WORK_REMOVE_DIR:
    case WORK_CREATE:
    case WORK_RENAME:
    case WORK_STAT:
    case WORK_CONF:
    case WORK_LOCK:
    case WORK_READ_FILE:
    case WORK_REPLACE:
    case WORK_SPACE:
    case WORK_READ_AT:
    case WORK_DECOMPRESS:
    case WORK_STATE_OPEN:
    case WORK_STATE_WRITE:
    case WORK_STATE_CLOSE:
    case WORK_COMPUTE:
        CHECK(false);
    }
    log_step(log);
}

/* --- beginnings of jobs ----------------------------------------------------------------------- */

/* Busy is no trouble: the timer asks again. */
static bool job_start(struct event_log *log, struct work_job job)
{
    job.done = job_done;
    log->job = job;
    log->working = work_submit(log->shard->work, log->shard, &log->job);
    return log->working;
}

static bool left_start(struct event_log *log)
{
    if (!log->left_listed) {
        log->left_listed = job_start(log, (struct work_job){.kind = WORK_LIST,
                                                            .path = log->options.path,
                                                            .data = log->frame,
                                                            .data_size = log->frame_capacity});
        return log->left_listed;
    }
    if (log->left_found) {
        return job_start(log, (struct work_job){.kind = WORK_OPEN, .path = log->path_text});
    }
    int fd = log->left_fd;
    struct work_job job = {.kind = WORK_CLOSE, .flags = WORK_READ_ONLY, .fd = fd};
    if (!job_start(log, job)) {
        return false;
    }
    log->left_fd = -1;
    return true;
}

static bool open_start(struct event_log *log)
{
    uint8_t bytes[NAME_BYTES + 8];
    struct buf name;
    buf_init(&name, bytes, sizeof(bytes));
    date_put_file_name(&name, log->shard->wall_ns + log->name_bump * NS_PER_US);
    path_make(log, buf_slice(&name));
    return job_start(log, (struct work_job){.kind = WORK_OPEN,
                                            .flags = WORK_NEW | WORK_WRITE | WORK_SYNC,
                                            .path = log->path_text});
}

static bool flush_start(struct event_log *log)
{
    if (log->frame_size == 0) {
        return job_start(log, (struct work_job){.kind = WORK_COMPRESS,
                                                .level = log->options.level,
                                                .data = log->flush.data,
                                                .data_size = log->flush.size,
                                                .output = log->frame,
                                                .output_capacity = log->frame_capacity});
    }
    if (!log->directory_made) {
        return job_start(log,
                         (struct work_job){.kind = WORK_MAKE_DIR, .path = log->options.path});
    }
    if (log->fd < 0) {
        return open_start(log);
    }
    return job_start(log, (struct work_job){.kind = WORK_APPEND,
                                            .flags = WORK_SYNC,
                                            .fd = log->fd,
                                            .data = log->frame,
                                            .data_size = log->frame_size});
}

static bool close_start(struct event_log *log)
{
    struct work_job job = {.kind = WORK_CLOSE, .flags = WORK_READ_ONLY, .fd = log->fd};
    if (!job_start(log, job)) {
        return false;
    }
    log->fd = -1;
    event_ends_close(&log->ends);
    log->empty_left = log->spoilt && log->file_bytes == 0;
    return true;
}

static bool remove_start(struct event_log *log)
{
    log->empty_left =
        !job_start(log, (struct work_job){.kind = WORK_REMOVE, .path = log->path_text});
    return !log->empty_left;
}

/* --- the step --------------------------------------------------------------------------------- */

static bool fill_due(const struct event_log *log)
{
    const struct text *fill = &log->fill;
    if (fill->size == 0 || log->flush.size > 0) {
        return false;
    }
    return log->hurry || log->first != NULL ||
           fill->size + EVENT_BATCH_BYTES > EVENT_LOG_FLUSH_BYTES ||
           log->shard->now_ns - fill->since_ns >= log->options.flush_ns;
}

static bool file_due(const struct event_log *log)
{
    uint64_t age_ns = log->shard->now_ns - log->file_since_ns;
    bool old = log->options.max_segment_ns > 0 && age_ns >= log->options.max_segment_ns;
    bool done = log->stopping && log->flush.size == 0 && log->fill.size == 0;
    return log->fd >= 0 &&
           (log->spoilt || old || done || log->file_bytes >= log->options.max_file_bytes);
}

static void fill_swap(struct event_log *log)
{
    struct text fill = log->fill;
    log->fill = log->flush;
    log->flush = fill;
    log->fill.size = 0;
    log->fill.lines = 0;
    waiting_take(log);
}

static void timer_arm(struct event_log *log, bool busy)
{
    uint64_t now_ns = log->shard->now_ns;
    uint64_t due_ns = UINT64_MAX;
    if (log->fill.size > 0 && log->flush.size == 0) {
        due_ns = log->fill.since_ns + log->options.flush_ns;
    }
    if (log->fd >= 0 && log->options.max_segment_ns > 0) {
        due_ns = MIN_OF(due_ns, log->file_since_ns + log->options.max_segment_ns);
    }
    if (log->retry_ns > 0) {
        due_ns = log->retry_ns;
    }
    if (busy) {
        due_ns = now_ns + BUSY_NS;
    }
    if (due_ns == UINT64_MAX) {
        shard_timer_clear(log->shard, &log->timer);
        return;
    }
    shard_timer_set(log->shard, &log->timer, due_ns > now_ns ? due_ns - now_ns : 1);
}

void event_log_set(struct event_log *log, const struct event_log_options *options)
{
    log->options.max_file_bytes = options->max_file_bytes;
    log->options.max_segment_ns = options->max_segment_ns;
    log->options.flush_ns = options->flush_ns;
    log->options.level = options->level;
    event_retention_set(&log->retention, options->retention_ns, options->max_total_bytes);
    if (!log->stopping) {
        shard_timer_set(log->shard, &log->timer, 1);
    }
}

static void log_step(struct event_log *log)
{
    bool busy = false;
    if (log->working) {
        return;
    }
    if (log->retry_ns > log->shard->now_ns) {
        timer_arm(log, false);
        return;
    }
    log->retry_ns = 0;
    if (fill_due(log)) {
        fill_swap(log);
    }
    if (!log->left_listed || log->left_found || log->left_fd >= 0) {
        busy = !left_start(log);
    } else if (log->empty_left) {
        busy = !remove_start(log);
    } else if (file_due(log)) {
        busy = !close_start(log);
    } else if (log->flush.size > 0) {
        busy = !flush_start(log);
    }
    timer_arm(log, busy);
}

static void log_timer_fire(struct timer *timer)
{
    log_step(CONTAINER_OF(timer, struct event_log, timer));
}

/* --- from outside ----------------------------------------------------------------------------- */

struct event_log *event_log_open(struct shard *shard, const struct event_log_options *options)
{
    struct event_log *log = heap_take(options->heap, sizeof(*log));
    CHECK(strlen(options->path) <= EVENT_LOG_PATH_MAX);
    log->shard = shard;
    log->options = *options;
    log->lane_count = shard->count;
    log->lanes = heap_take_array(options->heap, shard->count, sizeof(*log->lanes));
    log->fill.shares = heap_take_array(options->heap, shard->count, sizeof(*log->fill.shares));
    log->flush.shares = heap_take_array(options->heap, shard->count, sizeof(*log->flush.shares));
    for (unsigned i = 0; i < shard->count; i++) {
        log->lanes[i].ack.log = log;
        log->lanes[i].ack.home = lane_home;
    }
    log->fill.data = heap_take(options->heap, EVENT_LOG_FLUSH_BYTES);
    log->flush.data = heap_take(options->heap, EVENT_LOG_FLUSH_BYTES);
    log->frame_capacity = ZSTD_COMPRESSBOUND(EVENT_LOG_FLUSH_BYTES);
    log->frame = heap_take(options->heap, log->frame_capacity);
    log->fd = -1;
    log->left_fd = -1;
    event_ends_init(&log->ends, options->path, &options->sink);
    timer_init(&log->timer, log_timer_fire);
    shard_timer_set(shard, &log->timer, NS_PER_MS);
    const struct event_retention_options retention = {
        .path = options->path,
        .age_ns = options->retention_ns,
        .bytes = options->max_total_bytes,
        .sink = options->sink,
        .heap = options->heap,
    };
    event_retention_init(&log->retention, shard, &retention);
    return log;
}

void event_log_tap_set(struct event_log *log, struct event_log_tap *tap)
{
    log->tap = tap;
}

void event_log_hurry(struct event_log *log)
{
    if (log->hurry) {
        return;
    }
    log->hurry = true;
    log->retry_ns = 0; /* the last try is now */
    log_step(log);
}

void event_log_stop(struct event_log *log)
{
    event_retention_stop(&log->retention);
    log->stopping = true;
    event_log_hurry(log);
    log_step(log);
}

bool event_log_stopped(const struct event_log *log)
{
    return log->stopping && event_log_idle(log) && log->flush.size == 0 && log->fill.size == 0 &&
           log->first == NULL && log->fd < 0 && log->left_fd < 0 && !log->left_found &&
           !log->empty_left;
}

bool event_log_idle(const struct event_log *log)
{
    return !log->working && !lanes_away(log) && event_retention_idle(&log->retention);
}

const struct event_log_counts *event_log_counts(const struct event_log *log)
{
    return &log->counts;
}

struct event_ends *event_log_ends(struct event_log *log)
{
    return &log->ends;
}
