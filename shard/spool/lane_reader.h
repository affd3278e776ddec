/*
 * Segments of a lane read at start: large sequential direct reads, several in flight, into the
 * parser's memory. A page that cannot be read is zeros: damage, if a group is missed. Part of
 * recovery; its memory goes back when that has ended.
 */
#ifndef RINGPOST_SHARD_SPOOL_LANE_READER_H
#define RINGPOST_SHARD_SPOOL_LANE_READER_H

#include "shard/shard.h"
#include "shard/spool/parser.h"

#define LANE_READS 4

struct lane_reader;

/* One read in flight; the next one begins where the last of them ends. */
struct lane_read {
    struct op op;
    struct lane_reader *reader;
    uint8_t *data; /* a chunk of the parser's */
    uint64_t offset;
    uint32_t filled;
    unsigned stuck; /* reads in a row without progress */
    bool asked;     /* holds data that has not been taken, or will */
    bool careful;   /* page by page, after an error */
    bool ended;     /* met the end of the file */
};

struct lane_reader {
    struct shard *shard; /* borrowed */
    struct log_parser parser;
    void *memory;
    uint64_t memory_bytes;
    int fd;                /* of the segment being read; borrowed */
    struct lane_read reads[LANE_READS];
    unsigned reading;      /* in flight */
    unsigned next;         /* the one whose data comes next */
    uint64_t offset;       /* where the next read begins */
    bool ended;            /* the file has no more */
    bool stopped;          /* the owner wants no more */
    uint64_t bytes;        /* given to the parser so far */
    /* The parser has got more: all that it can tell is to be taken. False: read no further. */
    bool (*more)(struct lane_reader *reader);
    /* The segment is over, or was stopped; nothing is in flight. From the loop. */
    void (*over)(struct lane_reader *reader);
};

/* Boot. 0 or -ENOMEM. `more` and `over` are set by the owner before the first segment. */
MUST_USE int lane_reader_init(struct lane_reader *reader, struct shard *shard, unsigned lane);
/* Frees memory. */
void lane_reader_fini(struct lane_reader *reader);
/* The parser has been started. Reads this segment from `offset` on, a multiple of 4096. */
void lane_reader_segment(struct lane_reader *reader, int fd, uint32_t number, uint64_t offset);

#endif
