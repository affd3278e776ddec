#include "shard/spool/checkpoint_writer.h"

#include <errno.h>
#include <stdio.h>

#include "core/check.h"
#include "shard/boot.h"
#include "shard/spool/spool.h"

#define PAGE_BYTES 4096u
#define BUSY_NS    (16 * NS_PER_MS)
#define STUCK_MAX  16

static_assert(CHECKPOINT_HEAD_BYTES % PAGE_BYTES == 0, "direct writes are of whole pages");
static_assert(CHECKPOINT_BLOCK_BYTES % PAGE_BYTES == 0, "direct writes are of whole pages");

static void writer_drive(struct deferred *deferred);
static void writer_retry(struct timer *timer);
static void writer_written(struct op *op);
static void writer_sync_done(struct op *op);
static void writer_job_done(struct work_job *job);

/* --- beginning and end ------------------------------------------------------------------------ */

int checkpoint_writer_init(struct checkpoint_writer *writer, struct shard *shard,
                           const struct spool_options *options, const char *lane_path,
                           uint64_t uuid)
{
    *writer = (struct checkpoint_writer){
        .shard = shard,
        .options = options,
        .lane_path = lane_path,
        .uuid = uuid,
        .fds = {-1, -1},
    };
    deferred_init(&writer->deferred, writer_drive);
    timer_init(&writer->retry, writer_retry);
    op_init(&writer->sync, writer_sync_done);
    writer->memory = boot_memory_take(CHECKPOINT_WRITER_BYTES);
    if (writer->memory == NULL) {
        return -ENOMEM;
    }
    writer->page.writer = writer;
    writer->page.data = writer->memory;
    op_init(&writer->page.op, writer_written);
    for (unsigned i = 0; i < CHECKPOINT_WRITES; i++) {
        struct checkpoint_write *write = &writer->writes[i];
        write->writer = writer;
        write->data = writer->memory + CHECKPOINT_HEAD_BYTES + i * CHECKPOINT_BLOCK_BYTES;
        op_init(&write->op, writer_written);
    }
    return 0;
}

void checkpoint_writer_fini(struct checkpoint_writer *writer)
{
    deferred_cancel(&writer->deferred);
    shard_timer_clear(writer->shard, &writer->retry);
    boot_memory_give(writer->memory, CHECKPOINT_WRITER_BYTES);
    writer->memory = NULL;
}

const char *checkpoint_writer_path(struct checkpoint_writer *writer, unsigned file)
{
    snprintf(writer->path, sizeof(writer->path), "%s/checkpoint-%u", writer->lane_path, file);
    return writer->path;
}

bool checkpoint_writer_idle(const struct checkpoint_writer *writer)
{
    return writer->state == CHECKPOINT_IDLE;
}

static void writer_end(struct checkpoint_writer *writer, int error)
{
    shard_timer_clear(writer->shard, &writer->retry);
    writer->state = CHECKPOINT_IDLE;
    writer->filling = NULL;
    writer->error = 0;
    writer->done(writer, error);
}

/* The first failure is the one that is told. */
static void writer_fail(struct checkpoint_writer *writer, int error)
{
    writer->error = writer->error == 0 ? error : writer->error;
}

void checkpoint_writer_abort(struct checkpoint_writer *writer)
{
    if (writer->state == CHECKPOINT_IDLE || writer->state == CHECKPOINT_ENDING) {
        return;
    }
    CHECK(writer->state != CHECKPOINT_CLOSING);
    writer_fail(writer, -ECANCELED);
    shard_defer(writer->shard, &writer->deferred);
}

/* --- one write -------------------------------------------------------------------------------- */

static void write_submit(struct checkpoint_write *write)
{
    struct checkpoint_writer *writer = write->writer;
    bool durable = write == &writer->page && writer->options->sync;
    write->rest = (struct iovec){.iov_base = write->data + write->done,
                                 .iov_len = write->bytes - write->done};
    const struct ring_extent extent = {
        .iovecs = &write->rest, .count = 1, .offset = write->offset + write->done};
    ring_write(writer->shard->ring, &write->op, writer->fds[writer->file], &extent, durable);
}

static void write_start(struct checkpoint_write *write, uint64_t offset, uint32_t bytes)
{
    write->offset = offset;
    write->bytes = bytes;
    write->done = 0;
    write->stuck = 0;
    write->writer->flying++;
    write_submit(write);
}

static bool passing(int result)
{
    return result == -EINTR || result == -EAGAIN;
}

/* 1: all of it is written; 0: not yet; or why it cannot be. */
static int write_advance(struct checkpoint_write *write, int result)
{
    if (result < 0 && !passing(result)) {
        return result;
    }
    uint32_t before = write->done;
    write->done += result > 0 ? (uint32_t)result : 0;
    if (write->done >= write->bytes) {
        return 1;
    }
    /* Short: go on at a whole page; what of it is written twice is the same. */
    write->done &= ~(PAGE_BYTES - 1);
    write->stuck = write->done > before ? 0 : write->stuck + 1;
    return write->stuck > STUCK_MAX ? -EIO : 0;
}

static void writer_written(struct op *op)
{
    struct checkpoint_write *write = CONTAINER_OF(op, struct checkpoint_write, op);
    struct checkpoint_writer *writer = write->writer;
    int step = write_advance(write, op->result);
    if (step == 0 && writer->error == 0) {
        write_submit(write);
        return;
    }
    if (step < 0) {
        writer_fail(writer, step);
    }
    writer->flying--;
    shard_defer(writer->shard, &writer->deferred);
}

/* --- the file --------------------------------------------------------------------------------- */

/* False: the worker is busy; asked again later. */
static bool writer_submit_job(struct checkpoint_writer *writer)
{
    writer->job.done = writer_job_done;
    if (!work_submit(writer->shard->work, writer->shard, &writer->job)) {
        shard_timer_set(writer->shard, &writer->retry, BUSY_NS);
        return false;
    }
    writer->flying++;
    return true;
}

static void writer_retry(struct timer *timer)
{
    struct checkpoint_writer *writer = CONTAINER_OF(timer, struct checkpoint_writer, retry);
    shard_defer(writer->shard, &writer->deferred);
}

/*
 * A file that is there has a durable name: the start has synced the directory, and what was made
 * since was made by WORK_CREATE. One whose making failed may stand there all the same, with a name
 * that a power cut would take: it goes first.
 */
static enum work_kind writer_open_kind(const struct checkpoint_writer *writer)
{
    if (writer->doubtful[writer->file]) {
        return WORK_REMOVE;
    }
    return writer->missing ? WORK_CREATE : WORK_OPEN;
}

static void writer_open(struct checkpoint_writer *writer)
{
    if (writer->fds[writer->file] >= 0) {
        memset(writer->page.data, 0, CHECKPOINT_HEAD_BYTES);
        writer->state = CHECKPOINT_CLEARING;
        write_start(&writer->page, 0, CHECKPOINT_HEAD_BYTES);
        return;
    }
    writer->job = (struct work_job){
        .kind = (uint8_t)writer_open_kind(writer),
        .flags = WORK_DIRECT | WORK_WRITE,
        .path = checkpoint_writer_path(writer, writer->file),
        .size = CHECKPOINT_BLOCK_BYTES,
    };
    (void)writer_submit_job(writer);
}

static void writer_opened(struct checkpoint_writer *writer, enum work_kind kind, int result)
{
    bool absent = result == -ENOENT && kind != WORK_CREATE;
    if (kind == WORK_CREATE) {
        writer->doubtful[writer->file] = result < 0;
    }
    if (absent || (kind == WORK_REMOVE && result >= 0)) {
        writer->doubtful[writer->file] = false;
        writer->missing = true;
    } else if (result < 0) {
        writer_fail(writer, result);
    } else {
        writer->fds[writer->file] = result;
    }
}

static void writer_job_done(struct work_job *job)
{
    struct checkpoint_writer *writer = CONTAINER_OF(job, struct checkpoint_writer, job);
    writer->flying--;
    shard_defer(writer->shard, &writer->deferred);
    if (job->kind != WORK_CLOSE) {
        writer_opened(writer, job->kind, job->result);
    }
}

void checkpoint_writer_close(struct checkpoint_writer *writer,
                             void (*closed)(struct checkpoint_writer *writer))
{
    CHECK(writer->state == CHECKPOINT_IDLE);
    writer->state = CHECKPOINT_CLOSING;
    writer->closed = closed;
    shard_defer(writer->shard, &writer->deferred);
}

static void writer_close(struct checkpoint_writer *writer)
{
    for (unsigned i = 0; i < CHECKPOINT_FILES; i++) {
        if (writer->fds[i] >= 0) {
            writer->job = (struct work_job){.kind = WORK_CLOSE, .fd = writer->fds[i]};
            if (writer_submit_job(writer)) {
                writer->fds[i] = -1;
            }
            return;
        }
    }
    writer->closed(writer);
}

/* --- the copy --------------------------------------------------------------------------------- */

void checkpoint_writer_start(struct checkpoint_writer *writer, unsigned file, uint32_t generation)
{
    CHECK(writer->state == CHECKPOINT_IDLE);
    CHECK(file < CHECKPOINT_FILES);
    writer->state = CHECKPOINT_OPENING;
    writer->file = file;
    writer->generation = generation;
    writer->blocks = 0;
    writer->rows = 0;
    writer->error = 0;
    writer->missing = false;
    writer->exhausted = false;
    shard_defer(writer->shard, &writer->deferred);
}

static struct checkpoint_write *writer_free(struct checkpoint_writer *writer)
{
    for (unsigned i = 0; i < CHECKPOINT_WRITES; i++) {
        if (op_idle(&writer->writes[i].op) && &writer->writes[i] != writer->filling) {
            return &writer->writes[i];
        }
    }
    return NULL;
}

static void writer_write_block(struct checkpoint_writer *writer)
{
    struct checkpoint_write *write = writer->filling;
    CHECK(writer->block.size > CHECKPOINT_HEADER_BYTES);
    writer->filling = NULL;
    writer->blocks++;
    writer->rows += writer->block.rows;
    checkpoint_block_seal(&writer->block, writer->uuid, (uint16_t)writer->options->lane,
                          writer->generation, writer->blocks);
    write_start(write, (uint64_t)writer->blocks * CHECKPOINT_BLOCK_BYTES, CHECKPOINT_BLOCK_BYTES);
}

static void writer_fill(struct checkpoint_writer *writer)
{
    if (writer->filling == NULL) {
        writer->filling = writer_free(writer);
        if (writer->filling == NULL) {
            return;
        }
        checkpoint_block_begin(&writer->block, writer->filling->data);
    }
    writer->exhausted = !writer->put(writer, &writer->block);
    if (writer->error != 0) {
        return;
    }
    bool full = writer->block.full || writer->block.size == CHECKPOINT_BLOCK_BYTES;
    if (full || (writer->exhausted && writer->block.size > CHECKPOINT_HEADER_BYTES)) {
        writer_write_block(writer);
    }
    if (writer->exhausted || writer->filling != NULL || writer_free(writer) != NULL) {
        shard_defer(writer->shard, &writer->deferred);
    }
}

static void writer_sync(struct checkpoint_writer *writer)
{
    writer->state = CHECKPOINT_SYNCING;
    writer->sync_stuck = 0;
    if (!writer->options->sync) {
        shard_defer(writer->shard, &writer->deferred);
        return;
    }
    writer->flying++;
    ring_sync(writer->shard->ring, &writer->sync, writer->fds[writer->file]);
}

static void writer_sync_done(struct op *op)
{
    struct checkpoint_writer *writer = CONTAINER_OF(op, struct checkpoint_writer, sync);
    if (passing(op->result) && writer->error == 0 && writer->sync_stuck++ < STUCK_MAX) {
        ring_sync(writer->shard->ring, op, writer->fds[writer->file]);
        return;
    }
    if (op->result < 0) {
        writer_fail(writer, op->result);
    }
    writer->flying--;
    shard_defer(writer->shard, &writer->deferred);
}

void checkpoint_writer_finish(struct checkpoint_writer *writer, const struct checkpoint_head *head)
{
    CHECK(writer->state == CHECKPOINT_SYNCED);
    if (writer->error != 0) {
        return;
    }
    struct checkpoint_head whole = *head;
    whole.version = CHECKPOINT_VERSION;
    whole.lane = (uint16_t)writer->options->lane;
    whole.generation = writer->generation;
    whole.blocks = writer->blocks;
    whole.rows = writer->rows;
    checkpoint_head_put(writer->page.data, &whole, writer->uuid);
    writer->state = CHECKPOINT_ENDING;
    write_start(&writer->page, 0, CHECKPOINT_HEAD_BYTES);
}

/* --- what next? ------------------------------------------------------------------------------- */

/* Of a state: what was in flight has come home. */
static void writer_step(struct checkpoint_writer *writer)
{
    switch ((enum checkpoint_state)writer->state) {
    case CHECKPOINT_OPENING:
        writer_open(writer);
        break;
    case CHECKPOINT_CLEARING:
        writer->state = CHECKPOINT_COPYING;
        writer_fill(writer);
        break;
    case CHECKPOINT_COPYING:
        if (writer->exhausted) {
            writer_sync(writer);
        } else {
            writer_fill(writer);
        }
        break;
    case CHECKPOINT_SYNCING:
        writer->state = CHECKPOINT_SYNCED;
        writer->synced(writer);
        break;
    case CHECKPOINT_ENDING:
        writer_end(writer, 0);
        break;
    case CHECKPOINT_CLOSING:
        writer_close(writer);
        break;
    case CHECKPOINT_SYNCED: /* the owner's turn */
    case CHECKPOINT_IDLE:
        break;
    }
}

static void writer_drive(struct deferred *deferred)
{
    struct checkpoint_writer *writer = CONTAINER_OF(deferred, struct checkpoint_writer, deferred);
    if (writer->flying == 0 && writer->error != 0 && writer->state != CHECKPOINT_IDLE) {
        writer_end(writer, writer->error);
    } else if (writer->flying == 0) {
        writer_step(writer);
    } else if (writer->state == CHECKPOINT_COPYING && writer->error == 0 && !writer->exhausted) {
        writer_fill(writer);
    }
}
