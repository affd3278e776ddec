/*
 * The payload of an OUTCOME record: what became of the recipients of one transaction. Absolute
 * ("attempts = 3, due = T", never "+1") and keyed by location, so that replaying it twice, or over
 * a later checkpoint, changes nothing. Everything an event needs beside the MESSAGE
 * itself stands here: an event derived from it after a crash is the same to the byte. Pure codec.
 */
#ifndef RINGPOST_SHARD_SPOOL_OUTCOME_H
#define RINGPOST_SHARD_SPOOL_OUTCOME_H

#include "core/buf.h"
#include "core/endpoint.h"
#include "core/id.h"
#include "shard/spool/location.h"

#define OUTCOME_RESPONSE_BYTES_MAX 1024
#define OUTCOME_COMMAND_BYTES_MAX  300
#define OUTCOME_NAME_BYTES_MAX     1024 /* each of peer_name, site, pool, source_name */
#define OUTCOME_BYTES_MAX          (160 * KIB)

/*
 * The bytes, little-endian, without padding:
 *
 *   0  u32 segment, u32 offset_64, u64 event_sequence, u64 wall_ns, u32 delivery_ms,
 *      u16 recipient_count, u16 flags
 *  32  with OUTCOME_CONNECTED: peer (16 bytes, u16 port), source (the same), session (16 bytes)
 *      peer_name, site, pool, source_name: u16 size and that many bytes each
 *
 * and each recipient:
 *
 *   0  u16 index, u8 disposition, u8 flags (OUTCOME_UNCERTAIN, …_SAME_…), u16 attempts, u32 due_s,
 *      u16 code, u8 enhanced[3]
 *  15  unless the same as before: command, response: u16 size and that many bytes each
 */
enum {
    OUTCOME_CONNECTED = 1, /* flag of the head */
    OUTCOME_UNCERTAIN = 1, /* flags of a recipient */
    OUTCOME_SAME_COMMAND = 2,
    OUTCOME_SAME_RESPONSE = 4,
};

enum disposition {
    DISPOSITION_DELIVERED = 1,
    DISPOSITION_DEFERRED = 2, /* TransientFailure: due again at `due_s` */
    DISPOSITION_BOUNCED = 3,
    DISPOSITION_EXPIRED = 4,
    DISPOSITION_ADMIN_BOUNCED = 5, /* by an operator, without an attempt */
};

struct outcome_recipient {
    uint16_t index;
    uint8_t disposition; /* enum disposition */
    bool uncertain;      /* the dot was sent and no reply came (C-15, C-40) */
    uint16_t attempts;   /* attempts made, this one included */
    uint32_t due_s;      /* deferred: wall clock */
    uint16_t code;       /* 250, 451 … */
    uint8_t enhanced[3]; /* all 0: none */
    struct slice command;  /* "." "RCPT TO:<…>" … or empty; ≤ OUTCOME_COMMAND_BYTES_MAX */
    struct slice response; /* text after the codes; ≤ OUTCOME_RESPONSE_BYTES_MAX */
};

struct outcome {
    struct spool_location message;
    uint64_t event_sequence; /* of the first recipient; the n-th has this + n */
    uint64_t wall_ns;
    uint32_t delivery_ms;    /* MAIL sent → outcome; 0 without a connection */
    struct endpoint peer;    /* zero without a connection */
    struct endpoint source;  /* our end */
    struct id session;       /* zero without a connection */
    struct slice peer_name;  /* host name of the peer, may be empty */
    struct slice site;       /* name of the ready queue, e.g. "unspecified->mx.test@smtp_client" */
    struct slice pool;
    struct slice source_name;
    uint16_t recipient_count;
};

/*
 * The head, then exactly recipient_count recipients; a text equal to the one before costs nothing.
 * Write all, then ask buf->overflow once: a transaction with more to say than OUTCOME_BYTES_MAX
 * becomes several outcomes. Longer texts than the maxima are cut.
 */
struct outcome_writer {
    struct buf *buf;
    struct slice last_command;
    struct slice last_response;
};

void outcome_put(struct outcome_writer *writer, struct buf *buf, const struct outcome *outcome);
void outcome_put_recipient(struct outcome_writer *writer,
                           const struct outcome_recipient *recipient);

struct outcome_cursor {
    struct slice rest;
    uint16_t left;
    struct slice last_command;
    struct slice last_response;
};

/* False when the bytes are damaged. Slices are borrowed from `payload`. */
MUST_USE bool outcome_open(struct slice payload, struct outcome *outcome_out,
                           struct outcome_cursor *cursor_out);
/* 1: a recipient; 0: the end; -1: damaged. */
MUST_USE int outcome_next(struct outcome_cursor *cursor, struct outcome_recipient *recipient_out);

#endif
