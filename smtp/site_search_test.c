/* Sites from the wire: the finder over the resolver and name servers of use and of none. */
#include "smtp/site_search.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "smtp/site_finder.h"
#include "tests/kit/name_server.h"
#include "tests/sim/shards.h"

#define SERVERS 2

static const char zone[] = "a.test 300 MX 10 mx1.test\n"
                           "a.test 300 MX 20 mx2.test\n"
                           "mx1.test 300 A 192.0.2.1\n"
                           "mx1.test 300 AAAA 2001:db8::1\n"
                           "mx2.test 300 CNAME real.test\n"
                           "real.test 300 A 192.0.2.2\n"
                           "alias.test 300 CNAME a.test\n"
                           "host.test 300 A 192.0.2.3\n"
                           "null.test 300 MX 0 .\n"
                           "nulls.test 300 MX 0 .\n"
                           "nulls.test 300 MX 10 mx1.test\n"
                           "bad.test 300 MX 10 b%d.test\n"
                           "bad.test 300 A 192.0.2.4\n"
                           "literal.test 300 MX 10 192.0.2.9\n"
                           "literal.test 300 A 192.0.2.4\n"
                           "half.test 300 MX 10 b%d.test\n"
                           "half.test 300 MX 20 mx1.test\n"
                           "circle.test 300 MX 10 round.test\n"
                           "round.test 300 CNAME circle2.test\n"
                           "circle2.test 300 CNAME round.test\n";

/* What is right, and what will do when name servers are of no use. */
static const struct {
    const char *domain;
    enum site_kind kind;
    const char *name;
    unsigned hosts;
    unsigned addresses;
} rows[] = {
    {"a.test", SITE_OK, "(mx1|mx2).test", 2, 3},
    {"alias.test", SITE_OK, "(mx1|mx2).test", 2, 3},
    {"host.test", SITE_OK, "host.test", 1, 1},
    {"none.test", SITE_NO_DOMAIN, "NXDOMAIN:none.test", 0, 0},
    {"null.test", SITE_NULL_MX, "NULLMX:null.test", 0, 0},
    {"nulls.test", SITE_OK, "mx1.test", 1, 2},
    {"bad.test", SITE_NO_ADDRESS, "NOADDRESS:bad.test", 0, 0},
    {"literal.test", SITE_NO_ADDRESS, "NOADDRESS:literal.test", 0, 0},
    {"half.test", SITE_OK, "mx1.test", 1, 2},
    {"circle.test", SITE_TROUBLE, "DNSFAIL:circle.test", 1, 0},
};

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct boot_pages pages;
    struct name_server servers[SERVERS];
    struct conf *conf;
    struct resolver resolver;
    struct site_finder finder;
};

struct asker {
    struct site_ask ask;
    struct site *site;
    unsigned calls;
};

static bool read_bytes(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    (void)context;
    (void)path;
    (void)reason_out;
    *bytes_out = SLICE("[dns]\nservers = []\ntimeout = \"2s\"\n");
    return true;
}

static void rig_boot(struct rig *rig, struct sim *sim)
{
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml", .hostname = SLICE("box.test"), .read = read_bytes};
    *rig = (struct rig){.sim = sim, .conf = conf_load(&input, &messages)};
    assert_non_null(rig->conf);
    sim_shards_boot(&rig->shards, sim_node_open(sim, NULL), 1, 64, 1500);
    rig->conf->dns.server_count = SERVERS;
    for (unsigned i = 0; i < SERVERS; i++) {
        rig->conf->dns.servers[i].address = sim_endpoint(50 + i, 53);
        name_server_open(&rig->servers[i], sim, &rig->conf->dns.servers[i].address, zone);
    }
    (void)sim_run_for(sim, NS_PER_S);
    struct shard *shard = &rig->shards.shards[0];
    resolver_init(&rig->resolver, shard, &rig->pages, &rig->conf->dns);
    struct site_finder_options options = {.resolver = &rig->resolver,
                                          .conf = rig->conf,
                                          .domains_max = 100,
                                          .memory_max = 4 * MIB};
    site_finder_init(&rig->finder, shard, &rig->pages, &options);
}

static void run(struct rig *rig, uint64_t ns)
{
    ring_wake(rig->shards.shards[0].ring);
    (void)sim_run_for(rig->sim, ns);
}

static void rig_stop(struct rig *rig)
{
    site_finder_stop(&rig->finder);
    resolver_stop(&rig->resolver);
    run(rig, 60 * NS_PER_S);
    if (!sim_failed(rig->sim) && !resolver_idle(&rig->resolver)) {
        sim_fail(rig->sim, "the resolver does not end");
    }
    if (!sim_failed(rig->sim)) {
        site_finder_fini(&rig->finder);
        resolver_fini(&rig->resolver);
    }
    sim_shards_stop(&rig->shards);
    boot_pages_give(&rig->pages);
    conf_free(rig->conf);
}

static void found(struct site_ask *ask, struct site *site, uint64_t expires_ns)
{
    struct asker *asker = CONTAINER_OF(ask, struct asker, ask);
    (void)expires_ns;
    asker->calls++;
    asker->site = site;
}

static struct site *find(struct rig *rig, const char *domain)
{
    struct asker asker = {.ask = {.domain = slice_from_string(domain), .done = found}};
    site_finder_ask(&rig->finder, &asker.ask);
    run(rig, 30 * NS_PER_S);
    if (!sim_failed(rig->sim) && asker.calls != 1) {
        sim_fail(rig->sim, "%u answers for %s", asker.calls, domain);
    }
    return asker.site;
}

static void c21_f18_the_way_of_each_domain(void **state)
{
    (void)state;
    struct rig rig;
    rig_boot(&rig, sim_open(&(struct sim_options){.seed = 1}));
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct site *site = find(&rig, rows[i].domain);
        assert_int_equal(site->kind, rows[i].kind);
        assert_int_equal(site->name.size, strlen(rows[i].name));
        assert_memory_equal(site->name.data, rows[i].name, site->name.size);
        assert_int_equal(site->host_count, rows[i].hosts);
        assert_int_equal(site->address_count, rows[i].addresses);
        site_release(site);
    }
    rig_stop(&rig);
    assert_string_equal(sim_failure(rig.sim), "");
    sim_close(rig.sim);
}

static void f18_all_hosts_of_a_list_are_asked_for_at_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_boot(&rig, sim_open(&(struct sim_options){.seed = 1}));
    for (unsigned i = 0; i < SERVERS; i++) {
        rig.servers[i].delay_ns = NS_PER_S;
    }
    struct asker asker = {
        .ask = {.domain = SLICE(" mx1.test mx2.test host.test"), .done = found}};
    site_finder_ask(&rig.finder, &asker.ask);
    run(&rig, 3 * NS_PER_S / 2);
    assert_int_equal(asker.calls, 1);
    assert_int_equal(asker.site->kind, SITE_OK);
    assert_int_equal(asker.site->host_count, 3);
    assert_int_equal(asker.site->address_count, 4);
    site_release(asker.site);
    rig_stop(&rig);
    assert_string_equal(sim_failure(rig.sim), "");
    sim_close(rig.sim);
}

static void f17_without_name_servers_sites_stay_and_new_domains_wait(void **state)
{
    (void)state;
    struct rig rig;
    rig_boot(&rig, sim_open(&(struct sim_options){.seed = 1}));
    struct site *site = find(&rig, "a.test");
    rig.servers[0].mood = NAME_SERVER_DEAD;
    rig.servers[1].mood = NAME_SERVER_FAILS;
    run(&rig, 301 * NS_PER_S);
    struct site *again = find(&rig, "a.test");
    assert_ptr_equal(again, site);
    struct site *other = find(&rig, "host.test");
    assert_int_equal(other->kind, SITE_TROUBLE);
    assert_true(slice_ends_with(other->detail, SLICE(" for MX of host.test")));
    site_release(site);
    site_release(again);
    site_release(other);
    rig.servers[1].mood = NAME_SERVER_WORKS;
    run(&rig, 10 * NS_PER_S);
    other = find(&rig, "host.test");
    assert_int_equal(other->kind, SITE_OK);
    site_release(other);
    rig_stop(&rig);
    assert_string_equal(sim_failure(rig.sim), "");
    sim_close(rig.sim);
}

/* Right, or trouble; of one whose hosts are not all known some addresses may be missing. */
static bool will_do(const struct site *site, unsigned row)
{
    if (site->kind == SITE_TROUBLE || site->kind == rows[row].kind) {
        return site->kind != SITE_OK || (site->host_count == rows[row].hosts &&
                                         site->address_count <= rows[row].addresses);
    }
    return false;
}

static void any_faults(struct sim *sim, void *context)
{
    struct rig *rig = context;
    rig_boot(rig, sim);
    for (unsigned i = 0; i < 40 && !sim_failed(sim); i++) {
        unsigned row = (unsigned)sim_below(sim, COUNT_OF(rows));
        for (unsigned k = 0; k < SERVERS; k++) {
            rig->servers[k].mood = (enum name_server_mood)sim_below(sim, NAME_SERVER_PUZZLED + 1);
            rig->servers[k].delay_ns = sim_chance(sim, 300) ? sim_below(sim, 3 * NS_PER_S) : 0;
        }
        struct site *site = find(rig, rows[row].domain);
        if (!sim_failed(sim) && !will_do(site, row)) {
            sim_fail(sim, "%s: %s", rows[row].domain, site_kind_name(site->kind));
        }
        if (!sim_failed(sim)) {
            site_release(site);
            run(rig, sim_below(sim, 400 * NS_PER_S));
        }
    }
    rig_stop(rig);
}

static void f17_whatever_happens_a_site_is_right_or_trouble(void **state)
{
    (void)state;
    static struct rig rig;
    struct sim_campaign campaign = {.name = "sites",
                                    .count = 50,
                                    .swarm = SIM_FAULTS_ALL,
                                    .body = any_faults,
                                    .context = &rig};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(c21_f18_the_way_of_each_domain),
        cmocka_unit_test(f18_all_hosts_of_a_list_are_asked_for_at_once),
        cmocka_unit_test(f17_without_name_servers_sites_stay_and_new_domains_wait),
        cmocka_unit_test(f17_whatever_happens_a_site_is_right_or_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
