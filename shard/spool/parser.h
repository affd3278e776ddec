/*
 * The log of a lane as a stream of records whose fate is known: bytes of segment files go in, in
 * order of segment number and offset; groups and records come out, in the same order. A group is
 * held back until its successor is known, for that says whether it counts: it may void it, and its
 * durable_before tells torn from damaged (docs/spool-format.md, "Reading it back"). Pure: no I/O,
 * no clock; the caller reads, by whatever means.
 *
 *   log_parser_start
 *   each segment:  log_parser_segment(number, offset)
 *                  log_parser_place ──► read into it ──► log_parser_take, any number of times
 *                  log_parser_segment_end
 *   log_parser_end
 *
 * After every take, segment_end and end: log_parser_next until it says LOG_MORE (LOG_END at the
 * end). A caller with no room for what comes stops calling it for as long as it likes, and goes on
 * where it was: nothing is lost, and only place and take have to wait.
 *
 * A stretch [A, B) of groups known to be durable: start with the sequences of A and B, give the
 * segment from A's offset on, and nothing from B on.
 *
 * Bytes are read to where they are parsed. Copied is what a group has left over at the end of the
 * window, and the held group when its place is needed.
 */
#ifndef RINGPOST_SHARD_SPOOL_PARSER_H
#define RINGPOST_SHARD_SPOOL_PARSER_H

#include "shard/spool/record.h"

enum log_step {
    LOG_MORE,   /* all that was taken is parsed */
    LOG_GROUP,  /* a group that counts; its records follow */
    LOG_RECORD, /* of the last LOG_GROUP; it checks and makes sense */
    LOG_TORN,   /* a group acknowledged to nobody: torn, or voided by a later one */
    LOG_DAMAGE, /* something acknowledged is lost */
    LOG_NEWER,  /* written by a newer version; nothing comes after this */
    LOG_END,
};

/* Bytes of a segment. */
struct log_range {
    uint32_t segment;
    uint64_t offset;
    uint64_t bytes; /* UINT64_MAX: to the end of its file */
};

/* What was found. Slices and pointers are borrowed until the next call for this parser. */
struct log_item {
    enum log_step step;
    uint32_t segment;
    uint64_t offset;  /* in its segment: of the group, the record, the damage */
    uint64_t records; /* DAMAGE: lost; 0: unknown, whole groups are missing before `offset` */
    struct log_range range; /* DAMAGE: what stands where they should; 0 bytes: it is in no file */
    uint32_t bytes;   /* TORN: how many of the group's bytes are there */
    uint16_t version; /* NEWER: of the format; 0: record.kind is what is not known */
    bool voided;      /* TORN: said so by a later group; false: it does not check */
    const struct record_group *group; /* GROUP, RECORD, TORN, DAMAGE in a group */
    struct record record;             /* RECORD */
    struct spool_location location;   /* RECORD: `offset` as a place */
    union {                           /* RECORD, by kind */
        struct record_message message;
        struct outcome outcome;       /* the payload's head; record_payload has all of it */
        struct spool_location voids;
        struct spool_position cursor;
        struct record_event event;    /* the same */
    } is;
};

struct log_group {
    struct record_group header;
    const uint8_t *data;
    uint64_t offset;
    uint32_t size; /* bytes present */
    bool any;
};

/* A group as it stands in its segment. */
struct log_tail {
    uint32_t segment;
    uint64_t offset;
    uint8_t *data;  /* the parser's memory, aligned like a chunk; until the parser starts again */
    uint32_t bytes; /* up to the next group: whole pages */
};

struct log_parser {
    uint64_t uuid;
    uint64_t sequence_max;   /* of any group */
    uint64_t last_sequence;  /* of the last group that counted */
    uint64_t durable_before; /* the highest mark met */
    uint16_t lane;
    /* The rest is the parser's own. */
    uint8_t state;
    bool expecting;          /* the sequence of the next group is known */
    bool segment_ended;
    bool log_ended;
    bool unproven;           /* see log_parser_tail: the held group is one */
    bool short_chunk;        /* the segment has no bytes after those taken */
    uint8_t *held_memory;    /* for the held group; then room before the first chunk; the chunks */
    uint8_t *chunks;
    uint32_t chunk_bytes;
    uint32_t chunk_count;
    uint32_t next_chunk;     /* to be placed; chunk_count stands for 0 */
    uint32_t placed;         /* and not taken */
    uint32_t reads;          /* at most placed */
    uint8_t *at;             /* taken and not parsed, up to `end` */
    uint8_t *end;
    uint64_t at_offset;      /* in the segment */
    uint32_t segment;
    uint64_t segment_offset; /* what of it is given begins there */
    struct log_group held;   /* its successor is not known */
    struct log_group next;   /* its successor */
    struct record_cursor cursor; /* in the held group */
    uint32_t found;
    uint64_t bad_offset; /* from the first record that does not check … */
    uint64_t bad_end;    /* … to the end of the last */
    struct log_item newer;
};

struct log_parser_options {
    uint64_t uuid;
    unsigned lane;
    uint32_t chunk_bytes; /* of one read: a multiple of 4096 */
    uint32_t reads;       /* places taken at the same time */
};

/* How much memory it takes: 8 MiB and what the reads need, a part of it never touched. */
uint64_t log_parser_bytes(const struct log_parser_options *options);
/* `memory` is the caller's, aligned as reads need it, and stays for the parser's life. */
void log_parser_init(struct log_parser *parser, const struct log_parser_options *options,
                     void *memory);

/*
 * Forgets everything. `sequence` is that of the first group to come: a later one is a gap; 0: not
 * known. Groups below `durable_before` are known to have been durable, beside what the log says of
 * itself; 0: none.
 */
void log_parser_start(struct log_parser *parser, uint64_t sequence, uint64_t durable_before);
/* What is placed from here on stands at `offset`, a multiple of 4096, of this segment. */
void log_parser_segment(struct log_parser *parser, uint32_t number, uint64_t offset);
/*
 * Memory for the next chunk_bytes, aligned like the memory of init: contiguous with the chunk
 * before or not. At most `reads` are out.
 */
uint8_t *log_parser_place(struct log_parser *parser);
/*
 * The oldest chunk placed has come, with `size` bytes, a multiple of 4096. Fewer than chunk_bytes:
 * the segment has no more, and what later chunks hold is not looked at.
 */
void log_parser_take(struct log_parser *parser, uint32_t size);
/* A group that is not complete by now is cut. Every chunk has been taken. */
void log_parser_segment_end(struct log_parser *parser);
/* The end of the log, or of the stretch: the held group has no successor. */
void log_parser_end(struct log_parser *parser);

/* The next item; returns its step. */
enum log_step log_parser_next(struct log_parser *parser, struct log_item *item_out);
/*
 * Of a lane that was adopted (F-27): every place in it as the lane calls it that adopted this one,
 * whose numbers of these segments are `shift` higher. Sections and payloads stay as they are.
 */
void log_item_shift(struct log_item *item, uint32_t shift);

/*
 * At LOG_END. Of every group that counts another one says that it was durable, but of the last: it
 * can be read, but whether it is on stable storage nobody knows. False: there is none, for the log
 * is empty, or a group behind the last that counts said it.
 */
MUST_USE bool log_parser_tail(const struct log_parser *parser, struct log_tail *tail_out);

#endif
