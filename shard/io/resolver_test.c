/* What is asked of servers, and what is known: a resolver beside simulated servers. */
#include "shard/io/resolver.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kit/name_server.h"
#include "tests/sim/shards.h"

#define SERVERS      2
#define ASKERS       400
#define BUFFER_BYTES 1500
#define TIMEOUT_NS   (2 * NS_PER_S)

static const char zone[] = "a.test 20 A 192.0.2.7\n"
                           "b.test 20 A 192.0.2.8\n"
                           "brief.test 0 A 192.0.2.1\n"
                           "long.test 1000000 A 192.0.2.2\n"
                           "alias.test 20 CNAME a.test\n"
                           "a.test 20 MX 10 a.test\n"
                           "a.test 20 MX 20 b.test\n"
                           "t.test 20 TXT some-text\n";

struct rig;

struct asker {
    struct resolver_ask ask;
    struct rig *rig;
    char name[64];
    unsigned calls;
    bool under_way;
    enum dns_status status;
    bool stale;
    bool secure;
    unsigned count;
    uint64_t left_ns; /* that the answer may be used */
    char shown[256];  /* name or bytes of the first record, alias */
    struct asker *unasks; /* when it is answered; null: nobody */
    struct asker *asks;   /* … asks this one */
};

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct shard *shard;
    struct name_server servers[SERVERS];
    struct boot_pages pages;
    struct conf *conf;
    struct resolver resolver;
    struct asker askers[ASKERS];
};

static bool read_bytes(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    (void)path;
    (void)reason_out;
    *bytes_out = slice_from_string(context);
    return true;
}

/* The text of [dns]; `servers` of the simulated ones, from `first` on. */
static struct conf *conf_make(const char *text, unsigned first, unsigned servers)
{
    char whole[1024];
    struct conf_messages messages = {0};
    const struct conf_input input = {.file = "t.toml", .hostname = SLICE("box.test"),
                                     .read = read_bytes, .read_context = whole};
    snprintf(whole, sizeof(whole), "[dns]\nservers = []\ntimeout = \"2s\"\n%s", text);
    struct conf *conf = conf_load(&input, &messages);
    assert_non_null(conf);
    conf->dns.server_count = servers;
    for (unsigned i = 0; i < servers; i++) {
        conf->dns.servers[i].address = sim_endpoint(50 + first + i, 53);
    }
    return conf;
}

static void rig_boot(struct rig *rig, struct sim *sim, const char *text, unsigned servers)
{
    *rig = (struct rig){.sim = sim};
    sim_shards_boot(&rig->shards, sim_node_open(sim, NULL), 1, 64, BUFFER_BYTES);
    rig->shard = &rig->shards.shards[0];
    rig->conf = conf_make(text, 0, servers);
    for (unsigned i = 0; i < SERVERS; i++) {
        struct endpoint endpoint = sim_endpoint(50 + i, 53);
        name_server_open(&rig->servers[i], sim, &endpoint, zone);
    }
    for (unsigned i = 0; i < ASKERS; i++) {
        rig->askers[i].rig = rig;
        resolver_ask_init(&rig->askers[i].ask);
    }
    (void)sim_run_for(sim, NS_PER_S); /* the shard has a clock */
    resolver_init(&rig->resolver, rig->shard, &rig->pages, &rig->conf->dns);
}

static struct rig *rig_open(const char *text, unsigned servers)
{
    struct rig *rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    rig_boot(rig, sim_open(&(struct sim_options){.seed = 1}), text, servers);
    return rig;
}

static void rig_run(struct rig *rig, uint64_t ns)
{
    ring_wake(rig->shard->ring);
    (void)sim_run_for(rig->sim, ns);
    assert_string_equal(sim_failure(rig->sim), "");
}

static void rig_stop(struct rig *rig)
{
    resolver_stop(&rig->resolver);
    ring_wake(rig->shard->ring);
    (void)sim_run_for(rig->sim, 10 * NS_PER_S);
    if (!sim_failed(rig->sim) && (!resolver_idle(&rig->resolver) || rig->resolver.waiting != 0 ||
                                  rig->resolver.messages.used != 0)) {
        sim_fail(rig->sim, "the resolver has not stopped");
    }
    if (!sim_failed(rig->sim)) {
        resolver_fini(&rig->resolver);
    }
    sim_shards_stop(&rig->shards);
    boot_pages_give(&rig->pages);
    conf_free(rig->conf);
}

static void rig_close(struct rig *rig)
{
    rig_stop(rig);
    assert_string_equal(sim_failure(rig->sim), "");
    sim_close(rig->sim);
    free(rig);
}

static uint64_t counter(const struct rig *rig, enum counter which)
{
    return counters_get(&rig->shard->counters, which);
}

static void done(struct resolver_ask *ask, const struct dns_answer *answer, uint64_t expires_ns,
                 bool stale);

static void asker_ask(struct asker *asker, const char *name, enum dns_type type)
{
    snprintf(asker->name, sizeof(asker->name), "%s", name);
    asker->ask.question = (struct dns_question){slice_from_string(asker->name), type};
    asker->ask.done = done;
    asker->under_way = true;
    resolver_ask(&asker->rig->resolver, &asker->ask);
}

static void asker_unask(struct asker *asker)
{
    asker->under_way = false;
    resolver_unask(&asker->rig->resolver, &asker->ask);
}

static void done(struct resolver_ask *ask, const struct dns_answer *answer, uint64_t expires_ns,
                 bool stale)
{
    struct asker *asker = CONTAINER_OF(ask, struct asker, ask);
    struct buf shown;
    if (!asker->under_way) {
        sim_fail(asker->rig->sim, "%s: answered unasked", asker->name);
    }
    asker->under_way = false;
    asker->calls++;
    asker->status = answer->status;
    asker->stale = stale;
    asker->secure = answer->secure;
    asker->count = answer->count;
    asker->left_ns = expires_ns - asker->rig->shard->now_ns;
    buf_init(&shown, asker->shown, sizeof(asker->shown) - 1);
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        buf_put(&shown, record->name);
        buf_put(&shown, record->bytes);
        if (answer->type == DNS_A) {
            endpoint_put_address(&shown, &record->address);
        }
        buf_put_byte(&shown, ' ');
    }
    buf_put_string(&shown, answer->alias.data != NULL ? "->" : "");
    buf_put(&shown, answer->alias);
    asker->shown[shown.size] = 0;
    if (asker->unasks != NULL) {
        asker_unask(asker->unasks);
    }
    if (asker->asks != NULL && !asker->asks->under_way) {
        asker_ask(asker->asks, "b.test", DNS_A);
    }
}

/* Asks and waits for the answer. */
static const struct asker *ask(struct rig *rig, const char *name, enum dns_type type)
{
    struct asker *asker = &rig->askers[0];
    asker->calls = 0;
    asker_ask(asker, name, type);
    assert_int_equal(asker->calls, 0);
    for (unsigned i = 0; i < 600 && asker->calls == 0; i++) {
        rig_run(rig, 100 * NS_PER_MS);
    }
    assert_int_equal(asker->calls, 1);
    return asker;
}

static void answers_are_asked_for_once_and_kept_for_their_time(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        unsigned count;
        const char *shown;
        unsigned ttl_s;
    } rows[] = {
        {"a.test", DNS_A, DNS_OK, 1, "192.0.2.7 ", 20},
        {"a.test", DNS_MX, DNS_OK, 2, "a.test b.test ", 20},
        {"alias.test", DNS_A, DNS_OK, 1, "192.0.2.7 ->a.test", 20},
        {"t.test", DNS_TXT, DNS_OK, 1, "some-text ", 20},
        {"brief.test", DNS_A, DNS_OK, 1, "192.0.2.1 ", RESOLVER_TTL_MIN_S},
        {"long.test", DNS_A, DNS_OK, 1, "192.0.2.2 ", RESOLVER_TTL_MAX_S},
        {"a.test", DNS_TXT, DNS_NO_DATA, 0, "", 60},
        {"none.test", DNS_A, DNS_NO_NAME, 0, "", 60},
    };
    struct rig *rig = rig_open("", 1);
    unsigned asked = 0;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        asked++;
        for (unsigned again = 0; again < 2; again++) {
            const struct asker *asker = ask(rig, rows[i].name, rows[i].type);
            assert_int_equal(asker->status, rows[i].status);
            assert_int_equal(asker->count, rows[i].count);
            assert_string_equal(asker->shown, rows[i].shown);
            assert_false(asker->stale);
            assert_in_range(asker->left_ns, (rows[i].ttl_s - 2) * NS_PER_S,
                            rows[i].ttl_s * NS_PER_S);
            assert_int_equal(rig->servers[0].asked, asked);
        }
        if (rows[i].ttl_s > 100) {
            continue;
        }
        rig_run(rig, rows[i].ttl_s * NS_PER_S);
        (void)ask(rig, rows[i].name, rows[i].type);
        assert_int_equal(rig->servers[0].asked, ++asked);
    }
    rig_close(rig);
}

static void all_who_ask_the_same_share_a_question(void **state)
{
    (void)state;
    struct rig *rig = rig_open("", 1);
    rig->servers[0].delay_ns = 3 * NS_PER_S / 2;
    for (unsigned i = 0; i < 60; i++) {
        asker_ask(&rig->askers[i], i % 3 == 0 ? "a.test" : "b.test",
                  i % 3 == 2 ? DNS_MX : DNS_A);
        if (i % 6 == 5) {
            rig_run(rig, 10 * NS_PER_MS);
        }
    }
    assert_int_equal(resolver_in_flight(&rig->resolver), 3);
    assert_int_equal(counter(rig, COUNTER_dns_merged), 57);
    rig_run(rig, 2 * NS_PER_S);
    for (unsigned i = 0; i < 60; i++) {
        assert_int_equal(rig->askers[i].calls, 1);
        assert_int_equal(rig->askers[i].status, i % 3 == 2 ? DNS_NO_DATA : DNS_OK);
    }
    assert_int_equal(rig->servers[0].asked, 3);
    assert_int_equal(counter(rig, COUNTER_dns_queries), 3);
    assert_int_equal(counter(rig, COUNTER_dns_asked), 60);
    rig_close(rig);
}

static void f17_trouble_is_kept_shortly_and_never_a_no(void **state)
{
    (void)state;
    static const struct {
        enum name_server_mood mood;
        enum dns_status status;
    } rows[] = {
        {NAME_SERVER_FAILS, DNS_FAILED},
        {NAME_SERVER_REFUSES, DNS_FAILED},
        {NAME_SERVER_DEAD, DNS_TIMEOUT},
        {NAME_SERVER_BABBLES, DNS_BAD_ANSWER},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct rig *rig = rig_open("", 1);
        rig->servers[0].mood = rows[i].mood;
        assert_int_equal(ask(rig, "none.test", DNS_A)->status, rows[i].status);
        unsigned asked = rig->servers[0].asked;
        assert_int_equal(ask(rig, "none.test", DNS_A)->status, rows[i].status);
        assert_int_equal(rig->servers[0].asked, asked);
        assert_in_range(rig->askers[0].left_ns, 1, RESOLVER_TROUBLE_TTL_S * NS_PER_S);
        rig->servers[0].mood = NAME_SERVER_WORKS;
        rig_run(rig, RESOLVER_TROUBLE_TTL_S * NS_PER_S);
        assert_int_equal(ask(rig, "none.test", DNS_A)->status, DNS_NO_NAME);
        rig_close(rig);
    }
}

static void f17_what_was_known_is_used_while_there_is_trouble(void **state)
{
    (void)state;
    struct rig *rig = rig_open("", 1);
    (void)ask(rig, "a.test", DNS_A);
    (void)ask(rig, "none.test", DNS_A);
    rig_run(rig, 61 * NS_PER_S);
    rig->servers[0].mood = NAME_SERVER_FAILS;
    const struct asker *asker = ask(rig, "a.test", DNS_A);
    assert_int_equal(asker->status, DNS_OK);
    assert_string_equal(asker->shown, "192.0.2.7 ");
    assert_true(asker->stale);
    assert_in_range(asker->left_ns, 1, RESOLVER_TROUBLE_TTL_S * NS_PER_S);
    unsigned asked = rig->servers[0].asked;
    assert_true(ask(rig, "a.test", DNS_A)->stale); /* without asking again */
    assert_int_equal(rig->servers[0].asked, asked);
    assert_int_equal(ask(rig, "none.test", DNS_A)->status, DNS_NO_NAME);
    assert_true(rig->askers[0].stale);
    rig_run(rig, RESOLVER_TROUBLE_TTL_S * NS_PER_S);
    assert_true(ask(rig, "a.test", DNS_A)->stale);
    assert_true(rig->servers[0].asked > asked);
    rig_run(rig, RESOLVER_TROUBLE_TTL_S * NS_PER_S);
    rig->servers[0].mood = NAME_SERVER_WORKS;
    assert_false(ask(rig, "a.test", DNS_A)->stale);
    rig->servers[0].mood = NAME_SERVER_FAILS;
    rig_run(rig, (RESOLVER_STALE_S - 60) * NS_PER_S);
    assert_int_equal(ask(rig, "a.test", DNS_A)->status, DNS_OK);
    rig_run(rig, 90 * NS_PER_S);
    assert_int_equal(ask(rig, "a.test", DNS_A)->status, DNS_FAILED);
    assert_false(rig->askers[0].stale);
    assert_true(counter(rig, COUNTER_dns_stale) >= 4);
    rig_close(rig);
}

static void the_cache_keeps_what_was_used_last(void **state)
{
    (void)state;
    char name[64];
    struct rig *rig = rig_open("cache_size = 16\n", 1);
    for (unsigned i = 0; i < 40; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        (void)ask(rig, name, DNS_A);
        (void)ask(rig, "a.test", DNS_A); /* is used all the time */
    }
    assert_int_equal(resolver_cached(&rig->resolver), 16);
    assert_int_equal(rig->servers[0].asked, 41);
    (void)ask(rig, "n39.test", DNS_A);
    assert_int_equal(rig->servers[0].asked, 41);
    (void)ask(rig, "n0.test", DNS_A);
    assert_int_equal(rig->servers[0].asked, 42);
    rig->resolver.answers.limit = rig->resolver.answers.used / 2; /* and within its memory */
    (void)ask(rig, "n1.test", DNS_A);
    assert_true(rig->resolver.answers.used <= rig->resolver.answers.limit);
    assert_true(resolver_cached(&rig->resolver) < 10);
    rig->resolver.answers.limit = 1; /* nothing can be kept: answers come all the same */
    assert_int_equal(ask(rig, "b.test", DNS_A)->status, DNS_OK);
    assert_int_equal(resolver_cached(&rig->resolver), 0);
    rig_close(rig);
}

static void beyond_the_caps_they_are_told_so_or_get_what_is_stale(void **state)
{
    (void)state;
    char name[64];
    struct rig *rig = rig_open("", 1);
    (void)ask(rig, "a.test", DNS_A);
    rig_run(rig, 21 * NS_PER_S);
    rig->servers[0].delay_ns = NS_PER_S;
    unsigned asked = RESOLVER_IN_FLIGHT_MAX + 10;
    for (unsigned i = 1; i <= asked; i++) {
        snprintf(name, sizeof(name), "n%u.test", i);
        asker_ask(&rig->askers[i], name, DNS_A);
    }
    asker_ask(&rig->askers[asked + 1], "a.test", DNS_A);
    asker_ask(&rig->askers[asked + 2], "n1.test", DNS_A); /* the same as one in flight */
    rig_run(rig, 100 * NS_PER_MS);
    unsigned busy = 0;
    for (unsigned i = 1; i <= asked; i++) {
        busy += rig->askers[i].calls == 1 && rig->askers[i].status == DNS_BUSY;
    }
    assert_int_equal(busy, 10);
    assert_int_equal(counter(rig, COUNTER_dns_busy), 10);
    assert_int_equal(rig->askers[asked + 1].calls, 1);
    assert_true(rig->askers[asked + 1].stale);
    unsigned waiting = rig->resolver.waiting;
    rig->resolver.waiting = RESOLVER_WAITING_MAX;
    asker_ask(&rig->askers[asked + 3], "n2.test", DNS_A);
    rig_run(rig, 100 * NS_PER_MS);
    assert_int_equal(rig->askers[asked + 3].status, DNS_BUSY);
    rig->resolver.waiting = waiting;
    rig_run(rig, 10 * NS_PER_S);
    assert_int_equal(rig->askers[asked + 2].status, DNS_NO_NAME);
    assert_int_equal(ask(rig, "n260.test", DNS_A)->status, DNS_NO_NAME); /* busy was not kept */
    rig_close(rig);
}

static void who_does_not_want_it_any_more_hears_nothing(void **state)
{
    (void)state;
    struct rig *rig = rig_open("static = \"s.test. A 192.0.2.9\"\n", 1);
    struct asker *askers = rig->askers;
    rig->servers[0].delay_ns = NS_PER_S;
    asker_unask(&askers[1]); /* has never asked */
    asker_ask(&askers[1], "s.test", DNS_A);
    asker_unask(&askers[1]); /* nobody has looked at it */
    asker_ask(&askers[2], "a.test", DNS_A);
    asker_ask(&askers[3], "a.test", DNS_A);
    asker_ask(&askers[4], "a.test", DNS_A);
    asker_ask(&askers[5], "b.test", DNS_A);
    asker_ask(&askers[6], "s.test", DNS_A);
    asker_ask(&askers[7], "s.test", DNS_A);
    askers[2].unasks = &askers[3]; /* in the callback before its own */
    askers[2].asks = &askers[8];
    askers[6].unasks = &askers[7];
    rig_run(rig, 100 * NS_PER_MS);
    asker_unask(&askers[5]); /* in flight, and alone */
    asker_unask(&askers[6]); /* answered */
    rig_run(rig, 5 * NS_PER_S);
    static const unsigned calls[] = {0, 0, 1, 0, 1, 0, 1, 0, 1};
    for (unsigned i = 0; i < COUNT_OF(calls); i++) {
        assert_int_equal(askers[i].calls, calls[i]);
    }
    assert_int_equal(rig->servers[0].asked, 2); /* b.test was kept, though nobody wanted it */
    assert_int_equal(rig->resolver.waiting, 0);
    rig_close(rig);
}

static void a_stop_answers_all_who_wait(void **state)
{
    (void)state;
    struct rig *rig = rig_open("", 2);
    rig->servers[0].mood = NAME_SERVER_DEAD;
    rig->servers[1].mood = NAME_SERVER_TRUNCATES;
    for (unsigned i = 0; i < 20; i++) {
        asker_ask(&rig->askers[i], i % 2 == 0 ? "a.test" : "b.test", DNS_A);
    }
    rig_run(rig, 1900 * NS_PER_MS);
    asker_ask(&rig->askers[20], "a.test", DNS_MX);
    resolver_stop(&rig->resolver);
    asker_ask(&rig->askers[21], "a.test", DNS_MX);
    assert_false(resolver_idle(&rig->resolver));
    rig_run(rig, NS_PER_S);
    assert_true(resolver_idle(&rig->resolver));
    for (unsigned i = 0; i < 22; i++) {
        assert_int_equal(rig->askers[i].calls, 1);
        assert_int_equal(rig->askers[i].status, DNS_BUSY);
    }
    assert_int_equal(resolver_cached(&rig->resolver), 0);
    rig_close(rig);
}

static void rig_set(struct rig *rig, const char *text, unsigned first, unsigned servers)
{
    struct conf *before = rig->conf;
    rig->conf = conf_make(text, first, servers);
    resolver_set(&rig->resolver, &rig->conf->dns);
    conf_free(before);
}

static void a_reload_asks_the_new_servers_at_once(void **state)
{
    (void)state;
    struct rig *rig = rig_open("", 1);
    (void)ask(rig, "b.test", DNS_A);
    rig_set(rig, "cache_size = 100\n", 0, 1); /* nothing of it is about answers */
    (void)ask(rig, "b.test", DNS_A);
    assert_int_equal(rig->servers[0].asked, 1);
    rig->servers[0].mood = NAME_SERVER_DEAD;
    asker_ask(&rig->askers[1], "a.test", DNS_A);
    rig_run(rig, 100 * NS_PER_MS);
    rig_set(rig, "", 1, 1);
    rig_run(rig, 500 * NS_PER_MS);
    assert_int_equal(rig->askers[1].calls, 1);
    assert_int_equal(rig->askers[1].status, DNS_OK);
    (void)ask(rig, "b.test", DNS_A);
    assert_int_equal(rig->servers[1].asked, 2);
    rig_set(rig, "static = \"a.test. A 192.0.2.99\"\n", 1, 1);
    assert_string_equal(ask(rig, "a.test", DNS_A)->shown, "192.0.2.99 ");
    rig->servers[1].mood = NAME_SERVER_DEAD;
    asker_ask(&rig->askers[2], "c.test", DNS_A);
    rig_run(rig, 100 * NS_PER_MS);
    rig_set(rig, "", 0, 0); /* no servers */
    rig_run(rig, 500 * NS_PER_MS);
    assert_int_equal(rig->askers[2].status, DNS_NO_NAME);
    assert_int_equal(ask(rig, "a.test", DNS_A)->status, DNS_NO_NAME);
    rig_close(rig);
}

static void a_static_alias_leads_to_a_name_that_is_asked_for(void **state)
{
    (void)state;
    struct rig *rig = rig_open("static = \"\"\"\ns.signed.test. 7 CNAME alias.test.\n"
                               "u.test. CNAME b.test.\n\"\"\"\nstatic_secure = [\"signed.test\"]\n",
                               1);
    rig->conf->dns.servers[0].trusted = true;
    rig->resolver.servers->table.trusted[0] = true;
    rig->servers[0].secure = true;
    const struct asker *asker = ask(rig, "s.signed.test", DNS_A);
    assert_string_equal(asker->shown, "192.0.2.7 ->a.test");
    assert_true(asker->secure);
    assert_in_range(asker->left_ns, 5 * NS_PER_S, 7 * NS_PER_S);
    asker = ask(rig, "u.test", DNS_A);
    assert_string_equal(asker->shown, "192.0.2.8 ->b.test");
    assert_false(asker->secure);
    assert_true(ask(rig, "b.test", DNS_A)->secure);
    assert_int_equal(rig->servers[0].asked, 2);
    rig_close(rig);
}

/* Anything at any moment, in bad networks: every ask ends once, or was taken back. */
static void askers_of_a_swarm_are_all_answered_once(void **state)
{
    (void)state;
    static const char *const names[] = {"a.test", "b.test", "alias.test", "none.test", "t.test",
                                        "brief.test"};
    const char *seed_text = getenv("SEED");
    uint64_t first = seed_text != NULL ? strtoull(seed_text, NULL, 10) : 1;
    for (uint64_t seed = first; seed < first + 30; seed++) {
        struct rig *rig = malloc(sizeof(*rig));
        assert_non_null(rig);
        rig_boot(rig, sim_open(&(struct sim_options){.seed = seed, .swarm = SIM_FAULTS_ALL}),
                 "cache_size = 16\n", 2);
        for (unsigned step = 0; step < 400 && !sim_failed(rig->sim); step++) {
            struct asker *asker = &rig->askers[sim_below(rig->sim, 60)];
            if (!asker->under_way) {
                asker_ask(asker, names[sim_below(rig->sim, COUNT_OF(names))],
                          sim_chance(rig->sim, 500) ? DNS_A : DNS_MX);
            } else if (sim_chance(rig->sim, 200)) {
                asker_unask(asker);
            }
            if (sim_chance(rig->sim, 50)) {
                rig->servers[sim_below(rig->sim, SERVERS)].mood =
                    (enum name_server_mood)sim_below(rig->sim, NAME_SERVER_PUZZLED + 1);
            }
            if (sim_chance(rig->sim, 20)) {
                unsigned from = (unsigned)sim_below(rig->sim, SERVERS);
                rig_set(rig, "cache_size = 16\n", from, SERVERS - from);
            }
            ring_wake(rig->shard->ring);
            (void)sim_run_for(rig->sim, sim_below(rig->sim, NS_PER_S));
        }
        sim_faults_stop(rig->sim);
        (void)sim_run_for(rig->sim, 120 * NS_PER_S);
        for (unsigned i = 0; i < ASKERS && !sim_failed(rig->sim); i++) {
            if (rig->askers[i].under_way) {
                sim_fail(rig->sim, "asker %u has no answer", i);
            }
        }
        rig_stop(rig);
        if (sim_failed(rig->sim)) {
            fail_msg("seed %llu: %s", (unsigned long long)seed, sim_failure(rig->sim));
        }
        sim_close(rig->sim);
        free(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_asked_for_once_and_kept_for_their_time),
        cmocka_unit_test(all_who_ask_the_same_share_a_question),
        cmocka_unit_test(f17_trouble_is_kept_shortly_and_never_a_no),
        cmocka_unit_test(f17_what_was_known_is_used_while_there_is_trouble),
        cmocka_unit_test(the_cache_keeps_what_was_used_last),
        cmocka_unit_test(beyond_the_caps_they_are_told_so_or_get_what_is_stale),
        cmocka_unit_test(who_does_not_want_it_any_more_hears_nothing),
        cmocka_unit_test(a_stop_answers_all_who_wait),
        cmocka_unit_test(a_reload_asks_the_new_servers_at_once),
        cmocka_unit_test(a_static_alias_leads_to_a_name_that_is_asked_for),
        cmocka_unit_test(askers_of_a_swarm_are_all_answered_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
