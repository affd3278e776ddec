/*
 * Rows of a message are scattered over the slab; what is collected is sorted by place, so that they
 * come together, and reads go forward through the file. A message whose rows fall into two
 * collections is written twice, each copy with its own recipients: the format allows it, and it is
 * rare.
 */
#include "smtp/rewrite.h"

#include <string.h>

#include "core/check.h"

#define ASK_NS         NS_PER_S
#define PAUSE_NS       (100 * NS_PER_MS)
#define SLICE_ROWS_MAX 2048u /* handles looked at in a turn */
#define REST_FACTOR    9
#define ROUND_BYTES_MAX (128 * MIB) /* then others have their turn */

static struct row *row_of(const struct rewrite *rewrite, uint32_t handle)
{
    return row_at(&rewrite->mover.queues->rows, handle);
}

/* --- moving what was collected ---------------------------------------------------------------- */

/* Is it still a row of that message? */
static bool row_stands(const struct rewrite *rewrite, const struct rewrite_row *row)
{
    const struct row *at = row_of(rewrite, row->handle);
    return at->state != ROW_FREE && at->segment == rewrite->victim &&
           at->offset_64 == row->offset_64;
}

/* Rows from `first` to `end` are of one message. None of them is on its way. */
static void job_start(struct rewrite *rewrite, uint32_t first, uint32_t end, uint64_t bytes)
{
    const struct spool_location from = {rewrite->victim, rewrite->rows[first].offset_64};
    struct rewrite_job *job = rewrite_job_take(&rewrite->mover, from, bytes);
    for (uint32_t i = first; i < end; i++) {
        if (row_stands(rewrite, &rewrite->rows[i])) {
            rewrite_job_add(job, rewrite->rows[i].handle);
        }
    }
    rewrite_job_start(job);
}

/* How many of the rows can be moved: all that are left of the message, or none. */
static uint32_t rows_movable(const struct rewrite *rewrite, uint32_t first, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t i = first; i < end; i++) {
        if (row_stands(rewrite, &rewrite->rows[i])) {
            if (!rewrite_row_movable(row_of(rewrite, rewrite->rows[i].handle))) {
                return 0;
            }
            count++;
        }
    }
    return count;
}

/* Begins what may begin. False: nothing more now; all is begun, or it has to wait. */
static bool move_some(struct rewrite *rewrite)
{
    uint32_t looked = 0;
    while (rewrite->row_next < rewrite->row_count && !rewrite_mover_full(&rewrite->mover)) {
        uint32_t first = rewrite->row_next;
        uint32_t end = first + 1;
        const struct rewrite_row *rows = rewrite->rows;
        while (end < rewrite->row_count && rows[end].offset_64 == rows[first].offset_64) {
            end++;
        }
        uint64_t body = row_of(rewrite, rows[first].handle)->size_64 * 64ull;
        uint64_t bytes = rewrite_job_bytes(body);
        if (rewrite_mover_short(&rewrite->mover, bytes)) {
            return false;
        }
        if (rows_movable(rewrite, first, end) > 0) {
            job_start(rewrite, first, end, bytes);
        }
        rewrite->row_next = end;
        looked += end - first;
        if (looked >= SLICE_ROWS_MAX) {
            return true;
        }
    }
    return false;
}

/* --- collecting ------------------------------------------------------------------------------- */

/* By offset, stable: three passes of 11 bits. */
static void rows_sort(struct rewrite *rewrite)
{
    struct rewrite_row *from = rewrite->rows;
    struct rewrite_row *to = rewrite->rows + REWRITE_ROWS_MAX;
    for (unsigned shift = 0; shift < 33; shift += 11) {
        uint32_t begins[2049] = {0};
        for (uint32_t i = 0; i < rewrite->row_count; i++) {
            begins[(from[i].offset_64 >> shift & 2047) + 1]++;
        }
        for (unsigned i = 1; i < 2048; i++) {
            begins[i] += begins[i - 1];
        }
        for (uint32_t i = 0; i < rewrite->row_count; i++) {
            to[begins[from[i].offset_64 >> shift & 2047]++] = from[i];
        }
        struct rewrite_row *other = from;
        from = to;
        to = other;
    }
    memcpy(rewrite->rows, from, rewrite->row_count * sizeof(*from));
}

static bool all_scanned(const struct rewrite *rewrite)
{
    return rewrite->scanned >= rewrite->mover.queues->rows.fresh;
}

/* True: the collection is full, or there is nothing more to look at. */
static bool scan_slice(struct rewrite *rewrite)
{
    uint32_t fresh = rewrite->mover.queues->rows.fresh;
    uint32_t end = MIN_OF(rewrite->scanned + SLICE_ROWS_MAX, fresh);
    for (; rewrite->scanned < end && rewrite->row_count < rewrite->rows_max; rewrite->scanned++) {
        const struct row *row = row_of(rewrite, rewrite->scanned);
        if (row->segment == rewrite->victim && row->state != ROW_FREE &&
            row->state != ROW_NEW && !row->unreadable) {
            rewrite->rows[rewrite->row_count++] =
                (struct rewrite_row){row->offset_64, rewrite->scanned};
        }
    }
    return rewrite->row_count == rewrite->rows_max || all_scanned(rewrite);
}

/* --- one thing after the other ---------------------------------------------------------------- */

static void scan_begin(struct rewrite *rewrite)
{
    rewrite->stage = REWRITE_SCAN;
    rewrite->row_count = 0;
    rewrite->row_next = 0;
    shard_defer(rewrite->mover.shard, &rewrite->step);
}

/* The round is over. Without space there is no rest. */
static void rest(struct rewrite *rewrite)
{
    bool full = spool_admission(rewrite->mover.spool, 0) == SPOOL_FULL;
    rewrite->stage = REWRITE_REST;
    shard_timer_set(rewrite->mover.shard, &rewrite->timer,
                    full ? 1 : rewrite->work_ns * REST_FACTOR + 1);
}

static void idle(struct rewrite *rewrite)
{
    rewrite->stage = REWRITE_IDLE;
    rewrite->last_victim = 0;
    shard_timer_set(rewrite->mover.shard, &rewrite->timer, ASK_NS);
}

/* The next victim of the round. What is left of the last one is on its way, or stays: no hurry. */
static void next_victim(struct rewrite *rewrite)
{
    bool found = spool_victim(rewrite->mover.spool, &rewrite->victim);
    if (!found || rewrite->victim == rewrite->last_victim) {
        if (rewrite->work_ns > 0) {
            rest(rewrite);
        } else {
            idle(rewrite);
        }
        return;
    }
    rewrite->last_victim = rewrite->victim;
    rewrite->scanned = 0;
    scan_begin(rewrite);
}

static void round_begin(struct rewrite *rewrite)
{
    rewrite->work_ns = 0;
    rewrite->mover.moved_bytes = 0;
}

static void ask(struct rewrite *rewrite)
{
    round_begin(rewrite);
    if (spool_round_due(rewrite->mover.spool)) {
        next_victim(rewrite);
    } else {
        idle(rewrite);
    }
}

/* All that was collected has been moved, or stays. */
static void collection_end(struct rewrite *rewrite)
{
    rewrite->work_ns += rewrite->mover.shard->now_ns - rewrite->move_ns;
    if (all_scanned(rewrite)) {
        spool_victim_done(rewrite->mover.spool, rewrite->victim);
    }
    if (rewrite->mover.moved_bytes >= ROUND_BYTES_MAX) {
        rest(rewrite);
    } else if (all_scanned(rewrite)) {
        next_victim(rewrite);
    } else {
        scan_begin(rewrite);
    }
}

static void step_scan(struct rewrite *rewrite)
{
    uint64_t begun_ns = ring_monotonic_ns(rewrite->mover.shard->ring);
    bool done = scan_slice(rewrite);
    if (done) {
        rows_sort(rewrite);
        rewrite->stage = REWRITE_MOVE;
        rewrite->move_ns = rewrite->mover.shard->now_ns;
    }
    rewrite->work_ns += ring_monotonic_ns(rewrite->mover.shard->ring) - begun_ns;
    shard_defer(rewrite->mover.shard, &rewrite->step);
}

static void step_move(struct rewrite *rewrite)
{
    if (timer_is_set(&rewrite->timer)) {
        return; /* a pause */
    }
    if (move_some(rewrite)) {
        shard_defer(rewrite->mover.shard, &rewrite->step);
        return;
    }
    if (rewrite->mover.in_flight > 0) {
        return; /* the end of a job comes back here */
    }
    if (rewrite->row_next < rewrite->row_count) {
        rewrite->work_ns += rewrite->mover.shard->now_ns - rewrite->move_ns;
        shard_timer_set(rewrite->mover.shard, &rewrite->timer, PAUSE_NS);
        return;
    }
    collection_end(rewrite);
}

static void step_run(struct deferred *deferred)
{
    struct rewrite *rewrite = CONTAINER_OF(deferred, struct rewrite, step);
    if (rewrite->mover.stopping) {
        return;
    }
    switch (rewrite->stage) {
    case REWRITE_SCAN:
        step_scan(rewrite);
        return;
    case REWRITE_MOVE:
        step_move(rewrite);
        return;
    case REWRITE_IDLE:
    case REWRITE_REST:
        return;
    }
}

static void timer_run(struct timer *timer)
{
    struct rewrite *rewrite = CONTAINER_OF(timer, struct rewrite, timer);
    switch (rewrite->stage) {
    case REWRITE_IDLE:
        ask(rewrite);
        return;
    case REWRITE_REST:
        if (all_scanned(rewrite)) {
            ask(rewrite);
        } else {
            round_begin(rewrite); /* with the rest of that victim */
            scan_begin(rewrite);
        }
        return;
    case REWRITE_MOVE: /* a pause is over */
        rewrite->move_ns = rewrite->mover.shard->now_ns;
        shard_defer(rewrite->mover.shard, &rewrite->step);
        return;
    case REWRITE_SCAN:
        return;
    }
}

static void job_ended(struct rewrite_mover *mover)
{
    struct rewrite *rewrite = CONTAINER_OF(mover, struct rewrite, mover);
    shard_defer(mover->shard, &rewrite->step);
}

static const struct rewrite_user rewrite_user = {.ended = job_ended};

void rewrite_init(struct rewrite *rewrite, struct boot_pages *pages)
{
    rewrite->rows = boot_pages_take(pages, 2ull * REWRITE_ROWS_MAX * sizeof(*rewrite->rows));
    rewrite->rows_max = REWRITE_ROWS_MAX;
    rewrite->mover.user = &rewrite_user;
    rewrite_mover_init(&rewrite->mover, pages);
    timer_init(&rewrite->timer, timer_run);
    deferred_init(&rewrite->step, step_run);
}

void rewrite_start(struct rewrite *rewrite, struct spool *spool)
{
    rewrite->mover.spool = spool;
    shard_timer_set(rewrite->mover.shard, &rewrite->timer, ASK_NS);
}

void rewrite_stop(struct rewrite *rewrite)
{
    rewrite->mover.stopping = true;
    shard_timer_clear(rewrite->mover.shard, &rewrite->timer);
}

uint32_t rewrite_open(const struct rewrite *rewrite)
{
    return rewrite->mover.in_flight;
}

void rewrite_fini(struct rewrite *rewrite)
{
    shard_timer_clear(rewrite->mover.shard, &rewrite->timer);
    deferred_cancel(&rewrite->step);
}
