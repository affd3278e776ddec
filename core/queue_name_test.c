#include "core/queue_name.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/kit/conf_kit.h"

static void the_domain_follows_the_last_at(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"a@b.test", "b.test"},
        {"\"a@x.test\"@b.test", "b.test"},
        {"a@[192.0.2.1]", "[192.0.2.1]"},
        {"@b.test", "b.test"},
        {"a@", ""},
        {"postmaster", ""},
        {"", ""},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct slice domain = address_domain(slice_from_string(rows[i][0]));
        if (!slice_equal(domain, slice_from_string(rows[i][1]))) {
            fail_msg("%s: %.*s", rows[i][0], (int)domain.size, (const char *)domain.data);
        }
    }
}

static void names_have_the_form_that_kumomta_gives_them(void **state)
{
    (void)state;
    static const struct {
        const char *campaign;
        const char *tenant;
        const char *domain;
        const char *name;
    } rows[] = {
        {"", "", "a.test", "a.test"},
        {"", "acme", "a.test", "acme@a.test"},
        {"sale", "acme", "a.test", "sale:acme@a.test"},
        {"sale", "", "a.test", "sale:@a.test"},
        {"", "", "routed.test", "routed.test![192.0.2.1]:26"},
        {"sale", "acme", "routed.test", "sale:acme@routed.test![192.0.2.1]:26"},
        {"", "", "", "@"},
        {"sale", "", "", "sale:@"},
        {"", "acme", "[ipv6:2001:db8::1]", "acme@[ipv6:2001:db8::1]"},
        {"", "", "[ipv6:2001:db8::1]", "[ipv6:2001:db8::1]"},
        {"a!b@c:d", "acme", "a.test", "a!b@c:d:acme@a.test"},
        {"a!b@c:d", "", "routed.test", "a!b@c:d:@routed.test![192.0.2.1]:26"},
    };
    static const char *const sets[] = {
        "queues.queue.\"routed.test\".routing_domain=\"[192.0.2.1]:26\"",
        "queues.tenant.acme.weight=300",
    };
    char said[1024];
    struct conf *conf = conf_kit_load(NULL, sets, COUNT_OF(sets), said, sizeof(said));
    struct queue_name_memory memory;
    assert_non_null(conf);
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        const struct conf_queue_key key = {
            .campaign = slice_from_string(rows[i].campaign),
            .tenant = slice_from_string(rows[i].tenant),
            .domain = slice_from_string(rows[i].domain),
        };
        struct slice name = queue_name(conf, &key, &memory);
        if (!slice_equal(name, slice_from_string(rows[i].name))) {
            fail_msg("%s: %.*s", rows[i].name, (int)name.size, (const char *)name.data);
        }
        struct conf_queue_key back = queue_name_parse(name);
        if (!slice_equal(back.campaign, key.campaign) || !slice_equal(back.tenant, key.tenant) ||
            !slice_equal(back.domain, key.domain)) {
            fail_msg("%s is not read back", rows[i].name);
        }
    }
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_domain_follows_the_last_at),
        cmocka_unit_test(names_have_the_form_that_kumomta_gives_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
