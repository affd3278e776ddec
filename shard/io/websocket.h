/*
 * WebSocket frames (RFC 6455), as server or client: bytes in, messages out, and frames of what is
 * to be said. wslay reads and writes frames; here are the rules between them: fragments become one
 * message, masks are where they have to be, text is UTF-8, and nothing is larger than was allowed.
 * No socket, clock or handshake but for the key. One owner, one thread.
 */
#ifndef RINGPOST_SHARD_IO_WEBSOCKET_H
#define RINGPOST_SHARD_IO_WEBSOCKET_H

#include <wslay/wslay.h>

#include "core/buf.h"

#define WEBSOCKET_CONTROL_MAX   125 /* payload of ping, pong and close (RFC 6455 5.5) */
#define WEBSOCKET_OVERHEAD      14  /* of a frame, beside its payload */
#define WEBSOCKET_ACCEPT_BYTES  28
#define WEBSOCKET_KEY_BYTES     24

enum websocket_role { WEBSOCKET_SERVER, WEBSOCKET_CLIENT };

enum websocket_step {
    WEBSOCKET_MORE, /* all input is taken, and nothing is whole */
    WEBSOCKET_TEXT, /* a message: websocket_message */
    WEBSOCKET_PING, /* websocket_control: to be sent back as a pong */
    WEBSOCKET_PONG,
    WEBSOCKET_CLOSE, /* `code` and perhaps words; to be answered with a close, then all is over */
    WEBSOCKET_BAD,   /* a violation: close with `code`. Never anything else from here on */
};

/* RFC 6455 7.4.1 */
enum {
    WEBSOCKET_CODE_NORMAL = 1000,
    WEBSOCKET_CODE_GOING_AWAY = 1001,
    WEBSOCKET_CODE_PROTOCOL = 1002,
    WEBSOCKET_CODE_TYPE = 1003,
    WEBSOCKET_CODE_TEXT = 1007,
    WEBSOCKET_CODE_POLICY = 1008,
    WEBSOCKET_CODE_TOO_BIG = 1009,
    WEBSOCKET_CODE_TRY_AGAIN = 1013,
    WEBSOCKET_CODE_NONE = 1005, /* never sent: the other end gave none */
};

struct websocket {
    wslay_frame_context_ptr frames; /* owned; null: not begun */
    enum websocket_role role;
    struct slice input;             /* while websocket_feed runs */
    struct buf *output;             /* while a frame is put */
    uint8_t *message;               /* borrowed, `message_max` bytes */
    size_t message_max;
    size_t message_bytes;
    uint8_t opcode;                 /* of the message that is coming; 0: none is */
    bool in_frame;
    bool whole;                     /* the message has been given out: the next one begins anew */
    bool bad;
    uint64_t frame_left;            /* payload */
    uint16_t code;                  /* of WEBSOCKET_CLOSE and _BAD */
    uint8_t control_bytes;
    uint8_t control[WEBSOCKET_CONTROL_MAX];
    uint64_t mask_state;            /* of a client: the next mask */
};

/*
 * `message` is the memory for what comes, `bytes` the most that a message may have. `seed` makes a
 * client's masks: drawn at random, so that what is in between cannot be led by what we say (RFC
 * 6455 10.3). False: no memory.
 */
MUST_USE bool websocket_init(struct websocket *websocket, enum websocket_role role, void *message,
                             size_t bytes, uint64_t seed);
/* Also of one that is all zero. */
void websocket_fini(struct websocket *websocket);

/*
 * Takes input up to the end of a message or control frame; to be called again until it says MORE.
 * All of `input` is taken by then.
 */
MUST_USE enum websocket_step websocket_feed(struct websocket *websocket, struct slice *input);
/* The text after WEBSOCKET_TEXT, the payload of a control frame; until the next feed. */
struct slice websocket_message(const struct websocket *websocket);
struct slice websocket_control(const struct websocket *websocket);

/* One frame. False: it does not fit, and nothing of it was put. */
MUST_USE bool websocket_put_text(struct websocket *websocket, struct buf *output,
                                 struct slice text);
/* Ping or pong; at most WEBSOCKET_CONTROL_MAX bytes. */
MUST_USE bool websocket_put_ping(struct websocket *websocket, struct buf *output,
                                 struct slice bytes);
MUST_USE bool websocket_put_pong(struct websocket *websocket, struct buf *output,
                                 struct slice bytes);
/* `words` are cut where there is no more room for them. */
MUST_USE bool websocket_put_close(struct websocket *websocket, struct buf *output, uint16_t code,
                                  struct slice words);

/* Is it the base64 of 16 bytes (RFC 6455 4.2.1)? */
bool websocket_key_is_sound(struct slice key);
/* What a server answers to that key (4.2.2). */
void websocket_accept(struct slice key, uint8_t accept_out[WEBSOCKET_ACCEPT_BYTES]);

#endif
