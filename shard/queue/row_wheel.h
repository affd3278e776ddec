/*
 * The wheel of rows: flat, 2^20 slots of one second (12 days), no cascade. A row due later than
 * that stands in the last slot reached and is placed again when it comes up. Time is the shard's
 * steady wall clock in seconds (queues.h), which never jumps. Draining is sliced: row_wheel_next
 * gives one due row at a time and the caller stops when its turn's budget is used.
 */
#ifndef RINGPOST_SHARD_QUEUE_ROW_WHEEL_H
#define RINGPOST_SHARD_QUEUE_ROW_WHEEL_H

#include "shard/queue/rows.h"

#define ROW_WHEEL_SLOTS (1u << 20)
/* Rows placed again in one call of row_wheel_next: after a start millions may stand in one slot. */
#define ROW_WHEEL_MOVES 2048u

struct row_wheel {
    struct slab *rows;  /* borrowed */
    uint32_t *slots;    /* owned: first row of each second, ROW_NONE when empty */
    uint64_t *occupied; /* owned: a bit per slot */
    uint32_t second;    /* all slots before this one are drained */
    uint32_t count;
};

/* Boot. 0 or a negative errno. */
MUST_USE int row_wheel_init(struct row_wheel *wheel, struct slab *rows, uint32_t now_s);
void row_wheel_fini(struct row_wheel *wheel);

/* The row's due_s is set; past times are due at once. */
void row_wheel_put(struct row_wheel *wheel, uint32_t handle);
void row_wheel_remove(struct row_wheel *wheel, uint32_t handle);
/*
 * Takes out one row with due_s <= now_s; ROW_NONE when there is none (left), or when so many were
 * placed again, ROW_WHEEL_MOVES, that the rest waits for the next call: ask row_wheel_drained.
 */
uint32_t row_wheel_next(struct row_wheel *wheel, uint32_t now_s);
static inline bool row_wheel_drained(const struct row_wheel *wheel, uint32_t now_s)
{
    return wheel->second > now_s;
}
/* The earliest second, up to `horizon_s` ahead, in which a row may be due; UINT32_MAX if none. */
uint32_t row_wheel_due(const struct row_wheel *wheel, uint32_t horizon_s);

#endif
