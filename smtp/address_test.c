#include "smtp/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X60 X50 X10
#define L60 X60 "."
/* 4 * 61 + 11 = 255 bytes of domain, 4 * 61 + 12 one too many. */
#define DOMAIN_255 L60 L60 L60 L60 "xxxxxxxxxxx"
#define DOMAIN_256 L60 L60 L60 L60 "xxxxxxxxxxxx"

struct path_row {
    const char *text;
    bool allow_null;
    bool valid;
    const char *whole;
    const char *local;
    const char *domain;
    const char *rest;
    bool utf8;
};

static void assert_slice(struct slice slice, const char *expected)
{
    assert_int_equal(slice.size, strlen(expected));
    assert_true(slice_equal(slice, slice_from_string(expected)));
}

static void check_rows(const struct path_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct address address = {0};
        struct slice rest = SLICE_NONE;
        bool valid = address_parse_path(slice_from_string(rows[i].text), rows[i].allow_null,
                                        &address, &rest);
        if (valid != rows[i].valid) {
            fail_msg("%s: valid is %d", rows[i].text, valid);
        }
        if (valid) {
            assert_slice(address.whole, rows[i].whole);
            assert_slice(address.local, rows[i].local);
            assert_slice(address.domain, rows[i].domain);
            assert_slice(rest, rows[i].rest);
            assert_int_equal(address.utf8, rows[i].utf8);
        }
    }
}

static void s13_lengths_of_local_domain_path_and_label(void **state)
{
    (void)state;
    static const struct path_row rows[] = {
        {"<" X60 "1234@b>", false, true, X60 "1234@b", X60 "1234", "b", "", false},
        {"<" X60 "12345@b>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@" X60 "123>", false, true, "a@" X60 "123", "a", X60 "123", "", false},
        {"<a@" X60 "1234>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@" L60 L60 L60 L60 "12345678>", false, true, "a@" L60 L60 L60 L60 "12345678", "a",
         L60 L60 L60 L60 "12345678", "", false},
        {"<a@" L60 L60 L60 L60 "123456789>", false, false, NULL, NULL, NULL, NULL, false},
        {"<@c:a@" L60 L60 L60 L60 "12345678>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@b..c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@.b>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@b.>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@-b>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@b->", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@b-c.d>", false, true, "a@b-c.d", "a", "b-c.d", "", false},
        {"<a@b_c>", false, false, NULL, NULL, NULL, NULL, false},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s14_quoted_locals_route_by_the_last_unquoted_at(void **state)
{
    (void)state;
    static const struct path_row rows[] = {
        {"<\"a@b\"@c>", false, true, "\"a@b\"@c", "\"a@b\"", "c", "", false},
        {"<\"a\\\"b\"@c>", false, true, "\"a\\\"b\"@c", "\"a\\\"b\"", "c", "", false},
        {"<\"\"@c>", false, true, "\"\"@c", "\"\"", "c", "", false},
        {"<\"a b\"@c> X=1", false, true, "\"a b\"@c", "\"a b\"", "c", " X=1", false},
        {"<\"a\\\\\"@c>", false, true, "\"a\\\\\"@c", "\"a\\\\\"", "c", "", false},
        {"<\"a>b\"@c>", false, true, "\"a>b\"@c", "\"a>b\"", "c", "", false},
        {"<\"a\rb\"@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"a\nb\"@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"a\\\nb\"@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"a\x7F" "b\"@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"ab@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"ab\\", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"ab\"x@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<x\"ab\"@c>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"ab\">", false, false, NULL, NULL, NULL, NULL, false},
    };
    check_rows(rows, COUNT_OF(rows));
    struct address address;
    struct slice rest;
    assert_false(address_parse_path(SLICE("<\"a\0b\"@c>"), false, &address, &rest));
    assert_false(address_parse_path(SLICE("<a\0b@c>"), false, &address, &rest));
}

static void s15_routes_hacks_literals_and_ports(void **state)
{
    (void)state;
    static const struct path_row rows[] = {
        {"<@a,@b.c:u@d>", false, true, "u@d", "u", "d", "", false},
        {"<@a:u@d>", false, true, "u@d", "u", "d", "", false},
        {"<@a,b:u@d>", false, false, NULL, NULL, NULL, NULL, false},
        {"<@a,:u@d>", false, false, NULL, NULL, NULL, NULL, false},
        {"<@a,", false, false, NULL, NULL, NULL, NULL, false},
        {"<@a u@d>", false, false, NULL, NULL, NULL, NULL, false},
        {"<@:u@d>", false, false, NULL, NULL, NULL, NULL, false},
        {"<@a:>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u%x@d>", false, true, "u%x@d", "u%x", "d", "", false},
        {"<a!b!u@d>", false, true, "a!b!u@d", "a!b!u", "d", "", false},
        {"<u@[192.0.2.1]>", false, true, "u@[192.0.2.1]", "u", "[192.0.2.1]", "", false},
        {"<u@[IPv6:::1]>", false, true, "u@[IPv6:::1]", "u", "[IPv6:::1]", "", false},
        {"<u@[ipv6:2001:db8::1]>", false, true, "u@[ipv6:2001:db8::1]", "u",
         "[ipv6:2001:db8::1]", "", false},
        {"<u@[::1]>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@[300.0.0.1]>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@[]>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@[IPv6:]>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@[1.2.3.4>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@d:25>", false, false, NULL, NULL, NULL, NULL, false},
        {"<u@a@b>", false, false, NULL, NULL, NULL, NULL, false},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s16_null_and_postmaster(void **state)
{
    (void)state;
    static const struct path_row rows[] = {
        {"<>", true, true, "", "", "", "", false},
        {"<> SIZE=1", true, true, "", "", "", " SIZE=1", false},
        {"<>", false, false, NULL, NULL, NULL, NULL, false},
        {"<postmaster>", false, true, "postmaster", "postmaster", "", "", false},
        {"<PostMaster>", false, true, "PostMaster", "PostMaster", "", "", false},
        {"<someone>", false, false, NULL, NULL, NULL, NULL, false},
        {"< >", true, false, NULL, NULL, NULL, NULL, false},
        {"<", true, false, NULL, NULL, NULL, NULL, false},
        {"", true, false, NULL, NULL, NULL, NULL, false},
        {"a@b", true, false, NULL, NULL, NULL, NULL, false},
        {" <a@b>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a@b", true, false, NULL, NULL, NULL, NULL, false},
        {"<a", true, false, NULL, NULL, NULL, NULL, false},
        {"<.a@b>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a.@b>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a..b@c>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a b@c>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a(b)@c>", true, false, NULL, NULL, NULL, NULL, false},
        {"<a+b=c@d>x", true, true, "a+b=c@d", "a+b=c", "d", "x", false},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void s20_non_ascii_is_marked_and_must_be_clean_utf8(void **state)
{
    (void)state;
    static const struct path_row rows[] = {
        {"<\xC3\xA9@b>", false, true, "\xC3\xA9@b", "\xC3\xA9", "b", "", true},
        {"<a@\xC3\xA9.fr>", false, true, "a@\xC3\xA9.fr", "a", "\xC3\xA9.fr", "", true},
        {"<\"\xC3\xA9 x\"@b>", false, true, "\"\xC3\xA9 x\"@b", "\"\xC3\xA9 x\"", "b", "", true},
        {"<a@\xC3.fr>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\xFF@b>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a\xC2\x85@b>", false, false, NULL, NULL, NULL, NULL, false},
        {"<a@b\xC2\x9B>", false, false, NULL, NULL, NULL, NULL, false},
        {"<\"\\\xC3\xA9\"@b>", false, false, NULL, NULL, NULL, NULL, false},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void domains_and_literals(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool domain;
        bool literal;
    } rows[] = {
        {"a", true, false},
        {"mx1.example.com", true, false},
        {"192.0.2.1", true, false},
        {DOMAIN_255, true, false},
        {DOMAIN_256, false, false},
        {"", false, false},
        {"a b", false, false},
        {"[", false, false},
        {"[192.0.2.1]", false, true},
        {"[192.0.2]", false, false},
        {"[192.0.2.01]", false, false},
        {"[192.0.2.1.5]", false, false},
        {"[IPv6:2001:db8:0:0:0:0:0:1]", false, true},
        {"[IPv6:::ffff:192.0.2.1]", false, true},
        {"[IPv6:2001:db8::1::2]", false, false},
        {"[IPv6:192.0.2.1]", false, false},
        {"[IPv6:" X50 "]", false, false},
        {"[x400:abc]", false, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice text = slice_from_string(rows[i].text);
        assert_int_equal(domain_is_valid(text), rows[i].domain);
        assert_int_equal(domain_is_literal(text), rows[i].literal);
    }
    assert_false(domain_is_literal(SLICE("[192.0.2.1\0]")));
}

static void s10_what_a_client_may_call_itself(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"mx.example.com", true},     {"localhost", true},      {"WIN_APP01", true},
        {"[192.0.2.1]", true},        {"[IPv6:::1]", true},     {DOMAIN_255, true},
        {DOMAIN_256, false},          {"", false},              {"a b", false},
        {"a.", false},                {"[192.0.2.1", false},    {"[IPv6:1]", false},
        {"\xC3\xA9.example", false}, {"a<b>", false},          {"a(b)", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_int_equal(domain_is_hello(slice_from_string(rows[i].text)), rows[i].valid);
    }
}

static void h11_an_address_alone_has_nothing_around_it(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool allow_null;
        bool valid;
        const char *local;
        const char *domain;
    } rows[] = {
        {"a@b.test", false, true, "a", "b.test"},
        {"\"a@b\"@[192.0.2.1]", true, true, "\"a@b\"", "[192.0.2.1]"},
        {"", true, true, "", ""},
        {"", false, false, NULL, NULL},
        {"<a@b.test>", false, false, NULL, NULL},
        {"a@b.test>", false, false, NULL, NULL},
        {"a@b.test> SIZE=1", false, false, NULL, NULL},
        {"a@b.test\r\nRCPT TO:<c@d.test>", false, false, NULL, NULL},
        {" a@b.test", false, false, NULL, NULL},
        {"@c.test:a@b.test", false, false, NULL, NULL},
        {"postmaster", false, false, NULL, NULL},
        {"a", false, false, NULL, NULL},
        {"@", true, false, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice text = slice_from_string(rows[i].text);
        struct address address;
        assert_int_equal(address_parse_bare(text, rows[i].allow_null, &address), rows[i].valid);
        if (rows[i].valid) {
            assert_ptr_equal(address.whole.data, text.data);
            assert_slice(address.whole, rows[i].text);
            assert_slice(address.local, rows[i].local);
            assert_slice(address.domain, rows[i].domain);
            assert_true(address.domain.size == 0 || address.domain.data > text.data);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s13_lengths_of_local_domain_path_and_label),
        cmocka_unit_test(s14_quoted_locals_route_by_the_last_unquoted_at),
        cmocka_unit_test(s15_routes_hacks_literals_and_ports),
        cmocka_unit_test(s16_null_and_postmaster),
        cmocka_unit_test(s20_non_ascii_is_marked_and_must_be_clean_utf8),
        cmocka_unit_test(h11_an_address_alone_has_nothing_around_it),
        cmocka_unit_test(domains_and_literals),
        cmocka_unit_test(s10_what_a_client_may_call_itself),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
