/*
 * One message in memory, between reception and the outcome of its last hot recipient: what was
 * stored, in the blocks in which it was received or into which it was loaded. Read-only once made.
 *
 * Counted references, plain integers, on the home shard: each delivery transaction that
 * sends it and each OUTCOME on its way to the disk holds one, and so does the table below while the
 * message is kept for its first attempt. With the last one the blocks go back; the rows stay, and a
 * later attempt loads the message again.
 */
#ifndef RINGPOST_SMTP_MESSAGE_H
#define RINGPOST_SMTP_MESSAGE_H

#include "core/htab.h"
#include "core/id.h"
#include "core/pool.h"
#include "shard/boot.h"
#include "shard/blocks.h"
#include "shard/spool/spool.h"
#include "smtp/metadata.h"

struct message {
    uint32_t refs;
    uint32_t rows_hot;          /* recipients whose first attempt is still to come, while kept */
    bool kept;                  /* in the table */
    struct list link;           /* kept messages, oldest first */
    struct id id;
    struct spool_location location;
    uint64_t created_ns;
    uint16_t flags;             /* SPOOL_MESSAGE_… */
    uint64_t body_bytes;
    XXH128_hash_t body_hash;
    struct block *head;         /* owned: the slices below point into it */
    struct slice envelope;      /* smtp/envelope.h */
    struct slice metadata;      /* smtp/metadata.h */
    struct slice prepend;
    struct slice cuts;          /* pairs of u32 offset, u32 size, ascending */
    struct slice dots;          /* u32 offsets of body lines beginning with a dot; may stand in a
                                   block of `dots_chain` */
    const struct spool_part *parts; /* in head; a body too large for memory at once */
    uint32_t part_count;
    struct chain body;          /* owned; whole, or empty with parts */
    struct chain dots_chain;    /* owned */
};

/* The shard's messages in memory: their pool, and the table of those kept, by location. */
struct messages {
    struct block_pool *blocks; /* borrowed */
    struct spool *spool;       /* borrowed; set after start */
    struct pool pool;
    struct htab kept;
    struct list by_age;        /* kept messages */
};

/* Boot: `count_max` messages at most. */
void messages_init(struct messages *messages, struct boot_pages *pages, struct block_pool *blocks,
                   uint32_t count_max, uint64_t seed);

/* Empty, one reference. Null: none left. */
MUST_USE struct message *message_new(struct messages *messages);
void message_ref(struct message *message);
void message_unref(struct messages *messages, struct message *message);

/*
 * Keeps a stored message in memory until message_attempted was called for `rows` of its recipients,
 * or messages_shed needs the room. Takes a reference of its own.
 */
void messages_keep(struct messages *messages, struct message *message, uint32_t rows);
void message_attempted(struct messages *messages, struct message *message, uint32_t rows);
/* The kept message at this place, with a reference for the caller; null: it has to be loaded. */
MUST_USE struct message *messages_find(struct messages *messages, struct spool_location location);

/* Is there one? */
bool messages_keeps(const struct messages *messages, struct spool_location location);

/* The message that is kept under this place stands elsewhere now; nobody is sending it. */
void messages_forget(struct messages *messages, struct spool_location location);

/*
 * Forgets the oldest kept messages that nobody is sending until the blocks in use are below
 * `percent` of what may be received into, MESSAGES_SHED_MAX of them in a call: they stand in the
 * spool and are loaded again when their turn comes.
 */
#define MESSAGES_SHED_MAX 4096u
void messages_shed(struct messages *messages, unsigned percent);

/*
 * Of the pool, while it is sent: its own blocks; for a body in parts a piece of it and what one
 * receive had more (BLOCK_RESERVE_UNITS).
 */
uint64_t message_block_bytes(const struct message *message);
/* The same before it is read, of one with such a body. */
uint64_t message_block_bytes_for(uint64_t body_bytes);

/* Of what is sent: prepend and body without its cuts. */
uint64_t message_sent_bytes(struct slice prepend, uint64_t body_bytes, struct slice cuts);

/* Takes over what a load has read; the load is empty afterwards. */
void message_from_load(struct message *message, struct spool_load *load);

#endif
