/*
 * Looking into the node: what it is in the middle of, and its rows beside the ledger. Nothing here
 * changes it.
 */
#include <stdio.h>
#include <string.h>

#include "core/check.h"
#include "shard/queue/rows.h"
#include "shard/spool/record.h"
#include "smtp/envelope.h"
#include "tests/world/world.h"

#define NAMES_BYTES  (64 * KIB)
#define FILES_MAX    1024
#define HEAD_BYTES   (64 * KIB)
#define NUMBER_NONE  UINT32_MAX
#define ROWS_SEEN_MAX 2

/* --- phases ----------------------------------------------------------------------------------- */

static const char *const phase_names[] = {
    [PHASE_START] = "recovery", [PHASE_ACCEPT] = "accept",   [PHASE_COMMIT] = "commit",
    [PHASE_DELIVERY] = "delivery", [PHASE_OUTCOME] = "outcome",
    [PHASE_CHECKPOINT] = "checkpoint", [PHASE_REWRITE] = "rewriting", [PHASE_REST] = "rest",
};

const char *world_phase_name(enum world_phase phase)
{
    return phase_names[phase];
}

static bool ready(const struct world *world)
{
    return world->running && node_state(&world->node) == NODE_READY;
}

static bool accepting(const struct world *world)
{
    for (unsigned i = 0; i < world->client_count; i++) {
        if (world->clients[i].peer != NULL && world->clients[i].talking) {
            return true;
        }
    }
    return false;
}

static bool outcome_pending(const struct world *world)
{
    for (unsigned i = 0; i < world->shards; i++) {
        if (spool_outcome_age_ns(world->node.mtas[i].spool) > 0) {
            return true;
        }
    }
    return false;
}

static bool rewriting(const struct world *world)
{
    for (unsigned i = 0; i < world->shards; i++) {
        if (world->node.mtas[i].rewrite.stage != REWRITE_IDLE) {
            return true;
        }
    }
    return false;
}

bool world_phase(const struct world *world, enum world_phase phase)
{
    if (!ready(world)) {
        return phase == PHASE_START && world->running;
    }
    switch (phase) {
    case PHASE_ACCEPT:
        return accepting(world);
    case PHASE_COMMIT:
        return sim_node_writing(world->process, "segment-") > 0;
    case PHASE_DELIVERY:
        return world->sink_busy > 0;
    case PHASE_OUTCOME:
        return outcome_pending(world);
    case PHASE_CHECKPOINT:
        return sim_node_writing(world->process, "checkpoint-") > 0;
    case PHASE_REWRITE:
        return rewriting(world);
    case PHASE_REST:
        for (unsigned i = 0; i < PHASE_REST; i++) {
            if (world_phase(world, (enum world_phase)i)) {
                return false;
            }
        }
        return true;
    case PHASE_START:
    case PHASES_COUNT:
        return false;
    }
    return false;
}

bool world_broken(const struct world *world)
{
    for (unsigned i = 0; ready(world) && i < world->shards; i++) {
        if (spool_admission(world->node.mtas[i].spool, 0) == SPOOL_FAILED) {
            return true;
        }
    }
    return false;
}

/* --- rows ------------------------------------------------------------------------------------- */

/* The files of one lane by the segments in them. */
struct lane_files {
    struct world *world;
    uint64_t uuid;
    unsigned count;
    struct {
        uint32_t number;
        char path[64];
    } files[FILES_MAX];
    struct spool_location last; /* what was looked up last, and what it was */
    uint32_t last_number;
};

/* Which segment a file holds: its header says so; where that is torn, its first group does. */
static bool segment_number(const struct lane_files *lane, const char *path, uint32_t *number_out)
{
    uint8_t pages[2 * RECORD_PAGE_BYTES];
    struct record_segment segment;
    struct record_group group;
    if (sim_disk_get(lane->world->disk, path, 0, pages, sizeof(pages)) != sizeof(pages)) {
        return false;
    }
    if (record_segment_get(slice_make(pages, RECORD_PAGE_BYTES), &segment)) {
        *number_out = segment.number;
        return true;
    }
    struct slice first = slice_make(pages + RECORD_PAGE_BYTES, RECORD_PAGE_BYTES);
    bool found = record_group_get(first, lane->uuid, &group);
    *number_out = found ? group.segment : 0;
    return found;
}

static void lane_open(struct lane_files *lane, struct world *world, unsigned index)
{
    static char names[NAMES_BYTES];
    char path[64];
    *lane = (struct lane_files){
        .world = world, .uuid = world->node.control->house.uuid, .last_number = NUMBER_NONE};
    snprintf(path, sizeof(path), "var/spool/lane-%03u", index);
    unsigned count = sim_disk_list(world->disk, path, names, sizeof(names));
    const char *name = names;
    for (unsigned i = 0; i < count && lane->count < FILES_MAX; i++) {
        snprintf(path, sizeof(path), "var/spool/lane-%03u/%.30s", index, name);
        name += strlen(name) + 1;
        if (strstr(path, "/segment-") != NULL &&
            segment_number(lane, path, &lane->files[lane->count].number)) {
            memcpy(lane->files[lane->count++].path, path, sizeof(path));
        }
    }
}

/* The number of the message whose record stands there; NUMBER_NONE: there is none. */
static uint32_t record_number(struct lane_files *lane, const char *path, uint64_t offset)
{
    static uint8_t bytes[HEAD_BYTES];
    struct record record;
    struct record_message message;
    struct envelope_cursor cursor;
    struct slice sender;
    uint32_t number = 0;
    int64_t got = sim_disk_get(lane->world->disk, path, offset, bytes, sizeof(bytes));
    if (got <= 0 || !record_at(slice_make(bytes, (size_t)got), lane->uuid, &record) ||
        !record_message_get(&record, &message) ||
        !envelope_open(message.sections[SECTION_ENVELOPE], &sender, &cursor)) {
        return NUMBER_NONE;
    }
    sender = slice_skip(sender, 1);
    for (size_t i = 0; i < sender.size && sender.data[i] != '@'; i++) {
        number = number * 10 + (uint32_t)(sender.data[i] - '0');
    }
    return number;
}

static uint32_t row_number(struct lane_files *lane, const struct row *row)
{
    if (lane->last_number != NUMBER_NONE && lane->last.segment == row->segment &&
        lane->last.offset_64 == row->offset_64) {
        return lane->last_number;
    }
    lane->last = row_location(row);
    lane->last_number = NUMBER_NONE;
    for (unsigned i = 0; i < lane->count && lane->last_number == NUMBER_NONE; i++) {
        if (lane->files[i].number == row->segment) {
            lane->last_number = record_number(lane, lane->files[i].path,
                                              (uint64_t)row->offset_64 * RECORD_PLACE_BYTES);
        }
    }
    return lane->last_number;
}

static void row_check(struct world *world, uint32_t number, const struct row *row)
{
    struct world_message *message = &world->messages[number];
    CHECK(row->recipient < message->recipient_count);
    struct world_recipient *recipient = &message->recipients[row->recipient];
    bool busy = row->state == ROW_HOT || row->state == ROW_HELD;
    recipient->rows++;
    world->tally.rows++;
    if (recipient->rows == ROWS_SEEN_MAX) {
        sim_fail(world->sim, "message %u: recipient %u stands in two rows", number,
                 row->recipient);
    } else if (recipient->delivered > 0 && !busy &&
               world_cause_of(world, recipient) == CAUSES_COUNT) {
        sim_fail(world->sim, "message %u: recipient %u has its end and is queued again", number,
                 row->recipient);
    } else if (row->attempts < recipient->attempts_stored) {
        sim_fail(world->sim, "message %u: recipient %u had %u attempts and has %u", number,
                 row->recipient, recipient->attempts_stored, row->attempts);
    }
    /* What rows say is never ahead of the log. */
    recipient->attempts_stored = row->attempts;
}

static void lane_check(struct world *world, unsigned index)
{
    static struct lane_files lane;
    const struct slab *rows = &world->node.mtas[index].queues.rows;
    lane_open(&lane, world, index);
    for (uint32_t handle = 0; handle < rows->fresh && !sim_failed(world->sim); handle++) {
        const struct row *row = row_at(rows, handle);
        if (row->state == ROW_FREE || row->state == ROW_NEW) {
            continue;
        }
        uint32_t number = row_number(&lane, row);
        if (number >= world->message_count) {
            sim_fail(world->sim, "shard %u: a row points at segment %u, offset %llu: no message",
                     index, row->segment, (unsigned long long)row->offset_64 * 64);
            return;
        }
        row_check(world, number, row);
    }
}

void world_rows_check(struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        for (unsigned r = 0; r < world->messages[i].recipient_count; r++) {
            world->messages[i].recipients[r].rows = 0;
        }
    }
    for (unsigned i = 0; i < world->shards; i++) {
        lane_check(world, i);
    }
    world->tally.looks++;
    for (uint32_t i = 0; i < world->message_count && !sim_failed(world->sim); i++) {
        const struct world_message *message = &world->messages[i];
        for (unsigned r = 0; message->fate == FATE_TAKEN && r < message->recipient_count; r++) {
            const struct world_recipient *recipient = &message->recipients[r];
            if (recipient->accepted == WORD_YES && recipient->delivered == 0 &&
                recipient->bounced == 0 && recipient->rows == 0 &&
                !world_may_end(world, recipient)) {
                sim_fail(world->sim, "message %u was taken, and no row is left for recipient %u", i,
                         r);
            }
        }
    }
}
