#include "tests/world/change.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/spool/segment.h"

void change_init(struct world *world, struct sim *sim, unsigned shards)
{
    world_init(world, sim);
    world->shards = shards;
    world->body_bytes_max = 500 * KIB;
    world->large = 200;
    world->mood = (struct sink_mood){
        .one_stage = true, .stage = STAGE_DOT, .defer = 1000, .plain = 300};
    world_set(world, "queues.queue.default.retry_interval=1h");
    world_set(world, "queues.queue.default.max_retry_interval=1h");
}

/* --- rows ------------------------------------------------------------------------------------- */

static int compare_rows(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct waiting));
}

void change_look(const struct world *world, struct snapshot *snapshot_out)
{
    *snapshot_out = (struct snapshot){0};
    for (unsigned i = 0; i < world->shards; i++) {
        const struct slab *rows = &world->node.mtas[i].queues.rows;
        for (uint32_t handle = 0; handle < rows->fresh; handle++) {
            const struct row *row = row_at(rows, handle);
            if (row->state == ROW_FREE) {
                continue;
            }
            CHECK(snapshot_out->count < CHANGE_ROWS_MAX);
            snapshot_out->rows[snapshot_out->count++] = (struct waiting){
                .due_s = row->due_s,
                .created_s = row->created_s,
                .size_64 = row->size_64,
                .attempts = row->attempts,
                .recipient = row->recipient,
            };
        }
    }
    qsort(snapshot_out->rows, snapshot_out->count, sizeof(struct waiting), compare_rows);
}

bool change_all_wait(void *context)
{
    const struct world *world = context;
    struct snapshot now;
    change_look(world, &now);
    uint64_t soon_s = world->node.mtas[0].shard.wall_ns / NS_PER_S + 60;
    for (uint32_t i = 0; i < now.count; i++) {
        if (now.rows[i].attempts == 0 || now.rows[i].due_s < soon_s) {
            return false;
        }
    }
    return world_handed_in(context);
}

void change_expect_same(struct world *world, const struct snapshot *before)
{
    struct snapshot now;
    change_look(world, &now);
    if (now.count != before->count ||
        memcmp(now.rows, before->rows, now.count * sizeof(struct waiting)) != 0) {
        sim_fail(world->sim, "%u rows have become %u, or are others", before->count, now.count);
    }
}

uint64_t change_adopted(const struct world *world)
{
    uint64_t files = 0;
    for (unsigned i = 0; i < world->shards; i++) {
        const struct segments *segments = spool_segments(world->node.mtas[i].spool);
        for (uint32_t k = 0; k < segments->log.count; k++) {
            files += segments_foreign(segments, segments_at(segments, k));
        }
    }
    return files;
}

/* --- starts ----------------------------------------------------------------------------------- */

enum moment change_moment(const struct world *world)
{
    const struct control *control = world->node.control;
    unsigned reading = 0;
    unsigned telling = 0;
    unsigned placed = 0;
    unsigned begun = 0;
    if (node_state(&world->node) == NODE_READY) {
        return MOMENT_READY;
    }
    for (unsigned i = 0; i < world->shards; i++) {
        enum mta_stage stage = world->node.mtas[i].stage;
        reading += stage < MTA_TELLING;
        telling += stage == MTA_TELLING;
        placed += stage >= MTA_PLACED;
        begun += stage >= MTA_REPLAYED;
    }
    if (begun > 0 || control->sweep.memory != NULL) {
        return MOMENT_BEGUN;
    }
    if (placed == world->shards) {
        return MOMENT_PLACED;
    }
    if (!control->house_open || reading > 0) {
        return control->house_open ? MOMENT_READING : MOMENT_HOUSE;
    }
    return telling > 0 ? MOMENT_TELLING : MOMENT_WRITING;
}

struct aim {
    struct world *world;
    enum moment moment;
};

static bool has_come_to(void *context)
{
    const struct aim *aim = context;
    return change_moment(aim->world) >= aim->moment;
}

bool change_start_and_crash(struct world *world, uint64_t moments[MOMENTS])
{
    struct sim *sim = world->sim;
    struct aim aim = {.world = world, .moment = (enum moment)sim_below(sim, MOMENTS)};
    world_boot(world);
    if (!sim_run_until(sim, has_come_to, &aim, 60 * NS_PER_S) ||
        !sim_run_for(sim, 1 + sim_below(sim, 20 * NS_PER_US << sim_below(sim, 9)))) {
        sim_fail(sim, "a start comes no further than moment %d", change_moment(world));
        return false;
    }
    moments[change_moment(world)]++;
    world_crash(world, sim_chance(sim, 500));
    return true;
}

void change_finish(struct world *world)
{
    char names[8192];
    unsigned lanes = 0;
    world_finish(world);
    if (sim_failed(world->sim) || !world_start(world)) {
        return;
    }
    world_stop(world, 1);
    unsigned count = sim_disk_list(world->disk, "var/spool", names, sizeof(names));
    const char *name = names;
    for (unsigned i = 0; i < count; i++) {
        lanes += strncmp(name, "lane-", 5) == 0;
        name += strlen(name) + 1;
    }
    if (lanes != world->shards) {
        sim_fail(world->sim, "%u shards, and %u directories of lanes", world->shards, lanes);
    }
}
