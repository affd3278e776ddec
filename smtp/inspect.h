/*
 * Messages and connections shown to an operator: the part of smtp/explain.h that reads the spool.
 *
 *   EXPLAIN_ID       why is this recipient's mail not moving: its own row, its queue's words
 *   INSPECT_MESSAGE  one recipient (or, with index FFFF, the first that is left) by its id
 *   INSPECT_QUEUE    some messages of a scheduled queue
 *   INSPECT_READY    the connections of a ready queue
 *
 * An id leads to its message by its time: rows received within two seconds of it are looked at, and
 * their messages read until one has the id, or INSPECT_READS_MAX have been read. Nothing is kept
 * for that. What is read is read a few at a time, and no row is held meanwhile: one that has
 * changed is left out. Part of delivery; one inspection at a time on each shard.
 */
#ifndef RINGPOST_SMTP_INSPECT_H
#define RINGPOST_SMTP_INSPECT_H

#include "core/json.h"
#include "smtp/delivery.h"

#define INSPECT_LOADS_MAX    16u
#define INSPECT_LIMIT_MAX    1000u       /* messages or connections shown */
#define INSPECT_READS_MAX    4096u       /* of messages, for one id, on each shard */
#define INSPECT_BODY_BYTES   (64 * KIB)  /* of a message, shown */
#define INSPECT_TEXT_BYTES   (1024 * KIB) /* of JSON, from each shard */
#define INSPECT_BYTES_MAX    (INSPECT_TEXT_BYTES + 16 * KIB) /* of an answer */

struct inspection;

/* One message being read. */
struct inspect_slot {
    struct inspection *inspection;
    bool busy;
    bool whole;              /* its body was asked for */
    uint32_t handle;
    struct row row;          /* as it was */
    struct message *message; /* a reference, once it is there */
    struct spool_load load;
};

struct inspect_order {
    bool by_id;          /* else all of `queue` */
    bool wants_body;
    bool wants_text;     /* else only `found` is called */
    struct id id;
    uint32_t queue;      /* number of a scheduled queue */
    uint32_t limit;
};

struct inspection {
    struct delivery *delivery; /* borrowed */
    struct inspect_order order;
    struct deferred step;
    uint32_t next;             /* handle to be looked at next */
    unsigned busy;             /* slots */
    uint32_t shown;
    uint32_t reads;            /* for an id */
    bool over;                 /* no further row is looked at */
    bool cut_short;            /* there is more than is shown, or it could not be read: what an id
                                  has may be among it */
    struct spool_location missed; /* of the message that was read last and has another id */
    /* The owner's: from the loop. A message that is meant, with its row; and the end. */
    void (*found)(struct inspection *inspection, const struct row *row);
    void (*ended)(struct inspection *inspection);
    struct buf text;           /* JSON objects, one behind the other */
    uint32_t ends[INSPECT_LIMIT_MAX]; /* where each of those that are shown ends in it */
    uint8_t *memory;           /* INSPECT_TEXT_BYTES; borrowed */
    uint8_t *body;             /* INSPECT_BODY_BYTES; borrowed */
    struct inspect_slot slots[INSPECT_LOADS_MAX];
};

/* `found` and `ended` are set by the owner. */
void inspection_init(struct inspection *inspection, struct delivery *delivery, uint8_t *memory,
                     uint8_t *body);
/* Before each use, on any shard that has it. */
void inspection_reset(struct inspection *inspection, const struct inspect_order *order);
/* Reads messages, on the mail shard; ends in `ended`. */
void inspection_start(struct inspection *inspection);
/* Connections of an egress, into `text`. */
void inspection_put_site(struct inspection *inspection, const struct egress *egress);

#endif
