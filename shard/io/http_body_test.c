/* Bodies in every coding, cut at every place, against caps on their size, on memory, on a turn. */
#include "shard/io/http_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define PLAIN_BYTES 3000
#define CODED_BYTES (64 * KIB)

static uint8_t plain[PLAIN_BYTES];
static uint8_t coded[CODED_BYTES];

static void fill_plain(void)
{
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(i * 7 % 251 + i / 251);
    }
}

static size_t encode(enum http_coding coding, struct slice from)
{
    z_stream zlib = {.next_in = from.data, .avail_in = (uInt)from.size, .next_out = coded};
    zlib.avail_out = sizeof(coded);
    switch (coding) {
    case HTTP_IDENTITY:
        memcpy(coded, from.data, from.size);
        return from.size;
    case HTTP_GZIP:
    case HTTP_DEFLATE:
        assert_int_equal(deflateInit2(&zlib, 9, Z_DEFLATED, coding == HTTP_GZIP ? 31 : 15, 9,
                                      Z_DEFAULT_STRATEGY),
                         Z_OK);
        assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
        assert_int_equal(deflateEnd(&zlib), Z_OK);
        return sizeof(coded) - zlib.avail_out;
    case HTTP_ZSTD:
        return ZSTD_compress(coded, sizeof(coded), from.data, from.size, 3);
    }
    return 0;
}

/* Puts all of `piece`, `budget` bytes at a time; each time that more is wanted is a turn. */
static enum http_body_result put_all(struct http_body *body, struct slice piece, size_t budget,
                                     unsigned *turns)
{
    enum http_body_result result;
    do {
        size_t before = body->size;
        result = http_body_put(body, &piece, budget);
        assert_true(body->size - before <= budget);
        ++*turns;
    } while (result == HTTP_BODY_AGAIN);
    return result;
}

static void h08_a_body_comes_out_whole_wherever_it_is_cut(void **state)
{
    (void)state;
    fill_plain();
    for (unsigned coding = HTTP_IDENTITY; coding <= HTTP_ZSTD; coding++) {
        size_t size = encode((enum http_coding)coding, slice_make(plain, sizeof(plain)));
        for (size_t split = 0; split <= size; split++) {
            struct metered memory;
            metered_init(&memory, MIB);
            struct http_body body;
            unsigned turns = 0;
            assert_int_equal(http_body_begin(&body, &memory, (enum http_coding)coding,
                                             sizeof(plain), coding == HTTP_IDENTITY ? size : 0),
                             HTTP_BODY_OK);
            assert_int_equal(put_all(&body, slice_make(coded, split), 1000, &turns),
                             HTTP_BODY_OK);
            bool whole = split == size || coding == HTTP_IDENTITY;
            assert_int_equal(http_body_end(&body), whole ? HTTP_BODY_OK : HTTP_BODY_BAD);
            assert_int_equal(
                put_all(&body, slice_make(coded + split, size - split), 1000, &turns),
                HTTP_BODY_OK);
            assert_int_equal(http_body_end(&body), HTTP_BODY_OK);
            assert_int_equal(body.size, sizeof(plain));
            assert_memory_equal(body.data, plain, sizeof(plain));
            assert_true(turns >= 3);
            http_body_fini(&body);
            assert_int_equal(memory.used, 0);
        }
    }
}

static void h08_one_byte_more_than_may_be_is_too_large(void **state)
{
    (void)state;
    fill_plain();
    for (unsigned coding = HTTP_IDENTITY; coding <= HTTP_ZSTD; coding++) {
        size_t size = encode((enum http_coding)coding, slice_make(plain, sizeof(plain)));
        struct metered memory;
        metered_init(&memory, MIB);
        struct http_body body;
        unsigned turns = 0;
        assert_int_equal(http_body_begin(&body, &memory, (enum http_coding)coding,
                                         sizeof(plain) - 1, 0),
                         HTTP_BODY_OK);
        assert_int_equal(put_all(&body, slice_make(coded, size), 256 * KIB, &turns),
                         HTTP_BODY_TOO_LARGE);
        assert_true(body.capacity <= sizeof(plain));
        http_body_fini(&body);
        assert_int_equal(memory.used, 0);
    }
}

static void h08_a_bomb_costs_its_cap_and_is_decoded_in_turns(void **state)
{
    (void)state;
    uint8_t *zeros = calloc(1, 8 * MIB);
    assert_non_null(zeros);
    for (unsigned coding = HTTP_GZIP; coding <= HTTP_ZSTD; coding++) {
        size_t size = encode((enum http_coding)coding, slice_make(zeros, 8 * MIB));
        struct metered memory;
        metered_init(&memory, 16 * MIB);
        struct http_body body;
        unsigned turns = 0;
        assert_true(size < 8 * MIB / 900);
        assert_int_equal(http_body_begin(&body, &memory, (enum http_coding)coding, 4 * MIB, 0),
                         HTTP_BODY_OK);
        assert_int_equal(put_all(&body, slice_make(coded, size), 64 * KIB, &turns),
                         HTTP_BODY_TOO_LARGE);
        assert_true(turns >= 64);
        assert_true(body.capacity <= 4 * MIB + 1);
        http_body_fini(&body);
        assert_int_equal(memory.used, 0);
    }
    free(zeros);
}

static void h08_what_is_no_stream_or_more_than_one_is_refused(void **state)
{
    (void)state;
    fill_plain();
    for (unsigned coding = HTTP_GZIP; coding <= HTTP_ZSTD; coding++) {
        size_t size = encode((enum http_coding)coding, slice_make(plain, 100));
        const struct {
            size_t at;   /* whose byte is changed */
            size_t more; /* bytes behind the stream */
        } rows[] = {{0, 0}, {size, 1}, {size, size}};
        memcpy(coded + size, coded, size);
        for (size_t i = 0; i < COUNT_OF(rows); i++) {
            struct metered memory;
            metered_init(&memory, MIB);
            struct http_body body;
            unsigned turns = 0;
            coded[rows[i].at] ^= 0x40;
            assert_int_equal(
                http_body_begin(&body, &memory, (enum http_coding)coding, 1000, 0), HTTP_BODY_OK);
            assert_int_equal(
                put_all(&body, slice_make(coded, size + rows[i].more), 1000, &turns),
                HTTP_BODY_BAD);
            http_body_fini(&body);
            assert_int_equal(memory.used, 0);
            coded[rows[i].at] ^= 0x40;
        }
    }
}

static void out_of_memory_is_said_at_any_moment_and_nothing_is_kept(void **state)
{
    (void)state;
    fill_plain();
    for (unsigned coding = HTTP_IDENTITY; coding <= HTTP_ZSTD; coding++) {
        size_t size = encode((enum http_coding)coding, slice_make(plain, sizeof(plain)));
        bool enough = false;
        for (uint64_t limit = 0; !enough; limit += 500) {
            struct metered memory;
            metered_init(&memory, limit);
            struct http_body body;
            unsigned turns = 0;
            enum http_body_result result = http_body_begin(
                &body, &memory, (enum http_coding)coding, sizeof(plain), 0);
            if (result == HTTP_BODY_OK) {
                result = put_all(&body, slice_make(coded, size), 1000, &turns);
            }
            enough = result == HTTP_BODY_OK;
            assert_true(enough || result == HTTP_BODY_NO_MEMORY);
            assert_true(memory.used <= limit);
            http_body_fini(&body);
            assert_int_equal(memory.used, 0);
            assert_true(limit < MIB);
        }
    }
}

static void a_length_that_is_announced_takes_no_memory_before_it_comes(void **state)
{
    (void)state;
    struct metered memory;
    metered_init(&memory, 64 * MIB);
    struct http_body body;
    unsigned turns = 0;
    assert_int_equal(http_body_begin(&body, &memory, HTTP_IDENTITY, 32 * MIB, 32 * MIB),
                     HTTP_BODY_OK);
    assert_int_equal(memory.used, 0);
    assert_int_equal(put_all(&body, SLICE("a"), 1000, &turns), HTTP_BODY_OK);
    assert_true(memory.used <= 8 * KIB);
    http_body_fini(&body);
}

static void codings_have_names(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool known;
        enum http_coding coding;
    } rows[] = {
        {"gzip", true, HTTP_GZIP},    {"GZip", true, HTTP_GZIP},
        {"x-gzip", true, HTTP_GZIP},  {"deflate", true, HTTP_DEFLATE},
        {"zstd", true, HTTP_ZSTD},    {"identity", true, HTTP_IDENTITY},
        {"", false, HTTP_IDENTITY},   {"br", false, HTTP_IDENTITY},
        {"gzip,", false, HTTP_IDENTITY}, {"gzip, zstd", false, HTTP_IDENTITY},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        enum http_coding coding = HTTP_IDENTITY;
        assert_int_equal(http_coding_find(slice_from_string(rows[i].name), &coding),
                         rows[i].known);
        assert_int_equal(coding, rows[i].coding);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h08_a_body_comes_out_whole_wherever_it_is_cut),
        cmocka_unit_test(h08_one_byte_more_than_may_be_is_too_large),
        cmocka_unit_test(h08_a_bomb_costs_its_cap_and_is_decoded_in_turns),
        cmocka_unit_test(h08_what_is_no_stream_or_more_than_one_is_refused),
        cmocka_unit_test(out_of_memory_is_said_at_any_moment_and_nothing_is_kept),
        cmocka_unit_test(a_length_that_is_announced_takes_no_memory_before_it_comes),
        cmocka_unit_test(codings_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
