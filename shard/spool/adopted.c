#include "shard/spool/adopted.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shard/boot.h"
#include "shard/spool/record.h"
#include "shard/spool/lane_files.h"

#define BUSY_NS    (16 * NS_PER_MS)
#define PAGE_BYTES (2 * RECORD_PAGE_BYTES)

static void adopted_next(struct adopted *adopted);
static void adopted_opened(struct work_job *job);
static void adopted_page_read(struct op *op);

static void adopted_submit(struct adopted *adopted)
{
    adopted->job.done = adopted_opened;
    if (!work_submit(adopted->shard->work, adopted->shard, &adopted->job)) {
        shard_timer_set(adopted->shard, &adopted->retry, BUSY_NS);
    }
}

static void adopted_retry(struct timer *timer)
{
    adopted_submit(CONTAINER_OF(timer, struct adopted, retry));
}

void adopted_init(struct adopted *adopted, struct shard *shard, struct segments *segments)
{
    *adopted = (struct adopted){.shard = shard, .segments = segments};
    timer_init(&adopted->retry, adopted_retry);
    op_init(&adopted->op, adopted_page_read);
}

void adopted_fini(struct adopted *adopted)
{
    shard_timer_clear(adopted->shard, &adopted->retry);
    boot_memory_give(adopted->page, PAGE_BYTES);
    adopted->page = NULL;
}

void adopted_found(struct adopted *adopted, const struct checkpoint_segment *entry)
{
    const struct segment found = {
        .number = entry->number,
        .slot = entry->slot,
        .shift = entry->number - entry->lane_number,
        .lane = entry->lane,
        .rows_total = entry->rows_total,
        .fd = -1,
    };
    adopted->failed = segments_adopt(adopted->segments, &found) == NULL || adopted->failed;
}

void adopted_forget(struct adopted *adopted)
{
    struct segments *segments = adopted->segments;
    for (uint32_t i = segments->log.count; i > 0; i--) {
        struct segment *segment = segments_at(segments, i - 1);
        if (segments_foreign(segments, segment)) {
            segments_disown(segments, segment);
        }
    }
    adopted->failed = false;
}

/* --- opening ---------------------------------------------------------------------------------- */

static void adopted_end(struct adopted *adopted, int error)
{
    adopted->done(adopted, error, adopted->reason);
}

static void adopted_missing(struct adopted *adopted, const char *why)
{
    struct segments *segments = adopted->segments;
    struct segment *segment = &segments->table[adopted->at];
    spool_note(segments->options, "spool: %s: %s: its messages are lost",
               segments_file_path(segments, segment), why);
    segments_disown(segments, segment);
}

static void adopted_page_read(struct op *op)
{
    struct adopted *adopted = CONTAINER_OF(op, struct adopted, op);
    const struct segment *segment = &adopted->segments->table[adopted->at];
    struct record_segment header;
    struct record_group group;
    struct slice page = slice_make(adopted->page, op->result > 0 ? (size_t)op->result : 0);
    if (op->result == -EINTR || op->result == -EAGAIN) {
        ring_read(adopted->shard->ring, op, segment->fd, adopted->page, PAGE_BYTES, 0);
        return;
    }
    if (op->result < 0) {
        adopted->at++; /* what can be read of it is found out later */
        adopted_next(adopted);
        return;
    }
    if (!record_segment_get(page, &header)) {
        bool told = page.size > RECORD_PAGE_BYTES &&
                    record_group_get(slice_skip(page, RECORD_PAGE_BYTES), adopted->uuid, &group);
        header = (struct record_segment){.uuid = told ? adopted->uuid : 0,
                                         .lane = told ? group.lane : 0,
                                         .number = told ? group.segment : 0};
    }
    if (header.uuid != adopted->uuid || header.lane != segment->lane ||
        header.number != segment->number - segment->shift) {
        adopted_missing(adopted, "holds another segment, or none");
    }
    adopted->at++;
    adopted_next(adopted);
}

static void adopted_opened(struct work_job *job)
{
    struct adopted *adopted = CONTAINER_OF(job, struct adopted, job);
    if (job->result == -ENOENT) {
        adopted_missing(adopted, "is not there");
        adopted->at++;
        adopted_next(adopted);
        return;
    }
    if (job->result < 0) {
        snprintf(adopted->reason, sizeof(adopted->reason), "spool: %s: cannot be used: %s",
                 job->path, lane_files_refusal(job->result));
        adopted_end(adopted, job->result);
        return;
    }
    adopted->segments->table[adopted->at].fd = job->result;
    ring_read(adopted->shard->ring, &adopted->op, job->result, adopted->page, PAGE_BYTES, 0);
}

static void adopted_next(struct adopted *adopted)
{
    struct segments *segments = adopted->segments;
    for (; adopted->at < segments->count; adopted->at++) {
        const struct segment *segment = &segments->table[adopted->at];
        if (segment->fd >= 0 || segment->state != SEGMENT_SEALED ||
            !segments_foreign(segments, segment)) {
            continue;
        }
        adopted->job = descriptors_open_job(segments_file_path(segments, segment));
        adopted_submit(adopted);
        return;
    }
    adopted_end(adopted, 0);
}

void adopted_open(struct adopted *adopted, uint64_t uuid,
                  void (*done)(struct adopted *adopted, int error, const char *reason))
{
    adopted->uuid = uuid;
    adopted->done = done;
    adopted->at = 0;
    adopted->page = boot_memory_take(PAGE_BYTES);
    if (adopted->failed || adopted->page == NULL) {
        snprintf(adopted->reason, sizeof(adopted->reason),
                 "spool: %s: segments of adopted lanes find no room beside its own",
                 adopted->segments->lane_path);
        adopted_end(adopted, -EMFILE);
        return;
    }
    adopted_next(adopted);
}
