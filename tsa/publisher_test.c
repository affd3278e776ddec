/* What the log takes, told to servers that hang, cut, refuse and talk nonsense; on the simulated
 * network. */
#include "tsa/publisher.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "core/check.h"
#include "tests/kit/log_rig.h"

#define SERVERS    2
#define EVENTS_MAX 8000u
#define PORT       8008
#define STATE      "state/publish.cursors"

enum mood {
    WORKS,
    HANGS,    /* says nothing */
    CUTS,     /* ends the connection in the middle of a request */
    BUSY,     /* 429, come again in 5 seconds */
    BROKEN,   /* 500 */
    BABBLES,  /* no HTTP */
    ANOTHER,  /* 200 of something else */
    ENDLESS,  /* a head without an end */
    DRIPS,    /* an answer, a byte each 10 seconds */
    GOES,     /* 200, and closes */
    MOODS,
};

struct server {
    struct sim *sim;
    enum mood mood;
    unsigned requests;
    unsigned packed;   /* of these */
    unsigned taken[EVENTS_MAX]; /* how often, answered with 200 */
    uint32_t next;     /* the number that comes next when all come in order */
    bool in_order;
    char head[1024];   /* of the last request */
};

struct rig {
    struct log_rig log;
    struct server servers[SERVERS];
    struct url urls[SERVERS];
    uint8_t texts[SERVERS][URL_BYTES_MAX];
    struct conf_tsa conf;
    struct boot_pages pages;
    struct publisher publisher;
};

static struct rig rig;

/* --- servers ---------------------------------------------------------------------------------- */

static void take_text(struct server *server, struct slice text)
{
    while (text.size > 0) {
        struct slice line = slice_first(text, slice_find(text, '\n') + 1);
        const char *size = memmem(line.data, line.size, "\"size\":", 7);
        CHECK(size != NULL && line.data[line.size - 1] == '\n');
        unsigned long number = strtoul(size + 7, NULL, 10);
        CHECK(number < EVENTS_MAX);
        server->taken[number]++;
        server->in_order = server->in_order && number == server->next;
        server->next = (uint32_t)number + 1;
        text = slice_skip(text, line.size);
    }
}

static unsigned count_lines(struct slice text)
{
    unsigned lines = 0;
    for (size_t i = 0; i < text.size; i++) {
        lines += text.data[i] == '\n';
    }
    return lines;
}

static void say(struct sim_peer *peer, const char *text)
{
    sim_peer_send(peer, slice_from_string(text));
}

static void answer(struct server *server, struct sim_peer *peer, struct slice text)
{
    char said[200];
    char body[64];
    switch (server->mood) {
    case HANGS:
    case CUTS:
    case MOODS:
        return;
    case BUSY:
        say(peer, "HTTP/1.1 429 Busy\r\nRetry-After: 5\r\nContent-Length: 0\r\n\r\n");
        return;
    case BROKEN:
        say(peer, "HTTP/1.1 500 Broken\r\nContent-Length: 3\r\n\r\nno\n");
        return;
    case BABBLES:
        say(peer, "220 mx.test ESMTP\r\n");
        return;
    case ANOTHER:
        say(peer, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
        return;
    case ENDLESS:
        say(peer, "HTTP/1.1 200 OK\r\nX: ");
        for (unsigned i = 0; i < 40; i++) {
            say(peer, "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx");
        }
        return;
    case DRIPS:
        say(peer, "H");
        return;
    case WORKS:
    case GOES:
        take_text(server, text);
        snprintf(body, sizeof(body), "{\"accepted\":%u,\"rejected\":[]}", count_lines(text));
        snprintf(said, sizeof(said), "HTTP/1.1 200 OK\r\n%sContent-Length: %zu\r\n\r\n%s",
                 server->mood == GOES ? "Connection: close\r\n" : "", strlen(body), body);
        say(peer, said);
        if (server->mood == GOES) {
            sim_peer_finish(peer);
        }
        return;
    }
}

static size_t field_number(const char *head, const char *name)
{
    const char *at = strstr(head, name);
    CHECK(at != NULL);
    return strtoul(at + strlen(name), NULL, 10);
}

/* Takes one request off; false: it is not whole. */
static bool take_request(struct server *server, struct sim_peer *peer)
{
    static uint8_t unpacked[PUBLISHER_BATCH_BYTES];
    struct slice input = sim_peer_input(peer);
    const uint8_t *end = input.size > 0 ? memmem(input.data, input.size, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return false;
    }
    size_t head = (size_t)(end - input.data) + 4;
    CHECK(head < sizeof(server->head));
    memcpy(server->head, input.data, head);
    server->head[head] = '\0';
    size_t size = field_number(server->head, "Content-Length: ");
    if (input.size < head + size) {
        return false;
    }
    size_t bytes = size;
    server->requests++;
    if (strstr(server->head, "Content-Encoding: zstd\r\n") != NULL) {
        server->packed++;
        bytes = ZSTD_decompress(unpacked, sizeof(unpacked), input.data + head, size);
        CHECK(!ZSTD_isError(bytes));
    } else {
        CHECK(size <= sizeof(unpacked));
        memcpy(unpacked, input.data + head, size);
    }
    sim_peer_consume(peer, head + size); /* first: what is sent may call back */
    answer(server, peer, slice_make(unpacked, bytes));
    return true;
}

static void served(struct sim_peer *peer, void *context)
{
    struct server *server = context;
    if (server->mood == CUTS && sim_peer_input(peer).size > 100) {
        server->requests++;
        sim_peer_reset(peer);
        return;
    }
    bool more = true;
    while (more && sim_peer_state(peer) == SIM_PEER_OPEN) {
        more = take_request(server, peer);
    }
    if (sim_peer_state(peer) == SIM_PEER_EOF) {
        sim_peer_finish(peer);
    }
}

/* --- the rig ---------------------------------------------------------------------------------- */

static void boot(void)
{
    rig.publisher = (struct publisher){
        .shard = &rig.log.shards[LOG],
        .log = rig.log.log,
        .conf = &rig.conf,
        .dir = "state",
        .sink = rig.log.sink,
        .heap = &rig.log.heap,
    };
    publisher_init(&rig.publisher, &rig.pages);
    publisher_load(&rig.publisher);
}

static void open_in(struct sim *sim, unsigned servers)
{
    rig = (struct rig){0};
    log_rig_init(&rig.log, sim, 64 * MIB);
    for (unsigned i = 0; i < servers; i++) {
        char text[64];
        struct endpoint at = sim_endpoint(300 + i, PORT);
        snprintf(text, sizeof(text), "http://%u.%u.%u.%u:%u", at.address[12], at.address[13],
                 at.address[14], at.address[15], at.port);
        CHECK(url_parse(slice_from_string(text), rig.texts[i], &rig.urls[i]) == NULL);
        rig.servers[i] = (struct server){.sim = sim, .in_order = true};
        sim_peer_listen(sim, &at, served, &rig.servers[i]);
    }
    rig.conf = (struct conf_tsa){
        .publish = rig.urls, .publish_count = servers, .token = SLICE("sesame")};
    boot();
}

static void open_rig(unsigned servers)
{
    open_in(sim_open(&(struct sim_options){.seed = 3, .verbose = true}), servers);
}

static bool is_idle(void *context)
{
    (void)context;
    return publisher_idle(&rig.publisher);
}

static void stop(void)
{
    log_rig_stop(&rig.log);
    publisher_stop(&rig.publisher);
    if (!sim_run_until(rig.log.sim, is_idle, NULL, 60 * NS_PER_S)) {
        sim_fail(rig.log.sim, "the publisher does not stop");
    }
}

static void give_back(void)
{
    publisher_fini(&rig.publisher);
    boot_pages_give(&rig.pages);
    rig.pages = (struct boot_pages){0};
    heap_fini(&rig.log.heap);
}

static void close_rig(void)
{
    stop();
    const char *what = "";
    assert_true(sim_ring_idle(rig.log.shards[LOG].ring, &what));
    assert_int_equal(sim_node_descriptors(rig.log.node), 0);
    assert_string_equal(sim_failure(rig.log.sim), "");
    give_back();
    sim_close(rig.log.sim);
}

/* The process ends, if need be by a kill, and begins again. */
static void start_again(void)
{
    uint32_t put = rig.log.put;
    sim_node_kill(rig.log.node);
    give_back();
    log_rig_boot(&rig.log, 64 * MIB);
    rig.log.put = put;
    rig.log.wanted = put;
    rig.log.refusals = 0;
    boot();
}

static void run_ms(uint64_t ms)
{
    if (!sim_run_for(rig.log.sim, ms * NS_PER_MS)) {
        fail_msg("%s", sim_failure(rig.log.sim));
    }
}

/* Each of these events has been taken once, and no other. */
static void check_taken(const struct server *server, uint32_t from, uint32_t end)
{
    for (uint32_t i = 0; i < EVENTS_MAX; i++) {
        unsigned wanted = i >= from && i < end ? 1 : 0;
        if (server->taken[i] != wanted) {
            fail_msg("event %u was taken %u times", i, server->taken[i]);
        }
    }
}

/* --- tests ------------------------------------------------------------------------------------ */

static void records_are_told_before_the_log_has_written_them(void **state)
{
    (void)state;
    open_rig(SERVERS);
    log_rig_put(&rig.log, 100);
    run_ms(EVENT_BATCH_WAIT_MS + 40);
    assert_int_equal(event_log_counts(rig.log.log)->flushes, 0);
    for (unsigned i = 0; i < SERVERS; i++) {
        check_taken(&rig.servers[i], 0, 100);
        assert_true(rig.servers[i].in_order && rig.servers[i].packed > 0);
        assert_non_null(strstr(rig.servers[i].head, "Authorization: Bearer sesame\r\n"));
        assert_non_null(strstr(rig.servers[i].head, "POST /publish_log_v1 HTTP/1.1\r\nHost: 10."));
        assert_int_equal(rig.publisher.urls[i].counts.published, 100);
        assert_int_equal(publisher_lag_ns(&rig.publisher.urls[i]), 0);
    }
    close_rig();
    assert_int_equal(rig.log.said, 0);
}

static void at40_a_url_in_trouble_holds_up_no_other_and_is_told_all_in_the_end(void **state)
{
    (void)state;
    for (enum mood mood = HANGS; mood < MOODS; mood++) {
        open_rig(SERVERS);
        rig.servers[0].mood = mood;
        for (uint32_t wanted = 20; wanted <= 400; wanted += 20) {
            log_rig_put(&rig.log, wanted);
            run_ms(2000);
        }
        check_taken(&rig.servers[1], 0, 400);
        if (mood != GOES) {
            check_taken(&rig.servers[0], 0, 0);
            assert_true(rig.publisher.urls[0].counts.failures > 0);
            assert_true(publisher_lag_ns(&rig.publisher.urls[0]) > 30 * NS_PER_S);
        }
        /* 40 seconds: pauses grow, and Retry-After counts. */
        assert_true(rig.servers[0].requests < (mood == GOES ? 60u : mood == BUSY ? 10u : 14u));
        assert_int_equal(rig.publisher.urls[1].counts.failures, 0);
        rig.servers[0].mood = WORKS;
        run_ms(62000);
        check_taken(&rig.servers[0], 0, 400);
        assert_true(rig.servers[0].in_order);
        assert_int_equal(publisher_lag_ns(&rig.publisher.urls[0]), 0);
        close_rig();
        assert_true(rig.log.said <= 2); /* failing, well */
    }
}

static void at40_after_a_long_outage_the_log_is_read_from_where_it_ended(void **state)
{
    (void)state;
    open_rig(1);
    log_rig_put(&rig.log, 10);
    run_ms(1000);
    rig.servers[0].mood = BROKEN;
    log_rig_put(&rig.log, 7000); /* more than the outbox has room for */
    assert_true(sim_run_until(rig.log.sim, log_rig_all_put, &rig.log, 60 * NS_PER_S));
    run_ms(3000);
    assert_true(rig.publisher.outbox.oldest > 100);
    rig.servers[0].mood = WORKS;
    for (uint32_t wanted = 7001; wanted <= 7400; wanted++) {
        log_rig_put(&rig.log, wanted); /* while it catches up */
        run_ms(70);
    }
    run_ms(1000);
    assert_false(rig.publisher.urls[0].behind);
    check_taken(&rig.servers[0], 0, 7400);
    assert_true(rig.servers[0].in_order);
    close_rig();
}

static void at41_a_start_goes_on_where_the_process_before_has_ended(void **state)
{
    (void)state;
    open_rig(SERVERS);
    rig.servers[1].mood = HANGS;
    for (uint32_t round = 1; round <= 5; round++) {
        log_rig_put(&rig.log, 50 * round);
        run_ms(round % 2 == 0 ? 10 : 1500);
        stop();
        start_again();
    }
    run_ms(1000);
    check_taken(&rig.servers[0], 0, 250);
    rig.servers[1].mood = WORKS;
    run_ms(61000);
    check_taken(&rig.servers[1], 0, 250);
    assert_true(rig.servers[0].in_order && rig.servers[1].in_order);
    close_rig();
}

static void at41_a_kill_leaves_out_nothing_and_repeats_its_last_seconds_alone(void **state)
{
    (void)state;
    open_rig(SERVERS);
    rig.servers[1].mood = BROKEN;
    log_rig_put(&rig.log, 200);
    run_ms(5000);
    log_rig_put(&rig.log, 300);
    run_ms(700); /* durable in the log, and told; the cursor is not written yet */
    rig.servers[1].mood = WORKS;
    start_again();
    run_ms(5000);
    for (uint32_t i = 0; i < 300; i++) {
        assert_int_equal(rig.servers[1].taken[i], 1);
        assert_in_range(rig.servers[0].taken[i], 1, i < 200 ? 1 : 2);
    }
    close_rig();
}

static void at41_what_the_log_has_lost_is_said_and_the_rest_is_told(void **state)
{
    static const char *const cursors[] = {
        "http://10.0.1.44:8008 20200101-000000.000000-0-10\n", /* a file that has gone */
        "http://10.0.1.44:8008 nonsense\n",                    /* damaged: from what comes */
        "http://10.0.9.9:8008 20200101-000000.000000-0-10\n",  /* of another */
    };
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(cursors); i++) {
        open_rig(1);
        log_rig_put(&rig.log, 100);
        run_ms(1000);
        check_taken(&rig.servers[0], 0, 100);
        stop();
        assert_int_equal(sim_disk_put(rig.log.disk, STATE, slice_from_string(cursors[i])), 0);
        start_again();
        log_rig_put(&rig.log, 120);
        run_ms(1000);
        for (uint32_t number = 0; number < 120; number++) {
            assert_int_equal(rig.servers[0].taken[number], i == 0 && number < 100 ? 2 : 1);
        }
        assert_int_equal(rig.publisher.urls[0].counts.lost, i == 0 ? 1 : 0);
        assert_true(sim_disk_exists(rig.log.disk, STATE ".damaged") == (i == 1));
        close_rig();
    }
}

static void records_whose_rules_would_have_ended_are_left_out_and_counted(void **state)
{
    static struct shaping_pattern pattern = {.text = {(const uint8_t *)"ccc", 3}};
    static const struct shaping_action action = {.kind = SHAPING_SUSPEND};
    static const struct shaping_rule rule = {
        .patterns = &pattern, .pattern_count = 1, .actions = &action, .action_count = 1,
        .duration_ns = 3600 * NS_PER_S, .hash = 1, .file = "s.toml"};
    static const struct shaping_rule_group group = {
        {(const uint8_t *)"default", 7}, true, {&rule, 1}};
    (void)state;
    open_rig(SERVERS);
    struct shaping_rule_set *rules = shaping_rule_set_compile(&group, 1, NULL, NULL);
    publisher_use(&rig.publisher, rules);
    uint64_t until_s = 1795365001 + 3600 - rig.log.shards[LOG].wall_ns / NS_PER_S;
    sim_wall_jump(rig.log.sim, (int64_t)((until_s - 60) * NS_PER_S));
    rig.servers[0].mood = HANGS;
    log_rig_put(&rig.log, 10);
    run_ms(50);
    log_rig_put(&rig.log, 30); /* the first ones are on their way, and these wait */
    run_ms(120000);
    rig.servers[0].mood = WORKS;
    run_ms(60000);
    check_taken(&rig.servers[0], 0, 0);
    assert_int_equal(rig.publisher.urls[0].counts.expired, 30);
    assert_int_equal(rig.publisher.urls[0].counts.published, 0);
    assert_int_equal(publisher_lag_ns(&rig.publisher.urls[0]), 0);
    check_taken(&rig.servers[1], 0, 30);
    pattern.text = SLICE("other");
    struct shaping_rule_set *others = shaping_rule_set_compile(&group, 1, NULL, NULL);
    publisher_use(&rig.publisher, others);
    log_rig_put(&rig.log, 40); /* no rule looks for these */
    run_ms(1000);
    check_taken(&rig.servers[1], 0, 30);
    publisher_use(&rig.publisher, NULL);
    close_rig();
    shaping_rule_set_free(rules);
    shaping_rule_set_free(others);
}

static void swarm_body(struct sim *sim, void *context)
{
    (void)context;
    open_in(sim, SERVERS);
    for (unsigned round = 1; round <= 10 && !sim_failed(sim); round++) {
        for (unsigned i = 0; i < SERVERS; i++) {
            rig.servers[i].mood = sim_below(sim, 2) > 0 ? WORKS : (enum mood)sim_below(sim, MOODS);
        }
        log_rig_put(&rig.log, 30 * round);
        (void)sim_run_for(sim, 1 + sim_below(sim, 20 * NS_PER_S));
        if (sim_below(sim, 3) == 0 && log_rig_all_put(&rig.log)) {
            stop();
            start_again();
        }
    }
    sim_faults_stop(sim);
    for (unsigned i = 0; i < SERVERS; i++) {
        rig.servers[i].mood = WORKS;
    }
    (void)sim_run_until(sim, log_rig_all_put, &rig.log, 60 * NS_PER_S);
    (void)sim_run_for(sim, 400 * NS_PER_S);
    for (unsigned i = 0; i < SERVERS; i++) {
        for (uint32_t number = 0; number < rig.log.put && !sim_failed(sim); number++) {
            if (rig.servers[i].taken[number] == 0) {
                sim_fail(sim, "event %u was not told to %u", number, i);
            }
        }
    }
    stop();
    give_back();
}

static void at40_swarm_of_faults_leaves_out_no_record(void **state)
{
    struct sim_campaign campaign = {
        .name = "publisher",
        .count = 20,
        .swarm = (SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(reset) | SIM_FAULT_BIT(refuse) |
                  SIM_FAULT_BIT(connect_silence) | SIM_FAULT_BIT(no_descriptors) |
                  SIM_FAULT_BIT(job_refused)) &
                 ~(SIM_FAULT_BIT(short_write) | SIM_FAULT_BIT(short_read)),
        .body = swarm_body,
    };
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_told_before_the_log_has_written_them),
        cmocka_unit_test(at40_a_url_in_trouble_holds_up_no_other_and_is_told_all_in_the_end),
        cmocka_unit_test(at40_after_a_long_outage_the_log_is_read_from_where_it_ended),
        cmocka_unit_test(at41_a_start_goes_on_where_the_process_before_has_ended),
        cmocka_unit_test(at41_a_kill_leaves_out_nothing_and_repeats_its_last_seconds_alone),
        cmocka_unit_test(at41_what_the_log_has_lost_is_said_and_the_rest_is_told),
        cmocka_unit_test(records_whose_rules_would_have_ended_are_left_out_and_counted),
        cmocka_unit_test(at40_swarm_of_faults_leaves_out_no_record),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
