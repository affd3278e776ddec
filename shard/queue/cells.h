/*
 * Limits that all shards of a node share: one cell per limited thing, on a cache line of its own,
 * atomics only. A cell is a count of slots (connections), the arrival time of a rate
 * (core/gcra.h), or a row of tickets. What the limit is stands in the configuration and comes with
 * every call; a cell holds what is used of it.
 *
 * The registry on the TSA shard makes and frees cells by key; a shard asks by mail when it begins
 * to need one and gives it back when it no longer does. A rate's cell outlives its last user until
 * its bucket is full again: else whoever comes next would have the burst once more.
 *
 * Counts. Here stands how many slots are used; who waits for one, and who has it next, is a matter
 * of slots.h.
 *
 * Rates. A shard reserves tokens ahead and sleeps until the instant of the first, so that no two
 * shards wake for one token and none is faster than the others; what it does not use it gives back.
 *
 * Tickets. Numbers from 0 on, each given once: whose turn it is among several, over all shards.
 */
#ifndef RINGPOST_SHARD_QUEUE_CELLS_H
#define RINGPOST_SHARD_QUEUE_CELLS_H

#include <assert.h>
#include <stdatomic.h>

#include "core/gcra.h"
#include "core/htab.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/shard.h"

/* Of a name, by its 128-bit hash: the same in every start. */
struct cell_key {
    uint64_t low;
    uint64_t high;
};

enum cell_kind { CELL_COUNT, CELL_RATE, CELL_TICKETS };

struct slots;

struct cell {
    _Alignas(64) _Atomic uint32_t used;
    _Atomic uint32_t refs;     /* users; written by the registry alone, like all below the next */
    _Atomic uint64_t arrival_ns; /* of tickets: the next one */
    struct slots *slots;       /* of a count of the registry: what waits for it */
    struct cell_key key;
    uint64_t span_ns;          /* of a rate: how long an empty bucket takes to be full */
    uint8_t kind;              /* enum cell_kind */
    bool lasting;              /* a rate whose state is to outlive the process */
};
static_assert(sizeof(struct cell) == 64, "a cell is one cache line");

/* A count: takes a slot while fewer than `limit` are used. Any shard that was given the cell. Those
 * who wait are not asked: theirs is slots.h. Both are sequentially consistent. */
MUST_USE bool cell_take(struct cell *cell, uint32_t limit);
void cell_give(struct cell *cell);

/* How many share it. */
uint32_t cell_users(const struct cell *cell);

/* A rate: gcra_reserve on what all shards share. Any shard that was given the cell. */
struct gcra_grant cell_reserve(struct cell *cell, const struct rate *rate, uint64_t now_ns,
                               uint64_t until_ns, uint64_t want);
/* `count` reserved tokens were not used. */
void cell_refund(struct cell *cell, const struct rate *rate, uint64_t count);

/* The next of its tickets. Any shard that was given the cell. */
uint64_t cell_draw(struct cell *cell);

/* --- registry -------------------------------------------------------------------------------- */

/* `parts` are joined by NUL bytes: no name can be read as another. */
struct cell_key cell_key_of(const struct slice *parts, unsigned count);
static inline bool cell_key_equal(const struct cell_key *a, const struct cell_key *b)
{
    return a->low == b->low && a->high == b->high;
}


/* On the TSA shard. */
struct cell_registry {
    struct shard *shard;  /* borrowed */
    struct pool cells;
    struct pool slots;    /* of the counts among them: an eighth, at least 16 */
    struct htab keys;
    struct timer sweep;   /* once a second: rates that nobody uses and whose bucket is full go */
    struct deferred walk;
    uint32_t walked;      /* cells the walk has looked at */
    /* Of each rate that lasts, and after the last; null: nobody wants to know. From the loop. */
    void (*visit)(struct cell_registry *registry, const struct cell *cell);
    void (*visited)(struct cell_registry *registry);
    void *store;          /* theirs */
};
void cell_registry_init(struct cell_registry *registry, struct shard *shard,
                        struct boot_pages *pages, uint32_t cells_max);
/* No timer and no deferred work of it is left with the shard. */
void cell_registry_fini(struct cell_registry *registry);
/* Walks at once instead of when the second is over; while it walks, begins again. */
void cell_registry_walk(struct cell_registry *registry);
/* Is a walk under way that has looked at some cells? */
bool cell_registry_walking(const struct cell_registry *registry);
/* A rate as it was in an earlier life, nobody's yet. False: no room, or it is there already. */
bool cell_registry_restore(struct cell_registry *registry, const struct cell_key *key,
                           uint64_t arrival_ns, uint64_t span_ns);

/*
 * A request that travels: embedded in whoever wants the cell, in flight until `done`, which runs on
 * the asking shard. `cell` is null when no cell is free. The registry's address is constant for the
 * life of the node.
 */
struct cell_request {
    struct mail mail;
    void (*done)(struct cell_request *request);
    void *context;      /* the user's */
    struct cell_registry *registry;
    unsigned home;      /* index of the asking shard */
    bool in_flight;
    bool lasting;
    uint8_t kind;       /* enum cell_kind */
    struct cell_key key;
    uint64_t span_ns;
    struct cell *cell;  /* out for cell_ask, in for cell_return */
};
/* `registrar` is the index of the TSA shard; what describes the cell, done and registry are set by
 * the caller. */
void cell_ask(struct shard *shard, unsigned registrar, struct cell_request *request);
/* Gives request->cell back; `done` follows too. */
void cell_return(struct shard *shard, unsigned registrar, struct cell_request *request);

#endif
