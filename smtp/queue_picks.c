#include "smtp/queue_picks.h"

static bool comes_before(const struct queue_pick *a, const struct queue_pick *b)
{
    return a->order != b->order ? a->order < b->order : a->number < b->number;
}

/* The pick at `at` sinks below those that come after it, among the first `count`. */
static void sink(struct queue_pick *picks, uint32_t count, uint32_t at)
{
    while (2 * at + 1 < count) {
        uint32_t child = 2 * at + 1;
        if (child + 1 < count && comes_before(&picks[child], &picks[child + 1])) {
            child++;
        }
        if (comes_before(&picks[child], &picks[at])) {
            return;
        }
        struct queue_pick swapped = picks[at];
        picks[at] = picks[child];
        picks[child] = swapped;
        at = child;
    }
}

static void rise(struct queue_pick *picks, uint32_t at)
{
    while (at > 0 && comes_before(&picks[(at - 1) / 2], &picks[at])) {
        struct queue_pick swapped = picks[at];
        picks[at] = picks[(at - 1) / 2];
        picks[(at - 1) / 2] = swapped;
        at = (at - 1) / 2;
    }
}

void queue_picks_offer(struct queue_pick *picks, uint32_t *count, uint32_t limit,
                       const struct queue_pick *pick)
{
    if (*count < limit) {
        picks[*count] = *pick;
        rise(picks, (*count)++);
    } else if (comes_before(pick, &picks[0])) {
        picks[0] = *pick;
        sink(picks, *count, 0);
    }
}

void queue_picks_sort(struct queue_pick *picks, uint32_t count)
{
    for (; count > 1; count--) {
        struct queue_pick last = picks[0];
        picks[0] = picks[count - 1];
        picks[count - 1] = last;
        sink(picks, count - 1, 0);
    }
}
