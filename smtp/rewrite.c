/*
 * Rows of a message are scattered over the slab; what is collected is sorted by place, so that they
 * come together, and reads go forward through the file. A message whose rows fall into two
 * collections is written twice, each copy with its own recipients: the format allows it, and it is
 * rare. Whatever ends a job before its MESSAGE is stored leaves everything as it was.
 */
#include "smtp/rewrite.h"

#include <string.h>

#include "core/check.h"
#include "smtp/envelope.h"

#define ASK_NS         NS_PER_S
#define PAUSE_NS       (100 * NS_PER_MS)
#define SLICE_ROWS_MAX 2048u /* handles looked at in a turn */
#define REST_FACTOR    9
#define ROUND_BYTES_MAX (128 * MIB) /* then others have their turn */
/* Above this share of the blocks, all taken together, nothing is loaded but into the first half of
 * the reserve; the other half is left to deliveries. Our own loads take at most an eighth. */
#define BLOCKS_PERCENT 60
#define BLOCKS_SHARE   8
/* Deliveries pause at a second. */
#define OUTCOME_AGE_NS (100 * NS_PER_MS)
#define INDEX_WORDS    (65536 / 64)
#define PART_BYTES     (256 * KIB)
#define HEAD_BYTES     (8 * KIB)

static void job_part(struct rewrite_job *job);

static struct row *row_of(const struct rewrite *rewrite, uint32_t handle)
{
    return row_at(&rewrite->queues->rows, handle);
}

/* --- the end of a job ------------------------------------------------------------------------- */

/* Rows go back to where they were, wherever their message stands now. */
static void job_end(struct rewrite_job *job)
{
    struct rewrite *rewrite = job->rewrite;
    struct queues *queues = rewrite->queues;
    while (job->rows.first != ROW_NONE) {
        uint32_t handle = job->rows.first;
        row_list_remove(&queues->rows, &job->rows, handle);
        queues_row_wait(queues, handle);
    }
    for (uint32_t i = 0; i < job->parts_stored; i++) {
        spool_part_drop(rewrite->spool, &job->load.parts[i]);
    }
    spool_load_drop(rewrite->spool, &job->load);
    chain_clear(&job->dots, rewrite->messages->blocks);
    if (job->envelope != NULL) {
        block_give(rewrite->messages->blocks, job->envelope);
    }
    job->busy = false;
    rewrite->in_flight--;
    rewrite->bytes_in_flight -= job->bytes;
    shard_defer(rewrite->shard, &rewrite->step);
}

/* It cannot be read: not tried again in this life of the process. */
static void job_unreadable(struct rewrite_job *job)
{
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(job->rewrite, handle)->queue_next) {
        row_of(job->rewrite, handle)->unreadable = true;
    }
    counters_add(&job->rewrite->shard->counters, COUNTER_rewrites_failed, 1);
    job_end(job);
}

static void job_moved(struct rewrite_job *job)
{
    struct rewrite *rewrite = job->rewrite;
    uint32_t count = job->rows.count;
    uint64_t row_bytes = row_of(rewrite, job->rows.first)->size_64 * 64ull;
    messages_forget(rewrite->messages, job->from);
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(rewrite, handle)->queue_next) {
        row_of(rewrite, handle)->segment = job->write.location.segment;
        row_of(rewrite, handle)->offset_64 = job->write.location.offset_64;
    }
    counters_add(&rewrite->shard->counters, COUNTER_messages_rewritten, 1);
    counters_add(&rewrite->shard->counters, COUNTER_bytes_rewritten, job->record.body_bytes);
    rewrite->round_bytes += job->record.body_bytes;
    job_end(job);
    spool_row_dead(rewrite->spool, job->from, count, row_bytes);
}

static void job_stored(struct spool_write *write)
{
    struct rewrite_job *job = CONTAINER_OF(write, struct rewrite_job, write);
    switch (write->status) {
    case SPOOL_STORED:
        job_moved(job);
        return;
    case SPOOL_FAILED:
    case SPOOL_LATE:
        counters_add(&job->rewrite->shard->counters, COUNTER_rewrites_failed, 1);
        break;
    case SPOOL_FULL:
        break;
    }
    job_end(job);
}

/* --- writing again ---------------------------------------------------------------------------- */

enum build { BUILD_DONE, BUILD_NO_MEMORY, BUILD_DAMAGED };

static uint64_t *index_word(struct rewrite *rewrite, uint16_t recipient)
{
    return &rewrite->indices[recipient / 64];
}

/* Marks the recipients whose rows the job holds, or takes the marks away. */
static void mark_recipients(struct rewrite_job *job, bool mark)
{
    struct rewrite *rewrite = job->rewrite;
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(rewrite, handle)->queue_next) {
        uint16_t recipient = row_of(rewrite, handle)->recipient;
        uint64_t bit = 1ull << (recipient % 64);
        uint64_t *word = index_word(rewrite, recipient);
        *word = mark ? *word | bit : *word & ~bit;
    }
}

/* Copies what is marked; false: the section does not have all of them. */
static bool copy_recipients(struct rewrite_job *job, struct buf *envelope)
{
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    struct slice sender;
    uint32_t found = 0;
    if (!envelope_open(job->load.envelope, &sender, &cursor)) {
        return false;
    }
    envelope_put_sender(envelope, sender);
    while (envelope_next(&cursor, &recipient) == 1) {
        uint64_t word = *index_word(job->rewrite, recipient.index);
        if ((word >> (recipient.index % 64) & 1) != 0) {
            envelope_put_recipient(envelope, recipient.index, recipient.address);
            found++;
        }
    }
    return found == job->rows.count && !envelope->overflow;
}

static enum build build_envelope(struct rewrite_job *job)
{
    struct buf buf;
    job->envelope = block_take(job->rewrite->messages->blocks, job->load.envelope.size);
    if (job->envelope == NULL) {
        return BUILD_NO_MEMORY;
    }
    buf_init(&buf, job->envelope->data, job->envelope->capacity);
    mark_recipients(job, true);
    bool whole = copy_recipients(job, &buf);
    mark_recipients(job, false);
    job->envelope->size = (uint32_t)buf.size;
    return whole ? BUILD_DONE : BUILD_DAMAGED;
}

static enum build build_record(struct rewrite_job *job)
{
    const struct spool_load *load = &job->load;
    enum build envelope = build_envelope(job);
    if (envelope != BUILD_DONE) {
        return envelope;
    }
    if (!chain_append(&job->dots, job->rewrite->messages->blocks, load->dots)) {
        return BUILD_NO_MEMORY;
    }
    job->record = (struct spool_message){
        .id = load->id,
        .created_ns = load->created_ns,
        .flags = (uint16_t)(load->flags | SPOOL_MESSAGE_MOVED),
        .recipient_count = (uint16_t)job->rows.count,
        .moved_from = job->from,
        .envelope = slice_make(job->envelope->data, job->envelope->size),
        .metadata = load->metadata,
        .prepend = load->prepend,
        .cuts = load->cuts,
        .body = load->part_count == 0 ? &load->body : NULL,
        .dots = &job->dots,
        .parts = load->parts,
        .part_count = load->part_count,
        .body_bytes = load->body_bytes,
        .body_hash = load->body_hash,
    };
    return BUILD_DONE;
}

static void part_stored(struct spool_write *write)
{
    struct rewrite_job *job = CONTAINER_OF(write, struct rewrite_job, write);
    if (write->status != SPOOL_STORED) {
        job_end(job);
        return;
    }
    /* The list is in our own block. */
    size_t at = (size_t)((const uint8_t *)job->load.parts - job->load.head->data);
    struct spool_part *parts = (struct spool_part *)(void *)(job->load.head->data + at);
    parts[job->parts_stored].location = write->location;
    job->parts_stored++;
    job_part(job);
}

/* Has reading ended well? Else the job has ended. */
static bool job_read(struct rewrite_job *job)
{
    switch (job->load.status) {
    case SPOOL_LOADED:
        return true;
    case SPOOL_LOAD_NO_MEMORY:
        job_end(job);
        return false;
    case SPOOL_LOAD_DAMAGED:
    case SPOOL_LOAD_ERROR:
        job_unreadable(job);
        return false;
    }
    CHECK(false);
}

static void part_loaded(struct spool_load *load)
{
    struct rewrite_job *job = CONTAINER_OF(load, struct rewrite_job, load);
    if (job_read(job)) {
        job->write = (struct spool_write){.done = part_stored};
        spool_put_body(job->rewrite->spool, &job->write, &load->body);
    }
}

/* The next piece of the body; behind the last one the message. */
static void job_part(struct rewrite_job *job)
{
    struct spool *spool = job->rewrite->spool;
    if (job->rewrite->stopping) {
        job_end(job);
        return;
    }
    if (job->parts_stored < job->load.part_count) {
        job->load.done = part_loaded;
        spool_load_part(spool, &job->load, &job->load.parts[job->parts_stored]);
        return;
    }
    job->write = (struct spool_write){.done = job_stored};
    spool_put_message(spool, &job->write, &job->record);
}

static void job_loaded(struct spool_load *load)
{
    struct rewrite_job *job = CONTAINER_OF(load, struct rewrite_job, load);
    if (!job_read(job)) {
        return;
    }
    switch (build_record(job)) {
    case BUILD_DONE:
        job_part(job);
        return;
    case BUILD_NO_MEMORY:
        job_end(job);
        return;
    case BUILD_DAMAGED:
        job_unreadable(job);
        return;
    }
}

/* --- moving what was collected ---------------------------------------------------------------- */

/* Is it still a row of that message? */
static bool row_stands(const struct rewrite *rewrite, const struct rewrite_row *row)
{
    const struct row *at = row_of(rewrite, row->handle);
    return at->state != ROW_FREE && at->segment == rewrite->victim &&
           at->offset_64 == row->offset_64;
}

static struct rewrite_job *job_free(struct rewrite *rewrite)
{
    for (unsigned i = 0; i < REWRITE_JOBS_MAX; i++) {
        if (!rewrite->jobs[i].busy) {
            return &rewrite->jobs[i];
        }
    }
    return NULL;
}

/* Rows from `first` to `end` are of one message. None of them is on its way. */
static void job_start(struct rewrite *rewrite, uint32_t first, uint32_t end, uint64_t bytes)
{
    struct rewrite_job *job = job_free(rewrite);
    job->rewrite = rewrite;
    job->busy = true;
    job->from = (struct spool_location){rewrite->victim, rewrite->rows[first].offset_64};
    row_list_init(&job->rows);
    for (uint32_t i = first; i < end; i++) {
        if (row_stands(rewrite, &rewrite->rows[i])) {
            queues_row_hold(rewrite->queues, rewrite->rows[i].handle);
            row_list_push_back(&rewrite->queues->rows, &job->rows, rewrite->rows[i].handle);
        }
    }
    job->load = (struct spool_load){.done = job_loaded};
    job->envelope = NULL;
    chain_init(&job->dots);
    job->parts_stored = 0;
    job->bytes = bytes;
    rewrite->in_flight++;
    rewrite->bytes_in_flight += bytes;
    spool_load(rewrite->spool, &job->load, job->from);
}

/* How many of the rows can be moved: all that are left of the message, or none. */
static uint32_t rows_movable(const struct rewrite *rewrite, uint32_t first, uint32_t end)
{
    uint32_t count = 0;
    for (uint32_t i = first; i < end; i++) {
        if (row_stands(rewrite, &rewrite->rows[i])) {
            uint8_t state = row_of(rewrite, rewrite->rows[i].handle)->state;
            if (state != ROW_WAITING && state != ROW_DUE) {
                return 0;
            }
            count++;
        }
    }
    return count;
}

static bool blocks_short(const struct block_pool *blocks)
{
    const struct block_pool *receiving = block_pool_receiving(blocks);
    uint64_t used = block_pool_used(blocks);
    uint64_t reserve = block_pool_size(blocks) - block_pool_size(receiving);
    return used > block_pool_size(blocks) / 100 * BLOCKS_PERCENT &&
           used - block_pool_used(receiving) >= reserve / 2;
}

/* Must the next message wait, though there is a free job? */
static bool is_short(const struct rewrite *rewrite, uint64_t bytes)
{
    const struct block_pool *blocks = rewrite->messages->blocks;
    uint64_t size = block_pool_size(blocks);
    if (blocks_short(blocks) || spool_outcome_age_ns(rewrite->spool) > OUTCOME_AGE_NS) {
        return true;
    }
    return rewrite->in_flight > 0 && rewrite->bytes_in_flight + bytes > size / BLOCKS_SHARE;
}

/* Begins what may begin. False: nothing more now; all is begun, or it has to wait. */
static bool move_some(struct rewrite *rewrite)
{
    uint32_t looked = 0;
    while (rewrite->row_next < rewrite->row_count && rewrite->in_flight < REWRITE_JOBS_MAX) {
        uint32_t first = rewrite->row_next;
        uint32_t end = first + 1;
        const struct rewrite_row *rows = rewrite->rows;
        while (end < rewrite->row_count && rows[end].offset_64 == rows[first].offset_64) {
            end++;
        }
        uint64_t body = row_of(rewrite, rows[first].handle)->size_64 * 64ull;
        uint64_t bytes = HEAD_BYTES + MIN_OF(body, PART_BYTES);
        if (is_short(rewrite, bytes)) {
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
    return rewrite->scanned >= rewrite->queues->rows.fresh;
}

/* True: the collection is full, or there is nothing more to look at. */
static bool scan_slice(struct rewrite *rewrite)
{
    uint32_t fresh = rewrite->queues->rows.fresh;
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
    shard_defer(rewrite->shard, &rewrite->step);
}

/* The round is over. Without space there is no rest. */
static void rest(struct rewrite *rewrite)
{
    bool full = spool_admission(rewrite->spool, 0) == SPOOL_FULL;
    rewrite->stage = REWRITE_REST;
    shard_timer_set(rewrite->shard, &rewrite->timer,
                    full ? 1 : rewrite->work_ns * REST_FACTOR + 1);
}

static void idle(struct rewrite *rewrite)
{
    rewrite->stage = REWRITE_IDLE;
    rewrite->last_victim = 0;
    shard_timer_set(rewrite->shard, &rewrite->timer, ASK_NS);
}

/* The next victim of the round. What is left of the last one is on its way, or stays: no hurry. */
static void next_victim(struct rewrite *rewrite)
{
    bool found = spool_victim(rewrite->spool, &rewrite->victim);
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
    rewrite->round_bytes = 0;
}

static void ask(struct rewrite *rewrite)
{
    round_begin(rewrite);
    if (spool_round_due(rewrite->spool)) {
        next_victim(rewrite);
    } else {
        idle(rewrite);
    }
}

/* All that was collected has been moved, or stays. */
static void collection_end(struct rewrite *rewrite)
{
    rewrite->work_ns += rewrite->shard->now_ns - rewrite->move_ns;
    if (all_scanned(rewrite)) {
        spool_victim_done(rewrite->spool, rewrite->victim);
    }
    if (rewrite->round_bytes >= ROUND_BYTES_MAX) {
        rest(rewrite);
    } else if (all_scanned(rewrite)) {
        next_victim(rewrite);
    } else {
        scan_begin(rewrite);
    }
}

static void step_scan(struct rewrite *rewrite)
{
    uint64_t begun_ns = ring_monotonic_ns(rewrite->shard->ring);
    bool done = scan_slice(rewrite);
    if (done) {
        rows_sort(rewrite);
        rewrite->stage = REWRITE_MOVE;
        rewrite->move_ns = rewrite->shard->now_ns;
    }
    rewrite->work_ns += ring_monotonic_ns(rewrite->shard->ring) - begun_ns;
    shard_defer(rewrite->shard, &rewrite->step);
}

static void step_move(struct rewrite *rewrite)
{
    if (timer_is_set(&rewrite->timer)) {
        return; /* a pause */
    }
    if (move_some(rewrite)) {
        shard_defer(rewrite->shard, &rewrite->step);
        return;
    }
    if (rewrite->in_flight > 0) {
        return; /* the end of a job comes back here */
    }
    if (rewrite->row_next < rewrite->row_count) {
        rewrite->work_ns += rewrite->shard->now_ns - rewrite->move_ns;
        shard_timer_set(rewrite->shard, &rewrite->timer, PAUSE_NS);
        return;
    }
    collection_end(rewrite);
}

static void step_run(struct deferred *deferred)
{
    struct rewrite *rewrite = CONTAINER_OF(deferred, struct rewrite, step);
    if (rewrite->stopping) {
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
        rewrite->move_ns = rewrite->shard->now_ns;
        shard_defer(rewrite->shard, &rewrite->step);
        return;
    case REWRITE_SCAN:
        return;
    }
}

void rewrite_init(struct rewrite *rewrite, struct boot_pages *pages)
{
    rewrite->rows = boot_pages_take(pages, 2ull * REWRITE_ROWS_MAX * sizeof(*rewrite->rows));
    rewrite->rows_max = REWRITE_ROWS_MAX;
    rewrite->indices = boot_pages_take(pages, INDEX_WORDS * sizeof(*rewrite->indices));
    timer_init(&rewrite->timer, timer_run);
    deferred_init(&rewrite->step, step_run);
}

void rewrite_start(struct rewrite *rewrite, struct spool *spool)
{
    rewrite->spool = spool;
    shard_timer_set(rewrite->shard, &rewrite->timer, ASK_NS);
}

void rewrite_stop(struct rewrite *rewrite)
{
    rewrite->stopping = true;
    shard_timer_clear(rewrite->shard, &rewrite->timer);
}

uint32_t rewrite_open(const struct rewrite *rewrite)
{
    return rewrite->in_flight;
}

void rewrite_fini(struct rewrite *rewrite)
{
    shard_timer_clear(rewrite->shard, &rewrite->timer);
    deferred_cancel(&rewrite->step);
}
