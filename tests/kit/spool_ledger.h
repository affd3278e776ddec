/*
 * What a spool was given and what it answered, over any number of crashes; and the judge of what it
 * says after each of them. Messages are numbered; everything in one follows from its number, so a
 * byte that changed is noticed. The first complaint wins: ledger_complaint.
 *
 *   PUT ──► STORED ──► (outcome put) ──► (outcome stored)
 *    └────► FAILED, LATE
 *
 * After a replay: STORED without an outcome must be live, with a stored outcome must not be; what
 * was never answered may be either, and stays what it was found to be: LEFT if it was not there.
 */
#ifndef RINGPOST_TESTS_KIT_SPOOL_LEDGER_H
#define RINGPOST_TESTS_KIT_SPOOL_LEDGER_H

#include "shard/shard.h"
#include "shard/spool/spool.h"

#define LEDGER_MESSAGES_MAX 6000

enum ledger_state {
    LEDGER_NONE,
    LEDGER_PUT,
    LEDGER_STORED,
    LEDGER_REFUSED, /* an answer other than stored; not seen since */
    LEDGER_LEFT,    /* not there after a replay: it must never be seen again */
};

struct ledger;

struct ledger_message {
    struct ledger *ledger;
    uint32_t number;
    uint32_t body_bytes;
    uint8_t state;      /* enum ledger_state */
    enum spool_status status;
    bool outcome_put;
    bool outcome_stored;
    bool found;         /* by the last replay, and not voided */
    bool dead;          /* an outcome was replayed */
    uint16_t recipients;
    struct spool_location location;
    struct id id;
    struct spool_write write;
    struct spool_write outcome_write;
    struct spool_message message;
    struct chain body;
    uint8_t envelope[16];
    uint8_t outcome[64];
    struct slice outcome_slice;
};

struct ledger {
    struct shard *shard; /* of this life */
    struct spool *spool;
    struct block_pool *pool;
    struct id_source ids;
    struct ledger_message *messages; /* LEDGER_MESSAGES_MAX */
    uint32_t count;
    uint32_t state_at;   /* of a checkpoint */
    bool state_named;
    uint32_t in_flight;
    uint32_t stored;     /* answers, over all lives */
    uint32_t refused;
    uint32_t failed;     /* refused with SPOOL_FAILED, and nothing stored since */
    uint32_t outcomes;
    uint32_t last_done;  /* order of answers: numbers only grow */
    uint64_t rows_hash;  /* of the last replay's live rows */
    uint64_t rows_said;  /* by the checkpoint that was read, and have not come */
    bool finished;
    int error;
    char reason[256];
    char complaint[256];
};

void ledger_init(struct ledger *ledger);
void ledger_fini(struct ledger *ledger);
/* A new life: its shard and pool. The replay to hand to spool_start. */
struct spool_replay ledger_begin(struct ledger *ledger, struct shard *shard,
                                 struct block_pool *pool);
/* A process has ended: what it had in flight is forgotten. */
void ledger_crash(struct ledger *ledger);
/* Puts the next message; its number. */
uint32_t ledger_put(struct ledger *ledger, uint32_t body_bytes, uint16_t recipients);
/* Puts the outcome "delivered to all" of a stored message that has none yet. */
void ledger_deliver(struct ledger *ledger, uint32_t number);
/* Is it stored and without an outcome? */
bool ledger_live(const struct ledger *ledger, uint32_t number);
/* A loaded message equals what was put. */
bool ledger_equal(const struct ledger *ledger, uint32_t number, const struct spool_load *load);
void ledger_complain(struct ledger *ledger, const char *format, ...) PRINTF(2, 3);

#endif
