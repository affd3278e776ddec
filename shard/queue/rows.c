#include "shard/queue/rows.h"

#include "core/check.h"

void row_list_init(struct row_list *list)
{
    *list = (struct row_list){.first = ROW_NONE, .last = ROW_NONE};
}

void row_list_push_back(const struct slab *rows, struct row_list *list, uint32_t handle)
{
    struct row *row = row_at(rows, handle);
    row->queue_next = ROW_NONE;
    row->queue_prev = list->last;
    if (list->last == ROW_NONE) {
        list->first = handle;
    } else {
        row_at(rows, list->last)->queue_next = handle;
    }
    list->last = handle;
    list->count++;
}

void row_list_push_front(const struct slab *rows, struct row_list *list, uint32_t handle)
{
    struct row *row = row_at(rows, handle);
    row->queue_prev = ROW_NONE;
    row->queue_next = list->first;
    if (list->first == ROW_NONE) {
        list->last = handle;
    } else {
        row_at(rows, list->first)->queue_prev = handle;
    }
    list->first = handle;
    list->count++;
}

void row_list_remove(const struct slab *rows, struct row_list *list, uint32_t handle)
{
    struct row *row = row_at(rows, handle);
    CHECK(list->count > 0);
    if (row->queue_prev == ROW_NONE) {
        list->first = row->queue_next;
    } else {
        row_at(rows, row->queue_prev)->queue_next = row->queue_next;
    }
    if (row->queue_next == ROW_NONE) {
        list->last = row->queue_prev;
    } else {
        row_at(rows, row->queue_next)->queue_prev = row->queue_prev;
    }
    list->count--;
}
