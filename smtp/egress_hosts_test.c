#include "smtp/egress_hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Two of the best rank, one of IPv6 between them and the last two. */
static void route_of(struct route *route)
{
    static const char *const texts[] = {"192.0.2.1:25", "192.0.2.2:25", "[2001:db8::1]:25",
                                        "192.0.2.3:25", "192.0.2.4:25"};
    static const uint8_t ranks[] = {0, 0, 1, 1, 1};
    *route = (struct route){.kind = ROUTE_OK, .host_count = COUNT_OF(texts)};
    for (unsigned i = 0; i < COUNT_OF(texts); i++) {
        assert_true(endpoint_parse(slice_from_string(texts[i]), 0, &route->hosts[i]));
        route->ranks[i] = ranks[i];
        route->names[i] = SLICE("mx.test");
    }
}

static void a_source_reaches_hosts_of_its_family(void **state)
{
    static const struct {
        const char *source;
        uint32_t reach;
    } rows[] = {{"", 0x1f}, {"192.0.2.100", 0x1b}, {"2001:db8::100", 0x04}};
    struct egress_hosts hosts;
    struct route route;
    (void)state;
    route_of(&route);
    egress_hosts_set(&hosts, &route);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint source = {0};
        struct slice text = slice_from_string(rows[i].source);
        assert_true(text.size == 0 || endpoint_parse_address(text, &source));
        assert_int_equal(egress_hosts_reach(&hosts, &source), rows[i].reach);
    }
}

static void hosts_are_tried_rank_by_rank_beginning_anywhere_in_it(void **state)
{
    static const struct {
        uint32_t reach;
        uint32_t spin;
        unsigned count;
        unsigned order[5];
    } rows[] = {
        {0x1f, 0, 5, {0, 1, 2, 3, 4}}, {0x1f, 1, 5, {1, 0, 3, 4, 2}},
        {0x1f, 2, 5, {0, 1, 4, 2, 3}}, {0x1b, 1, 4, {1, 0, 4, 3}},
        {0x1a, 0, 3, {1, 3, 4}},       {0x04, 7, 1, {2}},
    };
    struct egress_hosts hosts;
    struct route route;
    (void)state;
    route_of(&route);
    egress_hosts_set(&hosts, &route);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        for (unsigned tried = 0; tried < rows[i].count; tried++) {
            assert_int_equal(egress_hosts_pick(&hosts, rows[i].reach, tried, rows[i].spin),
                             rows[i].order[tried]);
        }
    }
}

static void names_of_the_configuration_are_copied_and_those_of_dns_are_not(void **state)
{
    struct egress_hosts hosts;
    struct route route;
    (void)state;
    route_of(&route);
    egress_hosts_set(&hosts, &route);
    for (unsigned i = 0; i < hosts.count; i++) {
        assert_true(slice_equal(hosts.names[i], SLICE("mx.test")));
        assert_ptr_not_equal(hosts.names[i].data, route.names[i].data);
    }
    route.lookup = SLICE("d.test");
    egress_hosts_set(&hosts, &route);
    assert_ptr_equal(hosts.names[0].data, route.names[0].data);
}

static void a_route_to_nowhere_leaves_its_verdict_and_detail(void **state)
{
    struct egress_hosts hosts;
    struct route route = {.kind = ROUTE_NOWHERE,
                          .verdict = {.code = 550, .text = "5.1.2 no such domain"},
                          .detail = SLICE("d.test"),
                          .lookup = SLICE("d.test")};
    static const struct endpoint any = {0};
    (void)state;
    egress_hosts_set(&hosts, &route);
    assert_int_equal(hosts.nowhere.code, 550);
    assert_true(slice_equal(hosts.detail, SLICE("d.test")));
    assert_ptr_not_equal(hosts.detail.data, route.detail.data);
    assert_int_equal(egress_hosts_reach(&hosts, &any), 0);
    route_of(&route);
    egress_hosts_set(&hosts, &route);
    assert_int_equal(hosts.nowhere.code, 0);
    assert_int_equal(hosts.detail.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_source_reaches_hosts_of_its_family),
        cmocka_unit_test(hosts_are_tried_rank_by_rank_beginning_anywhere_in_it),
        cmocka_unit_test(names_of_the_configuration_are_copied_and_those_of_dns_are_not),
        cmocka_unit_test(a_route_to_nowhere_leaves_its_verdict_and_detail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
