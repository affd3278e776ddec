/* A question to servers that are dead, lame or liars: what is answered, and when. */
#include "shard/io/dns_exchange.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/kit/name_server.h"
#include "tests/sim/shards.h"

#define SERVERS      3
#define TIMEOUT_NS   (2 * NS_PER_S)
#define BUFFER_BYTES 1500
#define LONG_ANSWER  60 /* records, more than a buffer has room for */

static const char zone[] = "a.test 300 A 192.0.2.7\n"
                           "alias.test 300 CNAME a.test\n"
                           "m.test 300 MX 10 a.test\n"
                           "m.test 300 MX 20 b.test\n";

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct name_server servers[SERVERS];
    struct dns_servers table;
    struct metered metered;
    struct dns_exchange exchange;
    unsigned calls;
    enum dns_status status;
    bool secure;
    unsigned count;
    struct endpoint address;
    uint64_t done_ns;
};

static void done(struct dns_exchange *exchange, const struct dns_answer *answer)
{
    struct rig *rig = CONTAINER_OF(exchange, struct rig, exchange);
    rig->calls += 1;
    rig->status = answer->status;
    rig->secure = answer->secure;
    rig->count = answer->count;
    rig->done_ns = sim_now_ns(rig->sim);
    if (answer->status == DNS_OK && answer->type == DNS_A) {
        rig->address = answer->records[0].address;
    }
    memset(exchange, 0xdd, sizeof(*exchange)); /* it is ours again */
}

static void rig_boot(struct rig *rig, struct sim *sim, unsigned servers)
{
    *rig = (struct rig){.sim = sim};
    sim_shards_boot(&rig->shards, sim_node_open(sim, NULL), 1, 16, BUFFER_BYTES);
    metered_init(&rig->metered, MIB);
    rig->table = (struct dns_servers){.count = servers,
                                      .attempts = 2,
                                      .timeout_ns = TIMEOUT_NS,
                                      .memory = malloc(DNS_ANSWER_BYTES_MAX),
                                      .metered = &rig->metered};
    assert_non_null(rig->table.memory);
    for (unsigned i = 0; i < servers; i += 1) {
        rig->table.servers[i] = sim_endpoint(50 + i, 53);
        name_server_open(&rig->servers[i], sim, &rig->table.servers[i], zone);
    }
}

static void rig_open(struct rig *rig, unsigned servers)
{
    rig_boot(rig, sim_open(&(struct sim_options){.seed = 1}), servers);
}

static void start(struct rig *rig, const char *name, enum dns_type type)
{
    struct dns_question question = {.name = slice_from_string(name), .type = type};
    rig->calls = 0;
    dns_exchange_start(&rig->exchange, &rig->shards.shards[0], &rig->table, &question, done);
    assert_int_equal(rig->calls, 0);
    ring_wake(rig->shards.shards[0].ring);
}

/* Nothing is left of it: no descriptor, no buffer, no memory, no timer. */
static void rig_check(struct rig *rig)
{
    const char *what = "";
    if (!sim_failed(rig->sim) && !sim_ring_idle(rig->shards.shards[0].ring, &what)) {
        sim_fail(rig->sim, "after the end %s", what);
    }
    if (!sim_failed(rig->sim) && (rig->calls != 1 || rig->metered.used != 0 ||
                                  sim_node_descriptors(rig->shards.node) != 0)) {
        sim_fail(rig->sim, "%u ends, %u descriptors, %llu bytes", rig->calls,
                 sim_node_descriptors(rig->shards.node), (unsigned long long)rig->metered.used);
    }
}

static void rig_stop(struct rig *rig)
{
    rig_check(rig);
    sim_shards_stop(&rig->shards);
    metered_fini(&rig->metered);
    free(rig->table.memory);
}

static void rig_close(struct rig *rig)
{
    rig_stop(rig);
    assert_string_equal(sim_failure(rig->sim), "");
    sim_close(rig->sim);
}

static void ask(struct rig *rig, const char *name, enum dns_type type)
{
    start(rig, name, type);
    (void)sim_run_for(rig->sim, 60 * NS_PER_S);
    rig_check(rig);
    assert_string_equal(sim_failure(rig->sim), "");
}

static void what_the_server_says_is_the_answer(void **state)
{
    (void)state;
    struct rig rig;
    struct endpoint address;
    static const struct {
        const char *name;
        enum dns_type type;
        enum dns_status status;
        unsigned count;
    } rows[] = {
        {"a.test", DNS_A, DNS_OK, 1},          {"alias.test", DNS_A, DNS_OK, 1},
        {"m.test", DNS_MX, DNS_OK, 2},         {"a.test", DNS_MX, DNS_NO_DATA, 0},
        {"none.test", DNS_MX, DNS_NO_NAME, 0},
    };
    rig_open(&rig, 1);
    assert_true(endpoint_parse_address(SLICE("192.0.2.7"), &address));
    for (unsigned i = 0; i < COUNT_OF(rows); i += 1) {
        ask(&rig, rows[i].name, rows[i].type);
        assert_int_equal(rig.status, rows[i].status);
        assert_int_equal(rig.count, rows[i].count);
    }
    assert_true(endpoint_equal(&rig.address, &address));
    assert_int_equal(rig.servers[0].asked, COUNT_OF(rows));
    assert_int_equal(rig.table.counts.queries, COUNT_OF(rows));
    rig_close(&rig);
}

static void f17_a_server_of_no_use_is_followed_by_the_next_one(void **state)
{
    (void)state;
    static const struct {
        enum name_server_mood mood;
        bool waits;
    } rows[] = {
        {NAME_SERVER_DEAD, true},     {NAME_SERVER_FAILS, false},
        {NAME_SERVER_REFUSES, false}, {NAME_SERVER_BABBLES, false},
        {NAME_SERVER_LIES, true},     {NAME_SERVER_HANGS_UP, false},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i += 1) {
        struct rig rig;
        rig_open(&rig, 2);
        rig.servers[0].mood = rows[i].mood;
        uint64_t begin_ns = sim_now_ns(rig.sim);
        ask(&rig, "a.test", DNS_A);
        assert_int_equal(rig.status, DNS_OK);
        assert_true((rig.done_ns - begin_ns >= TIMEOUT_NS) == rows[i].waits);
        assert_int_equal(rig.table.first, 1);
        /* It is asked first now. */
        unsigned before = rig.servers[0].asked;
        ask(&rig, "a.test", DNS_A);
        assert_int_equal(rig.servers[0].asked, before);
        rig_close(&rig);
    }
}

static void f17_without_any_server_of_use_it_is_trouble_and_never_a_no(void **state)
{
    (void)state;
    static const struct {
        enum name_server_mood moods[2];
        enum dns_status status;
    } rows[] = {
        {{NAME_SERVER_DEAD, NAME_SERVER_DEAD}, DNS_TIMEOUT},
        {{NAME_SERVER_LIES, NAME_SERVER_LIES}, DNS_TIMEOUT},
        {{NAME_SERVER_FAILS, NAME_SERVER_DEAD}, DNS_FAILED},
        {{NAME_SERVER_REFUSES, NAME_SERVER_REFUSES}, DNS_FAILED},
        {{NAME_SERVER_BABBLES, NAME_SERVER_DEAD}, DNS_BAD_ANSWER},
        {{NAME_SERVER_BABBLES, NAME_SERVER_FAILS}, DNS_FAILED},
        {{NAME_SERVER_HANGS_UP, NAME_SERVER_HANGS_UP}, DNS_FAILED},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i += 1) {
        struct rig rig;
        rig_open(&rig, 2);
        rig.servers[0].mood = rows[i].moods[0];
        rig.servers[1].mood = rows[i].moods[1];
        ask(&rig, "a.test", DNS_A);
        assert_int_equal(rig.status, rows[i].status);
        assert_true(rig.servers[0].asked >= 2);
        assert_true(rig.servers[1].asked >= 2);
        rig_close(&rig);
    }
}

static void f17_where_nobody_is_it_ends_at_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 2);
    sim_reach_set(rig.sim, &rig.table.servers[0], SIM_REACH_REFUSED);
    sim_reach_set(rig.sim, &rig.table.servers[1], SIM_REACH_NONE);
    uint64_t begin_ns = sim_now_ns(rig.sim);
    ask(&rig, "a.test", DNS_A);
    assert_int_equal(rig.status, DNS_FAILED);
    assert_true(rig.done_ns - begin_ns < NS_PER_S);
    rig_close(&rig);
}

static void f17_what_was_cut_off_is_asked_for_by_tcp(void **state)
{
    (void)state;
    struct rig rig;
    char text[LONG_ANSWER * 32];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    for (unsigned i = 0; i < LONG_ANSWER; i += 1) {
        buf_printf(&buf, "long.test 60 A 192.0.2.%u\n", i);
    }
    buf_put_byte(&buf, 0);
    rig_open(&rig, 1);
    rig.servers[0].mood = NAME_SERVER_TRUNCATES;
    ask(&rig, "m.test", DNS_MX);
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.count, 2);
    assert_int_equal(rig.servers[0].asked_by_tcp, 1);
    assert_int_equal(rig.table.counts.streams, 1);
    /* A server that sends more than we said we take, without a word. */
    rig.servers[0].mood = NAME_SERVER_WORKS;
    rig.servers[0].zone = text;
    ask(&rig, "long.test", DNS_A);
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.count, LONG_ANSWER);
    assert_int_equal(rig.servers[0].asked_by_tcp, 2);
    rig_close(&rig);
}

static void f17_a_server_without_edns_is_asked_plainly_for_a_while(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    rig.servers[0].mood = NAME_SERVER_PLAIN;
    ask(&rig, "a.test", DNS_A); /* runs for a minute */
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.servers[0].asked, 2);
    assert_int_equal(rig.servers[0].asked_plainly, 1);
    assert_int_equal(rig.table.counts.failures + rig.table.counts.timeouts, 0);
    uint64_t begin_ns = sim_now_ns(rig.sim);
    for (unsigned i = 0; i < 10; i += 1) {
        ask(&rig, "m.test", DNS_MX);
        assert_int_equal(rig.status, DNS_OK);
    }
    assert_int_equal(rig.servers[0].asked, 12); /* at once, as it likes it */
    assert_int_equal(rig.servers[0].asked_plainly, 11);
    (void)sim_run_for(rig.sim, DNS_PLAIN_NS - (sim_now_ns(rig.sim) - begin_ns));
    rig.servers[0].mood = NAME_SERVER_WORKS;
    ask(&rig, "m.test", DNS_MX);
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.servers[0].asked_plainly, 11); /* it may have learned it by now */
    rig_close(&rig);
}

/* Who says that to a plain query is of no use, however often it is asked. */
static void f17_format_errors_without_end_are_trouble(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 2);
    rig.servers[0].mood = NAME_SERVER_PUZZLED;
    rig.servers[1].mood = NAME_SERVER_PUZZLED;
    ask(&rig, "a.test", DNS_A);
    assert_int_equal(rig.status, DNS_FAILED);
    for (unsigned i = 0; i < 2; i += 1) {
        assert_int_equal(rig.servers[i].asked, 3); /* two rounds, and once with EDNS */
        assert_int_equal(rig.servers[i].asked_plainly, 2);
    }
    rig_close(&rig);
}

static void f23_without_descriptors_or_memory_it_is_busy(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 1000);
    ask(&rig, "a.test", DNS_A);
    assert_int_equal(rig.status, DNS_BUSY);
    assert_int_equal(rig.servers[0].asked, 0);
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 0);
    rig.metered.limit = 1;
    rig.servers[0].mood = NAME_SERVER_TRUNCATES;
    ask(&rig, "a.test", DNS_A);
    assert_int_equal(rig.status, DNS_BUSY);
    assert_int_equal(rig.servers[0].asked_by_tcp, 1);
    rig_close(&rig);
}

static void f19_what_is_no_answer_is_ignored_and_counted(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    rig.servers[0].mood = NAME_SERVER_JESTS;
    ask(&rig, "a.test", DNS_A);
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.servers[0].asked, 1);
    assert_in_range(rig.table.counts.ignored, 1, 3); /* the truth may overtake lies */
    rig_close(&rig);
}

/* As one who guesses ids would. */
static void f19_a_flood_of_guesses_ends_the_attempt(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 2);
    rig.servers[0].mood = NAME_SERVER_DEAD;
    start(&rig, "a.test", DNS_A);
    (void)sim_run_for(rig.sim, 10 * NS_PER_MS);
    struct endpoint victim = sim_node_endpoint(rig.shards.node, rig.servers[0].last_port);
    for (unsigned i = 0; i < 2 * DNS_IGNORED_MAX; i += 1) {
        uint16_t id = (uint16_t)(rig.servers[0].last_id + 1 + i);
        const uint8_t guess[12] = {(uint8_t)(id >> 8), (uint8_t)id, 0x81, 0x80};
        sim_udp_send(rig.sim, &rig.table.servers[0], &victim, slice_make(guess, sizeof(guess)));
    }
    (void)sim_run_for(rig.sim, NS_PER_S);
    rig_check(&rig);
    assert_int_equal(rig.status, DNS_OK);
    assert_int_equal(rig.table.counts.ignored, DNS_IGNORED_MAX);
    assert_int_equal(rig.table.first, 1);
    rig_close(&rig);
}

static void f19_each_question_has_a_port_and_an_id_of_its_own(void **state)
{
    (void)state;
    enum { QUESTIONS = 64 };
    struct rig rig;
    uint16_t ports[QUESTIONS];
    uint16_t ids[QUESTIONS];
    unsigned same_ports = 0;
    unsigned same_ids = 0;
    rig_open(&rig, 1);
    for (unsigned i = 0; i < QUESTIONS; i += 1) {
        ask(&rig, "a.test", DNS_A);
        ports[i] = rig.servers[0].last_port;
        ids[i] = rig.servers[0].last_id;
        for (unsigned k = 0; k < i; k += 1) {
            same_ports += ports[k] == ports[i];
            same_ids += ids[k] == ids[i] || ids[k] + 1 == ids[i];
        }
    }
    assert_in_range(same_ports, 0, 4);
    assert_in_range(same_ids, 0, 4);
    rig_close(&rig);
}

static void the_secure_bit_counts_of_trusted_servers_alone(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 1);
    rig.servers[0].secure = true;
    ask(&rig, "a.test", DNS_A);
    assert_false(rig.secure);
    rig.table.trusted[0] = true;
    ask(&rig, "a.test", DNS_A);
    assert_true(rig.secure);
    rig.servers[0].secure = false;
    ask(&rig, "a.test", DNS_A);
    assert_false(rig.secure);
    rig_close(&rig);
}

static void a_cancel_at_any_moment_leaves_nothing(void **state)
{
    (void)state;
    static const enum name_server_mood moods[] = {NAME_SERVER_WORKS, NAME_SERVER_DEAD,
                                                  NAME_SERVER_FAILS, NAME_SERVER_TRUNCATES,
                                                  NAME_SERVER_HANGS_UP};
    struct rig rig;
    unsigned cancelled = 0;
    rig_open(&rig, 2);
    for (unsigned i = 0; i < 600; i += 1) {
        rig.servers[0].mood = moods[i % COUNT_OF(moods)];
        rig.table.first = 0;
        start(&rig, "a.test", DNS_A);
        (void)sim_run_for(rig.sim, i / COUNT_OF(moods) * 25 * NS_PER_US);
        if (rig.calls == 0) {
            dns_exchange_cancel(&rig.exchange);
            dns_exchange_cancel(&rig.exchange);
            assert_int_equal(rig.calls, 0);
            ring_wake(rig.shards.shards[0].ring);
            (void)sim_run_for(rig.sim, NS_PER_S);
            assert_int_equal(rig.status, DNS_BUSY);
            cancelled += 1;
        }
        rig_check(&rig);
        assert_string_equal(sim_failure(rig.sim), "");
    }
    assert_in_range(cancelled, 100, 600);
    rig_close(&rig);
}

static void any_faults(struct sim *sim, void *context)
{
    (void)context;
    struct rig rig;
    struct endpoint address;
    if (!endpoint_parse_address(SLICE("192.0.2.7"), &address)) {
        sim_fail(sim, "no address");
    }
    rig_boot(&rig, sim, SERVERS);
    for (unsigned i = 0; i < 20 && !sim_failed(sim); i += 1) {
        for (unsigned k = 0; k < SERVERS; k += 1) {
            rig.servers[k].mood = (enum name_server_mood)sim_below(sim, NAME_SERVER_PUZZLED + 1);
            rig.servers[k].delay_ns = sim_chance(sim, 300) ? sim_below(sim, 3 * NS_PER_S) : 0;
        }
        start(&rig, "alias.test", DNS_A);
        if (sim_chance(sim, 300)) {
            (void)sim_run_for(sim, sim_below(sim, 3 * NS_PER_S));
            if (rig.calls == 0 && !sim_failed(sim)) {
                dns_exchange_cancel(&rig.exchange);
                ring_wake(rig.shards.shards[0].ring);
            }
        }
        (void)sim_run_for(sim, 120 * NS_PER_S);
        rig_check(&rig);
        bool right = rig.status == DNS_OK ? endpoint_equal(&rig.address, &address)
                                          : rig.status > DNS_NO_DATA;
        if (!sim_failed(sim) && !right) {
            sim_fail(sim, "a wrong answer: %s", dns_status_name(rig.status));
        }
    }
    rig_stop(&rig);
}

static void f17_whatever_happens_it_ends_once_and_is_right_or_trouble(void **state)
{
    (void)state;
    struct sim_campaign campaign = {
        .name = "dns exchange", .count = 100, .swarm = SIM_FAULTS_ALL, .body = any_faults};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_server_says_is_the_answer),
        cmocka_unit_test(f17_a_server_of_no_use_is_followed_by_the_next_one),
        cmocka_unit_test(f17_without_any_server_of_use_it_is_trouble_and_never_a_no),
        cmocka_unit_test(f17_where_nobody_is_it_ends_at_once),
        cmocka_unit_test(f17_what_was_cut_off_is_asked_for_by_tcp),
        cmocka_unit_test(f17_a_server_without_edns_is_asked_plainly_for_a_while),
        cmocka_unit_test(f17_format_errors_without_end_are_trouble),
        cmocka_unit_test(f23_without_descriptors_or_memory_it_is_busy),
        cmocka_unit_test(f19_what_is_no_answer_is_ignored_and_counted),
        cmocka_unit_test(f19_a_flood_of_guesses_ends_the_attempt),
        cmocka_unit_test(f19_each_question_has_a_port_and_an_id_of_its_own),
        cmocka_unit_test(the_secure_bit_counts_of_trusted_servers_alone),
        cmocka_unit_test(a_cancel_at_any_moment_leaves_nothing),
        cmocka_unit_test(f17_whatever_happens_it_ends_once_and_is_right_or_trouble),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
