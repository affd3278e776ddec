#include "shard/spool/recover_secure.h"

#include <errno.h>
#include <string.h>

#define STUCK_MAX 16
/* Of a write that fails. */
#define TRIES_MAX 5
#define PAUSE_NS  (500 * NS_PER_MS)

enum { SECURE_SEGMENTS, SECURE_GROUP, SECURE_PAGE, SECURE_BLOCKS, SECURE_HEAD, SECURE_STEPS };

static void recover_secure_next(struct recover *recover);

/* --- one operation ---------------------------------------------------------------------------- */

static const char *recover_secure_what(const struct recover *recover)
{
    switch (recover->secure_step) {
    case SECURE_SEGMENTS:
        return "a segment cannot be synced";
    case SECURE_GROUP:
    case SECURE_PAGE:
        return "the last group cannot be made durable";
    default:
        return "the checkpoint cannot be made durable";
    }
}

static void recover_secure_failed(struct recover *recover, int error)
{
    recover_fail(recover, error, "spool: lane %u: %s: %s", recover->options->lane,
                 recover_secure_what(recover), strerror(-error));
    recover_end(recover);
}

/* Nothing came of it. True: it may be tried again. */
static bool recover_secure_again(struct recover *recover, int result)
{
    bool passing = result >= 0 || result == -EINTR || result == -EAGAIN;
    return passing && recover->write.stuck++ < STUCK_MAX;
}

static void recover_write_submit(struct recover *recover)
{
    struct recover_write *write = &recover->write;
    write->rest = (struct iovec){.iov_base = write->data + write->done,
                                 .iov_len = write->bytes - write->done};
    const struct ring_extent extent = {
        .iovecs = &write->rest, .count = 1, .offset = write->offset + write->done};
    ring_write(recover->shard->ring, &recover->op, write->fd, &extent, true);
}

static void recover_write_retry(struct timer *timer)
{
    recover_write_submit(CONTAINER_OF(timer, struct recover, retry));
}

static void recover_write_failed(struct recover *recover, int error)
{
    struct recover_write *write = &recover->write;
    write->failures++;
    if (write->failures == TRIES_MAX) {
        recover_secure_failed(recover, error);
        return;
    }
    if (write->failures == 1) {
        spool_note(recover->options, "spool: lane %u: %s: %s; it is tried again",
                   recover->options->lane, recover_secure_what(recover), strerror(-error));
    }
    write->done = 0;
    write->stuck = 0;
    shard_timer_set(recover->shard, &recover->retry, PAUSE_NS);
}

static void recover_write_done(struct op *op)
{
    struct recover *recover = CONTAINER_OF(op, struct recover, op);
    struct recover_write *write = &recover->write;
    int result = op->result;
    uint32_t before = write->done;
    write->done += result > 0 ? (uint32_t)result : 0;
    if (write->done >= write->bytes) {
        recover->secure_step++;
        recover_secure_next(recover);
        return;
    }
    /* Short: go on at a whole page; what of it is written twice is the same. */
    write->done &= ~(RECORD_PAGE_BYTES - 1);
    if (write->done > before) {
        write->stuck = 0;
    } else if (!recover_secure_again(recover, result)) {
        recover_write_failed(recover, result < 0 ? result : -EIO);
        return;
    }
    recover_write_submit(recover);
}

static void recover_write_begin(struct recover *recover, struct recover_write write)
{
    recover->write = write;
    op_init(&recover->op, recover_write_done);
    recover_write_submit(recover);
}

static void recover_sync_submit(struct recover *recover)
{
    ring_sync(recover->shard->ring, &recover->op, recover->write.fd);
}

static void recover_sync_done(struct op *op)
{
    struct recover *recover = CONTAINER_OF(op, struct recover, op);
    if (op->result == 0) {
        if (recover->secure_step != SECURE_SEGMENTS) { /* there may be more of them */
            recover->secure_step++;
        }
        recover_secure_next(recover);
    } else if (recover_secure_again(recover, op->result)) {
        recover_sync_submit(recover);
    } else {
        recover_secure_failed(recover, op->result);
    }
}

static void recover_sync_begin(struct recover *recover, int fd)
{
    recover->write = (struct recover_write){.fd = fd};
    op_init(&recover->op, recover_sync_done);
    recover_sync_submit(recover);
}

/* The step that waits for this file begins again, or fails. */
static void recover_secure_open(struct descriptor_wait *wait)
{
    struct recover *recover = CONTAINER_OF(wait, struct recover, wait);
    if (wait->error != 0) {
        recover_open_failed(recover, wait);
        recover_end(recover);
    } else {
        recover_secure_next(recover);
    }
}

/* --- what is in doubt; true: it is on its way ------------------------------------------------- */

/* The first segment with groups of which no later one says that they were durable. */
static uint32_t recover_secure_first(const struct recover *recover)
{
    const struct lane_files *files = &recover->files;
    uint64_t proven = MAX_OF(recover->reader.parser.durable_before, recover->begin.sequence);
    uint32_t at = 0;
    while (at + 1 < files->order_count &&
           (recover->segments->table[files->order[at]].number < recover->begin.group.segment ||
            files->headers[files->order[at + 1]].sequence <= proven)) {
        at++;
    }
    return at;
}

static bool recover_secure_segments(struct recover *recover)
{
    const struct lane_files *files = &recover->files;
    if (recover->order_at == files->order_count) {
        return false;
    }
    struct segment *segment = &recover->segments->table[files->order[recover->order_at]];
    if (recover_use(recover, segment, recover_secure_open)) {
        recover->order_at++;
        recover_sync_begin(recover, segment->fd);
    }
    return true;
}

static bool recover_secure_group(struct recover *recover)
{
    struct log_tail *tail = &recover->tail;
    if (!log_parser_tail(&recover->reader.parser, tail)) {
        return false;
    }
    struct segment *segment = segments_find(recover->segments, tail->segment);
    if (recover_use(recover, segment, recover_secure_open)) {
        recover_write_begin(recover, (struct recover_write){
            .fd = segment->fd,
            .data = tail->data,
            .offset = tail->offset,
            .bytes = tail->bytes,
        });
    }
    return true;
}

/* The first group of a segment came with its header. */
static bool recover_secure_page(struct recover *recover)
{
    if (recover->tail.offset != RECORD_PAGE_BYTES) {
        return false;
    }
    const struct segment *segment = recover->used; /* its first group was written just now */
    uint8_t *page = recover->files.page;
    memset(page, 0, RECORD_PAGE_BYTES);
    record_segment_put(page, &recover->files.headers[segment - recover->segments->table]);
    recover_write_begin(recover, (struct recover_write){
        .fd = segment->fd, .data = page, .bytes = RECORD_PAGE_BYTES});
    return true;
}

static bool recover_secure_blocks(struct recover *recover)
{
    if (recover->checkpoint_file == CHECKPOINT_FILES) {
        return false;
    }
    recover_sync_begin(recover, recover->checkpoint.fds[recover->checkpoint_file]);
    return true;
}

static bool recover_secure_head(struct recover *recover)
{
    unsigned file = recover->checkpoint_file;
    if (file == CHECKPOINT_FILES) {
        return false;
    }
    uint8_t *page = recover->files.page;
    checkpoint_head_put(page, &recover->checkpoint.heads[file], recover->uuid);
    recover_write_begin(recover, (struct recover_write){
        .fd = recover->checkpoint.fds[file], .data = page, .bytes = CHECKPOINT_HEAD_BYTES});
    return true;
}

static void recover_secure_next(struct recover *recover)
{
    static bool (*const steps[])(struct recover *) = {
        [SECURE_SEGMENTS] = recover_secure_segments, [SECURE_GROUP] = recover_secure_group,
        [SECURE_PAGE] = recover_secure_page,         [SECURE_BLOCKS] = recover_secure_blocks,
        [SECURE_HEAD] = recover_secure_head,
    };
    for (; recover->secure_step < SECURE_STEPS; recover->secure_step++) {
        if (steps[recover->secure_step](recover)) {
            return;
        }
    }
    recover_end(recover);
}

void recover_secure_init(struct recover *recover)
{
    timer_init(&recover->retry, recover_write_retry);
}

void recover_secure_fini(struct recover *recover)
{
    shard_timer_clear(recover->shard, &recover->retry);
}

void recover_secure(struct recover *recover)
{
    recover->secure_step = SECURE_SEGMENTS;
    recover->order_at = recover_secure_first(recover);
    recover_secure_next(recover);
}
