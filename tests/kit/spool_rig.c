#include "tests/kit/spool_rig.h"

#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"

static void rig_note(void *context, struct slice line)
{
    struct rig *rig = context;
    rig->notes++;
    snprintf(rig->note, sizeof(rig->note), "%.*s", (int)line.size, (const char *)line.data);
    if (getenv("VERBOSE") != NULL) {
        fprintf(stderr, "%s\n", rig->note);
    }
}

static void rig_turn(void *context)
{
    struct rig *rig = context;
    shard_turn(rig->shard, false);
}

void rig_make(struct rig *rig, struct sim *sim)
{
    *rig = (struct rig){.sim = sim};
    rig->disk = sim_disk_open(sim, 64 * MIB);
    rig->node = sim_node_open(sim, rig->disk);
    rig->pool = block_pool_open(8 * MIB);
    CHECK(rig->pool != NULL);
    rig->options = (struct spool_options){
        .path = "spool",
        .sync = true,
        .segment_bytes = 128 * KIB,
        .checkpoint_bytes = 512 * KIB,
        .group_bytes = 64 * KIB,
        .deadline_ns = 30 * NS_PER_S,
        .note = rig_note,
        .note_context = rig,
        .pool = rig->pool,
    };
    CHECK(sim_disk_make_dir(rig->disk, "spool") == 0);
    ledger_init(&rig->ledger);
}

void rig_boot(struct rig *rig)
{
    struct ring_options options = {.submit_entries = 64,
                                   .complete_entries = 256,
                                   .buffer_count = 4,
                                   .buffer_bytes = 64,
                                   .world = rig->node};
    CHECK(ring_open(&options, &rig->ring, NULL) == 0);
    CHECK(work_open(rig->node, 8, &rig->work) == 0);
    rig->shard = calloc(1, sizeof(*rig->shard));
    rig->peers[0] = rig->shard;
    struct shard_options shard_options = {
        .count = 1, .ring = rig->ring, .work = rig->work, .peers = rig->peers};
    CHECK(shard_init(rig->shard, &shard_options) == 0);
    sim_actor_set(rig->ring, rig_turn, rig);
    struct spool_replay replay = ledger_begin(&rig->ledger, rig->shard, rig->pool);
    CHECK(spool_start(rig->shard, &rig->options, RIG_UUID, &replay, &rig->spool) == 0);
    rig->ledger.spool = rig->spool;
}

static bool rig_finished(void *context)
{
    return ((struct rig *)context)->ledger.finished;
}

/* Recovered, and nothing to complain about. */
bool rig_start(struct rig *rig)
{
    rig_boot(rig);
    return sim_run_until(rig->sim, rig_finished, rig, 600 * NS_PER_S);
}

/* The process ends, by a kill or for want of power. */
void rig_crash(struct rig *rig, bool power)
{
    if (power) {
        sim_node_power_cut(rig->node);
    } else {
        sim_node_kill(rig->node);
    }
    spool_close(rig->spool);
    free(rig->shard);
    block_pool_close(rig->pool);
    rig->pool = block_pool_open(8 * MIB);
    rig->options.pool = rig->pool;
    ledger_crash(&rig->ledger);
}

void rig_free(struct rig *rig)
{
    rig_crash(rig, false);
    block_pool_close(rig->pool);
    ledger_fini(&rig->ledger);
}

static bool rig_quiet(void *context)
{
    return ((struct rig *)context)->ledger.in_flight == 0;
}

void rig_wait(struct rig *rig)
{
    CHECK(sim_run_until(rig->sim, rig_quiet, rig, 600 * NS_PER_S));
}

/* A world, a disk, a lane that has started. */
void rig_open(struct rig *rig, uint64_t seed, uint64_t swarm)
{
    struct sim_options options = {.seed = seed, .swarm = swarm};
    rig_make(rig, sim_open(&options));
    CHECK(rig_start(rig));
    CHECK(rig->ledger.error == 0);
    /* Until the first segments are made. */
    sim_run_for(rig->sim, 3 * NS_PER_S);
}

void rig_close(struct rig *rig)
{
    struct sim *sim = rig->sim;
    bool good = rig->ledger.complaint[0] == '\0' && !sim_failed(sim);
    if (!good) {
        fprintf(stderr, "%s %s\n", rig->ledger.complaint, sim_failure(sim));
    }
    CHECK(good);
    rig_free(rig);
    sim_close(sim);
}

static void load_done(struct spool_load *load)
{
    (void)load;
}

static bool load_home(void *context)
{
    return !((struct spool_load *)context)->in_flight;
}

enum spool_load_status rig_load(struct rig *rig, uint32_t number)
{
    struct spool_load load = {.done = load_done};
    spool_load(rig->spool, &load, rig->ledger.messages[number].location);
    ring_wake(rig->ring);
    if (!sim_run_until(rig->sim, load_home, &load, 600 * NS_PER_S)) {
        ledger_complain(&rig->ledger, "message %u: the read does not end", number);
        return SPOOL_LOAD_ERROR;
    }
    if (load.status == SPOOL_LOADED && !ledger_equal(&rig->ledger, number, &load)) {
        ledger_complain(&rig->ledger, "message %u has changed", number);
    }
    spool_load_drop(rig->spool, &load);
    return load.status;
}

/* Every live message is read back, byte for byte. */
void rig_read_all(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->ledger.count; i++) {
        if (ledger_live(&rig->ledger, i) && rig_load(rig, i) != SPOOL_LOADED) {
            ledger_complain(&rig->ledger, "message %u cannot be read", i);
        }
    }
}
