/*
 * A whole node on real threads, in a folder of its own below the current one, for tests in which
 * threads meet. Asserts as it goes.
 */
#ifndef RINGPOST_TESTS_KIT_NODE_RIG_H
#define RINGPOST_TESTS_KIT_NODE_RIG_H

#include "shard/thread.h"
#include "smtp/node.h"

#define NODE_RIG_SHARDS 2 /* of mail */

struct node_rig {
    char folder[64];
    char file[96]; /* of the configuration: the test's to write */
    struct conf *conf;
    struct node node;
    struct node_rig_runner {
        struct node_rig *rig;
        unsigned index;
    } runners[NODE_RIG_SHARDS + 1];
    struct thread threads[NODE_RIG_SHARDS + 1];
};

/* Makes the folder; then the file is to be written. */
void node_rig_init(struct node_rig *rig);
/* Runs until it is ready. */
void node_rig_start(struct node_rig *rig);
/* Stops, at last with deliveries cut, and removes all of it. */
void node_rig_close(struct node_rig *rig);

void node_rig_pause_ms(long ms);
/* A connection to this port of loopback. */
int node_rig_connect(unsigned port);
/* A message for the recipient, each line after the reply to the one before. */
void node_rig_submit(unsigned port, const char *recipient);

#endif
