#include "tests/sim/shards.h"

#include "core/check.h"
#include "shard/boot.h"
#include "shard/work.h"

static void turn(void *context)
{
    shard_turn(context, false);
}

void sim_shards_boot(struct sim_shards *shards, struct sim_node *node, unsigned count,
                     uint32_t buffers, uint32_t buffer_bytes)
{
    CHECK(count <= SIM_SHARDS_MAX);
    shards->node = node;
    shards->count = count;
    int result = work_open(node, 64, &shards->work);
    CHECK(result == 0);
    for (unsigned i = 0; i < count; i += 1) {
        struct ring_options options = {.submit_entries = 256,
                                       .complete_entries = 4096,
                                       .buffer_count = buffers,
                                       .buffer_bytes = buffer_bytes,
                                       .world = node};
        struct ring *ring = NULL;
        result = ring_open(&options, &ring, NULL);
        CHECK(result == 0);
        struct shard_options shard_options = {.index = i,
                                              .count = count,
                                              .ring = ring,
                                              .work = shards->work,
                                              .peers = shards->peers};
        result = shard_init(&shards->shards[i], &shard_options);
        CHECK(result == 0);
        shards->peers[i] = &shards->shards[i];
        sim_actor_set(ring, turn, &shards->shards[i]);
    }
}

void sim_shards_drop(struct sim_shards *shards)
{
    for (unsigned i = 0; i < shards->count; i += 1) {
        struct shard *shard = &shards->shards[i];
        boot_memory_give(shard->inboxes, shard->count * sizeof(struct mailbox));
        shard->inboxes = NULL;
    }
}

static void check_shard(struct sim *sim, const struct shard *shard)
{
    const char *what = "";
    if (counters_get(&shard->counters, COUNTER_lost_wakeups) != 0) {
        sim_fail(sim, "shard %u lost a wakeup", shard->index);
    }
    if (ring_counts(shard->ring)->cq_overflows != 0) {
        sim_fail(sim, "shard %u: the completion queue overflowed", shard->index);
    }
    if (!sim_ring_idle(shard->ring, &what)) {
        sim_fail(sim, "shard %u: %s", shard->index, what);
    }
    if (shard->timers.count != 0) {
        sim_fail(sim, "shard %u: a timer is set", shard->index);
    }
}

void sim_shards_stop(struct sim_shards *shards)
{
    struct sim *sim = sim_node_sim(shards->node);
    for (unsigned i = 0; i < shards->count; i += 1) {
        check_shard(sim, &shards->shards[i]);
    }
    if (sim_failed(sim)) {
        sim_shards_drop(shards);
        return;
    }
    for (unsigned i = 0; i < shards->count; i += 1) {
        shard_fini(&shards->shards[i]);
    }
    work_close(shards->work);
    const char *what = "";
    if (!sim_node_idle(shards->node, &what)) {
        sim_fail(sim, "%s", what);
    }
}
