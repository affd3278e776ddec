#include "shard/spool/adopted.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "shard/boot.h"
#include "shard/spool/record.h"
#include "shard/spool/lane_files.h"

#define PAGE_BYTES (2 * RECORD_PAGE_BYTES)

static void adopted_next(struct adopted *adopted);
static void adopted_file_open(struct descriptor_wait *wait);
static void adopted_page_read(struct op *op);

void adopted_init(struct adopted *adopted, struct shard *shard, struct segments *segments)
{
    *adopted = (struct adopted){
        .shard = shard, .segments = segments, .wait = {.done = adopted_file_open}};
    op_init(&adopted->op, adopted_page_read);
}

void adopted_fini(struct adopted *adopted)
{
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
            segments_disown(segments, segment, false);
        }
    }
    adopted->failed = false;
}

/* --- looking at them -------------------------------------------------------------------------- */

static struct segment *adopted_segment(const struct adopted *adopted)
{
    return &adopted->segments->table[adopted->at];
}

static void adopted_end(struct adopted *adopted, int error)
{
    adopted->done(adopted, error, adopted->reason);
}

/* This one is done with. `why`: it is not what it should be. */
static void adopted_over(struct adopted *adopted, const char *why, bool there)
{
    struct segments *segments = adopted->segments;
    struct segment *segment = adopted_segment(adopted);
    segments_unpin(segments, segment);
    if (why != NULL) {
        spool_note(segments->options, "spool: %s: %s: its messages are lost",
                   segments_file_path(segments, segment), why);
        segments_disown(segments, segment, there);
    }
    adopted->at++;
    adopted_next(adopted);
}

static void adopted_read(struct adopted *adopted)
{
    ring_read(adopted->shard->ring, &adopted->op, adopted_segment(adopted)->fd, adopted->page,
              PAGE_BYTES, 0);
}

static void adopted_page_read(struct op *op)
{
    struct adopted *adopted = CONTAINER_OF(op, struct adopted, op);
    const struct segment *segment = adopted_segment(adopted);
    struct record_segment header;
    struct record_group group;
    struct slice page = slice_make(adopted->page, op->result > 0 ? (size_t)op->result : 0);
    if (op->result == -EINTR || op->result == -EAGAIN) {
        adopted_read(adopted);
        return;
    }
    if (op->result < 0) {
        adopted_over(adopted, NULL, true); /* what can be read of it is found out later */
        return;
    }
    if (!record_segment_get(page, &header)) {
        bool told = page.size > RECORD_PAGE_BYTES &&
                    record_group_get(slice_skip(page, RECORD_PAGE_BYTES), adopted->uuid, &group);
        header = (struct record_segment){.uuid = told ? adopted->uuid : 0,
                                         .lane = told ? group.lane : 0,
                                         .number = told ? group.segment : 0};
    }
    bool ours = header.uuid == adopted->uuid && header.lane == segment->lane &&
                header.number == segment->number - segment->shift;
    adopted_over(adopted, ours ? NULL : "holds another segment, or none", true);
}

static void adopted_file_open(struct descriptor_wait *wait)
{
    struct adopted *adopted = CONTAINER_OF(wait, struct adopted, wait);
    struct segments *segments = adopted->segments;
    if (wait->error == 0) {
        adopted_read(adopted);
    } else if (wait->error == -ENOENT) {
        adopted_over(adopted, "is not there", false);
    } else {
        lane_files_refuse(segments_file_path(segments, wait->segment), wait->error,
                          adopted->reason, sizeof(adopted->reason));
        segments_unpin(segments, wait->segment);
        adopted_end(adopted, wait->error);
    }
}

static void adopted_next(struct adopted *adopted)
{
    struct segments *segments = adopted->segments;
    while (adopted->at < segments->count &&
           (adopted_segment(adopted)->state != SEGMENT_SEALED ||
            !segments_foreign(segments, adopted_segment(adopted)))) {
        adopted->at++;
    }
    if (adopted->at == segments->count) {
        adopted_end(adopted, 0);
        return;
    }
    struct segment *segment = adopted_segment(adopted);
    segment->pins++;
    if (descriptors_use(&segments->descriptors, &adopted->wait, segment)) {
        adopted_read(adopted);
    }
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
