#include "core/sha256.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#include "core/buf.h"

static void assert_digest(const uint8_t digest[SHA256_BYTES], const char *expected)
{
    char text[2 * SHA256_BYTES + 1] = {0};
    struct buf hex;
    buf_init(&hex, text, sizeof(text) - 1);
    buf_put_hex(&hex, slice_make(digest, SHA256_BYTES));
    assert_string_equal(text, expected);
}

/* RFC 4231 4.2 and 4.3, and a key as long as a block. */
static void keyed_digests_are_those_of_the_standard(void **state)
{
    uint8_t digest[SHA256_BYTES];
    uint8_t key[SHA256_BLOCK_BYTES];
    (void)state;
    memset(key, 0x0b, 20);
    sha256_keyed(slice_make(key, 20), SLICE("Hi There"), digest);
    assert_digest(digest, "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
    sha256_keyed(SLICE("Jefe"), SLICE("what do ya want for nothing?"), digest);
    assert_digest(digest, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 'k', sizeof(key));
    sha256_keyed(slice_make(key, sizeof(key)), SLICE("x"), digest);
    assert_digest(digest, "f91c4c403625fb06910ef93999265bbd2d62baeaec6ff36455498cc124fe3e66");
}

static void secrets_differ_by_any_bit(void **state)
{
    uint8_t one[SHA256_BYTES] = {0};
    uint8_t other[SHA256_BYTES] = {0};
    (void)state;
    assert_true(secret_equal(one, other, sizeof(one)));
    for (size_t i = 0; i < 8 * sizeof(one); i++) {
        other[i / 8] ^= (uint8_t)(1u << i % 8);
        assert_false(secret_equal(one, other, sizeof(one)));
        other[i / 8] ^= (uint8_t)(1u << i % 8);
    }
    assert_true(secret_equal(one, other, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keyed_digests_are_those_of_the_standard),
        cmocka_unit_test(secrets_differ_by_any_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
