/*
 * A stretch of a lane's log read again while the lane is at work: sequential direct reads, a few
 * ahead, into the parser. Asked for items one after another (scan_next); who does not ask holds
 * the reading back. The segment being read is pinned. Memory is taken at boot; pages that are never
 * touched cost nothing. Owned by the shard; calls and callbacks on its thread.
 *
 * The lane may be one that is being adopted: positions and places are then as the adopting lane
 * calls them, sequences are its own.
 */
#ifndef RINGPOST_SHARD_SPOOL_SCAN_H
#define RINGPOST_SHARD_SPOOL_SCAN_H

#include "shard/shard.h"
#include "shard/spool/descriptors.h"
#include "shard/spool/parser.h"

#define SCAN_READS       2
#define SCAN_CHUNK_BYTES (256 * KIB)

struct scan;
struct segment;
struct segments;

struct scan_read {
    struct op op;
    struct scan *scan;
    uint8_t *data;   /* the parser's chunk */
    uint64_t offset; /* in the segment */
    uint32_t size;   /* wanted */
    uint32_t filled;
    unsigned stuck;  /* reads in a row without progress */
    unsigned failures; /* in a row */
    struct timer retry;
    bool careful;    /* page by page, after an error */
    bool ended;      /* all there is has come */
};

struct scan {
    struct shard *shard;
    struct segments *segments; /* borrowed */
    uint64_t uuid;
    unsigned lane;             /* whose segments are read; the others of the log are passed over */
    uint32_t shift;            /* their numbers here, minus those in their records */
    void *memory;
    uint64_t memory_bytes;
    struct log_parser parser;
    struct segment *segment;   /* being read, pinned; null between two */
    struct descriptor_wait wait; /* for its file */
    uint32_t number;           /* of the segment to be read next, or read now */
    struct spool_position from;
    struct spool_position to;
    uint64_t read_at;          /* where the next read begins */
    uint64_t read_end;         /* nothing of this segment is read from here on */
    uint64_t quiet_bytes;      /* taken since the last group was found */
    uint64_t sequence_seen;
    uint8_t state;
    unsigned first;            /* the read whose data comes next */
    unsigned placed;           /* reads that are under way or have come */
    struct scan_read reads[SCAN_READS];
    struct deferred deferred;
    void (*more)(struct scan *scan); /* after scan_next said LOG_MORE: ask again */
};

/* Boot thread. 0 or -ENOMEM. */
MUST_USE int scan_init(struct scan *scan, struct shard *shard,
                       void (*more)(struct scan *scan));
/* Idle. */
void scan_fini(struct scan *scan);

/* Which lane: the one that the segments are of. All of them are known. */
void scan_attach(struct scan *scan, struct segments *segments, uint64_t uuid);
/* The same, and a lane that it adopts; `shift` as in struct segment. Idle. */
void scan_attach_adopted(struct scan *scan, struct segments *segments, uint64_t uuid,
                         unsigned lane, uint32_t shift);
/*
 * Groups from `from` up to `to`. Groups below `durable_before` are known to be durable; 0: only the
 * log says. Idle, or at LOG_END.
 */
void scan_start(struct scan *scan, struct spool_position from, struct spool_position to,
                uint64_t durable_before);
/* LOG_MORE: nothing now, `more` will be called. The item is borrowed until the next call. */
enum log_step scan_next(struct scan *scan, struct log_item *item_out);
/* Reads no further; `more` is not called any more. */
void scan_cancel(struct scan *scan);
/* Bytes of log between two positions, about. */
uint64_t scan_distance(const struct scan *scan, struct spool_position from,
                       struct spool_position to);
/* No read is in flight. After scan_cancel: and no segment is pinned. */
bool scan_idle(const struct scan *scan);

#endif
