/*
 * Lanes of shards that are gone, taken over at a start (F-27): each is recovered like a lane of our
 * own, without writing anything there, its segments get new numbers behind ours, and what it tells
 * is told under those. Nothing counts before a checkpoint of the next epoch and the manifest of
 * that epoch are durable: until then each lane is its own, and all begins anew after a crash.
 *
 * What stands behind a lane's cursor is left as a tail: its events, whose ids carry that lane's
 * number, are to be in the event log before the manifest changes. Part of the spool's start.
 */
#ifndef RINGPOST_SHARD_SPOOL_ADOPT_H
#define RINGPOST_SHARD_SPOOL_ADOPT_H

#include "shard/spool/recover.h"

struct adopt {
    struct shard *shard;
    const struct spool_options *options; /* borrowed, like all below: of the lane that adopts */
    const struct spool_replay *replay;
    struct segments *segments;
    struct pieces *pieces;
    struct quarantine *quarantine;
    struct spool_recovery *counts;       /* added to */
    uint64_t uuid;
    unsigned at;                         /* of options->foreign */
    struct spool_options foreign_options; /* of the lane being adopted, like the next two */
    struct segments foreign;
    struct recover recover;
    struct spool_tail tails[MANIFEST_LANES_MAX]; /* out */
    unsigned tail_count;
    bool busy;                           /* they hold memory */
    unsigned closing;                    /* the next checkpoint file */
    struct work_job job;
    struct timer retry;
    struct deferred step;
    int error;
    char reason[256];
    void (*done)(struct adopt *adopt);   /* from the loop; error, reason */
};

/* The fields above `at` are set. */
void adopt_start(struct adopt *adopt, void (*done)(struct adopt *adopt));
/* Frees memory; any number of times, started or not. */
void adopt_fini(struct adopt *adopt);

#endif
