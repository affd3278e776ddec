/*
 * Messages read ahead of their turn. While connections are busy, the next batches of their site are
 * taken off the ready queue, and those messages that have to be read from the spool are: in the
 * order of their places there, urgent ones before bulk ones. Whichever connection is free next
 * takes them, in that order.
 *
 * Their rows are hot, but have no token of any rate, and are under nobody's share of the blocks,
 * until they are given to a connection. When connections end, or memory runs short, they go back to
 * where they stood, last ones first, and no attempt is counted. A batch whose message is in memory
 * is not taken: for it no connection waits, nor is one behind it read.
 */
#include "smtp/egress.h"
#include "smtp/transfer_time.h"

/* For each connection that is busy. */
#define AHEAD_BATCHES 2
/* Read in one turn. */
#define AHEAD_TURN_MAX 64

static uint32_t limit_of(const struct egress *egress)
{
    return egress->delivery->stopping ? 0 : AHEAD_BATCHES * egress->busy;
}

/* --- in the lists, and out of them ------------------------------------------------------------ */

/* Neither found nor being read: it has just been chosen. */
static bool is_unread(const struct transfer *transfer)
{
    return transfer->message == NULL && !transfer->loading;
}

static bool lies_before(const struct transfer *a, const struct transfer *b)
{
    const struct slab *rows = &a->delivery->queues->rows;
    const struct row *first = row_at(rows, a->rows[0]);
    const struct row *second = row_at(rows, b->rows[0]);
    return first->segment != second->segment ? first->segment < second->segment
                                             : first->offset_64 < second->offset_64;
}

/* Last of its class, and those that are chosen together in the order of their places. */
static void ahead_put(struct transfer *transfer)
{
    struct egress *egress = transfer->egress;
    struct delivery *delivery = transfer->delivery;
    const struct row *row = row_at(&delivery->queues->rows, transfer->rows[0]);
    struct list *turns = &egress->ahead[row->urgent ? QUEUE_URGENT : QUEUE_BULK];
    struct list *after = turns->prev;
    while (after != turns) {
        const struct transfer *before = CONTAINER_OF(after, struct transfer, turn);
        if (!is_unread(before) || !lies_before(transfer, before)) {
            break;
        }
        after = after->prev;
    }
    list_insert_after(after, &transfer->turn);
    list_push_back(&delivery->ahead, &transfer->link);
    transfer->ahead = true;
    transfer->ahead_bytes = message_block_bytes_for(row->size_64 * 64ull);
    delivery->ahead_bytes += transfer->ahead_bytes;
    egress->ahead_count++;
    egress->ahead_rows += transfer->count;
    counters_add(&delivery->shard->counters, COUNTER_reads_ahead, 1);
}

void egress_ahead_remove(struct transfer *transfer)
{
    if (!transfer->ahead) {
        return;
    }
    transfer->ahead = false;
    transfer->delivery->ahead_bytes -= transfer->ahead_bytes;
    transfer->egress->ahead_count--;
    transfer->egress->ahead_rows -= transfer->count;
    list_remove(&transfer->turn);
    list_remove(&transfer->link);
}

void egress_ahead_drop(struct transfer *transfer)
{
    counters_add(&transfer->delivery->shard->counters, COUNTER_reads_ahead_dropped, 1);
    egress_ahead_remove(transfer);
    transfer_give_back(transfer);
}

void egress_ahead_drop_stopped(struct egress *egress)
{
    const struct queues *queues = egress->delivery->queues;
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        struct list *link = egress->ahead[i].next;
        while (link != &egress->ahead[i]) {
            struct transfer *transfer = CONTAINER_OF(link, struct transfer, turn);
            const struct row *row = row_at(&queues->rows, transfer->rows[0]);
            link = link->next;
            if (!egress_serves(egress, queues_at(queues, row->queue))) {
                egress_ahead_drop(transfer);
            }
        }
    }
}

struct transfer *egress_ahead_take(struct egress *egress, enum queue_class class)
{
    if (list_empty(&egress->ahead[class])) {
        return NULL;
    }
    struct transfer *transfer =
        CONTAINER_OF(egress->ahead[class].next, struct transfer, turn);
    egress_ahead_remove(transfer);
    return transfer;
}

struct transfer *egress_ahead_next(struct egress *egress)
{
    struct transfer *transfer = egress_ahead_take(egress, QUEUE_URGENT);
    if (transfer != NULL || egress->pool->ready.rings[QUEUE_URGENT].weight > 0) {
        return transfer;
    }
    return egress_ahead_take(egress, QUEUE_BULK);
}

/* The last of them, bulk ones first. */
static void drop_last(struct egress *egress)
{
    unsigned class = list_empty(&egress->ahead[QUEUE_BULK]) ? QUEUE_URGENT : QUEUE_BULK;
    egress_ahead_drop(CONTAINER_OF(egress->ahead[class].prev, struct transfer, turn));
}

void egress_ahead_trim(struct egress *egress)
{
    while (egress->ahead_count > limit_of(egress)) {
        drop_last(egress);
    }
}

/* --- reading ---------------------------------------------------------------------------------- */

/* Is the next batch to be read now? For an urgent one a bulk one makes way. */
static bool is_wanted(struct egress *egress)
{
    const struct delivery *delivery = egress->delivery;
    struct ready_queue *ready = &egress->pool->ready;
    uint32_t handle = ready_queue_next(ready, &egress->window, egress_window(egress));
    if (handle == ROW_NONE) {
        return false;
    }
    const struct row *row = row_at(&delivery->queues->rows, handle);
    if (messages_keeps(delivery->messages, row_location(row)) ||
        !delivery_may_read_ahead(delivery, message_block_bytes_for(row->size_64 * 64ull))) {
        return false;
    }
    if (egress->ahead_count < limit_of(egress)) {
        return true;
    }
    if (!row->urgent || list_empty(&egress->ahead[QUEUE_BULK])) {
        return false;
    }
    drop_last(egress);
    return true;
}

/* Those that were chosen are the last of their class. */
static bool read_chosen(struct egress *egress, enum queue_class class)
{
    struct list *turns = &egress->ahead[class];
    struct list *link = turns;
    while (link->prev != turns && is_unread(CONTAINER_OF(link->prev, struct transfer, turn))) {
        link = link->prev;
    }
    while (link != turns) {
        struct transfer *transfer = CONTAINER_OF(link, struct transfer, turn);
        link = link->next;
        if (!transfer_read_ahead(transfer)) {
            return false;
        }
    }
    return true;
}

void egress_ahead_read(struct egress *egress, uint32_t may_go)
{
    /* By halves, so that there are several to sort. */
    bool enough = egress->ahead_count > limit_of(egress) / 2 &&
                  egress->pool->ready.rings[QUEUE_URGENT].weight == 0;
    if (enough || !list_empty(&egress->idle)) {
        return;
    }
    for (unsigned i = 0; i < AHEAD_TURN_MAX && may_go > egress->ahead_rows && is_wanted(egress);
         i++) {
        struct transfer *transfer =
            transfer_take(egress, egress_window(egress), may_go - egress->ahead_rows);
        if (transfer == NULL) {
            break;
        }
        if (transfer_is_expired(transfer)) {
            transfer->cause = TRANSFER_EXPIRE;
            transfer_start(transfer);
        } else {
            ahead_put(transfer);
        }
    }
    if (read_chosen(egress, QUEUE_URGENT)) {
        (void)read_chosen(egress, QUEUE_BULK);
    }
}
