/*
 * Messages met a moment ago while the log is read again: an outcome mostly stands close behind its
 * message. A ring of bytes, the oldest give way; one that has gone is loaded from the spool.
 */
#ifndef RINGPOST_SMTP_EVENT_RECENT_H
#define RINGPOST_SMTP_EVENT_RECENT_H

#include "shard/spool/location.h"
#include "smtp/event_make.h"

#define EVENT_RECENT_BYTES (2 * MIB)
#define EVENT_RECENT_SLOTS 16384u

struct event_recent {
    uint8_t *ring;  /* EVENT_RECENT_BYTES; borrowed */
    uint64_t *ends; /* EVENT_RECENT_SLOTS by hash: where the entry ends, ever; 0: none */
    uint64_t end;   /* bytes ever taken */
};

/* Bytes of memory, zeroed, that init wants. */
uint64_t event_recent_memory(void);
void event_recent_init(struct event_recent *recent, void *memory);
/* Copies the facts; too large ones are left out. */
void event_recent_put(struct event_recent *recent, struct spool_location location,
                      const struct event_facts *facts);
/* Borrowed until the next put. */
MUST_USE bool event_recent_find(const struct event_recent *recent, struct spool_location location,
                                struct event_facts *facts_out);

#endif
