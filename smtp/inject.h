/*
 * POST /api/inject/v1 on one mail shard: from a request to messages in the spool, and the answer
 * when all of them are durable.
 *
 *   request ──► read, compiled ──► for each message: made ─► content pass ─► intake ──► answer
 *               400, 422, 503                        └── in slices, request by request ──┘
 *
 * A message goes the way of SMTP from its content pass on: the same checks, the same refusals, the
 * same admission, recipient by recipient. Where the content is the same for all, many recipients
 * share one message. What the answer counts as a success is on stable storage; a client that goes
 * away changes nothing: its request is whole, and is carried out whole.
 *
 * Everything is bounded: requests of a shard and their memory, messages of one request that are on
 * their way to the disk, work in one turn. One per shard; all calls on its thread.
 */
#ifndef RINGPOST_SMTP_INJECT_H
#define RINGPOST_SMTP_INJECT_H

#include "core/arena.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/io/http_exchange.h"
#include "shard/metered.h"
#include "smtp/inject_book.h"
#include "smtp/server.h"

#define INJECT_JOBS_MAX 512  /* requests of a shard at a time */
#define INJECT_PUTS_MAX 4096 /* messages of a shard on their way to the disk */
#define INJECT_OPEN_MAX 256  /* … of one request */
#define INJECT_GROUP_MAX 1000 /* recipients of one message */
#define INJECT_KEYED_MAX 1000 /* … of a request with an Idempotency-Key */

struct inject {
    struct shard *shard;     /* borrowed, like all below */
    struct server *server;   /* asked whether mail may come; its doors are ours */
    struct inject_book *book; /* the node's */
    struct cell *rates;      /* inject_rate, of each HTTP listener of the node */
    struct metered memory;   /* of requests, and the room */
    struct pool jobs;        /* struct inject_job */
    XXH3_state_t *hashes;    /* one per job of the pool, by index */
    struct pool puts;        /* struct inject_put */
    struct list ready;       /* jobs that can go on; they take turns */
    struct deferred turn;
    int64_t work;            /* that is left in this turn */
    uint64_t message_bytes_max;
    /* What messages are made in, one after another; held while there is a job. */
    uint8_t *room;
    struct arena texts;
    struct arena scratch;
    struct buf out;
};

/*
 * Boot. `server` and its intake, and `book`, are set; `rates` are shared by all shards, one for
 * each listener; memory_max in bytes.
 */
void inject_init(struct inject *inject, struct server *server, struct cell *rates,
                 uint64_t memory_max, struct boot_pages *pages);
/* The server has another configuration. */
void inject_set_conf(struct inject *inject);
/* Nothing of it runs any more; what requests still hold of the allocator goes. */
void inject_fini(struct inject *inject);

/* Takes the exchange and answers it. */
void inject_handle(struct inject *inject, struct http_exchange *exchange);

/* Bytes in use. */
uint64_t inject_memory(const struct inject *inject);

#endif
