/*
 * Reading messages back: aligned reads into a few bounce buffers, copied into blocks, checked
 * against the checksum of the head and the hash of the body. Part of the spool.
 */
#ifndef RINGPOST_SHARD_SPOOL_LOAD_H
#define RINGPOST_SHARD_SPOOL_LOAD_H

#include "shard/spool/quarantine.h"
#include "shard/spool/record.h"
#include "shard/spool/segment.h"

#define LOADS_MAX 32 /* reads in flight */

struct loads;

struct load_slot {
    struct op op;
    struct loads *loads;
    struct spool_load *load; /* null: free */
    struct segment *segment; /* pinned */
    struct descriptor_wait wait;
    uint8_t *data;
    uint64_t place;     /* of the record in the file */
    uint64_t taken;     /* bytes of the record seen so far */
    uint64_t read_at;   /* where the read in flight begins */
    uint32_t head;      /* bytes of the head and of the record; 0 until known */
    uint32_t bytes;
    uint64_t body_left; /* not yet in load->body */
    bool part;          /* a BODY, else a MESSAGE */
    bool opened;        /* the head has been checked */
    bool again;         /* the read is being repeated after an error */
    unsigned stuck;
    uint8_t body_head[RECORD_BODY_BYTES]; /* where the head of a BODY is gathered */
};

struct loads {
    struct shard *shard;
    const struct spool_options *options; /* borrowed */
    struct segments *segments;           /* borrowed */
    struct quarantine *quarantine;       /* borrowed, set by the owner */
    uint64_t uuid;
    uint8_t *memory;
    struct list waiting; /* struct spool_load */
    struct list ended;   /* answered in the deferred step */
    struct deferred deferred;
    unsigned busy;
    struct load_slot slots[LOADS_MAX];
};

MUST_USE int loads_init(struct loads *loads, struct shard *shard,
                        const struct spool_options *options, struct segments *segments,
                        uint64_t uuid);
void loads_fini(struct loads *loads);
/* `part` null: the MESSAGE at load->location, else that piece. */
void loads_put(struct loads *loads, struct spool_load *load, const struct spool_part *part);
bool loads_idle(const struct loads *loads);

#endif
