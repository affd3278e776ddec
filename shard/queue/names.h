/*
 * The names of a shard's scheduled queues: their texts, in multiples of 32 bytes, and the table
 * from a text to the number of its queue. Both grow with what is in them and are booked in the
 * shard's account; texts in chunks of 64 KiB that are not given back, the table by doubling. While
 * it doubles, old and new table stand side by side and every change moves a few entries more: no
 * change takes long, however many names there are. One thread.
 */
#ifndef RINGPOST_SHARD_QUEUE_NAMES_H
#define RINGPOST_SHARD_QUEUE_NAMES_H

#include "core/htab.h"
#include "core/queue_name.h"
#include "shard/account.h"

#define NAME_UNIT_BYTES      32u
#define NAME_CLASSES         ((QUEUE_NAME_BYTES_MAX + NAME_UNIT_BYTES - 1) / NAME_UNIT_BYTES)

/* Where a name stands: kept by whoever has the queue. */
struct queue_name {
    uint32_t text;  /* in units of 32 bytes */
    uint16_t bytes;
};

struct queue_names {
    struct account *account;      /* borrowed from the shard */
    uint8_t *texts;               /* owned: the reserved range */
    uint64_t texts_max;           /* bytes */
    uint64_t booked;
    uint64_t fresh;               /* bytes ever handed out */
    uint32_t free[NAME_CLASSES];  /* first free text of each size + 1; the next stands in it */
    struct htab table;            /* slots owned */
    struct htab old;              /* while it grows: what has not been moved yet; else no slots */
    uint32_t cursor;              /* slots of `old` before it are empty */
};

/*
 * Boot. Names of `count_max` queues at most; `equal` compares a queue's name with a slice, as in
 * core/htab.h. 0 or a negative errno.
 */
MUST_USE int queue_names_init(struct queue_names *names, struct account *account,
                              uint32_t count_max, uint64_t seed, htab_equal *equal,
                              const void *context);
void queue_names_fini(struct queue_names *names);

struct slice queue_names_text(const struct queue_names *names, struct queue_name name);
MUST_USE bool queue_names_find(const struct queue_names *names, struct slice text,
                               uint32_t *number_out);
/* Of at most QUEUE_NAME_BYTES_MAX bytes and not there yet. False: no memory. */
MUST_USE bool queue_names_add(struct queue_names *names, struct slice text, uint32_t number,
                              struct queue_name *name_out);
void queue_names_remove(struct queue_names *names, struct queue_name name);
/* Names there are. */
uint32_t queue_names_count(const struct queue_names *names);

#endif
