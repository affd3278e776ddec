/*
 * What several daemons of automation have in force, as one: what any of them has stands in the
 * engine's table (tsa/automation.h) until the last one that had it has it no more, or until its
 * time. Who goes away takes nothing with it. What a rule of our own has caused stays, whatever
 * others say.
 *
 * After a start nobody knows who had what was kept: all are taken to have it, until each has said
 * by a snapshot what it has. Pure; one thread.
 */
#ifndef RINGPOST_TSA_MERGE_H
#define RINGPOST_TSA_MERGE_H

#include "tsa/automation.h"

#define MERGE_SOURCES_MAX 8u

struct merge_holder;

struct merge {
    struct automation *automation; /* borrowed */
    struct merge_holder *holders;  /* by slot of its effects */
    unsigned sources;
};

/* Boot: memory from `heap`. */
void merge_init(struct merge *merge, struct heap *heap, struct automation *automation,
                unsigned sources);
/* The engine's table has come back from a disk. */
void merge_restored(struct merge *merge);

/* A snapshot of this source begins; it is complete, and what it did not have is over there. */
void merge_begin(struct merge *merge, unsigned source);
void merge_complete(struct merge *merge, unsigned source);
/* The source has it. False: there is no room. */
MUST_USE bool merge_hold(struct merge *merge, unsigned source,
                         const struct automation_effect *effect);
/* … has it no more. */
void merge_release(struct merge *merge, unsigned source, const struct automation_effect *effect);

#endif
