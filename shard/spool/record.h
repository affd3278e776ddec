/*
 * The bytes of the log: pure codec, no I/O. docs/spool-format.md has the same in tables.
 *
 *   segment file   page 0: SEGMENT header, then groups, each at a multiple of 4096
 *   group          GROUP header (64 bytes), records, zeros up to the next multiple of 4096
 *   record         head (≥ 24 bytes) and, for MESSAGE and BODY, the body after it
 *
 * Little-endian; every length is a multiple of 8; MESSAGE and BODY begin on a multiple of 64 (zeros
 * before them), so that a place is (segment number, offset / 64). A segment number is given once in
 * the life of a lane: it is the epoch by which groups of an earlier use of the file are known.
 *
 * What guards what. The GROUP header guards itself; every record guards its head; a body is guarded
 * by its hash, which stands in the head. All checksums are seeded with the spool's UUID, records
 * carry the low half of their group's sequence: bytes of another spool, of an earlier use of the
 * file or of a group that was torn are told apart without a checksum over the whole group, and no
 * body is read twice to write it. A group is whole when as many records as its header says check,
 * nothing between them fails, and, where it may be torn, every body matches its hash.
 */
#ifndef RINGPOST_SHARD_SPOOL_RECORD_H
#define RINGPOST_SHARD_SPOOL_RECORD_H

#include <xxhash.h>

#include "core/id.h"
#include "core/slice.h"
#include "shard/spool/outcome.h"

/* 1: no CURSOR, no moved MESSAGE, no checkpoints; 2: no events of a moved MESSAGE; 3: no EVENT */
#define RECORD_VERSION         4
#define RECORD_PAGE_BYTES      4096u
#define RECORD_SEGMENT_BYTES   64u /* of the SEGMENT header; the rest of its page is zero */
#define RECORD_GROUP_BYTES     64u /* of the GROUP header */
#define RECORD_GROUP_BYTES_MAX (4 * MIB)
#define RECORD_HEAD_BYTES      24u /* common to all kinds */
#define RECORD_MESSAGE_BYTES   128u /* MESSAGE: fixed header 64, id 16, section table 48 */
#define RECORD_BODY_BYTES      64u
#define RECORD_VOID_BYTES      (RECORD_HEAD_BYTES + 8)
#define RECORD_CURSOR_BYTES    (RECORD_HEAD_BYTES + 16)
#define RECORD_EVENT_BYTES     24u /* of an EVENT's payload: its head */
#define RECORD_PLACE_BYTES     64u /* unit of struct spool_location */

enum record_kind {
    RECORD_MESSAGE = 1,
    RECORD_BODY = 2,    /* a piece of a large body; without a MESSAGE that lists it, nothing */
    RECORD_OUTCOME = 3, /* shard/spool/outcome.h */
    RECORD_EVENT = 4,   /* events without a message */
    RECORD_VOID = 5,    /* one MESSAGE that was refused after it had been written */
    RECORD_CURSOR = 6,  /* the event log is durable up to a position */
    RECORD_ADOPT = 7,   /* rows of another lane; not written yet */
    RECORD_NOTHING = 8, /* withdrawn before its group was written; skippable */
};

enum { RECORD_SKIPPABLE = 1 }; /* a reader that does not know the kind goes on */

enum record_section {
    SECTION_ENVELOPE,
    SECTION_METADATA,
    SECTION_PREPEND,
    SECTION_BODY, /* the body itself, or struct spool_part each (SPOOL_MESSAGE_PARTS) */
    SECTION_DOTS,
    SECTION_CUTS,
    SECTIONS,
};

/* Page 0 of a segment file in use. */
struct record_segment {
    uint16_t version;
    uint16_t lane;
    uint32_t number;
    uint64_t uuid;
    uint64_t wall_ns;
    uint64_t sequence;       /* of its first group */
    uint64_t event_sequence; /* the next one to draw when it was begun */
    uint32_t log_first;      /* see struct record_group */
    uint32_t boot;           /* largest boot number in any id so far */
};

struct record_group {
    uint16_t version;
    uint16_t lane;
    uint32_t segment;
    uint32_t bytes; /* header and records; the next group begins at the next multiple of 4096 */
    uint64_t sequence;       /* contiguous in a lane, but for voided ones */
    uint64_t durable_before; /* all groups below were on stable storage when this was written */
    uint32_t records;
    uint32_t log_first; /* segments below are no part of the log any more */
    uint64_t void_from; /* groups void_from … sequence - 1 were acknowledged to nobody; 0 = none */
    uint64_t wall_ns;
};

/* A record found in a group. Slices borrow from it. */
struct record {
    uint8_t kind;
    uint8_t flags;
    uint32_t offset;     /* from the GROUP header */
    uint32_t bytes;      /* padded */
    struct slice head;   /* what the checksum guards, the checksum included */
    struct slice tail;   /* the rest: a body and its padding */
};

struct record_message {
    struct id id;
    uint64_t created_ns;
    uint64_t event_sequence;          /* 0 of a moved one without events */
    struct spool_location moved_from; /* of a moved one */
    uint64_t body_bytes;
    uint16_t flags; /* SPOOL_MESSAGE_… */
    uint16_t recipient_count;
    XXH128_hash_t body_hash;
    struct slice sections[SECTIONS]; /* a body that is not in memory: data null, size set */
    uint32_t body_offset;            /* from the record's first byte; inline body only */
};

/* The head of an EVENT's payload. */
struct record_event {
    uint64_t event_sequence; /* of its first event; the n-th has this + n */
    uint64_t wall_ns;        /* when they happened */
    uint32_t count;          /* of its events */
};

/* --- writing; `out` has room for the bytes named ---------------------------------------------- */

void record_segment_put(uint8_t out[RECORD_SEGMENT_BYTES], const struct record_segment *segment);
void record_group_put(uint8_t out[RECORD_GROUP_BYTES], const struct record_group *group,
                      uint64_t uuid);

/* How long a MESSAGE will be: head (all but an inline body) and whole, padded. */
struct record_message_size {
    uint64_t head;
    uint64_t bytes;
    uint32_t offsets[SECTIONS];
};
struct record_message_size record_message_size(const uint64_t sizes[SECTIONS], uint16_t flags);
/*
 * The fixed header and the table. The caller fills the sections at size->offsets, zeros the
 * padding (record_message_size.head is where a gap may begin), then seals.
 */
void record_message_put(uint8_t *out, const struct record_message *message,
                        const struct record_message_size *size);
/* A BODY's head; its body follows at RECORD_BODY_BYTES. Sealed by the caller. */
void record_body_put(uint8_t *out, uint64_t body_bytes, XXH128_hash_t hash);
/* A record of `kind` whose payload is copied behind the head; returns its padded length. */
uint32_t record_put(uint8_t *out, enum record_kind kind, struct slice payload);
uint32_t record_put_void(uint8_t *out, struct spool_location message);
uint32_t record_put_cursor(uint8_t *out, struct spool_position cursor);
/* Into a payload that record_put takes; what the events say follows it. */
void record_event_put(uint8_t out[RECORD_EVENT_BYTES], const struct record_event *event);
uint64_t record_bytes(uint64_t payload_bytes);
/* Makes any record one that is passed over. Seal it again. */
void record_withdraw(uint8_t *out);
/* Writes the sequence and the checksum: the last step of every record. */
void record_seal(uint8_t *out, uint64_t sequence, uint64_t uuid);

/* --- reading: false means damaged, or not there ----------------------------------------------- */

MUST_USE bool record_segment_get(struct slice page, struct record_segment *segment_out);
MUST_USE bool record_group_get(struct slice bytes, uint64_t uuid, struct record_group *group_out);

/* Steps through a group: at most `bytes` of its header are looked at, or fewer when cut short. */
struct record_cursor {
    struct slice group;
    uint32_t at;
    uint32_t sequence;
    uint64_t uuid;
};
void record_open(struct record_cursor *cursor, struct slice group, uint64_t uuid,
                 uint64_t sequence);
enum record_step { RECORD_END, RECORD_FOUND, RECORD_DAMAGED };
/*
 * RECORD_DAMAGED: a stretch of bytes that is no record was passed over; `offset` and `bytes` of
 * record_out name it. Kinds that are unknown are found like any other.
 */
enum record_step record_next(struct record_cursor *cursor, struct record *record_out);
/*
 * One record whose first byte stands at bytes.data, of any group: for reading back. With
 * `bytes` cut short after the head, the tail is cut short.
 */
MUST_USE bool record_at(struct slice bytes, uint64_t uuid, struct record *record_out);
/* The two lengths, not yet checked against anything but the limits: how much to read. */
MUST_USE bool record_peek(struct slice bytes, uint32_t *head_out, uint32_t *bytes_out);

MUST_USE bool record_message_get(const struct record *record, struct record_message *message_out);
MUST_USE bool record_body_get(const struct record *record, uint64_t *body_bytes_out,
                              XXH128_hash_t *hash_out);
MUST_USE bool record_void_get(const struct record *record, struct spool_location *message_out);
MUST_USE bool record_cursor_get(const struct record *record, struct spool_position *cursor_out);
/* Payload of the other kinds. */
struct slice record_payload(const struct record *record);
/* Of an EVENT. */
MUST_USE bool record_event_get(struct slice payload, struct record_event *event_out,
                               struct slice *rest_out);
/* Dots and cuts ascend and lie inside the body. */
bool record_message_sound(const struct record_message *message);
/* An inline body, or a BODY's, matches its hash. True for the other kinds. */
bool record_body_matches(const struct record *record);

#endif
