#include "smtp/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "tests/kit/conf_kit.h"

static const char *const sets[] = {
    "queues.queue.\"smart.test\".protocol={smtp={mx_list=[\"[192.0.2.1]:2525\",\"192.0.2.2\"]}}",
    "queues.queue.\"own.test\".protocol={smtp={mx_list=[\"127.0.0.1\"]}}",
    "queues.queue.\"routed.test\".routing_domain=\"[192.0.2.9]\"",
    "queues.queue.\"named.test\".routing_domain=\"MX.example.:587\"",
    "queues.queue.\"list.test\".protocol={smtp={mx_list=[\"b.example:26\",\"192.0.2.3\","
    "\"a.example\"]}}",
    "shaping.\"routed.test\".smtp_port=587",
    "shaping.\"four.test\".ip_lookup_strategy=Ipv4Only",
    "shaping.\"six.test\".ip_lookup_strategy=Ipv6Only",
    "shaping.\"sixfour.test\".ip_lookup_strategy=Ipv6ThenIpv4",
    "shaping.\"foursix.test\".ip_lookup_strategy=Ipv4ThenIpv6",
    "shaping.\"skips.test\".skip_hosts=[\"192.0.2.0/24\"]",
    "shaping.\"skipsall.test\".skip_hosts=[\"0.0.0.0/0\",\"::/0\"]",
    "shaping.\"forbids.test\".prohibited_hosts=[\"198.51.100.0/24\"]",
    "shaping.\"port.test\".smtp_port=2626",
};

static struct conf *load(void)
{
    static char said[2048];
    struct conf *conf = conf_kit_load(NULL, sets, COUNT_OF(sets), said, sizeof(said));
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

/* Hosts as text, each with its rank: "192.0.2.1:25/0 [2001:db8::1]:25/1". */
static const char *hosts_of(const struct route *route)
{
    static char text[2048];
    size_t size = 0;
    text[0] = '\0';
    for (unsigned i = 0; i < route->host_count; i++) {
        uint8_t memory[ENDPOINT_TEXT_MAX];
        struct buf host;
        buf_init(&host, memory, sizeof(memory));
        endpoint_put(&host, &route->hosts[i]);
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%.*s/%u", i > 0 ? " " : "",
                                 (int)host.size, (const char *)host.data, route->ranks[i]);
    }
    return text;
}

static void expect_text(const char *what, struct slice is, const char *wanted)
{
    if (!slice_equal(is, slice_from_string(wanted))) {
        fail_msg("%s: \"%.*s\", not \"%s\"", what, (int)is.size, (const char *)is.data, wanted);
    }
}

static struct queue_options find(struct route *route, const struct conf *conf, const char *domain)
{
    const struct conf_queue_key key = {.domain = slice_from_string(domain)};
    struct queue_options options;
    conf_queue(conf, &key, &options);
    route_find(route, &options, conf_kit_path(conf, key.domain, SLICE_NONE), key.domain);
    return options;
}

/* --- by configuration ------------------------------------------------------------------------- */

static const struct expected {
    const char *domain;
    enum route_kind kind;
    const char *site;  /* or what DNS is to be asked for */
    const char *hosts;
    uint16_t code;     /* a recipient hears it */
} expected[] = {
    {"smart.test", ROUTE_OK, "mx_list:[192.0.2.1]:2525,192.0.2.2",
     "192.0.2.1:2525/0 192.0.2.2:25/1", 0},
    {"SMART.test", ROUTE_OK, "mx_list:[192.0.2.1]:2525,192.0.2.2",
     "192.0.2.1:2525/0 192.0.2.2:25/1", 0},
    {"own.test", ROUTE_OK, "mx_list:127.0.0.1", "127.0.0.1:25/0", 0}, /* the operator wrote it */
    {"routed.test", ROUTE_OK, "[192.0.2.9]", "192.0.2.9:587/0", 0},
    {"named.test", ROUTE_NEEDS_DNS, "mx.example", "", 0},
    {"list.test", ROUTE_NEEDS_DNS, " b.example a.example", "", 0},
    {"any.test", ROUTE_NEEDS_DNS, "any.test", "", 0},
    {"", ROUTE_NOWHERE, NULL, "", 451},
    {"[", ROUTE_NOWHERE, NULL, "", 451},
    {"[]", ROUTE_NOWHERE, NULL, "", 451},
    {"[192.0.2.7]", ROUTE_OK, "192.0.2.7:25", "192.0.2.7:25/0", 0},
    {"[IPv6:2001:db8::7]", ROUTE_OK, "[2001:db8::7]:25", "[2001:db8::7]:25/0", 0},
    {"[ipv6:2001:DB8::7]", ROUTE_OK, "[2001:db8::7]:25", "[2001:db8::7]:25/0", 0},
    {"[nonsense]", ROUTE_NOWHERE, NULL, "", 451},
    /* C-20: nobody's recipient makes us talk to ourselves */
    {"[127.0.0.1]", ROUTE_NOWHERE, NULL, "", 550},
    {"[127.9.9.9]", ROUTE_NOWHERE, NULL, "", 550},
    {"[IPv6:::1]", ROUTE_NOWHERE, NULL, "", 550},
};

static void every_domain_goes_where_the_configuration_says(void **state)
{
    (void)state;
    static struct route route;
    struct conf *conf = load();
    for (unsigned i = 0; i < COUNT_OF(expected); i++) {
        const struct expected *row = &expected[i];
        (void)find(&route, conf, row->domain);
        if (route.kind != row->kind) {
            fail_msg("%s: kind %d", row->domain, (int)route.kind);
        }
        expect_text(row->domain, slice_from_string(hosts_of(&route)), row->hosts);
        assert_int_equal(route_verdict(conf, slice_from_string(row->domain)).code, row->code);
        if (row->kind == ROUTE_OK) {
            expect_text(row->domain, buf_slice(&route.site), row->site);
        } else if (row->kind == ROUTE_NEEDS_DNS) {
            expect_text(row->domain, route.lookup, row->site);
        }
    }
    conf_free(conf);
}

/* --- by DNS ----------------------------------------------------------------------------------- */

struct answer {
    struct site site;
    struct site_host hosts[SITE_HOSTS_MAX];
    struct endpoint addresses[SITE_ADDRESSES_MAX];
};

/* "10 a.example 192.0.2.1 2001:db8::1,20 b.example 192.0.2.2": preference, name, addresses. */
static void answer_set(struct answer *answer, const char *text)
{
    static char memory[1024];
    char *rest = memory;
    char *hosts;
    snprintf(memory, sizeof(memory), "%s", text);
    *answer = (struct answer){
        .site = {.kind = SITE_OK, .name = SLICE("(a|b).example"), .order = 7}};
    answer->site.hosts = answer->hosts;
    answer->site.addresses = answer->addresses;
    while ((hosts = strsep(&rest, ",")) != NULL) {
        struct site_host *host = &answer->hosts[answer->site.host_count++];
        host->preference = (uint16_t)strtoul(strsep(&hosts, " "), NULL, 10);
        host->name = slice_from_string(strsep(&hosts, " "));
        host->first = (uint16_t)answer->site.address_count;
        char *address;
        while ((address = strsep(&hosts, " ")) != NULL) {
            assert_true(endpoint_parse_address(
                slice_from_string(address),
                &answer->addresses[answer->site.address_count++]));
            host->count++;
        }
    }
}

#define TWO "10 a.example 192.0.2.1 2001:db8::1,20 b.example 192.0.2.2"

static const struct resolved {
    const char *domain;
    const char *answer;
    const char *site;
    const char *hosts; /* or empty, and then the code */
    uint16_t code;
} resolved[] = {
    {"any.test", TWO, "(a|b).example", "192.0.2.1:25/0 [2001:db8::1]:25/0 192.0.2.2:25/2", 0},
    {"any.test", "10 a.example 192.0.2.1,10 b.example 192.0.2.2,11 c.example 192.0.2.3",
     "(a|b).example", "192.0.2.1:25/0 192.0.2.2:25/0 192.0.2.3:25/2", 0},
    {"four.test", TWO, "(a|b).example", "192.0.2.1:25/0 192.0.2.2:25/2", 0},
    {"six.test", TWO, "(a|b).example", "[2001:db8::1]:25/0", 0},
    {"sixfour.test", TWO, "(a|b).example",
     "[2001:db8::1]:25/0 192.0.2.1:25/1 192.0.2.2:25/3", 0},
    {"foursix.test", TWO, "(a|b).example",
     "192.0.2.1:25/0 [2001:db8::1]:25/1 192.0.2.2:25/2", 0},
    {"skips.test", TWO, "(a|b).example", "[2001:db8::1]:25/0", 0},
    {"skipsall.test", TWO, "(a|b).example", "", 451},
    {"forbids.test", TWO, "(a|b).example", "192.0.2.1:25/0 [2001:db8::1]:25/0 192.0.2.2:25/2", 0},
    {"forbids.test", "10 a.example 192.0.2.1,20 b.example 198.51.100.2", "(a|b).example", "", 550},
    {"any.test", "10 a.example 127.0.0.1", "(a|b).example", "", 550}, /* C-20 */
    {"any.test", "10 a.example", "(a|b).example", "", 451},
    {"port.test", TWO, "(a|b).example",
     "192.0.2.1:2626/0 [2001:db8::1]:2626/0 192.0.2.2:2626/2", 0},
    {"named.test", TWO, "(a|b).example:587",
     "192.0.2.1:587/0 [2001:db8::1]:587/0 192.0.2.2:587/2", 0},
    /* a list: in its order, with its ports, and nothing is prohibited that its operator wrote */
    {"list.test", "1 a.example 192.0.2.1 127.0.0.1,2 b.example 2001:db8::2",
     "mx_list:b.example:26,192.0.2.3,a.example",
     "[2001:db8::2]:26/0 192.0.2.3:25/2 192.0.2.1:25/4 127.0.0.1:25/4", 0},
    {"list.test", "1 b.example", "mx_list:b.example:26,192.0.2.3,a.example",
     "192.0.2.3:25/2", 0},
};

static void every_domain_goes_where_dns_says(void **state)
{
    (void)state;
    static struct route route;
    static struct answer answer;
    struct conf *conf = load();
    for (unsigned i = 0; i < COUNT_OF(resolved); i++) {
        const struct resolved *row = &resolved[i];
        struct queue_options queue = find(&route, conf, row->domain);
        answer_set(&answer, row->answer);
        route_resolve(&route, &queue,
                      conf_kit_path(conf, slice_from_string(row->domain), SLICE_NONE),
                      &answer.site);
        expect_text(row->domain, slice_from_string(hosts_of(&route)), row->hosts);
        expect_text(row->domain, buf_slice(&route.site), row->site);
        assert_int_equal(route.kind, row->code == 0 ? ROUTE_OK : ROUTE_NOWHERE);
        assert_int_equal(route.verdict.code, row->code == 0 ? 451 : row->code);
    }
    conf_free(conf);
}

static void c21_every_host_of_many_has_some_addresses(void **state)
{
    (void)state;
    static struct route route;
    static struct answer answer;
    struct conf *conf = load();
    struct queue_options queue = find(&route, conf, "any.test");
    answer_set(&answer, TWO);
    for (unsigned i = 0; i < SITE_ADDRESSES_MAX; i++) {
        answer.addresses[i] = (struct endpoint){.address = {0x20, 1, [15] = (uint8_t)i}};
    }
    answer.hosts[0].count = 40;
    answer.hosts[1].first = 40;
    answer.hosts[1].count = 24;
    answer.site.address_count = SITE_ADDRESSES_MAX;
    route_resolve(&route, &queue, conf_kit_path(conf, SLICE("any.test"), SLICE_NONE), &answer.site);
    assert_int_equal(route.host_count, ROUTE_HOSTS_MAX);
    assert_int_equal(route.hosts[ROUTE_HOSTS_MAX / 2 - 1].address[15], ROUTE_HOSTS_MAX / 2 - 1);
    assert_int_equal(route.hosts[ROUTE_HOSTS_MAX / 2].address[15], 40);
    conf_free(conf);
}

static void what_dns_refuses_says_why(void **state)
{
    (void)state;
    static struct route route;
    static const struct {
        enum site_kind kind;
        uint16_t code;
    } rows[] = {
        {SITE_NO_DOMAIN, 550}, {SITE_NULL_MX, 556}, {SITE_NO_ADDRESS, 451}, {SITE_LOOP, 550},
        {SITE_TROUBLE, 451},
    };
    struct conf *conf = load();
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        const struct site site = {
            .kind = rows[i].kind, .name = SLICE("NAME:any.test"), .detail = SLICE("because")};
        struct queue_options queue = find(&route, conf, "any.test");
        route_resolve(&route, &queue, conf_kit_path(conf, SLICE("any.test"), SLICE_NONE), &site);
        assert_int_equal(route.kind, ROUTE_NOWHERE);
        assert_int_equal(route.verdict.code, rows[i].code);
        expect_text("detail", route.detail, "because");
        expect_text("site", buf_slice(&route.site), "NAME:any.test");
    }
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_domain_goes_where_the_configuration_says),
        cmocka_unit_test(every_domain_goes_where_dns_says),
        cmocka_unit_test(c21_every_host_of_many_has_some_addresses),
        cmocka_unit_test(what_dns_refuses_says_why),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
