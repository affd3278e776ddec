/*
 * Asks a server for what `ringpost top` shows, once a second: metrics, then queues. Waits together
 * with the keyboard, so that neither holds up the other. One thread.
 */
#ifndef RINGPOST_TOOLS_TOP_FEED_H
#define RINGPOST_TOOLS_TOP_FEED_H

#include "tools/dialogue.h"
#include "tools/top_model.h"

enum top_feed_step { TOP_FEED_WAIT, TOP_FEED_METRICS, TOP_FEED_QUEUES };

struct top_feed {
    struct endpoint_client *client; /* borrowed */
    struct json_reader *reader;
    struct top_model *model;        /* borrowed */
    enum top_feed_step step;
    bool asked_ready;               /* what the listing that is on its way is of */
    uint64_t next_ns;               /* the next round begins */
    unsigned rounds;                /* that are over, whatever came */
    void *memory[2];                /* of metrics, and of the listing that the model borrows */
};

void top_feed_init(struct top_feed *feed, struct endpoint_client *client,
                   struct top_model *model);
void top_feed_fini(struct top_feed *feed);
/* Begins the next round now, as something else is wanted. */
void top_feed_hurry(struct top_feed *feed);
/* Waits until something came, `fd` can be read (-1: none), or a moment is over. */
void top_feed_turn(struct top_feed *feed, int fd);

#endif
