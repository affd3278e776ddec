/* Sites by what DNS says, over a resolver that answers what a table says. */
#include "smtp/site_finder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/dns/dns_table.h"
#include "tests/sim/shards.h"

#define DOMAINS_MAX 64
#define ASKS        200

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct boot_pages pages;
    struct dns_table table;
    struct site_finder finder;
    struct conf conf;
    struct conf_smtp_listener listeners[2];
    struct source_options source;
};

struct asker {
    struct site_ask ask;
    struct site *site;
    uint64_t expires_ns;
    unsigned calls;
};

/* --- the rig ---------------------------------------------------------------------------------- */

static void say(struct rig *rig, const char *name, enum dns_type type, const char *data)
{
    dns_table_say(&rig->table, name, type, data);
}

/* The node: own.test, listens at 198.51.100.1 and loopback, sends from 198.51.100.2. */
static void own_init(struct rig *rig)
{
    rig->listeners[0].hostname = SLICE("MX.own.test");
    rig->source.ehlo_domain = SLICE("out.own.test");
    rig->source.has_address = true;
    assert_true(endpoint_parse_address(SLICE("198.51.100.1"), &rig->listeners[0].listen));
    assert_true(endpoint_parse_address(SLICE("127.0.0.1"), &rig->listeners[1].listen));
    assert_true(endpoint_parse_address(SLICE("198.51.100.2"), &rig->source.address));
    rig->conf.node.hostname = SLICE("own.test");
    rig->conf.smtp_listeners = rig->listeners;
    rig->conf.smtp_listener_count = COUNT_OF(rig->listeners);
    rig->conf.sources.sources = &rig->source;
    rig->conf.sources.source_count = 1;
}

static void rig_open(struct rig *rig)
{
    *rig = (struct rig){.sim = sim_open(&(struct sim_options){.seed = 1})};
    sim_shards_boot(&rig->shards, sim_node_open(rig->sim, NULL), 1, 16, 64);
    struct shard *shard = &rig->shards.shards[0];
    dns_table_init(&rig->table, shard);
    own_init(rig);
    struct site_finder_options options = {.resolver = &rig->table.resolver,
                                          .conf = &rig->conf,
                                          .domains_max = DOMAINS_MAX,
                                          .memory_max = 16 * MIB};
    site_finder_init(&rig->finder, shard, &rig->pages, &options);
    (void)sim_run_for(rig->sim, NS_PER_MS);
}

static void run(struct rig *rig, uint64_t ns)
{
    ring_wake(rig->shards.shards[0].ring);
    assert_true(sim_run_for(rig->sim, ns));
}

static void rig_close(struct rig *rig)
{
    site_finder_stop(&rig->finder);
    run(rig, NS_PER_S);
    site_finder_fini(&rig->finder);
    assert_true(list_empty(&rig->table.pending));
    sim_shards_stop(&rig->shards);
    assert_string_equal(sim_failure(rig->sim), "");
    boot_pages_give(&rig->pages);
    sim_close(rig->sim);
}

static void found(struct site_ask *ask, struct site *site, uint64_t expires_ns)
{
    struct asker *asker = CONTAINER_OF(ask, struct asker, ask);
    asker->calls++;
    asker->site = site;
    asker->expires_ns = expires_ns;
}

static void begin(struct rig *rig, struct asker *asker, const char *domain)
{
    *asker = (struct asker){.ask = {.domain = slice_from_string(domain), .done = found}};
    site_finder_ask(&rig->finder, &asker->ask);
    assert_int_equal(asker->calls, 0);
}

/* The site, held. */
static struct site *find(struct rig *rig, const char *domain)
{
    struct asker asker;
    begin(rig, &asker, domain);
    run(rig, NS_PER_S);
    assert_int_equal(asker.calls, 1);
    return asker.site;
}

/* "mx1.test=192.0.2.1,192.0.2.2;mx2.test=" */
static void site_text(const struct site *site, char *out, size_t size)
{
    struct buf buf;
    buf_init(&buf, out, size - 1);
    for (unsigned i = 0; i < site->host_count; i++) {
        const struct site_host *host = &site->hosts[i];
        buf_put_string(&buf, i > 0 ? ";" : "");
        buf_put(&buf, host->name);
        for (unsigned k = 0; k < host->count; k++) {
            buf_put_string(&buf, k > 0 ? "," : "=");
            endpoint_put_address(&buf, &site->addresses[host->first + k]);
        }
    }
    assert_false(buf.overflow);
    out[buf.size] = '\0';
}

static void expect(struct rig *rig, const char *domain, enum site_kind kind, const char *name,
                   const char *hosts)
{
    char text[4096];
    struct site *site = find(rig, domain);
    assert_int_equal(site->kind, kind);
    if (name != NULL) {
        assert_int_equal(site->name.size, strlen(name));
        assert_memory_equal(site->name.data, name, site->name.size);
    }
    if (hosts != NULL) {
        site_text(site, text, sizeof(text));
        assert_string_equal(text, hosts);
    }
    assert_true((site->order != 0) == (kind == SITE_OK));
    assert_true((site_verdict(site).code != 0) == (kind != SITE_OK));
    site_release(site);
}

/* --- what DNS says ---------------------------------------------------------------------------- */

static void hosts_come_by_preference_with_both_families(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "a.test", DNS_MX, "20 mx2.a.test,10 mx1.a.test,10 mx0.a.test");
    say(&rig, "mx0.a.test", DNS_A, "192.0.2.20,192.0.2.10");
    say(&rig, "mx0.a.test", DNS_AAAA, "2001:db8::1");
    say(&rig, "mx1.a.test", DNS_AAAA, "2001:db8::2");
    say(&rig, "mx2.a.test", DNS_A, "192.0.2.3");
    expect(&rig, "a.test", SITE_OK, "(mx0|mx1|mx2).a.test",
           "mx0.a.test=192.0.2.10,192.0.2.20,2001:db8::1;mx1.a.test=2001:db8::2;"
           "mx2.a.test=192.0.2.3");
    rig_close(&rig);
}

static void f18_what_dns_denies(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "address.test", DNS_A, "192.0.2.1");
    say(&rig, "null.test", DNS_MX, "0 ");
    say(&rig, "null.test", DNS_A, "192.0.2.1");
    say(&rig, "nothing.test", DNS_TXT, "!nodata");
    say(&rig, "gone.test", DNS_MX, "10 mx.gone.test");
    say(&rig, "gone.test", DNS_A, "192.0.2.1");
    expect(&rig, "none.test", SITE_NO_DOMAIN, "NXDOMAIN:none.test", "");
    expect(&rig, "address.test", SITE_OK, "address.test", "address.test=192.0.2.1");
    expect(&rig, "null.test", SITE_NULL_MX, "NULLMX:null.test", "");
    expect(&rig, "nothing.test", SITE_NO_ADDRESS, "NOADDRESS:nothing.test", NULL);
    /* There is an MX: the domain's own address does not count. */
    expect(&rig, "gone.test", SITE_NO_ADDRESS, "NOADDRESS:gone.test", "mx.gone.test");
    rig_close(&rig);
}

static void f17_trouble_is_never_a_no(void **state)
{
    (void)state;
    static const char *const troubles[] = {"!failed", "!timeout", "!bad", "!busy"};
    for (unsigned i = 0; i < COUNT_OF(troubles); i++) {
        struct rig rig;
        rig_open(&rig);
        say(&rig, "mx.test", DNS_MX, troubles[i]);
        say(&rig, "host.test", DNS_MX, "10 a.host.test");
        say(&rig, "a.host.test", DNS_A, troubles[i]);
        say(&rig, "half.test", DNS_MX, "10 a.host.test,20 b.test");
        say(&rig, "b.test", DNS_AAAA, "2001:db8::1");
        say(&rig, "v6.test", DNS_A, troubles[i]);
        say(&rig, "v6.test", DNS_AAAA, "!nodata");
        expect(&rig, "mx.test", SITE_TROUBLE, "DNSFAIL:mx.test", NULL);
        expect(&rig, "host.test", SITE_TROUBLE, "DNSFAIL:host.test", NULL);
        expect(&rig, "v6.test", SITE_TROUBLE, "DNSFAIL:v6.test", NULL);
        /* The other host has an address: the name is still that of all. */
        expect(&rig, "half.test", SITE_OK, NULL, "a.host.test;b.test=2001:db8::1");
        struct site *site = find(&rig, "host.test");
        struct slice end = SLICE(" for A of a.host.test");
        assert_true(slice_ends_with(site->detail, end));
        site_release(site);
        rig_close(&rig);
    }
}

static void c21_records_that_are_no_hosts_are_left_out(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "mx.test", DNS_A, "192.0.2.1");
    say(&rig, "literal.test", DNS_MX, "10 192.0.2.9,20 mx.test");
    say(&rig, "literals.test", DNS_MX, "10 192.0.2.9");
    say(&rig, "literals.test", DNS_A, "192.0.2.1");
    say(&rig, "nulls.test", DNS_MX, "0 ,10 mx.test");
    say(&rig, "twice.test", DNS_MX, "30 mx.test,10 mx.test,20 mx.test");
    expect(&rig, "literal.test", SITE_OK, "mx.test", "mx.test=192.0.2.1");
    expect(&rig, "literals.test", SITE_NO_ADDRESS, NULL, "");
    expect(&rig, "nulls.test", SITE_OK, "mx.test", "mx.test=192.0.2.1");
    struct site *site = find(&rig, "twice.test");
    assert_int_equal(site->host_count, 1);
    assert_int_equal(site->hosts[0].preference, 10);
    site_release(site);
    /* A null MX beside one whose name is none, and nothing but such. */
    rig.table.left_out = 1;
    say(&rig, "null.test", DNS_MX, "0 ");
    say(&rig, "bad.test", DNS_MX, "!bad");
    expect(&rig, "null.test", SITE_NO_ADDRESS, NULL, "");
    expect(&rig, "bad.test", SITE_NO_ADDRESS, NULL, "");
    rig_close(&rig);
}

static void c21_of_many_hosts_and_addresses_each_host_has_its_share(void **state)
{
    (void)state;
    struct rig rig;
    static char hosts[100][16];
    static char records[4096];
    static char addresses[4096];
    struct buf buf;
    rig_open(&rig);
    buf_init(&buf, addresses, sizeof(addresses) - 1);
    for (unsigned i = 0; i < 100; i++) {
        buf_printf(&buf, "%s192.0.2.%u", i > 0 ? "," : "", 199 - i);
    }
    addresses[buf.size] = '\0';
    buf_init(&buf, records, sizeof(records) - 1);
    for (unsigned i = 0; i < 100; i++) {
        snprintf(hosts[i], sizeof(hosts[i]), "mx%02u.test", i);
        buf_printf(&buf, "%s%u %s", i > 0 ? "," : "", 65535 - i, hosts[i]);
        say(&rig, hosts[i], DNS_A, addresses);
    }
    records[buf.size] = '\0';
    say(&rig, "many.test", DNS_MX, records);
    say(&rig, "two.test", DNS_MX, "10 mx00.test,20 mx01.test");
    struct site *site = find(&rig, "many.test");
    assert_int_equal(site->host_count, SITE_HOSTS_MAX);
    assert_int_equal(site->address_count, SITE_ADDRESSES_MAX);
    assert_memory_equal(site->hosts[0].name.data, "mx99.test", 9);
    for (unsigned i = 0; i < SITE_HOSTS_MAX; i++) {
        assert_int_equal(site->hosts[i].count, 2);
    }
    site_release(site);
    site = find(&rig, "two.test");
    assert_int_equal(site->hosts[0].count, 32);
    assert_int_equal(site->hosts[1].count, 32);
    assert_int_equal(site->addresses[0].address[15], 100);
    site_release(site);
    rig_close(&rig);
}

static void c20_an_own_host_ends_the_list(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "a.test", DNS_A, "192.0.2.1");
    say(&rig, "b.test", DNS_A, "192.0.2.2");
    say(&rig, "mx.own.test", DNS_A, "192.0.2.3");
    say(&rig, "alias.test", DNS_A, "192.0.2.4,198.51.100.1");
    say(&rig, "name.test", DNS_MX, "10 a.test,20 mx.own.test,20 b.test,30 b.test");
    say(&rig, "address.test", DNS_MX, "10 b.test,20 a.test,20 alias.test");
    say(&rig, "best.test", DNS_MX, "10 mx.own.test,10 a.test,20 b.test");
    say(&rig, "alone.test", DNS_MX, "10 alias.test");
    say(&rig, "self.test", DNS_A, "198.51.100.1");
    say(&rig, "dead.test", DNS_MX, "10 nowhere.test,20 mx.own.test");
    say(&rig, "out.test", DNS_MX, "10 out.own.test");
    say(&rig, "from.test", DNS_A, "198.51.100.2");
    say(&rig, "node.test", DNS_MX, "10 own.test,20 a.test");
    say(&rig, "loopback.test", DNS_A, "127.0.0.1"); /* everybody is that */
    expect(&rig, "name.test", SITE_OK, "a.test", "a.test=192.0.2.1");
    expect(&rig, "address.test", SITE_OK, "b.test", "b.test=192.0.2.2");
    expect(&rig, "best.test", SITE_LOOP, "LOOP:best.test", "");
    expect(&rig, "alone.test", SITE_LOOP, "LOOP:alone.test", "");
    expect(&rig, "self.test", SITE_LOOP, "LOOP:self.test", "");
    expect(&rig, "own.test", SITE_NO_DOMAIN, NULL, NULL);
    expect(&rig, "out.test", SITE_LOOP, NULL, "");
    expect(&rig, "from.test", SITE_LOOP, NULL, "");
    expect(&rig, "node.test", SITE_LOOP, NULL, "");
    expect(&rig, "loopback.test", SITE_OK, "loopback.test", NULL);
    /* There was a better one: it may come back. */
    expect(&rig, "dead.test", SITE_NO_ADDRESS, NULL, NULL);
    rig_close(&rig);
}

static void a_site_is_secure_when_all_that_led_there_was(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "a.test", DNS_A, "192.0.2.1");
    struct site *site = find(&rig, "a.test");
    assert_false(site->secure);
    site_release(site);
    rig.table.secure = true;
    say(&rig, "b.test", DNS_A, "192.0.2.1");
    site = find(&rig, "b.test");
    assert_true(site->secure);
    site_release(site);
    rig_close(&rig);
}

/* --- one identity ----------------------------------------------------------------------------- */

static void what_is_equal_is_one_site(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "mx1.test", DNS_A, "192.0.2.1");
    say(&rig, "mx2.test", DNS_A, "192.0.2.2");
    say(&rig, "a.test", DNS_MX, "10 mx1.test,20 mx2.test");
    say(&rig, "b.test", DNS_MX, "20 mx2.test,10 mx1.test");
    say(&rig, "c.test", DNS_MX, "20 mx1.test,10 mx2.test");
    say(&rig, "d.test", DNS_MX, "1 mx1.test,2 mx2.test");
    struct site *a = find(&rig, "a.test");
    struct site *b = find(&rig, "b.test");
    struct site *c = find(&rig, "c.test");
    struct site *d = find(&rig, "d.test");
    assert_ptr_equal(a, b);
    assert_ptr_not_equal(a, c);
    assert_true(slice_equal(a->name, c->name));
    assert_true(a->order != c->order);
    assert_true(a->order == d->order);
    site_release(a);
    site_release(b);
    site_release(c);
    site_release(d);
    rig_close(&rig);
}

static void who_asks_at_once_shares_a_search_and_who_asks_later_the_answer(void **state)
{
    (void)state;
    struct rig rig;
    struct asker askers[ASKS];
    rig_open(&rig);
    say(&rig, "a.test", DNS_A, "192.0.2.1");
    for (unsigned i = 0; i < ASKS; i++) {
        begin(&rig, &askers[i], "a.test");
    }
    run(&rig, NS_PER_S);
    for (unsigned i = 0; i < ASKS; i++) {
        assert_int_equal(askers[i].calls, 1);
        assert_ptr_equal(askers[i].site, askers[0].site);
        site_release(askers[i].site);
    }
    assert_int_equal(rig.table.asked, 3);
    site_release(find(&rig, "a.test"));
    assert_int_equal(rig.table.asked, 3);
    assert_int_equal(rig.finder.searched, 1);
    run(&rig, 300 * NS_PER_S);
    site_release(find(&rig, "a.test"));
    assert_int_equal(rig.finder.searched, 2);
    rig_close(&rig);
}

static void it_holds_as_long_as_the_shortest_of_all_that_led_there(void **state)
{
    (void)state;
    struct rig rig;
    struct asker asker;
    rig_open(&rig);
    say(&rig, "mx.test", DNS_A, "192.0.2.1");
    rig.table.rows[0].ttl_s = 60;
    say(&rig, "a.test", DNS_MX, "10 mx.test");
    uint64_t begin_ns = sim_now_ns(rig.sim);
    begin(&rig, &asker, "a.test");
    run(&rig, NS_PER_S);
    assert_in_range(asker.expires_ns - begin_ns, 60 * NS_PER_S, 61 * NS_PER_S);
    site_release(asker.site);
    rig.table.rows[0].ttl_s = 300;
    say(&rig, "c.test", DNS_MX, "10 mx.test");
    rig.table.rows[2].ttl_s = 30; /* the first of all to be answered */
    begin_ns = sim_now_ns(rig.sim);
    begin(&rig, &asker, "c.test");
    run(&rig, NS_PER_S);
    assert_in_range(asker.expires_ns - begin_ns, 30 * NS_PER_S, 31 * NS_PER_S);
    site_release(asker.site);
    rig.table.rows[0].ttl_s = 1;
    say(&rig, "b.test", DNS_MX, "10 mx.test");
    begin_ns = sim_now_ns(rig.sim);
    begin(&rig, &asker, "b.test");
    run(&rig, NS_PER_S);
    assert_in_range(asker.expires_ns - begin_ns, SITE_TTL_MIN_S * NS_PER_S,
                    (SITE_TTL_MIN_S + 1) * NS_PER_S);
    site_release(asker.site);
    rig_close(&rig);
}

static void f17_while_dns_is_in_trouble_the_former_site_stays(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig);
    say(&rig, "a.test", DNS_MX, "10 mx.test");
    say(&rig, "mx.test", DNS_A, "192.0.2.1");
    struct site *site = find(&rig, "a.test");
    say(&rig, "a.test", DNS_MX, "!timeout");
    run(&rig, 301 * NS_PER_S);
    struct site *again = find(&rig, "a.test");
    assert_ptr_equal(site, again);
    site_release(again);
    /* It is asked for again soon, and a no is one. */
    run(&rig, (SITE_TROUBLE_S + 1) * NS_PER_S);
    say(&rig, "a.test", DNS_MX, "!no");
    again = find(&rig, "a.test");
    assert_int_equal(again->kind, SITE_NO_DOMAIN);
    site_release(again);
    say(&rig, "a.test", DNS_MX, "!timeout");
    run(&rig, (SITE_STALE_S + 400) * NS_PER_S);
    again = find(&rig, "a.test");
    assert_int_equal(again->kind, SITE_TROUBLE);
    site_release(again);
    site_release(site);
    rig_close(&rig);
}

/* --- memory ----------------------------------------------------------------------------------- */

static void sites_that_nobody_holds_go(void **state)
{
    (void)state;
    struct rig rig;
    static char names[4 * DOMAINS_MAX][16];
    rig_open(&rig);
    say(&rig, "held.test", DNS_A, "192.0.2.1");
    struct site *held = find(&rig, "held.test");
    for (unsigned i = 0; i < COUNT_OF(names); i++) {
        snprintf(names[i], sizeof(names[i]), "d%u.test", i);
        site_release(find(&rig, names[i]));
    }
    run(&rig, 10 * NS_PER_S);
    assert_int_equal(rig.finder.domains.count, DOMAINS_MAX);
    assert_int_equal(rig.finder.shelf.count, DOMAINS_MAX + 1);
    assert_int_equal(held->kind, SITE_OK);
    site_release(held);
    run(&rig, 10 * NS_PER_S);
    assert_int_equal(rig.finder.shelf.count, DOMAINS_MAX);
    rig_close(&rig);
}

static void without_memory_or_room_it_is_trouble(void **state)
{
    (void)state;
    struct rig rig;
    struct asker askers[2 * DOMAINS_MAX];
    static char names[2 * DOMAINS_MAX][16];
    unsigned troubles = 0;
    rig_open(&rig);
    for (unsigned i = 0; i < COUNT_OF(askers); i++) {
        snprintf(names[i], sizeof(names[i]), "d%u.test", i);
        begin(&rig, &askers[i], names[i]);
    }
    run(&rig, 10 * NS_PER_S);
    for (unsigned i = 0; i < COUNT_OF(askers); i++) {
        assert_int_equal(askers[i].calls, 1);
        troubles += askers[i].site->kind == SITE_TROUBLE;
        site_release(askers[i].site);
    }
    assert_int_equal(troubles, DOMAINS_MAX);
    for (uint64_t more = 0; more < 20000; more += 500) {
        rig.finder.memory.limit = rig.finder.memory.used + more;
        run(&rig, 1000 * NS_PER_S);
        say(&rig, "a.test", DNS_A, "192.0.2.1");
        struct site *site = find(&rig, "a.test");
        assert_true(site->kind == SITE_OK || site->kind == SITE_TROUBLE);
        site_release(site);
    }
    rig_close(&rig);
}

static void unask_at_any_moment_and_a_stop_leave_nothing(void **state)
{
    (void)state;
    struct rig rig;
    struct asker askers[ASKS];
    rig_open(&rig);
    say(&rig, "a.test", DNS_MX, "10 mx1.test,20 mx2.test,30 mx3.test");
    say(&rig, "mx1.test", DNS_A, "192.0.2.1");
    for (unsigned i = 0; i < ASKS; i++) {
        begin(&rig, &askers[i], "a.test");
        run(&rig, i * 100 * NS_PER_US);
        unsigned calls = askers[i].calls;
        site_finder_unask(&rig.finder, &askers[i].ask);
        run(&rig, 50 * NS_PER_MS);
        assert_int_equal(askers[i].calls, calls);
        if (calls > 0) {
            site_release(askers[i].site);
        }
        run(&rig, 400 * NS_PER_S);
    }
    struct asker last;
    begin(&rig, &last, "a.test");
    site_finder_stop(&rig.finder);
    run(&rig, NS_PER_S);
    assert_int_equal(last.calls, 1);
    assert_int_equal(last.site->kind, SITE_TROUBLE);
    site_release(last.site);
    begin(&rig, &last, "a.test");
    run(&rig, NS_PER_S);
    assert_int_equal(last.site->kind, SITE_TROUBLE);
    site_release(last.site);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hosts_come_by_preference_with_both_families),
        cmocka_unit_test(f18_what_dns_denies),
        cmocka_unit_test(f17_trouble_is_never_a_no),
        cmocka_unit_test(c21_records_that_are_no_hosts_are_left_out),
        cmocka_unit_test(c21_of_many_hosts_and_addresses_each_host_has_its_share),
        cmocka_unit_test(c20_an_own_host_ends_the_list),
        cmocka_unit_test(a_site_is_secure_when_all_that_led_there_was),
        cmocka_unit_test(what_is_equal_is_one_site),
        cmocka_unit_test(who_asks_at_once_shares_a_search_and_who_asks_later_the_answer),
        cmocka_unit_test(it_holds_as_long_as_the_shortest_of_all_that_led_there),
        cmocka_unit_test(f17_while_dns_is_in_trouble_the_former_site_stays),
        cmocka_unit_test(sites_that_nobody_holds_go),
        cmocka_unit_test(without_memory_or_room_it_is_trouble),
        cmocka_unit_test(unask_at_any_moment_and_a_stop_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
