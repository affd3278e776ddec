/*
 * What is queued in a lane, as a start of the server would find it: rows of a checkpoint, then the
 * log from its beginning on; without a checkpoint all of the log. For tools; it allocates.
 */
#ifndef RINGPOST_TOOLS_LANE_STATE_H
#define RINGPOST_TOOLS_LANE_STATE_H

#include "core/htab.h"
#include "shard/spool/checkpoint.h"
#include "shard/spool/parser.h"

#define STATE_NONE UINT32_MAX

struct state_row {
    uint32_t next; /* of the same message, or of the free ones */
    uint32_t due_s; /* 0: never tried, or its last attempt left no outcome */
    uint16_t recipient;
    uint16_t attempts;
};

struct state_message {
    struct spool_location location;
    uint32_t first; /* row; STATE_NONE: this entry is free */
    uint32_t next;  /* of the free ones */
};

struct lane_state {
    struct state_message *messages;
    uint32_t message_count; /* free ones included */
    uint32_t message_room;
    uint32_t message_free;
    struct state_row *rows;
    uint32_t row_count;
    uint32_t row_room;
    uint32_t row_free;
    struct htab index; /* location → place in `messages` */
    uint32_t live_messages;
    uint64_t live_rows;
};

void lane_state_init(struct lane_state *state);
void lane_state_fini(struct lane_state *state);

void lane_state_checkpoint(struct lane_state *state, const struct checkpoint_row *row);
/* A record of the log, one after another. */
void lane_state_record(struct lane_state *state, const struct log_item *item);
/* Places in `messages` of all that are queued, by location; the caller's, to be freed. */
uint32_t *lane_state_order(const struct lane_state *state);

#endif
