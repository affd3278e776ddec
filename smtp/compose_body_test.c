#include "smtp/compose_body.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "core/prng.h"

#define TEXT_BYTES_MAX 400
#define LARGE_BYTES    (2u * MIB)

static unsigned hex_value(uint8_t digit)
{
    return digit <= '9' ? digit - 0u - '0' : digit - 0u - 'A' + 10;
}

/* Quoted-printable back to bytes; asserts what RFC 2045 6.7 wants of its lines. */
static size_t decode_quoted(struct slice text, uint8_t *bytes)
{
    size_t size = 0;
    size_t column = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (slice_starts_with(slice_skip(text, i), SLICE("=\r\n"))) {
            assert_true(++column <= 76);
            column = 0;
            i += 2;
        } else if (slice_starts_with(slice_skip(text, i), SLICE("\r\n"))) {
            assert_true(i == 0 || (text.data[i - 1] != ' ' && text.data[i - 1] != '\t'));
            bytes[size++] = '\r';
            bytes[size++] = '\n';
            column = 0;
            i++;
        } else if (byte == '=') {
            bytes[size++] =
                (uint8_t)(hex_value(text.data[i + 1]) << 4 | hex_value(text.data[i + 2]));
            column += 3;
            i += 2;
        } else {
            assert_true((byte >= ' ' && byte < 0x7F) || byte == '\t');
            bytes[size++] = byte;
            column++;
        }
        assert_true(column <= 76);
    }
    return size;
}

/* With CRLF for each line end. */
static size_t normalize(struct slice text, uint8_t *bytes)
{
    size_t size = 0;
    for (size_t i = 0; i < text.size; i++) {
        bool is_end = text.data[i] == '\r' || text.data[i] == '\n';
        bool behind_cr = text.data[i] == '\n' && i > 0 && text.data[i - 1] == '\r';
        if (!is_end) {
            bytes[size++] = text.data[i];
        } else if (!behind_cr) {
            bytes[size++] = '\r';
            bytes[size++] = '\n';
        }
    }
    return size;
}

static void quoted_text_is_read_back_and_its_lines_are_short(void **state)
{
    static const char pieces[] = "a=\t \r\n\xC3.";
    uint8_t text[TEXT_BYTES_MAX];
    uint8_t wanted[2 * TEXT_BYTES_MAX];
    uint8_t decoded[4 * TEXT_BYTES_MAX];
    uint8_t encoded[8 * TEXT_BYTES_MAX];
    struct prng prng;
    struct buf buf;
    (void)state;
    prng_seed(&prng, 7);
    for (unsigned round = 0; round < 3000; round++) {
        size_t size = prng_below(&prng, TEXT_BYTES_MAX);
        /* From texts that are all line ends and escapes to such that are almost all letters. */
        uint64_t letters = prng_below(&prng, 100);
        for (size_t i = 0; i < size; i++) {
            bool letter = prng_below(&prng, 100) < letters;
            text[i] = (uint8_t)(letter ? 'x' : pieces[prng_below(&prng, sizeof(pieces) - 1)]);
        }
        buf_init(&buf, encoded, sizeof(encoded));
        body_put(&buf, slice_make(text, size), BODY_QUOTED);
        assert_false(buf.overflow);
        size_t wanted_size = normalize(slice_make(text, size), wanted);
        size_t decoded_size = decode_quoted(buf_slice(&buf), decoded);
        assert_int_equal(decoded_size, wanted_size);
        assert_memory_equal(decoded, wanted, wanted_size);
    }
}

static void what_any_encoding_takes_has_room(void **state)
{
    static const char *const repeated[] = {"\n", "=", "a", "\xC3\xBC", " \n", "ab\r", "x=_\n",
                                          " \n\xC3\xBC \n \n", "aaaaa\xC3\xBC"};
    uint8_t text[TEXT_BYTES_MAX];
    uint8_t encoded[8 * TEXT_BYTES_MAX];
    struct buf buf;
    (void)state;
    for (size_t i = 0; i < COUNT_OF(repeated); i++) {
        for (size_t size = 0; size <= sizeof(text); size++) {
            for (size_t at = 0; at < size; at++) {
                text[at] = (uint8_t)repeated[i][at % strlen(repeated[i])];
            }
            struct slice whole = slice_make(text, size);
            buf_init(&buf, encoded, body_bytes_max(whole));
            body_put(&buf, whole, body_encoding_for(whole));
            assert_false(buf.overflow);
        }
    }
}

/* A search for each line through all the rest would take hours. */
static void a_body_of_a_million_lines_is_looked_through_once(void **state)
{
    static const char ends[] = "\n\r";
    uint8_t *text = malloc(LARGE_BYTES);
    uint8_t *encoded = malloc(4 * LARGE_BYTES);
    struct buf buf;
    (void)state;
    assert_true(text != NULL && encoded != NULL);
    for (unsigned i = 0; i < 2; i++) {
        for (size_t at = 0; at < LARGE_BYTES; at++) {
            text[at] = (uint8_t)(at % 2 == 0 ? '\x01' : ends[i]);
        }
        struct slice whole = slice_make(text, LARGE_BYTES);
        buf_init(&buf, encoded, 4 * LARGE_BYTES);
        body_put(&buf, whole, body_encoding_for(whole));
        assert_false(buf.overflow);
    }
    free(text);
    free(encoded);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quoted_text_is_read_back_and_its_lines_are_short),
        cmocka_unit_test(what_any_encoding_takes_has_room),
        cmocka_unit_test(a_body_of_a_million_lines_is_looked_through_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
