/*
 * Records of the event log that are to go to others, kept in memory for a while: a ring of bounded
 * size that all who send them share. Each record has a number, one more than the one before, and
 * its place in the text of the log since the start of the process. The oldest ones give way; who
 * still needed them reads them from the log's files. Pure; one thread.
 */
#ifndef RINGPOST_TSA_OUTBOX_H
#define RINGPOST_TSA_OUTBOX_H

#include "core/slice.h"

#define OUTBOX_RECORDS_MAX 16384u /* a power of two */
#define OUTBOX_BYTES       (8 * MIB)

struct outbox_record {
    struct slice text;   /* with its line end */
    uint64_t begin;      /* where it stands in the log's text */
    uint64_t taken_ns;   /* monotonic */
    uint64_t expires_ns; /* wall clock; 0: never */
};

struct outbox {
    struct outbox_record *records; /* borrowed, like the next one */
    uint8_t *bytes;
    uint32_t at;         /* in `bytes`: behind the newest record */
    uint64_t oldest;     /* number */
    uint64_t next;       /* number of the one that comes next */
    uint64_t gone;       /* in the log's text: all records that begin before it have given way */
};

/* Memory for outbox_init; touched as needed. */
#define OUTBOX_MEMORY (OUTBOX_RECORDS_MAX * sizeof(struct outbox_record) + OUTBOX_BYTES)
void outbox_init(struct outbox *outbox, void *memory);
/* `record` has at most OUTBOX_BYTES / 4; its text is copied. */
void outbox_put(struct outbox *outbox, const struct outbox_record *record);
/* oldest ≤ number < next; until the next outbox_put. */
const struct outbox_record *outbox_at(const struct outbox *outbox, uint64_t number);
/* The first record that begins at `begin` or behind; `next` when there is none. `gone` ≤ begin. */
uint64_t outbox_find(const struct outbox *outbox, uint64_t begin);

#endif
