/*
 * The dialogue of the sink: an SMTP server that takes everything (RFC 5321), as far as its rules do
 * not say otherwise. Bytes in, replies out; knows no socket and no clock. Lenient where a test's
 * subject should not be judged here, strict about line ends: CRLF alone ends a line.
 *
 * One owner, which sets now_ns before each call.
 */
#ifndef RINGPOST_BENCH_SINK_SESSION_H
#define RINGPOST_BENCH_SINK_SESSION_H

#include "bench/ledger.h"
#include "bench/maildir.h"
#include "bench/script.h"
#include "bench/tally.h"

#define SINK_LINE_MAX    4096
#define SINK_REPLIES_MAX 8192
#define SINK_RCPTS_BYTES 65536
#define SINK_REVERSE_MAX 512

/* Which extensions EHLO offers. */
enum bench_mode {
    MODE_ALL, /* everything the sink can do */
    MODE_PLAIN,
    MODE_PIPELINED,
    MODE_BDAT,
};

/* "plain", "pipelined", "bdat", "all". */
MUST_USE bool bench_mode_parse(struct slice text, enum bench_mode *mode_out);

struct sink_rules {
    const char *hostname;
    enum bench_mode mode;
    uint32_t latency_ms; /* before the final reply of each message */
    uint32_t defer_per_mille; /* of recipients: 450 */
    uint32_t bounce_per_mille; /* of recipients: 550 */
    struct script script;
};

enum sink_want {
    SINK_INPUT, /* all input is used up */
    SINK_FLUSH, /* replies must go before there is more */
    SINK_WAIT,  /* wait_ms, then send the replies and go on */
    SINK_CLOSE, /* when the replies have gone */
};

/* A body that was whole and whose final reply, of 2xx, is in `replies`. */
struct sink_receipt {
    bool due;                /* the owner clears it when the reply has gone, or never will */
    struct ledger_entry entry; /* ended_ns is the owner's */
    size_t rcpts_bytes;
    uint8_t rcpts[SINK_RCPTS_BYTES]; /* accepted recipients, NUL-ended */
};

struct sink_session {
    struct sink_rules *rules; /* borrowed, as are the next three */
    struct tally *tally;
    struct prng *prng;
    struct maildir *maildir; /* null: bodies are not kept */
    uint64_t now_ns;
    struct buf replies;      /* the owner sends and resets it */
    uint32_t wait_ms;        /* with SINK_WAIT */
    bool final;              /* a final reply to content stands last in `replies`; the owner
                              * resets it */
    uint8_t state;
    uint8_t dot_stage;       /* how much of CRLF "." CRLF was seen */
    bool bdat;               /* a BDAT transaction */
    bool chunk_last;
    bool chunk_refused;
    bool mail_given;
    bool line_cr;            /* the last byte read of a line was CR */
    unsigned rcpt_count;
    uint64_t chunk_left;
    size_t line_size;
    struct buf rcpts;        /* accepted recipients, NUL-ended */
    struct body_check check;
    struct maildir_message content;
    struct sink_receipt receipt;
    size_t reverse_bytes;
    uint8_t reverse[SINK_REVERSE_MAX];
    uint8_t line[SINK_LINE_MAX];
    uint8_t reply_bytes[SINK_REPLIES_MAX];
    uint8_t rcpt_bytes[SINK_RCPTS_BYTES];
};

/* Once for each piece of memory; allocates. */
MUST_USE bool sink_session_init(struct sink_session *session);
void sink_session_fini(struct sink_session *session);

/* A connection begins: the greeting is in `replies` afterwards. Returns what comes next. */
enum sink_want sink_session_begin(struct sink_session *session);
enum sink_want sink_session_feed(struct sink_session *session, struct slice *input);

#endif
