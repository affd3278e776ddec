/*
 * HTTP/1.1 requests as bytes: what a client sends becomes a head, pieces of a body, and an end
 * (RFC 9112). It knows no connection, clock or route.
 *
 * The head is gathered whole, under a guard that is stricter than any parser of the library behind
 * it: a CR without LF or the other way round, NUL and other controls, a folded line, a space before
 * a colon, too many fields or bytes end it before llhttp sees a byte. llhttp then reads the whole
 * head in one call, and what frames the body is checked once more: one Content-Length of digits
 * alone, or one Transfer-Encoding that says exactly "chunked", never both. Two servers that read
 * the same bytes must not find different requests in them (request smuggling, H-01 to H-04).
 *
 * Bodies are framed here: a count of bytes, or chunks. After HTTP_STEP_REFUSED nothing of the
 * connection is a request any more: answer with `status` and close.
 */
#ifndef RINGPOST_SHARD_IO_HTTP_CODEC_H
#define RINGPOST_SHARD_IO_HTTP_CODEC_H

#include "core/slice.h"

#define HTTP_HEAD_BYTES_MAX    (32 * KIB)
#define HTTP_FIELDS_MAX        100
#define HTTP_TARGET_BYTES_MAX  (8 * KIB)
/* Of one chunk's line, and of all trailers together. */
#define HTTP_CHUNK_LINE_MAX    256
#define HTTP_TRAILER_BYTES_MAX (8 * KIB)

/* Bits, so that a route has a set of them. */
enum http_method {
    HTTP_METHOD_GET = 1,
    HTTP_METHOD_HEAD = 2,
    HTTP_METHOD_POST = 4,
    HTTP_METHOD_PUT = 8,
    HTTP_METHOD_DELETE = 16,
    HTTP_METHOD_PATCH = 32,
    HTTP_METHOD_OPTIONS = 64,
};

/* Places in http_head.bytes. */
struct http_field {
    uint16_t name;
    uint16_t name_bytes;
    uint16_t value;
    uint16_t value_bytes; /* without spaces and tabs around it */
};

/*
 * A request up to its empty line. Memory is the user's, `capacity` of `bytes`; while a head comes
 * it may move to a larger one. Slices that functions give point into it.
 */
struct http_head {
    uint32_t size;     /* of `bytes` in use */
    uint32_t capacity;
    /* From here on valid after HTTP_STEP_HEAD. */
    uint8_t method;    /* enum http_method */
    uint8_t minor;     /* of HTTP/1.x: 0 or 1 */
    bool chunked;
    bool close;        /* the client wants no request after this one */
    bool expects;      /* waits for 100 before it sends the body */
    bool websocket;    /* asks to go on as a WebSocket (RFC 6455 4.1): for the route to say */
    uint64_t length;   /* of the body, when not chunked */
    struct slice path;  /* undecoded, begins with '/'; "*" of OPTIONS */
    struct slice query; /* undecoded, without '?' */
    struct slice host;  /* as the client wrote it; empty: it was, or HTTP/1.0 had none */
    unsigned field_count;
    struct http_field fields[HTTP_FIELDS_MAX];
    uint8_t bytes[];
};

enum http_step {
    HTTP_STEP_MORE,    /* nothing is found yet: with the rest of the input, or with what comes */
    HTTP_STEP_ROOM,    /* the head has no room left, below HTTP_HEAD_BYTES_MAX: give it more */
    HTTP_STEP_HEAD,    /* the head is whole */
    HTTP_STEP_BODY,    /* a piece of the body, part of the input */
    HTTP_STEP_END,     /* the request is whole */
    HTTP_STEP_REFUSED, /* never anything else from here on */
};

enum http_codec_state {
    HTTP_CODEC_HEAD,
    HTTP_CODEC_COUNTED,    /* `left` bytes of body */
    HTTP_CODEC_CHUNK_SIZE,
    HTTP_CODEC_CHUNK_LINE, /* an extension, up to the line's end */
    HTTP_CODEC_CHUNK_LF,   /* of that line */
    HTTP_CODEC_CHUNK_DATA,
    HTTP_CODEC_CHUNK_END,  /* CR behind the data */
    HTTP_CODEC_CHUNK_END_LF,
    HTTP_CODEC_TRAILER,
    HTTP_CODEC_ENDED,
    HTTP_CODEC_REFUSED,
};

/* Where the guard stands in a line. */
enum http_guard_state {
    HTTP_GUARD_LINE, /* at its first byte */
    HTTP_GUARD_NAME, /* before the colon */
    HTTP_GUARD_TEXT, /* behind it, or in the request line */
    HTTP_GUARD_CR,
};

struct http_guard {
    uint8_t state; /* enum http_guard_state */
    bool begun;    /* the request line, or the line of the last chunk, has been there */
    bool empty;    /* of the line so far nothing but a CR */
    bool skipped;  /* an empty line before the request, of which one is allowed */
    uint32_t lines;
};

struct http_codec {
    uint8_t state;         /* enum http_codec_state */
    uint16_t status;       /* of HTTP_STEP_REFUSED */
    const char *reason;    /* of HTTP_STEP_REFUSED: constant, for people */
    uint64_t left;         /* of the body, or of the chunk */
    uint64_t body_bytes;   /* of the body so far */
    uint64_t body_max;
    uint32_t line_bytes;   /* of a chunk's line so far */
    uint32_t trailer_bytes;
    struct http_guard guard;
};

/* For the first request, or the one after HTTP_STEP_END. */
void http_codec_init(struct http_codec *codec);
/* `head` with `bytes` of memory behind its fields, or that of the head before, moved there. */
void http_head_init(struct http_head *head, uint32_t capacity);
void http_head_move(struct http_head *to, uint32_t capacity, const struct http_head *from);

/*
 * Takes what it can of `input` and returns how much. `piece_out` is set with HTTP_STEP_BODY alone.
 * The head is needed up to HTTP_STEP_HEAD; after that only the user looks at it. Until
 * HTTP_STEP_END it is to be called again as long as there is input; after HTTP_STEP_HEAD also
 * without: a request with no body has ended.
 */
MUST_USE size_t http_codec_feed(struct http_codec *codec, struct http_head *head,
                                struct slice input, enum http_step *step_out,
                                struct slice *piece_out);
/* After HTTP_STEP_HEAD: how large the body may be, as sent. False: it is larger, and refused. */
MUST_USE bool http_codec_limit(struct http_codec *codec, uint64_t body_bytes_max);
/* Is there nothing of a request yet? Then the client may go, and so may we. */
bool http_codec_idle(const struct http_codec *codec);

/* The only field of that name; false when there is none or more than one. */
bool http_head_field(const struct http_head *head, struct slice name, struct slice *value_out);
/* How many fields have that name. */
unsigned http_head_count(const struct http_head *head, struct slice name);

const char *http_method_name(enum http_method method);

#endif
