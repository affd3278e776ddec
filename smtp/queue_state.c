#include "smtp/queue_state.h"

static_assert(QUEUE_NAME_BYTES_MAX == CHECKPOINT_NAME_BYTES_MAX, "every queue can be named");

/* Handles looked at in a turn. */
#define WALK_MAX 2048u
/* Of a queue's entry, name included, about. */
#define QUEUE_BYTES 64u

static void state_begin(void *context)
{
    struct queue_state *state = context;
    state->next = 0;
    state->checkpoint++;
}

/* False: no room; nothing of the row was put, or its queue's name alone. */
static bool put_row(struct queue_state *state, struct checkpoint_block *block,
                    const struct row *row)
{
    struct sched_queue *queue = queues_at(state->queues, row->queue);
    if (queue->named != state->checkpoint) {
        struct slice name = sched_queue_name(state->queues, queue);
        if (!checkpoint_put_queue(block, queue->number, name)) {
            return false;
        }
        queue->named = state->checkpoint;
    }
    const struct checkpoint_row copy = {
        .location = row_location(row),
        .recipient = row->recipient,
        .attempts = row->attempts,
        .queue = row->queue,
        .due_s = row->due_s,
        .created_s = row->created_s,
        .size_64 = row->size_64,
        .urgent = row->urgent,
        .scheduled = row->scheduled,
    };
    return checkpoint_put_row(block, &copy);
}

static bool is_stored(const struct row *row)
{
    return row->state != ROW_FREE && row->state != ROW_NEW;
}

static bool state_put(void *context, struct checkpoint_block *block)
{
    struct queue_state *state = context;
    const struct slab *rows = &state->queues->rows;
    uint32_t end = MIN_OF(state->next + WALK_MAX, rows->fresh);
    for (; state->next < end; state->next++) {
        const struct row *row = row_at(rows, state->next);
        if (is_stored(row) && !put_row(state, block, row)) {
            return true;
        }
    }
    return state->next < rows->fresh;
}

static uint64_t state_bytes(void *context)
{
    const struct queues *queues = ((struct queue_state *)context)->queues;
    return (uint64_t)queues->rows.used * CHECKPOINT_ENTRY_BYTES +
           (uint64_t)queues->sched.used * QUEUE_BYTES;
}

void queue_state_init(struct queue_state *state, struct queues *queues,
                      struct spool_state *state_out)
{
    *state = (struct queue_state){.queues = queues};
    *state_out = (struct spool_state){
        .context = state,
        .begin = state_begin,
        .put = state_put,
        .bytes = state_bytes,
    };
}
