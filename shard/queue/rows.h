/*
 * A row is all we keep in memory of a queued recipient: 48 bytes, indices instead of pointers, no
 * object per message. Its message is found by location. A row is in one place at a time,
 * which its state names; the links belong to that place.
 */
#ifndef RINGPOST_SHARD_QUEUE_ROWS_H
#define RINGPOST_SHARD_QUEUE_ROWS_H

#include <assert.h>

#include "core/base.h"
#include "shard/queue/slab.h"
#include "shard/spool/outcome.h"

#define ROW_NONE SLAB_NONE

enum row_state {
    ROW_FREE = 0, /* no row; what else stands there means nothing */
    ROW_NEW,      /* in no list; its message is not stored yet, or being recovered */
    ROW_WAITING,  /* in the wheel until due_s */
    ROW_DUE,      /* in its queue's due list */
    ROW_HOT,      /* handed to a delivery */
    ROW_HELD,     /* in no list of the queues: its outcome is being stored, its message is written
                     again, or the request that injected it is not answered yet */
};

struct ready_window;

struct row {
    uint32_t segment;
    uint32_t offset_64;
    uint16_t recipient; /* index in the envelope */
    uint16_t attempts;  /* made so far */
    uint32_t queue;     /* scheduled queue's number */
    uint32_t due_s;     /* seconds since 1970 */
    uint32_t created_s;
    union {
        struct {
            uint32_t queue_next; /* due list */
            uint32_t queue_prev;
        };
        struct ready_window *window; /* while it is hot: whose it is. Borrowed; wherever
                                        its queue is routed meanwhile */
    };
    uint32_t wheel_next; /* slot of the wheel */
    uint32_t wheel_prev;
    uint32_t size_64; /* of the message, in units of 64 bytes */
    uint8_t urgent;
    uint8_t state; /* enum row_state */
    uint8_t unreadable; /* its message could not be read back: it is not written again */
    uint8_t scheduled;  /* its message says when it may be sent: that is known with it */
};
static_assert(sizeof(struct row) == 48, "a queued recipient costs 48 bytes");

static inline struct row *row_at(const struct slab *rows, uint32_t handle)
{
    return (struct row *)slab_at(rows, handle);
}

static inline struct spool_location row_location(const struct row *row)
{
    return (struct spool_location){.segment = row->segment, .offset_64 = row->offset_64};
}

/* A list of rows by their queue links; the handles live in the owner. */
struct row_list {
    uint32_t first;
    uint32_t last;
    uint32_t count;
};

void row_list_init(struct row_list *list);
void row_list_push_back(const struct slab *rows, struct row_list *list, uint32_t handle);
void row_list_push_front(const struct slab *rows, struct row_list *list, uint32_t handle);
void row_list_remove(const struct slab *rows, struct row_list *list, uint32_t handle);

#endif
