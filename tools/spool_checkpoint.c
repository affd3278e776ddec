#include "tools/spool_checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/check.h"

static bool read_block(int fd, uint8_t *data, size_t size, uint64_t offset)
{
    size_t done = 0;
    while (done < size) {
        ssize_t got = pread(fd, data + done, size - done, (off_t)(offset + done));
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return false;
        }
        done += (size_t)got;
    }
    return true;
}

static void entry_found(struct spool_lane *lane, struct lane_state *state,
                        const struct checkpoint_entry *entry)
{
    switch (entry->kind) {
    case CHECKPOINT_ROW:
        if (state != NULL) {
            lane_state_checkpoint(state, &entry->row);
        }
        break;
    case CHECKPOINT_SEGMENT:
        if (entry->segment.lane != lane->lane) {
            spool_lane_adopt(lane, &entry->segment);
        }
        break;
    case CHECKPOINT_END:
    case CHECKPOINT_QUEUE:
    case CHECKPOINT_PIECES:
        break;
    }
}

/* All blocks behind the head; with `take` what they say is kept. */
static void read_blocks(struct spool_lane *lane, int fd, struct spool_checkpoint *checkpoint,
                        struct lane_state *state, bool take)
{
    uint8_t *data = malloc(CHECKPOINT_BLOCK_BYTES);
    CHECK(data != NULL);
    for (uint32_t i = 1; i <= checkpoint->head.blocks && !checkpoint->damaged; i++) {
        uint64_t offset = (uint64_t)i * CHECKPOINT_BLOCK_BYTES;
        struct checkpoint_cursor cursor;
        struct checkpoint_entry entry;
        int step = -1;
        if (read_block(fd, data, CHECKPOINT_BLOCK_BYTES, offset) &&
            checkpoint_open(slice_make(data, CHECKPOINT_BLOCK_BYTES),
                            lane->reader->manifest.uuid, &checkpoint->head, i, &cursor)) {
            for (step = checkpoint_next(&cursor, &entry); step == 1;
                 step = checkpoint_next(&cursor, &entry)) {
                if (take) {
                    entry_found(lane, state, &entry);
                }
            }
        }
        if (step < 0) {
            checkpoint->damaged = true;
            checkpoint->damage_offset = offset;
        }
    }
    free(data);
}

static int checkpoint_file(const struct spool_lane *lane, unsigned index)
{
    char name[32];
    snprintf(name, sizeof(name), "checkpoint-%u", index);
    return openat(lane->dir_fd, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
}

static void read_checkpoint(struct spool_lane *lane, unsigned index,
                            struct spool_checkpoint *checkpoint, struct lane_state *state,
                            bool take)
{
    uint8_t head[CHECKPOINT_HEAD_BYTES];
    int fd = checkpoint_file(lane, index);
    *checkpoint = (struct spool_checkpoint){0};
    if (fd < 0) {
        return;
    }
    if (read_block(fd, head, sizeof(head), 0) &&
        checkpoint_head_get(slice_make(head, sizeof(head)), lane->reader->manifest.uuid,
                            &checkpoint->head) &&
        checkpoint->head.lane == lane->lane &&
        checkpoint->head.epoch <= lane->reader->manifest.epoch) {
        checkpoint->there = true;
        checkpoint->newer = checkpoint->head.version > CHECKPOINT_VERSION;
        if (!checkpoint->newer) {
            read_blocks(lane, fd, checkpoint, state, take);
        }
    }
    close(fd);
}

static unsigned newest_of(const struct spool_checkpoint checkpoints[SPOOL_CHECKPOINTS])
{
    unsigned newest = SPOOL_CHECKPOINTS;
    for (unsigned i = 0; i < SPOOL_CHECKPOINTS; i++) {
        const struct spool_checkpoint *one = &checkpoints[i];
        bool good = one->there && !one->damaged && !one->newer;
        if (good && (newest == SPOOL_CHECKPOINTS ||
                     one->head.generation > checkpoints[newest].head.generation)) {
            newest = i;
        }
    }
    return newest;
}

void spool_begin_read(struct spool_lane *lane, struct lane_state *state,
                      struct spool_begin *begin_out)
{
    *begin_out = (struct spool_begin){0};
    for (unsigned i = 0; i < SPOOL_CHECKPOINTS; i++) {
        read_checkpoint(lane, i, &begin_out->checkpoints[i], NULL, false);
    }
    begin_out->newest = newest_of(begin_out->checkpoints);
    uint32_t first = lane->log_first;
    if (begin_out->newest < SPOOL_CHECKPOINTS) {
        struct spool_checkpoint again;
        read_checkpoint(lane, begin_out->newest, &again, state, true);
        begin_out->begin = again.head.begin;
        first = again.head.begin.group.segment;
    }
    begin_out->outdated = first < lane->known_first;
}
