/*
 * Tables of state on a simulated disk: the twin of shard/state_db.h, a file that is written whole
 * beside the old one. Part of the simulator.
 */
#ifndef RINGPOST_TESTS_SIM_SIM_STATE_H
#define RINGPOST_TESTS_SIM_SIM_STATE_H

#include "shard/state_db.h"

/* What stands in such a file, into `heap`. False: that is none. Nothing is an empty one. */
bool sim_state_read(struct slice bytes, struct heap *heap, struct state_rows *rows_out);
/* The file when these have been written, too. */
struct slice sim_state_write(const struct state_rows *old, const struct state_rows *rows,
                             struct heap *heap);

#endif
