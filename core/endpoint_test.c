#include "core/endpoint.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void assert_text(const struct endpoint *endpoint, bool with_port, const char *expected)
{
    char memory[ENDPOINT_TEXT_MAX + 1] = {0};
    struct buf buf;
    buf_init(&buf, memory, ENDPOINT_TEXT_MAX);
    if (with_port) {
        endpoint_put(&buf, endpoint);
    } else {
        endpoint_put_address(&buf, endpoint);
    }
    assert_false(buf.overflow);
    assert_string_equal(memory, expected);
}

static void addresses_come_back_in_their_canonical_form(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *canonical; /* null: refused */
    } rows[] = {
        {"192.0.2.1", "192.0.2.1"},
        {"0.0.0.0", "0.0.0.0"},
        {"255.255.255.255", "255.255.255.255"},
        {"::", "::"},
        {"::1", "::1"},
        {"1::", "1::"},
        {"2001:DB8::1", "2001:db8::1"},
        {"2001:db8:0:0:0:0:0:1", "2001:db8::1"},
        {"2001:0db8:0000:0001:0001:0001:0001:0001", "2001:db8:0:1:1:1:1:1"},
        {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
        {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
        {"::ffff:192.0.2.1", "192.0.2.1"},
        {"::FFFF:c000:201", "192.0.2.1"},
        {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
        {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
        {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
        {"1:2:3:4:5:6:1.2.3.4", "1:2:3:4:5:6:102:304"},
        {"", NULL},
        {"1.2.3", NULL},
        {"1.2.3.4.5", NULL},
        {"1.2.3.", NULL},
        {"1.2.3.256", NULL},
        {"01.2.3.4", NULL},
        {"1.2.3.+4", NULL},
        {"1.2.3.4 ", NULL},
        {"0x7f.1", NULL},
        {"127.1", NULL},
        {":", NULL},
        {":::", NULL},
        {":1", NULL},
        {"1:", NULL},
        {"1::2::3", NULL},
        {"1:2:3:4:5:6:7", NULL},
        {"1:2:3:4:5:6:7:8:9", NULL},
        {"1:2:3:4:5:6:7:8::", NULL},
        {"1::2:3:4:5:6:7:8", NULL},
        {"1:2:3:4:5:6:7:1.2.3.4", NULL},
        {"1.2.3.4::", NULL},
        {"::1.2.3.4:5", NULL},
        {"12345::", NULL},
        {"::g", NULL},
        {"fe80::1%lo", NULL},
        {"[::1]", NULL},
        {"example.com", NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint endpoint = {0};
        bool valid = endpoint_parse_address(slice_from_string(rows[i].text), &endpoint);
        if (valid != (rows[i].canonical != NULL)) {
            fail_msg("%s", rows[i].text);
        }
        if (valid) {
            assert_text(&endpoint, false, rows[i].canonical);
        }
    }
}

static void ports_are_needed_or_defaulted(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint16_t default_port;
        const char *canonical;
    } rows[] = {
        {"192.0.2.1:25", 0, "192.0.2.1:25"},
        {"127.0.0.1:0", 0, "127.0.0.1:0"},
        {"[2001:db8::1]:25", 0, "[2001:db8::1]:25"},
        {"[192.0.2.1]:65535", 0, "192.0.2.1:65535"},
        {"192.0.2.1", 25, "192.0.2.1:25"},
        {"192.0.2.1:26", 25, "192.0.2.1:26"},
        {"[::1]", 25, "[::1]:25"},
        {"192.0.2.1", 0, NULL},
        {"[::1]", 0, NULL},
        {"::1", 25, NULL},
        {"192.0.2.1:", 25, NULL},
        {"192.0.2.1:65536", 0, NULL},
        {"192.0.2.1:025", 0, NULL},
        {"192.0.2.1:-1", 0, NULL},
        {"192.0.2.1:25:25", 0, NULL},
        {"[::1", 25, NULL},
        {"[::1]25", 0, NULL},
        {"[]:25", 0, NULL},
        {":25", 0, NULL},
        {"", 25, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint endpoint = {0};
        bool valid =
            endpoint_parse(slice_from_string(rows[i].text), rows[i].default_port, &endpoint);
        if (valid != (rows[i].canonical != NULL)) {
            fail_msg("%s", rows[i].text);
        }
        if (valid) {
            assert_text(&endpoint, true, rows[i].canonical);
        }
    }
}

/* The C library is the judge: the same addresses, and its text reads back as the same bytes. */
static void agrees_with_the_c_library(void **state)
{
    (void)state;
    uint64_t seed = 31;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_seed(&prng, seed);
    for (unsigned round = 0; round < 20000; round++) {
        struct endpoint endpoint = {0};
        for (unsigned i = 0; i < 16; i++) {
            endpoint.address[i] = prng_chance(&prng, 600) ? 0 : (uint8_t)prng_next(&prng);
        }
        char text[ENDPOINT_TEXT_MAX];
        assert_non_null(inet_ntop(AF_INET6, endpoint.address, text, sizeof(text)));
        struct endpoint parsed = {0};
        assert_true(endpoint_parse_address(slice_from_string(text), &parsed));
        assert_true(endpoint_equal_address(&endpoint, &parsed));

        char ours[ENDPOINT_TEXT_MAX] = {0};
        struct buf buf;
        buf_init(&buf, ours, sizeof(ours) - 1);
        endpoint_put_address(&buf, &endpoint);
        uint8_t theirs[16];
        if (!endpoint_is_v4(&endpoint)) {
            assert_int_equal(inet_pton(AF_INET6, ours, theirs), 1);
            assert_memory_equal(theirs, endpoint.address, 16);
        }
        /* A damaged text: both accept it or both refuse it. */
        text[prng_below(&prng, strlen(text))] = "0:.fg1"[prng_below(&prng, 6)];
        bool mine = endpoint_parse_address(slice_from_string(text), &parsed);
        bool v6 = strchr(text, ':') != NULL;
        if (mine != (inet_pton(v6 ? AF_INET6 : AF_INET, text, theirs) == 1)) {
            fail_msg("%s", text);
        }
    }
}

static void families_and_loopback(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool v4;
        bool loopback;
    } rows[] = {
        {"127.0.0.1", true, true},   {"127.8.9.1", true, true}, {"128.0.0.1", true, false},
        {"::ffff:127.0.0.1", true, true}, {"::1", false, true}, {"::2", false, false},
        {"::127.0.0.1", false, false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint endpoint = {0};
        assert_true(endpoint_parse_address(slice_from_string(rows[i].text), &endpoint));
        assert_int_equal(endpoint_is_v4(&endpoint), rows[i].v4);
        assert_int_equal(endpoint_is_loopback(&endpoint), rows[i].loopback);
    }
}

static void networks_contain_what_their_prefix_says(void **state)
{
    (void)state;
    static const struct {
        const char *network;
        bool valid;
        const char *inside;
        const char *outside;
    } rows[] = {
        {"10.0.0.0/8", true, "10.255.255.255", "11.0.0.0"},
        {"192.0.2.128/25", true, "192.0.2.255", "192.0.2.127"},
        {"192.0.2.1", true, "192.0.2.1", "192.0.2.2"},
        {"0.0.0.0/0", true, "255.1.2.3", "::1"},
        {"::/0", true, "1.2.3.4", NULL},
        {"::1", true, "::1", "::2"},
        {"2001:db8::/33", true, "2001:db8:7fff::1", "2001:db8:8000::1"},
        {"::ffff:10.0.0.0/104", true, "10.1.2.3", "11.1.2.3"},
        {"10.0.0.1/8", false, NULL, NULL},
        {"2001:db8::1/64", false, NULL, NULL},
        {"10.0.0.0/33", false, NULL, NULL},
        {"::/129", false, NULL, NULL},
        {"10.0.0.0/", false, NULL, NULL},
        {"10.0.0.0/08", false, NULL, NULL},
        {"10/8", false, NULL, NULL},
        {"/8", false, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct network network = {0};
        struct endpoint endpoint = {0};
        bool valid = network_parse(slice_from_string(rows[i].network), &network);
        if (valid != rows[i].valid) {
            fail_msg("%s", rows[i].network);
        }
        if (rows[i].inside != NULL) {
            assert_true(endpoint_parse_address(slice_from_string(rows[i].inside), &endpoint));
            assert_true(network_contains(&network, &endpoint));
        }
        if (rows[i].outside != NULL) {
            assert_true(endpoint_parse_address(slice_from_string(rows[i].outside), &endpoint));
            assert_false(network_contains(&network, &endpoint));
        }
    }
}

static void several_networks_contain_what_one_of_them_does(void **state)
{
    struct network networks[2];
    struct endpoint endpoint;
    (void)state;
    assert_true(network_parse(SLICE("10.0.0.0/8"), &networks[0]));
    assert_true(network_parse(SLICE("::1"), &networks[1]));
    assert_true(endpoint_parse_address(SLICE("::1"), &endpoint));
    assert_true(networks_contain(networks, 2, &endpoint));
    assert_false(networks_contain(networks, 1, &endpoint));
    assert_false(networks_contain(NULL, 0, &endpoint));
    assert_true(endpoint_parse_address(SLICE("192.0.2.1"), &endpoint));
    assert_false(networks_contain(networks, 2, &endpoint));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_networks_contain_what_one_of_them_does),
        cmocka_unit_test(addresses_come_back_in_their_canonical_form),
        cmocka_unit_test(ports_are_needed_or_defaulted),
        cmocka_unit_test(agrees_with_the_c_library),
        cmocka_unit_test(families_and_loopback),
        cmocka_unit_test(networks_contain_what_their_prefix_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
