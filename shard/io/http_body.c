#include "shard/io/http_body.h"

#include <string.h>
#include <zstd_errors.h>

#include "core/check.h"

/* The first memory of a body whose size is not known. */
#define FIRST_BYTES (4 * KIB)
/* What zlib takes for itself and its window, which it does not tell. */
#define ZLIB_BYTES (48 * KIB)
/* windowBits of inflateInit2: 15 for zlib's own frame, 16 more for gzip's. */
#define DEFLATE_BITS 15
#define GZIP_BITS    (15 + 16)

bool http_coding_find(struct slice name, enum http_coding *coding_out)
{
    static const struct {
        const char *name;
        enum http_coding coding;
    } codings[] = {
        {"identity", HTTP_IDENTITY}, {"gzip", HTTP_GZIP}, {"x-gzip", HTTP_GZIP},
        {"deflate", HTTP_DEFLATE},   {"zstd", HTTP_ZSTD},
    };
    for (size_t i = 0; i < COUNT_OF(codings); i++) {
        if (slice_equal_nocase(name, slice_from_string(codings[i].name))) {
            *coding_out = codings[i].coding;
            return true;
        }
    }
    return false;
}

/* --- memory --------------------------------------------------------------------------------- */

/*
 * What is announced is no reason to take it all at once: who announces and does not send would hold
 * it. Of a size that is not known one byte more than may be: it is used when there is too much.
 */
static bool body_grow(struct http_body *body)
{
    size_t most = body->expected > 0 ? body->expected : body->bytes_max + 1;
    size_t capacity = MIN_OF(MAX_OF(body->capacity * 2, (size_t)FIRST_BYTES), most);
    uint8_t *data = metered_resize(body->memory, body->data, capacity);
    if (data == NULL) {
        return false;
    }
    body->data = data;
    body->capacity = capacity;
    return true;
}

static bool body_room(struct http_body *body)
{
    return body->size < body->capacity || body_grow(body);
}

/* What the decoder holds now, as far as it tells. */
static bool body_book(struct http_body *body, size_t bytes)
{
    struct metered *memory = body->memory;
    if (bytes > body->booked && !metered_book(memory, bytes - body->booked)) {
        return false;
    }
    if (bytes < body->booked) {
        metered_unbook(memory, body->booked - bytes);
    }
    body->booked = bytes;
    return true;
}

/* --- decoding ------------------------------------------------------------------------------- */

/* One step: what has been taken of `piece` and put into `room` (of `room_bytes`). */
static enum http_body_result inflate_step(struct http_body *body, struct slice *piece,
                                          size_t room_bytes)
{
    z_stream *zlib = &body->zlib;
    uInt in = (uInt)MIN_OF(piece->size, (size_t)UINT32_MAX);
    zlib->next_in = (const Bytef *)piece->data;
    zlib->avail_in = in;
    zlib->next_out = body->data + body->size;
    zlib->avail_out = (uInt)room_bytes;
    int result = inflate(zlib, Z_NO_FLUSH);
    *piece = slice_skip(*piece, in - zlib->avail_in);
    body->size += room_bytes - zlib->avail_out;
    body->full = zlib->avail_out == 0;
    body->ended = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR) {
        return HTTP_BODY_NO_MEMORY;
    }
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? HTTP_BODY_OK
                                                                             : HTTP_BODY_BAD;
}

static enum http_body_result zstd_step(struct http_body *body, struct slice *piece,
                                       size_t room_bytes)
{
    ZSTD_inBuffer in = {piece->data, piece->size, 0};
    ZSTD_outBuffer out = {body->data + body->size, room_bytes, 0};
    size_t result = ZSTD_decompressStream(body->zstd, &out, &in);
    *piece = slice_skip(*piece, in.pos);
    body->size += out.pos;
    body->full = out.pos == out.size;
    body->ended = result == 0;
    if (ZSTD_isError(result)) {
        return ZSTD_getErrorCode(result) == ZSTD_error_memory_allocation ? HTTP_BODY_NO_MEMORY
                                                                         : HTTP_BODY_BAD;
    }
    return body_book(body, ZSTD_sizeof_DStream(body->zstd)) ? HTTP_BODY_OK : HTTP_BODY_NO_MEMORY;
}

static enum http_body_result copy_step(struct http_body *body, struct slice *piece,
                                       size_t room_bytes)
{
    size_t size = MIN_OF(piece->size, room_bytes);
    memcpy(body->data + body->size, piece->data, size);
    body->size += size;
    *piece = slice_skip(*piece, size);
    return HTTP_BODY_OK;
}

static enum http_body_result body_step(struct http_body *body, struct slice *piece,
                                       size_t room_bytes)
{
    switch (body->coding) {
    case HTTP_IDENTITY:
        return copy_step(body, piece, room_bytes);
    case HTTP_GZIP:
    case HTTP_DEFLATE:
        return inflate_step(body, piece, room_bytes);
    case HTTP_ZSTD:
        return zstd_step(body, piece, room_bytes);
    }
    CHECK(false);
}

enum http_body_result http_body_put(struct http_body *body, struct slice *piece, size_t budget)
{
    while (piece->size > 0 || body->full) {
        if (body->ended) {
            return HTTP_BODY_BAD; /* bytes behind the stream */
        }
        if (budget == 0) {
            return HTTP_BODY_AGAIN;
        }
        if (!body_room(body)) {
            return HTTP_BODY_NO_MEMORY;
        }
        size_t before = body->size;
        size_t room_bytes = MIN_OF(body->capacity - body->size, budget);
        enum http_body_result result = body_step(body, piece, room_bytes);
        if (result != HTTP_BODY_OK) {
            return result;
        }
        if (body->size > body->bytes_max) {
            return HTTP_BODY_TOO_LARGE;
        }
        body->full = body->full && !body->ended;
        budget -= body->size - before;
    }
    return HTTP_BODY_OK;
}

enum http_body_result http_body_end(const struct http_body *body)
{
    return body->coding == HTTP_IDENTITY || body->ended ? HTTP_BODY_OK : HTTP_BODY_BAD;
}

/* --- beginning and end ---------------------------------------------------------------------- */

static bool decoder_open(struct http_body *body)
{
    switch (body->coding) {
    case HTTP_IDENTITY:
        return true;
    case HTTP_GZIP:
    case HTTP_DEFLATE:
        return body_book(body, ZLIB_BYTES) &&
               inflateInit2(&body->zlib, body->coding == HTTP_GZIP ? GZIP_BITS : DEFLATE_BITS) ==
                   Z_OK;
    case HTTP_ZSTD:
        body->zstd = ZSTD_createDStream();
        return body->zstd != NULL &&
               !ZSTD_isError(ZSTD_DCtx_setParameter(body->zstd, ZSTD_d_windowLogMax,
                                                    HTTP_BODY_WINDOW_LOG)) &&
               body_book(body, ZSTD_sizeof_DStream(body->zstd));
    }
    CHECK(false);
}

enum http_body_result http_body_begin(struct http_body *body, struct metered *memory,
                                      enum http_coding coding, size_t bytes_max, size_t expected)
{
    *body = (struct http_body){
        .memory = memory,
        .coding = coding,
        .bytes_max = bytes_max,
        .expected = coding == HTTP_IDENTITY ? expected : 0,
    };
    if (decoder_open(body)) {
        return HTTP_BODY_OK;
    }
    http_body_fini(body);
    return HTTP_BODY_NO_MEMORY;
}

void http_body_fini(struct http_body *body)
{
    if (body->memory == NULL) {
        return;
    }
    if (body->zlib.state != NULL) {
        (void)inflateEnd(&body->zlib);
    }
    (void)ZSTD_freeDStream(body->zstd);
    metered_unbook(body->memory, body->booked);
    metered_give(body->memory, body->data);
    *body = (struct http_body){0};
}
