/*
 * The bytes of a checkpoint: the state of a lane's queues at a position of its log. Two
 * files per lane, `checkpoint-0` and `checkpoint-1`, written in turn. Pure codec, no I/O.
 *
 *   file     blocks of 64 KiB: block 0 holds the HEAD alone, the others entries
 *   block    header (64 bytes: checksum, magic, version, lane, generation, number, bytes), entries,
 *            zeros
 *   entry    32 bytes, the last of them its kind; a queue's name and a message's pieces go on
 *            behind it, padded to 32 with zeros
 *
 * Little-endian; docs/spool-format.md has the tables. Every checksum is seeded with the spool's
 * UUID and covers the whole block and with it the generation: blocks of an earlier checkpoint in
 * the same file, or of another spool, are told apart. The HEAD is taken out before a file is
 * written again, and written last, when all other blocks are on stable storage: a HEAD that checks
 * promises the rest, and a block that does not check then is damage.
 *
 * Entries are absolute and keyed by location. The copy is fuzzy: rows change while it is made, and
 * the log from the HEAD's position on, replayed over it, puts that right. A queue is named before
 * the first row that refers to its number; a number may be named again, for the rows behind it.
 */
#ifndef RINGPOST_SHARD_SPOOL_CHECKPOINT_H
#define RINGPOST_SHARD_SPOOL_CHECKPOINT_H

#include "core/slice.h"
#include "shard/spool/location.h"

#define CHECKPOINT_FILES        2
#define CHECKPOINT_VERSION      1
#define CHECKPOINT_BLOCK_BYTES  (64 * KIB)
#define CHECKPOINT_HEADER_BYTES 64u
#define CHECKPOINT_ENTRY_BYTES  32u
#define CHECKPOINT_HEAD_BYTES   4096u /* what is read and written of block 0 */

#define CHECKPOINT_NAME_BYTES_MAX 720u
/*
 * Segments that one message's pieces may stand in: 16,360, what an empty block has room for. A
 * message lists fewer pieces than that (SPOOL_HEAD_BYTES_MAX).
 */
#define CHECKPOINT_PIECES_MAX                                                                      \
    ((CHECKPOINT_BLOCK_BYTES - CHECKPOINT_HEADER_BYTES - CHECKPOINT_ENTRY_BYTES) / 4)

/* Block 0. */
struct checkpoint_head {
    uint16_t version; /* when read: look at it before the rest */
    uint16_t lane;
    uint32_t generation;          /* the higher one of two is the newer checkpoint */
    uint32_t blocks;              /* behind block 0 */
    uint64_t rows;
    struct spool_position begin;  /* replay goes on from here */
    struct spool_position cursor; /* events of groups before are durable in the event log */
    uint64_t event_sequence;      /* the next one to draw */
    uint32_t next_segment;        /* the next number to give */
    uint32_t boot;                /* largest boot number in any id so far */
    uint32_t epoch;               /* counts only when the manifest's is as high (F-27) */
    uint64_t wall_ns;
};

enum checkpoint_kind {
    CHECKPOINT_END = 0, /* zeros behind the last entry; as an entry it is damage */
    CHECKPOINT_ROW = 1,
    CHECKPOINT_QUEUE = 2,
    CHECKPOINT_PIECES = 3,  /* a live message whose body stands in BODY records */
    CHECKPOINT_SEGMENT = 4, /* a file that holds live messages */
};

/* A queued recipient. */
struct checkpoint_row {
    struct spool_location location;
    uint16_t recipient;
    uint16_t attempts;
    uint32_t queue;
    uint32_t due_s;
    uint32_t created_s;
    uint32_t size_64;
    uint8_t urgent;
    uint8_t scheduled;
};

/* Numbers of the segments in which pieces of this message's body stand, each once. */
struct checkpoint_pieces {
    struct spool_location location;
    uint32_t count;        /* 1 … CHECKPOINT_PIECES_MAX */
    struct slice segments; /* u32 each */
};

struct checkpoint_segment {
    uint32_t number;      /* in locations */
    uint32_t slot;        /* of the file's name */
    uint16_t lane;        /* in whose directory it stands, and whose records it holds */
    uint32_t lane_number; /* its number there */
    uint32_t rows_total;  /* recipients ever stored in it */
};

struct checkpoint_entry {
    enum checkpoint_kind kind;
    union {
        struct checkpoint_row row;
        struct checkpoint_pieces pieces;
        struct checkpoint_segment segment;
        struct {
            uint32_t number;
            struct slice name;
        } queue;
    };
};

/* --- writing ---------------------------------------------------------------------------------- */

/* A block being filled. */
struct checkpoint_block {
    uint8_t *data; /* CHECKPOINT_BLOCK_BYTES; borrowed */
    uint32_t size; /* header included */
    uint32_t rows; /* among its entries */
    bool full;     /* something found no room */
};

void checkpoint_block_begin(struct checkpoint_block *block, uint8_t *data);
/*
 * False: no room, nothing was put, and block->full says so. An empty block has room for any one
 * entry that is legal.
 */
MUST_USE bool checkpoint_put_row(struct checkpoint_block *block, const struct checkpoint_row *row);
/* A name has 1 … CHECKPOINT_NAME_BYTES_MAX bytes. */
MUST_USE bool checkpoint_put_queue(struct checkpoint_block *block, uint32_t number,
                                   struct slice name);
MUST_USE bool checkpoint_put_pieces(struct checkpoint_block *block,
                                    const struct checkpoint_pieces *pieces);
MUST_USE bool checkpoint_put_segment(struct checkpoint_block *block,
                                     const struct checkpoint_segment *segment);
/* Zeros the rest, writes the header. `number` ≥ 1. */
void checkpoint_block_seal(struct checkpoint_block *block, uint64_t uuid, uint16_t lane,
                           uint32_t generation, uint32_t number);
/* The whole of what is written of block 0. */
void checkpoint_head_put(uint8_t out[CHECKPOINT_HEAD_BYTES], const struct checkpoint_head *head,
                         uint64_t uuid);

/* --- reading: false means damaged, or not there ----------------------------------------------- */

/*
 * `bytes` is the beginning of the file. Versions other than ours are returned too, for the caller
 * to refuse: only version, lane and generation mean something then.
 */
MUST_USE bool checkpoint_head_get(struct slice bytes, uint64_t uuid,
                                  struct checkpoint_head *head_out);

struct checkpoint_cursor {
    struct slice rest;
};
/* Checks the whole of block `number` (1 … head->blocks); the cursor stands on its first entry. */
MUST_USE bool checkpoint_open(struct slice block, uint64_t uuid, const struct checkpoint_head *head,
                              uint32_t number, struct checkpoint_cursor *cursor_out);
/* 1: an entry, its slices borrowed from the block; 0: the end; -1: damaged, no more of it. */
MUST_USE int checkpoint_next(struct checkpoint_cursor *cursor, struct checkpoint_entry *entry_out);

#endif
