#include "shard/mailbox.h"

#include <assert.h>

#include "core/check.h"

#define CELL_MASK (MAILBOX_CELLS - 1)

static_assert((MAILBOX_CELLS & CELL_MASK) == 0, "cells are found by masking");

void mailbox_init(struct mailbox *mailbox)
{
    *mailbox = (struct mailbox){0};
}

/* Writes the next cell, unpublished; false when all cells are taken. */
static bool mailbox_write(struct mailbox *mailbox, struct mail *mail)
{
    uint32_t at = atomic_load_explicit(&mailbox->tail, memory_order_relaxed) + mailbox->pending;
    if (at - mailbox->head_seen == MAILBOX_CELLS) {
        /* Acquire: the consumer has read the cell before we write it again. */
        mailbox->head_seen = atomic_load_explicit(&mailbox->head, memory_order_acquire);
        if (at - mailbox->head_seen == MAILBOX_CELLS) {
            return false;
        }
    }
    mailbox->cells[at & CELL_MASK] = mail;
    mailbox->pending++;
    return true;
}

void mailbox_put(struct mailbox *mailbox, struct mail *mail)
{
    CHECK_SLOW(mail->arrive != NULL);
    mail->next = NULL;
    if (mailbox->overflow_first == NULL) {
        if (mailbox_write(mailbox, mail)) {
            return;
        }
        mailbox->overflow_first = mail;
    } else {
        mailbox->overflow_last->next = mail;
    }
    mailbox->overflow_last = mail;
    mailbox->overflow_count++;
}

bool mailbox_flush(struct mailbox *mailbox)
{
    while (mailbox->overflow_first != NULL) {
        struct mail *mail = mailbox->overflow_first;
        struct mail *next = mail->next;
        if (!mailbox_write(mailbox, mail)) {
            break;
        }
        mailbox->overflow_first = next;
        mailbox->overflow_count--;
    }
    if (mailbox->pending == 0) {
        return false;
    }
    uint32_t tail = atomic_load_explicit(&mailbox->tail, memory_order_relaxed);
    atomic_store_explicit(&mailbox->tail, tail + mailbox->pending, memory_order_seq_cst);
    mailbox->pending = 0;
    return true;
}

bool mailbox_overflowing(const struct mailbox *mailbox)
{
    return mailbox->overflow_first != NULL;
}

unsigned mailbox_drain(struct mailbox *mailbox, struct shard *receiver, unsigned limit)
{
    uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    if (head == mailbox->tail_seen) {
        mailbox->tail_seen = atomic_load_explicit(&mailbox->tail, memory_order_acquire);
    }
    unsigned count = MIN_OF(mailbox->tail_seen - head, limit);
    for (unsigned i = 0; i < count; i++) {
        struct mail *mail = mailbox->cells[(head + i) & CELL_MASK];
        if (i + 1 < count) {
            __builtin_prefetch(mailbox->cells[(head + i + 1) & CELL_MASK]);
        }
        mail->arrive(receiver, mail);
    }
    if (count > 0) {
        atomic_store_explicit(&mailbox->head, head + count, memory_order_release);
    }
    return count;
}

bool mailbox_waiting(const struct mailbox *mailbox)
{
    uint32_t head = atomic_load_explicit(&mailbox->head, memory_order_relaxed);
    return atomic_load_explicit(&mailbox->tail, memory_order_seq_cst) != head;
}
