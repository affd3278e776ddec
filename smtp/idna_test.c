#include "smtp/idna.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

#define LABEL_63 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static const struct {
    const char *domain;
    const char *ascii; /* null: no such name */
} rows[] = {
    {"example.com", "example.com"},
    {"EXAMPLE.Com.", "example.com"},
    {"a_b.example", "a_b.example"},
    {LABEL_63 ".test", LABEL_63 ".test"},
    {"b\xC3\xBC" "cher.example", "xn--bcher-kva.example"},
    {"B\xC3\x9C" "CHER.example", "xn--bcher-kva.example"},
    {"bu\xCC\x88" "cher.example", "xn--bcher-kva.example"}, /* decomposed: RFC 5198 asks for NFC */
    {"fa\xC3\x9F.example", "xn--fa-hia.example"},           /* IDNA2008 keeps the sharp s */
    {"\xE4\xBE\x8B\xE3\x81\x88.\xE3\x83\x86\xE3\x82\xB9\xE3\x83\x88", "xn--r8jz45g.xn--zckzah"},
    {"", NULL},
    {".", NULL},
    {"a..b", NULL},
    {"a" LABEL_63 ".test", NULL},
    {"a b.test", NULL},
    {"\xE3\x80\x82", NULL}, /* an ideographic full stop is a dot */
    {"\xC2\xAD", NULL},     /* a soft hyphen is nothing */
    {"\xC3\x28.test", NULL},         /* no UTF-8 */
    {"\xE2\x98\x83\xE2\x80\x8B.test", NULL}, /* a character that no label may have */
};

static void f18_names_that_are_not_ascii_become_a_labels_and_odd_ones_none(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t memory[DNS_NAME_BYTES_MAX];
        struct slice name;
        bool good = idna_to_ascii(slice_from_string(rows[i].domain), memory, &name);
        if (good != (rows[i].ascii != NULL) ||
            (good && !slice_equal(name, slice_from_string(rows[i].ascii)))) {
            fail_msg("%s: %.*s", rows[i].domain, good ? (int)name.size : 0, memory);
        }
    }
}

static void f18_names_that_are_too_long_are_none(void **state)
{
    (void)state;
    uint8_t memory[DNS_NAME_BYTES_MAX];
    uint8_t text[600];
    struct slice name;
    for (size_t size = 1; size <= sizeof(text); size++) {
        for (size_t i = 0; i < size; i++) {
            text[i] = i % 64 == 63 ? '.' : 'a';
        }
        bool good = size <= DNS_NAME_BYTES_MAX && size % 64 != 0;
        if (size % 64 == 0 && size - 1 <= DNS_NAME_BYTES_MAX) {
            good = true; /* the dot at the end */
        }
        assert_int_equal(idna_to_ascii(slice_make(text, size), memory, &name), good);
        memset(text, 'a', size);
        text[0] = 0xC3;
        text[1] = 0xBC;
        (void)!idna_to_ascii(slice_make(text, size), memory, &name);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f18_names_that_are_not_ascii_become_a_labels_and_odd_ones_none),
        cmocka_unit_test(f18_names_that_are_too_long_are_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
