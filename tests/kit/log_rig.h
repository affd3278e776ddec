/* A node of two shards in the simulator: one feeds numbered events, the other writes the log. */
#ifndef RINGPOST_TESTS_KIT_LOG_RIG_H
#define RINGPOST_TESTS_KIT_LOG_RIG_H

#include "tests/sim/sim.h"
#include "tsa/event_log.h"

#define FEED       0 /* shard that makes events */
#define LOG        1 /* shard that keeps the log */

struct log_rig {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *node;
    struct work *work;
    struct shard shards[2];
    struct shard *peers[2];
    struct log_sink sink; /* counts in `said` */
    struct heap heap;
    struct event_log *log;
    struct event_feed feed;
    uint32_t wanted; /* events to put, by number */
    uint32_t put;
    unsigned refusals;
    unsigned said;
};

extern uint64_t log_rig_total_bytes; /* of the logs booted meanwhile: max_total_bytes */

void log_rig_boot(struct log_rig *rig, uint64_t max_file_bytes);
/* The same on a disk and a node of its own. */
void log_rig_init(struct log_rig *rig, struct sim *sim, uint64_t max_file_bytes);
/* Events with numbers below this, as soon as there is room for them. */
void log_rig_put(struct log_rig *rig, uint32_t wanted);
bool log_rig_all_put(void *context);
void log_rig_stop(struct log_rig *rig);
void log_rig_fini(struct log_rig *rig);

#endif
