/* The shards of a simulated process: booted together, stopped in order or dropped. */
#ifndef RINGPOST_TESTS_SIM_SHARDS_H
#define RINGPOST_TESTS_SIM_SHARDS_H

#include "shard/shard.h"
#include "tests/sim/sim.h"

#define SIM_SHARDS_MAX 8

struct sim_shards {
    struct sim_node *node;
    struct work *work;
    unsigned count;
    struct shard *peers[SIM_SHARDS_MAX];
    struct shard shards[SIM_SHARDS_MAX];
};

/* Each has `buffers` (a power of two) provided buffers of `buffer_bytes`. */
void sim_shards_boot(struct sim_shards *shards, struct sim_node *node, unsigned count,
                     uint32_t buffers, uint32_t buffer_bytes);
/*
 * The orderly end, when every service has stopped: fails the run when an op is in flight, a buffer
 * or a descriptor has not come home, a wake was lost or a completion queue overflowed. After a
 * failure it only drops.
 */
void sim_shards_stop(struct sim_shards *shards);
/* After sim_node_kill or sim_node_power_cut: what the process held in memory is gone. */
void sim_shards_drop(struct sim_shards *shards);

#endif
