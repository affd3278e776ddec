#include "smtp/rewrite_job.h"

#include "core/check.h"
#include "smtp/envelope.h"

/* Above this share of the blocks, all taken together, nothing is loaded but into the first half of
 * the reserve; the other half is left to deliveries. Our own loads take at most an eighth. */
#define BLOCKS_PERCENT 60
#define BLOCKS_SHARE   8
/* Deliveries pause at a second. */
#define OUTCOME_AGE_NS (100 * NS_PER_MS)
#define INDEX_WORDS    (65536 / 64)
#define PART_BYTES     (256 * KIB)
#define HEAD_BYTES     (8 * KIB)
/* What a user may add to metadata. */
#define METADATA_MORE  2048u

static void job_part(struct rewrite_job *job);

static struct row *row_of(const struct rewrite_mover *mover, uint32_t handle)
{
    return row_at(&mover->queues->rows, handle);
}

/* --- the end of a job ------------------------------------------------------------------------- */

/* Rows go back to where they were, wherever their message stands now. */
static void job_end(struct rewrite_job *job)
{
    struct rewrite_mover *mover = job->mover;
    struct queues *queues = mover->queues;
    while (job->rows.first != ROW_NONE) {
        uint32_t handle = job->rows.first;
        row_list_remove(&queues->rows, &job->rows, handle);
        queues_row_wait(queues, handle);
    }
    for (uint32_t i = 0; i < job->parts_stored; i++) {
        spool_part_drop(mover->spool, &job->load.parts[i]);
    }
    spool_load_drop(mover->spool, &job->load);
    chain_clear(&job->dots, mover->messages->blocks);
    if (job->envelope != NULL) {
        block_give(mover->messages->blocks, job->envelope);
    }
    if (job->metadata != NULL) {
        block_give(mover->messages->blocks, job->metadata);
    }
    job->busy = false;
    mover->in_flight--;
    mover->bytes_in_flight -= job->bytes;
    mover->user->ended(mover);
}

/* It cannot be read: not tried again in this life of the process. */
static void job_unreadable(struct rewrite_job *job)
{
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(job->mover, handle)->queue_next) {
        row_of(job->mover, handle)->unreadable = true;
    }
    counters_add(&job->mover->shard->counters, COUNTER_rewrites_failed, 1);
    job_end(job);
}

static void job_moved(struct rewrite_job *job)
{
    struct rewrite_mover *mover = job->mover;
    uint32_t count = job->rows.count;
    uint64_t row_bytes = row_of(mover, job->rows.first)->size_64 * 64ull;
    messages_forget(mover->messages, job->from);
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(mover, handle)->queue_next) {
        row_of(mover, handle)->segment = job->write.location.segment;
        row_of(mover, handle)->offset_64 = job->write.location.offset_64;
    }
    counters_add(&mover->shard->counters, COUNTER_messages_rewritten, 1);
    counters_add(&mover->shard->counters, COUNTER_bytes_rewritten, job->record.body_bytes);
    mover->moved_bytes += job->record.body_bytes;
    if (mover->user->moved != NULL) {
        mover->user->moved(mover, job);
    }
    job_end(job);
    spool_row_dead(mover->spool, job->from, count, row_bytes);
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
        counters_add(&job->mover->shard->counters, COUNTER_rewrites_failed, 1);
        break;
    case SPOOL_FULL:
        break;
    }
    job_end(job);
}

/* --- writing again ---------------------------------------------------------------------------- */

enum build { BUILD_DONE, BUILD_NO_MEMORY, BUILD_DAMAGED };

static uint64_t *index_word(struct rewrite_mover *mover, uint16_t recipient)
{
    return &mover->indices[recipient / 64];
}

/* Marks the recipients whose rows the job holds, or takes the marks away. */
static void mark_recipients(struct rewrite_job *job, bool mark)
{
    struct rewrite_mover *mover = job->mover;
    for (uint32_t handle = job->rows.first; handle != ROW_NONE;
         handle = row_of(mover, handle)->queue_next) {
        uint16_t recipient = row_of(mover, handle)->recipient;
        uint64_t bit = 1ull << (recipient % 64);
        uint64_t *word = index_word(mover, recipient);
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
    envelope_put_sender(envelope, sender, &cursor.dsn);
    while (envelope_next(&cursor, &recipient) == 1) {
        uint64_t word = *index_word(job->mover, recipient.index);
        if ((word >> (recipient.index % 64) & 1) != 0) {
            envelope_put_recipient(envelope, recipient.index, recipient.address,
                                   &recipient.dsn);
            found++;
        }
    }
    return found == job->rows.count && !envelope->overflow;
}

static enum build build_envelope(struct rewrite_job *job)
{
    struct buf buf;
    job->envelope = block_take(job->mover->messages->blocks, job->load.envelope.size);
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

/* What the user wants to stand in it; empty without memory. */
static struct slice build_metadata(struct rewrite_job *job)
{
    const struct rewrite_mover *mover = job->mover;
    struct buf buf;
    job->metadata =
        block_take(mover->messages->blocks, job->load.metadata.size + METADATA_MORE);
    if (job->metadata == NULL) {
        return SLICE_NONE;
    }
    buf_init(&buf, job->metadata->data, job->metadata->capacity);
    bool whole = mover->user->metadata(job->mover, job->load.metadata, &buf) && !buf.overflow;
    job->metadata->size = (uint32_t)buf.size;
    return whole ? buf_slice(&buf) : SLICE_NONE;
}

/* Whether it was rebound before has been told. */
static uint16_t moved_flags(const struct rewrite_job *job)
{
    unsigned flags = job->load.flags & ~(unsigned)SPOOL_MESSAGE_REBOUND;
    flags |= SPOOL_MESSAGE_MOVED;
    return (uint16_t)(job->mover->rebinds ? flags | SPOOL_MESSAGE_REBOUND : flags);
}

static enum build build_record(struct rewrite_job *job)
{
    const struct spool_load *load = &job->load;
    struct slice metadata = load->metadata;
    enum build envelope = build_envelope(job);
    if (envelope != BUILD_DONE) {
        return envelope;
    }
    if (job->mover->user->metadata != NULL) {
        metadata = build_metadata(job);
        if (metadata.size == 0) {
            return BUILD_NO_MEMORY;
        }
    }
    if (!chain_append(&job->dots, job->mover->messages->blocks, load->dots)) {
        return BUILD_NO_MEMORY;
    }
    job->record = (struct spool_message){
        .id = load->id,
        .created_ns = load->created_ns,
        .flags = moved_flags(job),
        .recipient_count = (uint16_t)job->rows.count,
        .moved_from = job->from,
        .envelope = slice_make(job->envelope->data, job->envelope->size),
        .metadata = metadata,
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
        spool_put_body(job->mover->spool, &job->write, &load->body);
    }
}

/* The next piece of the body; behind the last one the message. */
static void job_part(struct rewrite_job *job)
{
    struct spool *spool = job->mover->spool;
    if (job->mover->stopping) {
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

/* --- beginning -------------------------------------------------------------------------------- */

uint64_t rewrite_job_bytes(uint64_t body_bytes)
{
    return HEAD_BYTES + MIN_OF(body_bytes, (uint64_t)PART_BYTES);
}

void rewrite_mover_init(struct rewrite_mover *mover, struct boot_pages *pages)
{
    mover->indices = boot_pages_take(pages, INDEX_WORDS * sizeof(*mover->indices));
}

static bool blocks_short(const struct block_pool *blocks)
{
    const struct block_pool *receiving = block_pool_receiving(blocks);
    uint64_t used = block_pool_used(blocks);
    uint64_t reserve = block_pool_size(blocks) - block_pool_size(receiving);
    return used > block_pool_size(blocks) / 100 * BLOCKS_PERCENT &&
           used - block_pool_used(receiving) >= reserve / 2;
}

bool rewrite_mover_short(const struct rewrite_mover *mover, uint64_t bytes)
{
    const struct block_pool *blocks = mover->messages->blocks;
    uint64_t size = block_pool_size(blocks);
    if (blocks_short(blocks) || spool_outcome_age_ns(mover->spool) > OUTCOME_AGE_NS) {
        return true;
    }
    return mover->in_flight > 0 && mover->bytes_in_flight + bytes > size / BLOCKS_SHARE;
}

static struct rewrite_job *job_free(struct rewrite_mover *mover)
{
    for (unsigned i = 0; i < REWRITE_JOBS_MAX; i++) {
        if (!mover->jobs[i].busy) {
            return &mover->jobs[i];
        }
    }
    CHECK(false);
}

struct rewrite_job *rewrite_job_take(struct rewrite_mover *mover, struct spool_location from,
                                     uint64_t bytes)
{
    struct rewrite_job *job = job_free(mover);
    job->mover = mover;
    job->busy = true;
    job->from = from;
    row_list_init(&job->rows);
    job->load = (struct spool_load){.done = job_loaded};
    job->envelope = NULL;
    job->metadata = NULL;
    chain_init(&job->dots);
    job->parts_stored = 0;
    job->bytes = bytes;
    mover->in_flight++;
    mover->bytes_in_flight += bytes;
    return job;
}

void rewrite_job_add(struct rewrite_job *job, uint32_t handle)
{
    struct queues *queues = job->mover->queues;
    queues_row_hold(queues, handle);
    row_list_push_back(&queues->rows, &job->rows, handle);
}

void rewrite_job_start(struct rewrite_job *job)
{
    CHECK(job->rows.count > 0);
    spool_load(job->mover->spool, &job->load, job->from);
}
