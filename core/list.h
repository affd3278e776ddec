/*
 * Intrusive doubly linked list. The node sits in the struct it links; the list owns nothing.
 * A node that is in no list points to itself, so list_remove may be called at any time and
 * list_linked says whether it is in one.
 */
#ifndef RINGPOST_CORE_LIST_H
#define RINGPOST_CORE_LIST_H

#include "core/base.h"

struct list {
    struct list *next;
    struct list *prev;
};

static inline void list_init(struct list *list)
{
    list->next = list;
    list->prev = list;
}

static inline bool list_empty(const struct list *list)
{
    return list->next == list;
}

static inline bool list_linked(const struct list *node)
{
    return node->next != node;
}

static inline void list_insert_after(struct list *position, struct list *node)
{
    node->next = position->next;
    node->prev = position;
    position->next->prev = node;
    position->next = node;
}

static inline void list_push_back(struct list *list, struct list *node)
{
    list_insert_after(list->prev, node);
}

static inline void list_push_front(struct list *list, struct list *node)
{
    list_insert_after(list, node);
}

static inline void list_remove(struct list *node)
{
    node->prev->next = node->next;
    node->next->prev = node->prev;
    list_init(node);
}

/* The first node, taken out; null when the list is empty. */
static inline struct list *list_pop_front(struct list *list)
{
    struct list *node = list->next;
    if (node == list) {
        return NULL;
    }
    list_remove(node);
    return node;
}

/* Moves every node of `from` to the end of `to`; `from` is empty afterwards. */
static inline void list_append_all(struct list *to, struct list *from)
{
    if (list_empty(from)) {
        return;
    }
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

#endif
