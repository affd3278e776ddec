/*
 * Reading a checkpoint back at start: the heads of a lane's two files, then all blocks of the one
 * that was chosen, in order, several reads in flight. Part of the spool's recovery; its memory goes
 * back when that has ended.
 */
#ifndef RINGPOST_SHARD_SPOOL_CHECKPOINT_READER_H
#define RINGPOST_SHARD_SPOOL_CHECKPOINT_READER_H

#include "shard/shard.h"
#include "shard/spool/checkpoint.h"

#define CHECKPOINT_READS 8

struct checkpoint_reader;

struct checkpoint_read {
    struct op op;
    struct checkpoint_reader *reader;
    uint8_t *data;   /* a block */
    uint32_t number; /* of the block */
    uint32_t filled;
    unsigned tries;  /* in a row that brought nothing */
    bool ready;      /* read, and not looked at */
    bool failed;
};

struct checkpoint_reader {
    struct shard *shard; /* borrowed */
    uint64_t uuid;
    uint16_t lane;
    int fds[CHECKPOINT_FILES]; /* -1: no such file; the spool's */
    struct checkpoint_head heads[CHECKPOINT_FILES];
    bool valid[CHECKPOINT_FILES]; /* its head can be read and is of this lane */
    /* Slices of the entry are borrowed for the call. */
    void (*entry)(struct checkpoint_reader *reader, const struct checkpoint_entry *entry);
    /* From the loop: 0 or a negative errno; -EBADMSG: damaged. */
    void (*done)(struct checkpoint_reader *reader, int error);
    unsigned file;         /* being read */
    bool heading;          /* only its head */
    uint32_t next_begin;   /* block to be asked for */
    uint32_t next_take;    /* block to be looked at */
    unsigned reading;
    int error;
    uint8_t *memory;
    struct checkpoint_read reads[CHECKPOINT_READS];
};

/* Boot. 0 or a negative errno. No file yet. */
MUST_USE int checkpoint_reader_init(struct checkpoint_reader *reader, struct shard *shard,
                                    unsigned lane);
/* Frees memory; the ring has nothing in flight, or is gone. */
void checkpoint_reader_fini(struct checkpoint_reader *reader);

/* Fills heads and valid, then done(0); a file that cannot be read has no valid head. */
void checkpoint_reader_heads(struct checkpoint_reader *reader, uint64_t uuid);
/* Every entry of that file, then done. */
void checkpoint_reader_blocks(struct checkpoint_reader *reader, unsigned file);
/* The valid file of the higher generation; CHECKPOINT_FILES: there is none. */
unsigned checkpoint_reader_newest(const struct checkpoint_reader *reader);

#endif
