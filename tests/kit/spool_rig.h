/*
 * One lane in the simulator: a disk, a process with one shard, and the ledger that judges what the
 * spool says. For test programs: what fails here fails the test that called.
 */
#ifndef RINGPOST_TESTS_KIT_SPOOL_RIG_H
#define RINGPOST_TESTS_KIT_SPOOL_RIG_H

#include "shard/spool/spool.h"
#include "tests/kit/spool_ledger.h"
#include "tests/sim/sim.h"

#define RIG_UUID 0xABCDEF0123456789ull

/* One process with one shard and one lane. */
struct rig {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct ring *ring;
    struct work *work;
    struct shard *shard;
    struct shard *peers[1];
    struct block_pool *pool;
    struct spool *spool;
    struct ledger ledger;
    struct spool_options options;
    unsigned notes;
    char note[512]; /* the last */
    bool stopped;
};

/* A world without a process yet. */
void rig_make(struct rig *rig, struct sim *sim);
/* A process begins; rig_start: and has recovered, or failed to (ledger.error). */
void rig_boot(struct rig *rig);
bool rig_start(struct rig *rig);
/* The process ends, by a kill or for want of power. */
void rig_crash(struct rig *rig, bool power);
void rig_free(struct rig *rig);
/* A world of its own, with a lane that has started and has its first segments. */
void rig_open(struct rig *rig, uint64_t seed, uint64_t swarm);
/* Nothing was to be complained of. */
void rig_close(struct rig *rig);

/* Until all that was put is answered. */
void rig_wait(struct rig *rig);
enum spool_load_status rig_load(struct rig *rig, uint32_t number);
/* Every live message is read back, byte for byte. */
void rig_read_all(struct rig *rig);

#endif
