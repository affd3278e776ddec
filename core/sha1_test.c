#include "core/sha1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "core/buf.h"

/* RFC 3174 7.3, FIPS 180-2 and what `sha1sum` says of a size around the end of a block. */
static void digests_are_those_of_the_standard(void **state)
{
    static const struct {
        const char *input;
        const char *digest;
    } rows[] = {
        {"", "da39a3ee5e6b4b0d3255bfef95601890afd80709"},
        {"abc", "a9993e364706816aba3e25717850c26c9cd0d89d"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "84983e441c3bd26ebaae4aa1f95129e5e54670f1"},
        {"dGhlIHNhbXBsZSBub25jZQ==258EAFA5-E914-47DA-95CA-C5AB0DC85B11",
         "b37a4f2cc0624f1690f64606cf385945b2bec4ea"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t digest[SHA1_BYTES];
        char text[2 * SHA1_BYTES + 1] = {0};
        struct buf hex;
        buf_init(&hex, text, sizeof(text) - 1);
        sha1(slice_from_string(rows[i].input), digest);
        buf_put_hex(&hex, slice_make(digest, sizeof(digest)));
        assert_string_equal(text, rows[i].digest);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(digests_are_those_of_the_standard),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
