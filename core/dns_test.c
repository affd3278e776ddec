#include "core/dns.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void names_are_normalized_or_none(void **state)
{
    (void)state;
    static char too_long[300], longest[300], label[80];
    for (size_t i = 0; i < 254; i++) {
        too_long[i] = i % 64 == 63 ? '.' : 'a';
    }
    memcpy(longest, too_long, 253);
    memset(label, 'a', 64);
    const struct {
        const char *text;
        const char *name; /* null: none */
    } rows[] = {
        {"a.test", "a.test"}, {"A.Test.", "a.test"}, {"", ""}, {".", ""},
        {"_25._tcp.a", "_25._tcp.a"},
        {"a-b.0", "a-b.0"}, {"..", NULL}, {".a", NULL}, {"a..b", NULL}, {"a b", NULL},
        {"a@b", NULL}, {"a\\.b", NULL}, {"b\303\274cher.test", NULL}, {"*.a", NULL},
        {longest, longest}, {too_long, NULL}, {label, NULL}, {label + 1, label + 1},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t out[DNS_NAME_BYTES_MAX];
        struct slice name;
        bool is = dns_name_normalize(slice_from_string(rows[i].text), out, &name);
        assert_int_equal(is, rows[i].name != NULL);
        assert_true(!is || slice_equal(name, slice_from_string(rows[i].name)));
    }
}

static void types_have_names(void **state)
{
    (void)state;
    static const enum dns_type types[] = {DNS_A,   DNS_CNAME, DNS_SOA,  DNS_PTR,
                                          DNS_MX,  DNS_TXT,   DNS_AAAA, DNS_TLSA};
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        enum dns_type type;
        assert_true(dns_type_parse(slice_from_string(dns_type_name(types[i])), &type));
        assert_int_equal(type, types[i]);
    }
    enum dns_type none;
    assert_false(dns_type_parse(SLICE("NS"), &none));
    assert_true(dns_type_parse(SLICE("mx"), &none));
}

static void a_domain_covers_itself_and_what_is_below_it(void **state)
{
    (void)state;
    static const struct {
        const char *domain;
        const char *name;
        bool covers;
    } rows[] = {
        {"a.test", "a.test", true}, {"a.test", "b.a.test", true}, {"a.test", "ba.test", false},
        {"a.test", "test", false}, {"", "a.test", true}, {"", "", true}, {"a", "", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(dns_name_covers(slice_from_string(rows[i].domain),
                                         slice_from_string(rows[i].name)),
                         rows[i].covers);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_are_normalized_or_none),
        cmocka_unit_test(types_have_names),
        cmocka_unit_test(a_domain_covers_itself_and_what_is_below_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
