/*
 * Which references in mail of ours have counted (smtp/reference.h): each counts once, however often
 * its report comes. An id counts when it is not older than ONCE_AGE_NS and of after the start, for
 * what had counted before is not known any more. So many are kept; when all of those are young
 * enough to count, another one does not: nothing is forgotten that could come again. Pure. One
 * thread.
 */
#ifndef RINGPOST_TSA_ONCE_H
#define RINGPOST_TSA_ONCE_H

#include "core/heap.h"
#include "core/htab.h"
#include "core/id.h"

#define ONCE_MAX    65536u
#define ONCE_AGE_NS (24 * 3600 * NS_PER_S)

struct once {
    struct id *ids;     /* a ring of `max` */
    uint32_t max;
    uint32_t first;
    uint32_t count;
    struct htab by_id;  /* → its place in the ring */
    uint64_t since_ms;  /* wall clock */
    uint64_t refused;   /* for want of room */
};

/* Boot: memory in `heap`, which is touched as it fills. */
void once_init(struct once *once, struct heap *heap, uint32_t max, uint64_t seed);
/* Ids of before do not count. */
void once_begin(struct once *once, uint64_t wall_ns);
/* True: it counts, and never again. */
MUST_USE bool once_take(struct once *once, const struct id *id, uint64_t wall_ns);

#endif
