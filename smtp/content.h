/*
 * The fused pass: message content from the wire into assembly blocks, once.
 *
 * In one pass over the input: line ends, the end mark, dot unstuffing, bare CR and LF, line length,
 * the positions of dots at line starts, and what the header section says (header_scan.h). The
 * body is stored unstuffed (RFC 5321 4.5.2), every line ended by CRLF except perhaps the last of
 * BDAT; `dots` lists, as 32-bit little-endian offsets into the body, the lines that begin with a
 * dot and so need one more when sent by DATA. Faults do not stop the pass: it goes on to the true
 * end, so that the reply comes at the right place and nothing of the content is ever read as a
 * command. At the first fault all blocks are given back, and nothing is stored from then on.
 *
 * Only the bytes CR LF are a line end, and only CR LF dot CR LF (or dot CR LF before anything else)
 * is the end: LF dot LF, CR dot CR, CR LF dot LF and their kin end nothing (RFC 5321 2.3.8,
 * 4.1.1.4).
 *
 * Two implementations, scalar and AVX2, chosen in content_begin; both answer alike. Pure but for
 * the block pool. State is carried over any split of the input. Owned by one transaction; one
 * thread.
 */
#ifndef RINGPOST_SMTP_CONTENT_H
#define RINGPOST_SMTP_CONTENT_H

#include "core/base.h"
#include "core/slice.h"
#include "shard/blocks.h"
#include "smtp/header_pick.h"
#include "smtp/header_scan.h"

#include <xxhash.h>

#define CONTENT_LINE_BYTES_MAX 998 /* RFC 5321 4.5.3.1.6, unstuffed, without CRLF */

/* What was wrong with the content; the first fault in this order of rank is the one to report. */
enum content_fault {
    CONTENT_OK,
    CONTENT_TOO_LARGE,  /* 552 5.3.4 */
    CONTENT_NO_MEMORY,  /* 452 4.3.1 */
    CONTENT_BARE_CR_LF, /* 550 5.6.0 */
    CONTENT_LONG_LINE,  /* 550 5.6.0 */
};

enum content_kernel { CONTENT_SCALAR, CONTENT_AVX2 };

/* What the bytes so far leave open. The kernels rely on this order: held-back dots come last. */
enum content_state {
    CONTENT_LINE_START, /* at the very beginning, or after CRLF */
    CONTENT_IN_LINE,
    CONTENT_AFTER_CR, /* the CR is stored: LF must follow */
    CONTENT_DOT,      /* DATA only: a dot at line start is held back: end mark or stuffing */
    CONTENT_DOT_CR,   /* DATA only: dot and CR are held back */
};

struct content {
    struct chain body;       /* owned */
    struct chain dots;       /* owned; uint32_t little-endian each */
    struct block_pool *pool; /* borrowed from the shard */
    XXH3_state_t *hash;      /* borrowed, one per connection; for bodies of many blocks */
    uint64_t size;           /* body bytes so far, also those taken out by content_spill and those
                                not stored after a fault */
    uint64_t hashed;         /* how many went into `hash`; the others are in the last block */
    uint64_t size_max;
    uint64_t size_hint;      /* SIZE= of MAIL; 0 when not given */
    uint32_t line_bytes;     /* of the current line, without its CRLF */
    enum content_state state;
    enum content_kernel kernel;
    enum content_fault fault; /* the highest ranking so far */
    struct header_scan header;
    struct header_pick pick;
};

/*
 * Ready for a new message; what `content` held before must have been dropped. Offsets have 32 bits:
 * a size_max above UINT32_MAX counts as that. `labels` as in header_scan.h; borrowed.
 */
void content_begin(struct content *content, struct block_pool *pool, XXH3_state_t *hash,
                   uint64_t size_max, uint64_t size_hint, const struct conf_label *labels);
/* Fields that are kept of the header (header_pick.h); before the first byte. Borrowed. */
void content_pick(struct content *content, const struct conf_names *names);
/* Gives all blocks back. May be called at any time after content_begin, also twice. */
void content_drop(struct content *content);

/*
 * DATA: consumes from `input` up to and including the end mark CRLF.CRLF (its first CRLF belongs to
 * the body; an end mark at the very beginning is an empty body). True when the end was reached;
 * else all input is consumed. The caller looks at `fault` and `header` then.
 */
MUST_USE bool content_data(struct content *content, struct slice *input);

/*
 * BDAT: takes all of `input` (the caller cuts it at the chunk's size) as body bytes, no unstuffing.
 * Bare CR and LF are faults as in DATA; call content_bdat_end at the end of the LAST chunk.
 */
void content_bdat(struct content *content, struct slice input);
void content_bdat_end(struct content *content);

/*
 * Moves all body blocks so far to the end of `out`, which owns them then; the body goes on, sizes
 * and offsets too. `dots` stays.
 */
void content_spill(struct content *content, struct chain *out);

/*
 * XXH3-128 of the entire body so far, spilled or not; only without a fault. May be asked again,
 * also in between.
 */
XXH128_hash_t content_hash(struct content *content);

/* The refusal of content with this fault, "550 5.6.0 …", constant; null for none. */
const char *content_fault_reply(enum content_fault fault);
/*
 * The same of content that is whole, with as many Received fields as there may be; null when there
 * is nothing against it. A message without the empty line has no header section.
 */
const char *content_refusal(const struct content *content, uint32_t received_max);

/* Test entry points: the same as content_data and content_bdat with one implementation fixed. */
bool content_kernel_supported(enum content_kernel kernel);
MUST_USE bool content_data_with(enum content_kernel kernel, struct content *content,
                                struct slice *input);
void content_bdat_with(enum content_kernel kernel, struct content *content, struct slice input);

#endif
