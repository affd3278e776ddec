/*
 * Bodies of a client in every coding: put whole, and in parts with a small budget, they come out
 * the same or are refused; never more than the cap, and never more memory than there may be.
 */
#include "shard/io/http_body.h"

#include <string.h>

#include "core/check.h"

#define BODY_MAX   (16 * KIB)
#define MEMORY_MAX (16 * MIB)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/*
 * The outcome; the body has what came out. `part`: bytes at a time, with a budget of 100 each time
 * as long as more than another part is to come; then, and for a body in one part, of all.
 */
static enum http_body_result read_body(struct http_body *body, struct slice bytes, size_t part)
{
    enum http_body_result result = HTTP_BODY_OK;
    while (bytes.size > 0 && result == HTTP_BODY_OK) {
        struct slice piece = slice_first(bytes, MIN_OF(bytes.size, part));
        bytes = slice_skip(bytes, piece.size);
        do {
            size_t before = body->size;
            size_t budget = part < bytes.size ? 100 : BODY_MAX * 2;
            result = http_body_put(body, &piece, budget);
            CHECK(body->size - before <= budget && body->capacity <= BODY_MAX + 1);
        } while (result == HTTP_BODY_AGAIN);
    }
    return result == HTTP_BODY_OK ? http_body_end(body) : result;
}

/* First byte: the coding; second: the size of parts. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct metered memories[2]; /* one each: a decoder may want more than half */
    struct http_body whole;
    struct http_body parts;
    if (size < 2) {
        return 0;
    }
    metered_init(&memories[0], MEMORY_MAX);
    metered_init(&memories[1], MEMORY_MAX);
    enum http_coding coding = (enum http_coding)(data[0] % 4);
    struct slice bytes = slice_make(data + 2, size - 2);
    CHECK(http_body_begin(&whole, &memories[0], coding, BODY_MAX, 0) == HTTP_BODY_OK);
    CHECK(http_body_begin(&parts, &memories[1], coding, BODY_MAX, 0) == HTTP_BODY_OK);
    enum http_body_result first = read_body(&whole, bytes, SIZE_MAX);
    enum http_body_result second = read_body(&parts, bytes, 1 + data[1] % 64);
    /* Of two faults in one body either may be found first. */
    CHECK((first == HTTP_BODY_OK) == (second == HTTP_BODY_OK));
    CHECK(first != HTTP_BODY_OK || whole.size <= BODY_MAX);
    CHECK(first != HTTP_BODY_OK || (whole.size == parts.size &&
                                    (whole.size == 0 ||
                                     memcmp(whole.data, parts.data, whole.size) == 0)));
    http_body_fini(&whole);
    http_body_fini(&parts);
    CHECK(memories[0].used == 0 && memories[1].used == 0);
    return 0;
}
