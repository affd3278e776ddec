#include "smtp/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

static const char *const sets[] = {
    "queues.queue.\"smart.test\".protocol={smtp={mx_list=[\"[192.0.2.1]:2525\",\"192.0.2.2\"]}}",
    "queues.queue.\"own.test\".protocol={smtp={mx_list=[\"127.0.0.1\"]}}",
    "queues.queue.\"routed.test\".routing_domain=\"[192.0.2.9]\"",
    "shaping.\"routed.test\".smtp_port=587",
};

struct expected {
    const char *domain;
    enum route_kind kind;
    const char *site;
    const char *hosts[2];
};

static const struct expected expected[] = {
    {"smart.test", ROUTE_OK, "mx_list:[192.0.2.1]:2525,192.0.2.2",
     {"192.0.2.1:2525", "192.0.2.2:25"}},
    {"SMART.test", ROUTE_OK, "mx_list:[192.0.2.1]:2525,192.0.2.2",
     {"192.0.2.1:2525", "192.0.2.2:25"}},
    {"own.test", ROUTE_OK, "mx_list:127.0.0.1", {"127.0.0.1:25"}}, /* the operator wrote it */
    {"routed.test", ROUTE_OK, "[192.0.2.9]", {"192.0.2.9:587"}},
    {"nowhere.test", ROUTE_NEEDS_DNS, NULL, {NULL}},
    {"", ROUTE_NEEDS_DNS, NULL, {NULL}},
    {"[", ROUTE_NEEDS_DNS, NULL, {NULL}},
    {"[]", ROUTE_NEEDS_DNS, NULL, {NULL}},
    {"[192.0.2.7]", ROUTE_OK, "192.0.2.7:25", {"192.0.2.7:25"}},
    {"[IPv6:2001:db8::7]", ROUTE_OK, "[2001:db8::7]:25", {"[2001:db8::7]:25"}},
    {"[ipv6:2001:DB8::7]", ROUTE_OK, "[2001:db8::7]:25", {"[2001:db8::7]:25"}},
    {"[nonsense]", ROUTE_NEEDS_DNS, NULL, {NULL}},
    /* C-20: nobody's recipient makes us talk to ourselves */
    {"[127.0.0.1]", ROUTE_PROHIBITED, NULL, {NULL}},
    {"[127.9.9.9]", ROUTE_PROHIBITED, NULL, {NULL}},
    {"[IPv6:::1]", ROUTE_PROHIBITED, NULL, {NULL}},
};

static void expect(const struct conf *conf, const struct expected *row)
{
    static const uint16_t codes[] = {
        [ROUTE_OK] = 0, [ROUTE_NEEDS_DNS] = 451, [ROUTE_PROHIBITED] = 550};
    static struct route route;
    const struct conf_queue_key key = {.domain = slice_from_string(row->domain)};
    struct queue_options options;
    conf_queue(conf, &key, &options);
    route_find(&route, &options, conf_path(conf, key.domain), key.domain);
    if (route.kind != row->kind) {
        fail_msg("%s: kind %d", row->domain, (int)route.kind);
    }
    assert_int_equal(route_verdict(conf, key.domain).code, codes[row->kind]);
    if (row->kind != ROUTE_OK) {
        return;
    }
    if (!slice_equal(buf_slice(&route.site), slice_from_string(row->site))) {
        fail_msg("%s: site %.*s", row->domain, (int)route.site.size, route.site_memory);
    }
    for (unsigned i = 0; i < COUNT_OF(row->hosts) && row->hosts[i] != NULL; i++) {
        uint8_t memory[ENDPOINT_TEXT_MAX];
        struct buf text;
        buf_init(&text, memory, sizeof(memory));
        assert_true(i < route.host_count);
        endpoint_put(&text, &route.hosts[i]);
        if (!slice_equal(buf_slice(&text), slice_from_string(row->hosts[i]))) {
            fail_msg("%s: host %u is %.*s", row->domain, i, (int)text.size, memory);
        }
    }
}

static void every_domain_goes_where_the_configuration_says(void **state)
{
    (void)state;
    char said[2048];
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .sets = sets,
        .set_count = COUNT_OF(sets),
        .hostname = SLICE("box.test"),
    };
    buf_init(&messages.text, said, sizeof(said) - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    for (unsigned i = 0; i < COUNT_OF(expected); i++) {
        expect(conf, &expected[i]);
    }
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_domain_goes_where_the_configuration_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
