/*
 * A stopped spool, lane by lane, read with plain system calls: nothing is written, no file is made.
 * The lock of the server is held meanwhile, so neither starts while the other works. What counts
 * and what does not is the server's own decision (shard/spool/parser.h). For tools; it blocks and
 * allocates.
 */
#ifndef RINGPOST_TOOLS_SPOOL_READER_H
#define RINGPOST_TOOLS_SPOOL_READER_H

#include "shard/spool/checkpoint.h"
#include "shard/spool/manifest.h"
#include "shard/spool/parser.h"

#define SPOOL_PATH_BYTES 4096

struct spool_reader {
    const char *path; /* borrowed */
    int lock_fd;
    struct manifest manifest;
    struct log_parser parser;
    void *parser_memory;
    char reason[SPOOL_PATH_BYTES + 256]; /* one line, after something was refused */
};

/* False: see reason. */
MUST_USE bool spool_reader_open(struct spool_reader *reader, const char *path);
void spool_reader_close(struct spool_reader *reader);

struct spool_file {
    char name[32];
    unsigned lane;   /* whose records it holds, and in whose directory it stands */
    uint32_t number; /* of the segment in it, as this lane calls it; 0: none */
    uint32_t shift;  /* … minus its number in its records: 0 but for adopted lanes */
    bool blank;      /* nothing was ever written to it */
    bool gone;       /* of an adopted lane: not there, or of another segment */
    uint64_t size;
    struct record_segment header;
};

/*
 * The files of a lane, those without a number first, then by number. Places are as this lane calls
 * them, those in segments of lanes that it has adopted (F-27) too.
 */
struct spool_lane {
    struct spool_reader *reader;
    unsigned lane;
    int dir_fd;
    struct spool_file *files;
    uint32_t count;
    uint32_t log_first;   /* number of the first segment without a checkpoint */
    uint32_t known_first; /* where the newest durable checkpoint began, as headers say */
    uint32_t first;       /* index of the file with log_first or the next one */
    int fd;              /* of files[open], or -1 */
    uint32_t open;
    uint8_t *record;     /* memory of spool_lane_record */
};

/* False: the server would not start with it either; see reader->reason. */
MUST_USE bool spool_lane_open(struct spool_lane *lane, struct spool_reader *reader,
                              unsigned number);
void spool_lane_close(struct spool_lane *lane);
/* A segment of an adopted lane, as a checkpoint names it. */
void spool_lane_adopt(struct spool_lane *lane, const struct checkpoint_segment *entry);
bool spool_lane_adopted(const struct spool_lane *lane, uint32_t file);
/* Index of the segment's file; lane->count: it is not there. */
uint32_t spool_lane_find(const struct spool_lane *lane, uint32_t segment);

/* Who looks at a log. */
struct spool_visitor {
    void *context;
    /* Everything but LOG_MORE and LOG_END. False ends the walk. */
    bool (*item)(void *context, const struct log_item *item);
    /* A page that the device does not give; what was in it counts as zeros. May be null. */
    void (*unreadable)(void *context, uint32_t segment, uint64_t offset, int error);
    /* So many bytes more were read. May be null. */
    void (*progress)(void *context, uint64_t bytes);
};

/*
 * The lane's own log from `begin` on, by the rules of a start; sequence 0: all of it. False: item
 * said so.
 */
bool spool_lane_walk(struct spool_lane *lane, struct spool_position begin,
                     const struct spool_visitor *visitor);
/*
 * One segment by itself, up to the offset `end` (0: all of it). What became of its last group is
 * not known then: it counts when it is whole. With `leniently` every record counts that checks.
 */
bool spool_lane_walk_file(struct spool_lane *lane, uint32_t file, uint64_t end, bool leniently,
                          const struct spool_visitor *visitor);

enum spool_record_status {
    SPOOL_RECORD_GOOD,
    SPOOL_RECORD_MISSING, /* there is no such segment */
    SPOOL_RECORD_DAMAGED,
    SPOOL_RECORD_UNREADABLE,
};
/*
 * The record at a place, borrowed until the next call; `whole`: with its body. Places in it are as
 * its own lane called them.
 */
enum spool_record_status spool_lane_record(struct spool_lane *lane, struct spool_location location,
                                           bool whole, struct record *record_out);

#endif
