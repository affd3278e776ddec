/*
 * The bodies of the bench: made from a number, checked without knowing it beforehand.
 *
 *   X-Ringpost-Bench: NUMBER SIZE HASH     ten digits, eight digits, sixteen hex digits
 *   From: … To: … Date: … Message-ID: … Subject: (padding)
 *   (empty line)
 *   lines of 64 bytes without dots
 *
 * HASH is XXH3-64, seeded with the number, of every byte that follows the first line, other header
 * fields included. What a relay puts before that line does not matter; any other change does.
 * SIZE counts the whole message as made. Pure; one owner each.
 */
#ifndef RINGPOST_BENCH_BODY_H
#define RINGPOST_BENCH_BODY_H

#include <xxhash.h>

#include "core/buf.h"

#define BODY_SIZE_MIN         320u
#define BODY_SIZE_MAX         (16 * MIB)
#define BODY_HEADER_BYTES_MAX 320
#define BODY_LINE_BYTES       64u
#define BODY_FIELD            "X-Ringpost-Bench: "

struct body_maker {
    uint8_t *text; /* owned: lines that every body is a window of */
    size_t lines;  /* of `text` in front of which a body may begin */
    size_t size;   /* of every message */
    XXH3_state_t *state;
};

/* Allocates. `size` from BODY_SIZE_MIN to BODY_SIZE_MAX; false without memory. */
MUST_USE bool body_maker_init(struct body_maker *maker, size_t size);
void body_maker_fini(struct body_maker *maker);

/*
 * Message `number`: its header goes to `header` (BODY_HEADER_BYTES_MAX), its lines are borrowed
 * from the maker. Together they have maker->size bytes. Its hash.
 */
uint64_t body_make(struct body_maker *maker, uint64_t number, uint8_t *header,
                   struct slice *header_out, struct slice *lines_out);

/* What stands behind BODY_FIELD: number, size and hash. */
#define BODY_VALUES_BYTES 36u
void body_put_values(struct buf *buf, uint64_t number, uint64_t size, uint64_t hash);

enum body_verdict {
    BODY_GOOD,
    BODY_FOREIGN, /* not of the bench */
    BODY_DIFFERS,
};

/* Reads a message in pieces of any size. */
struct body_check {
    uint64_t number;
    uint64_t size;     /* as the message says of itself */
    uint64_t hash;
    uint64_t seen;     /* bytes from the beginning of our line */
    uint8_t stage;
    unsigned line_size; /* bytes of the header line so far, those beyond `line` included */
    uint8_t line[64];
    XXH3_state_t *state; /* owned */
};

/* Allocates its hash state; false without memory. */
MUST_USE bool body_check_init(struct body_check *check);
void body_check_fini(struct body_check *check);
void body_check_begin(struct body_check *check);
void body_check_feed(struct body_check *check, struct slice bytes);
/* After the last piece; number and hash are those of the message unless it is foreign. */
enum body_verdict body_check_end(struct body_check *check);

#endif
