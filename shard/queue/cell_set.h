/*
 * The cells that one user on a shard needs together: asked for together, given back together. What
 * the registry has no room for is asked for again when the user says so. Embedded in its user; all
 * calls on its shard.
 */
#ifndef RINGPOST_SHARD_QUEUE_CELL_SET_H
#define RINGPOST_SHARD_QUEUE_CELL_SET_H

#include "shard/queue/cells.h"

struct cell_set {
    struct shard *shard;         /* borrowed, like the next two */
    struct cell_registry *registry;
    struct cell_request *requests; /* of the user's memory */
    unsigned registrar;
    unsigned capacity;
    unsigned count;
    unsigned held;               /* requests that have their cell */
    unsigned in_flight;
    void (*settled)(struct cell_set *set); /* none is in flight any more; from the loop */
};

/* `requests` has room for `capacity`, and stands until nothing is held or in flight. */
void cell_set_init(struct cell_set *set, struct shard *shard, struct cell_registry *registry,
                   unsigned registrar);
/* One more, before the first cell_set_ask; its number. */
unsigned cell_set_count(struct cell_set *set, const struct cell_key *key);
/* The same of tickets. */
unsigned cell_set_tickets(struct cell_set *set, const struct cell_key *key);
/* The key of a rate's cell. A rate is known by the parts of its name and by what it is: another
 * rate under the same name begins with a full bucket, as in KumoMTA. */
struct cell_key cell_set_rate_key(const struct slice *name, unsigned parts,
                                  const struct rate *rate);
/* One more, with that key. */
unsigned cell_set_rate(struct cell_set *set, const struct slice *name, unsigned parts,
                       const struct rate *rate);

/* Asks for those that it does not hold. Nothing is in flight. `settled` follows. */
void cell_set_ask(struct cell_set *set);
/* Gives back those that it holds, at least one. Nothing is in flight. `settled` follows. */
void cell_set_return(struct cell_set *set);

static inline bool cell_set_whole(const struct cell_set *set)
{
    return set->in_flight == 0 && set->held == set->count;
}

static inline struct cell *cell_set_at(const struct cell_set *set, unsigned i)
{
    return set->requests[i].cell;
}

#endif
