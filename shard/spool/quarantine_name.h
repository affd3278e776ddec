/*
 * What a copy of damaged bytes is called: all that is known of them stands in its name, the file
 * holds the bytes alone (docs/spool-format.md). Pure.
 *
 *   lane-000-segment-000012-offset-0000004096-bytes-512-record
 */
#ifndef RINGPOST_SHARD_SPOOL_QUARANTINE_NAME_H
#define RINGPOST_SHARD_SPOOL_QUARANTINE_NAME_H

#include "core/buf.h"

#define QUARANTINE_FOLDER     "quarantine" /* in the spool's */
#define QUARANTINE_NAME_BYTES 128

enum quarantine_reason {
    QUARANTINE_RECORD,  /* found at start: records that do not check */
    QUARANTINE_GROUP,   /* the same: what stands where a group is missing */
    QUARANTINE_MESSAGE, /* found when it was to be sent: a message or a piece of one */
    QUARANTINE_REASONS,
};

struct quarantine_name {
    unsigned lane;
    uint32_t segment; /* its number in that lane */
    uint64_t offset;
    uint64_t bytes;   /* damaged; the file may have fewer */
    enum quarantine_reason reason;
};

/* The word for it, as in the name. */
const char *quarantine_word(enum quarantine_reason reason);
void quarantine_name_put(struct buf *buf, const struct quarantine_name *name);
/* False: it is no such name. */
MUST_USE bool quarantine_name_parse(struct slice text, struct quarantine_name *name_out);

#endif
