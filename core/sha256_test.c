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

/* FIPS 180-2 B, and what `sha256sum` says of sizes around the end of a block. */
static void digests_are_those_of_the_standard(void **state)
{
    static const struct {
        const char *unit;
        size_t count;
        const char *digest;
    } rows[] = {
        {"", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"},
        {"a", 55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {"a", 56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {"a", 63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {"a", 64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {"a", 1000, "41edece42d63e8d9bf515a9ba6932e1c20cbc9f5a5d134645adb5db1b9737ea3"},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t digest[SHA256_BYTES];
        uint8_t bytes[1024];
        struct buf buf;
        buf_init(&buf, bytes, sizeof(bytes));
        for (size_t k = 0; k < rows[i].count; k++) {
            buf_put(&buf, slice_from_string(rows[i].unit));
        }
        sha256(buf_slice(&buf), digest);
        assert_digest(digest, rows[i].digest);
    }
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
        cmocka_unit_test(digests_are_those_of_the_standard),
        cmocka_unit_test(keyed_digests_are_those_of_the_standard),
        cmocka_unit_test(secrets_differ_by_any_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
