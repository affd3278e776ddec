/*
 * Clients that want more than there is, or do nothing with what they have: a whole node in the
 * simulator, a client and a sink led by hand.
 */
#include "smtp/server_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/spool/checkpoint_writer.h"
#include "tests/kit/stage.h"

#define STALLED_MAX   80
#define STALLED_BYTES (31 * KIB)

static struct stage stage;
static uint64_t hogged; /* of the account, by the test */

static int set_up(void **state)
{
    (void)state;
    stage_open(&stage, 1);
    world_set(&stage.world, "smtp_listener.0.max_connections=200");
    return 0;
}

static struct mta *mta(void)
{
    return &stage.world.node.mtas[0];
}

static int tear_down(void **state)
{
    (void)state;
    if (hogged > 0) {
        account_give(&mta()->shard.memory, ACCOUNT_QUEUES, hogged);
        hogged = 0;
    }
    return stage_close(&stage) ? 0 : 1;
}

static uint64_t counter(enum counter counter)
{
    return world_counter(&stage.world, counter);
}

static bool is_closed(void *context)
{
    enum sim_peer_state state = sim_peer_state(((struct talk *)context)->peer);
    return state == SIM_PEER_EOF || state == SIM_PEER_ENDED;
}

/* Says `text` every `pause_ns` until the server has closed; how long that took. */
static uint64_t drip(struct talk *talk, const char *text, uint64_t pause_ns)
{
    uint64_t began_ns = sim_now_ns(stage.sim);
    while (!is_closed(talk)) {
        talk_say(talk, text);
        (void)sim_run_until(stage.sim, is_closed, talk, pause_ns);
        assert_false(sim_failed(stage.sim));
        assert_true(sim_now_ns(stage.sim) - began_ns < 2000 * NS_PER_S);
    }
    return sim_now_ns(stage.sim) - began_ns;
}

/* --- blocks ----------------------------------------------------------------------------------- */

/* The first transaction of each is left in the middle of its content. How many were let in. */
static unsigned stall(struct talk *talks, unsigned count)
{
    char *body = stage_body(STALLED_BYTES);
    unsigned begun = 0;
    for (unsigned i = 0; i < count; i++) {
        assert_true(stage_begin(&stage, &talks[i], STAGE_CLIENT));
        talk_say(&talks[i], "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nDATA\r\n");
        const char *heard = talk_reply(&talks[i]);
        if (strncmp(heard, "250 ", 4) != 0) {
            assert_memory_equal(heard, "452 4.3.1", 9);
            assert_true(stage_hears(&talks[i], "503"));
            assert_true(stage_hears(&talks[i], "503"));
            continue;
        }
        assert_true(stage_hears(&talks[i], "250 ") && stage_hears(&talks[i], "354 "));
        talk_say(&talks[i], body);
        begun++;
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    free(body);
    return begun;
}

static void f08_clients_stopped_in_their_content_never_hold_up_deliveries(void **state)
{
    (void)state;
    struct talk talks[STALLED_MAX];
    struct talk late;
    char *body = stage_body(100 * KIB);
    world_set(&stage.world, "queues.queue.\"t.test\".retry_interval=5s");
    stage_start(&stage);
    stage.sink.defer = "451 4.2.0 Later\r\n";
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_mail(&stage, "b@t.test", body));
        assert_true(sim_run_for(stage.sim, NS_PER_S / 2));
    }
    unsigned begun = stall(talks, STALLED_MAX);
    assert_in_range(begun, 16, STALLED_MAX);
    uint64_t held = block_pool_used(mta()->blocks);
    /* What has to be read back is, while they go on holding what they have. */
    stage.sink.defer = NULL;
    assert_true(talk_sink_wait(&stage.sink, 4, 8 * NS_PER_S));
    assert_true(block_pool_used(mta()->blocks) > held / 10 * 9);
    /* Beyond the line a client is told so at once. */
    assert_true(stage_begin(&stage, &late, STAGE_CLIENT));
    talk_say(&late, "MAIL FROM:<a@c.test>\r\n");
    assert_true(stage_hears(&late, "452 4.3.1"));
    for (unsigned i = 0; i < 4; i++) {
        assert_true(stage_expect(&stage, i, body));
    }
    for (unsigned i = 0; i < STALLED_MAX; i++) {
        talk_close(&talks[i]);
    }
    talk_close(&late);
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    assert_int_equal(block_pool_used(mta()->blocks), 0);
    assert_true(stage_mail(&stage, "b@t.test", body));
    free(body);
}

static void f08_while_blocks_are_short_who_holds_them_idle_is_sent_away_within_seconds(void **state)
{
    (void)state;
    struct talk talks[STALLED_MAX];
    struct talk idle;
    char *body = stage_body(STALLED_BYTES);
    stage_start(&stage);
    assert_true(stage_begin(&stage, &idle, STAGE_CLIENT));
    assert_in_range(stall(talks, STALLED_MAX), 16, STALLED_MAX);
    assert_true(sim_run_for(stage.sim, (SERVER_STRESSED_S + 2) * NS_PER_S));
    assert_true(block_pool_used(mta()->blocks) < block_pool_size(mta()->blocks) / 2);
    assert_true(stage_hears(&talks[0], "421 4.4.2"));
    assert_true(talk_closed(&talks[0], NS_PER_S));
    for (unsigned i = 0; i < STALLED_MAX; i++) {
        talk_close(&talks[i]);
    }
    /* A trusted client that holds nothing stays, and mail is taken again. */
    assert_true(stage_envelope(&idle, "b@t.test"));
    talk_say(&idle, body);
    talk_say(&idle, ".\r\n");
    assert_true(stage_hears(&idle, "250 2.0.0 OK ids="));
    assert_true(stage_expect(&stage, 0, body));
    talk_close(&idle);
    free(body);
}

/* --- the memory account ----------------------------------------------------------------------- */

/* Somebody else's bytes, so that this share of the account is in use. */
static void hog(uint64_t percent)
{
    struct account *account = &mta()->shard.memory;
    account_give(account, ACCOUNT_QUEUES, hogged);
    hogged = 0;
    uint64_t wanted = account->limit / 100 * percent;
    if (percent > 0) {
        assert_true(account_used(account) < wanted);
        hogged = wanted - account_used(account);
        assert_true(account_take(account, ACCOUNT_QUEUES, hogged));
    }
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
}

static void f08_the_account_books_what_ring_and_spool_hold_all_the_time(void **state)
{
    (void)state;
    stage_start(&stage);
    const uint64_t *used = mta()->shard.memory.used;
    uint64_t groups = 2 * MAX_OF(stage.world.conf->memory.staging_bytes / 8, MIB);
    assert_int_equal(used[ACCOUNT_BUFFERS], ring_buffers_memory(mta()->shard.ring));
    assert_int_equal(used[ACCOUNT_GROUPS], groups + SPOOL_LOADS_BYTES + CHECKPOINT_WRITER_BYTES);
    assert_int_equal(used[ACCOUNT_BUFFERS] + used[ACCOUNT_GROUPS],
                     node_memory_fixed(stage.world.conf));
}

static void f08_watermarks_refuse_connections_then_mail_then_stop_reading(void **state)
{
    (void)state;
    struct talk known;
    struct talk fresh;
    const char *mail = "Subject: x\r\n\r\ntext\r\n";
    stage_start(&stage);
    assert_true(stage_begin(&stage, &known, STAGE_CLIENT));
    hog(82);
    talk_open(&fresh, stage.sim, STAGE_CLIENT, &stage.server);
    assert_true(stage_hears(&fresh, "421 4.3.2 Insufficient memory"));
    assert_true(talk_closed(&fresh, NS_PER_S));
    assert_true(stage_envelope(&known, "b@t.test"));
    talk_say(&known, mail);
    talk_say(&known, ".\r\n");
    assert_true(stage_hears(&known, "250 2.0.0 OK ids="));
    hog(92);
    talk_say(&known, "MAIL FROM:<a@c.test>\r\n");
    assert_true(stage_hears(&known, "452 4.3.1"));
    hog(98);
    talk_say(&known, "NOOP\r\n");
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    for (unsigned i = 0; i < 200; i++) {
        talk_say(&known, "NOOP\r\n");
        assert_true(sim_run_for(stage.sim, NS_PER_MS));
    }
    assert_int_equal(sim_peer_input(known.peer).size, 0); /* no reply: nobody reads */
    assert_true(stage_expect(&stage, 0, mail));
    hog(93); /* left below 92 */
    assert_int_equal(sim_peer_input(known.peer).size, 0);
    hog(91);
    for (unsigned i = 0; i < 201; i++) {
        assert_true(stage_hears(&known, "250 2.0.0 OK"));
    }
    talk_say(&known, "MAIL FROM:<a@c.test>\r\n");
    assert_true(stage_hears(&known, "452 4.3.1"));
    hog(0);
    assert_true(stage_envelope(&known, "b@t.test"));
    talk_close(&known);
    assert_true(stage_mail(&stage, "b@t.test", mail));
    assert_int_equal(counter(COUNTER_overload_connections), 1);
    assert_int_equal(counter(COUNTER_overload_mail), 1);
    assert_int_equal(counter(COUNTER_overload_reading), 1);
    assert_int_equal(counter(COUNTER_refused_memory), 1);
    assert_int_equal(counter(COUNTER_mail_refused), 2);
}

/* Else those whose content is not read any more would hold what it waits for. */
static void f08_who_is_in_a_transaction_while_nothing_is_read_is_sent_away(void **state)
{
    (void)state;
    struct talk talk;
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    hog(98);
    assert_true(drip(&talk, "a line of content\r\n", NS_PER_S) <= 14 * NS_PER_S);
    /* What was not read makes its end a reset, which may overtake the word that went before. */
    const char *heard = talk_reply(&talk);
    assert_true(strncmp(heard, "421 4.3.2", 9) == 0 ||
                (strcmp(heard, "(nothing)") == 0 && sim_peer_state(talk.peer) == SIM_PEER_ENDED));
    assert_int_equal(block_pool_used(mta()->blocks), 0);
    hog(0);
    talk_close(&talk);
}

/* --- time ------------------------------------------------------------------------------------- */

static void s61_a_byte_now_and_then_wins_no_time(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        const char *text;
    } rows[] = {
        {"", "N"},
        {"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nDATA\r\n", "x"},
        {"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nBDAT 1000000\r\n", "x"},
        {"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nBDAT 2\r\n\r\n", "BDAT 2\r\n\r\n"},
        {"MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\nBDAT 99999999\r\n", "x"}, /* refused */
        {"BDAT 1000000\r\n", "x"},                                               /* 503 */
    };
    stage_start(&stage);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct talk talk;
        assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
        talk_say(&talk, rows[i].before);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_in_range(drip(&talk, rows[i].text, 29 * NS_PER_S), 298 * NS_PER_S, 303 * NS_PER_S);
        talk_close(&talk);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_int_equal(block_pool_used(mta()->blocks), 0);
    }
    assert_int_equal(world_rows(&stage.world), 0);
}

static void s61_content_at_the_least_rate_is_taken_however_long_it_takes(void **state)
{
    (void)state;
    struct talk talk;
    char line[520];
    memset(line, 'x', sizeof(line));
    memcpy(line + sizeof(line) - 3, "\r\n", 3);
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    for (unsigned second = 0; second < 1000; second++) {
        talk_say(&talk, line);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
    }
    talk_say(&talk, ".\r\n");
    assert_true(stage_hears(&talk, "250 2.0.0 OK ids="));
    /* Half of it is too little. */
    assert_true(stage_envelope(&talk, "b@t.test"));
    assert_in_range(drip(&talk, line, 2 * NS_PER_S), 550 * NS_PER_S, 680 * NS_PER_S);
    assert_true(stage_hears(&talk, "421 4.4.2"));
    talk_close(&talk);
}

static bool has_piece(void *context)
{
    (void)context;
    struct list *link = mta()->server.open.next;
    return link != &mta()->server.open &&
           CONTAINER_OF(link, struct server_conn, link)->spill.parts.size > 0;
}

static void time_in_which_the_client_waits_for_us_is_not_its_own(void **state)
{
    (void)state;
    struct talk talk;
    char *body = stage_body(600 * 1000);
    world_set(&stage.world, "smtp_listener.0.client_timeout=800ms");
    stage_start(&stage);
    assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
    assert_true(stage_envelope(&talk, "b@t.test"));
    sim_disk_latency_set(stage.world.disk, NS_PER_S);
    /* A first piece that is just enough to be stored; the rest comes when that is. */
    talk_say_bytes(&talk, slice_make(body, SPILL_BYTES + 100));
    assert_true(sim_run_until(stage.sim, has_piece, NULL, 20 * NS_PER_S));
    assert_true(sim_run_for(stage.sim, NS_PER_S / 2));
    talk_say(&talk, body + SPILL_BYTES + 100);
    talk_say(&talk, ".\r\n");
    assert_true(stage_hears(&talk, "250 2.0.0 OK ids="));
    assert_null(talk_line_within(&talk, 700 * NS_PER_MS));
    assert_true(stage_hears(&talk, "421 4.4.2"));
    sim_disk_latency_set(stage.world.disk, 0);
    assert_true(stage_expect(&stage, 0, body));
    talk_close(&talk);
    free(body);
}

/* --- clients that do not read ----------------------------------------------------------------- */

static void s62_a_client_that_reads_no_reply_holds_little_and_is_closed(void **state)
{
    (void)state;
    struct talk deaf[4];
    size_t size = MIB;
    char *noops = malloc(size + 1);
    assert_non_null(noops);
    for (size_t at = 0; at < size; at += 8) {
        memcpy(noops + at, "NOOP x\r\n", 8);
    }
    noops[size] = '\0';
    world_set(&stage.world, "smtp_listener.0.client_timeout=60s");
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(deaf); i++) {
        assert_true(stage_begin(&stage, &deaf[i], STAGE_CLIENT));
        talk_say(&deaf[i], noops);
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
    for (unsigned i = 0; i < COUNT_OF(deaf); i++) {
        assert_true(sim_peer_unsent(deaf[i].peer) > size / 4); /* nobody reads it any more */
    }
    /* Others are served. */
    assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
    assert_true(stage_expect(&stage, 0, "Subject: x\r\n\r\ntext\r\n"));
    assert_int_equal(mta()->server.conns.used, COUNT_OF(deaf));
    assert_true(sim_run_for(stage.sim, 72 * NS_PER_S));
    assert_int_equal(mta()->server.conns.used, 0);
    for (unsigned i = 0; i < COUNT_OF(deaf); i++) {
        talk_close(&deaf[i]);
    }
    free(noops);
}

/* Together they would hold every receive buffer, also those for the replies of servers. */
static void s62_many_clients_that_read_no_reply_hold_up_nobody(void **state)
{
    (void)state;
    struct talk deaf[STALLED_MAX];
    const char *mail = "Subject: x\r\n\r\ntext\r\n";
    size_t size = 512 * KIB;
    char *noops = malloc(size + 1);
    assert_non_null(noops);
    for (size_t at = 0; at < size; at += 8) {
        memcpy(noops + at, "NOOP x\r\n", 8);
    }
    noops[size] = '\0';
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(deaf); i++) {
        assert_true(stage_begin(&stage, &deaf[i], STAGE_CLIENT));
        talk_say(&deaf[i], noops);
    }
    assert_true(sim_run_for(stage.sim, 5 * NS_PER_S));
    assert_true(counter(COUNTER_overload_buffers) > 0);
    const struct ring *ring = mta()->shard.ring;
    assert_true(ring_buffers_held(ring) < ring_buffer_count(ring) / 4 * 3);
    assert_true(counter(COUNTER_clients_timed_out) > 0);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t began_ns = sim_now_ns(stage.sim);
        assert_true(stage_mail(&stage, "b@t.test", mail));
        assert_true(stage_expect(&stage, i, mail));
        assert_true(sim_now_ns(stage.sim) - began_ns < NS_PER_S);
    }
    for (unsigned i = 0; i < COUNT_OF(deaf); i++) {
        talk_close(&deaf[i]);
    }
    free(noops);
}

/* --- where they come from --------------------------------------------------------------------- */

static void one_ipv4_address_or_ipv6_64_counts_as_one_host(void **state)
{
    (void)state;
    static const struct {
        const char *first;
        const char *second;
        bool same;
    } rows[] = {
        {"192.0.2.1:25", "192.0.2.1:99", true},
        {"192.0.2.1:25", "192.0.2.2:25", false},
        {"[2001:db8:0:1::1]:25", "[2001:db8:0:1:ffff::2]:25", true},
        {"[2001:db8:0:1::1]:25", "[2001:db8:0:2::1]:25", false},
        {"192.0.2.1:25", "[::ffff:192.0.2.1]:25", true},
    };
    struct server_hosts *hosts = calloc(1, sizeof(*hosts));
    assert_non_null(hosts);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct endpoint first;
        struct endpoint second;
        assert_true(endpoint_parse(slice_from_string(rows[i].first), 0, &first));
        assert_true(endpoint_parse(slice_from_string(rows[i].second), 0, &second));
        assert_int_equal(server_host_take(hosts, &first, 1, NS_PER_S), SERVER_HOST_TAKEN);
        enum server_host taken = server_host_take(hosts, &second, 1, NS_PER_S);
        assert_int_equal(taken, rows[i].same ? SERVER_HOST_MANY : SERVER_HOST_TAKEN);
        if (taken == SERVER_HOST_TAKEN) {
            server_host_give(hosts, &second);
        }
        server_host_give(hosts, &first);
        assert_int_equal(server_host_take(hosts, &second, 1, NS_PER_S), SERVER_HOST_TAKEN);
        server_host_give(hosts, &second);
    }
    free(hosts);
}

static void connections_of_a_host_come_at_its_rate_after_a_burst(void **state)
{
    (void)state;
    struct server_hosts *hosts = calloc(1, sizeof(*hosts));
    struct endpoint peer = sim_endpoint(STAGE_STRANGER, 1);
    uint64_t now_ns = 77 * NS_PER_S;
    unsigned taken = 0;
    assert_non_null(hosts);
    for (unsigned ms = 0; ms < 10000; ms++) {
        if (server_host_take(hosts, &peer, 50, now_ns) == SERVER_HOST_TAKEN) {
            server_host_give(hosts, &peer);
            taken++;
        }
        now_ns += NS_PER_MS;
    }
    assert_in_range(taken, SERVER_HOST_BURST + 10 * SERVER_HOST_RATE - 2,
                    SERVER_HOST_BURST + 10 * SERVER_HOST_RATE + 1);
    free(hosts);
}

static void s60_silent_strangers_are_few_for_each_address_and_go(void **state)
{
    (void)state;
    struct talk talks[60];
    struct talk other;
    unsigned refused = 0;
    stage_start(&stage);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_open(&talks[i], stage.sim, STAGE_STRANGER, &stage.server);
        const char *heard = talk_reply(&talks[i]);
        if (strncmp(heard, "220 ", 4) != 0) {
            assert_string_equal(heard, "421 4.7.0 Too many connections from your address");
            assert_true(talk_closed(&talks[i], NS_PER_S));
            refused++;
        }
    }
    assert_int_equal(refused, 10);
    assert_int_equal(counter(COUNTER_refused_host), 10);
    assert_int_equal(counter(COUNTER_rejections), 10);
    assert_true(stage_begin(&stage, &other, STAGE_STRANGER + 1));
    talk_close(&other);
    assert_true(stage_begin(&stage, &other, STAGE_CLIENT)); /* exempt */
    talk_close(&other);
    assert_true(sim_run_for(stage.sim, 302 * NS_PER_S));
    assert_int_equal(mta()->server.conns.used, 0);
    assert_true(stage_begin(&stage, &other, STAGE_STRANGER));
    talk_close(&other);
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
}

/* Near max_connections who is silent goes soon; beyond it everybody is told. */
static void s60_near_the_limit_of_all_connections_silent_strangers_go_in_seconds(void **state)
{
    (void)state;
    struct talk talks[22];
    struct talk known;
    world_set(&stage.world, "smtp_listener.0.max_connections=20");
    stage_start(&stage);
    assert_true(stage_begin(&stage, &known, STAGE_CLIENT));
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_open(&talks[i], stage.sim, STAGE_STRANGER, &stage.server);
        const char *heard = talk_reply(&talks[i]);
        assert_memory_equal(heard, i < 19 ? "220 " : "421 ", 4);
    }
    assert_int_equal(counter(COUNTER_refused_total), 3);
    assert_int_equal(counter(COUNTER_overload_slots), 1);
    assert_true(sim_run_for(stage.sim, (SERVER_STRESSED_S + 3) * NS_PER_S));
    assert_int_equal(mta()->server.conns.used, 1);
    assert_true(stage_envelope(&known, "b@t.test")); /* the trusted one has been left alone */
    for (unsigned i = 0; i < COUNT_OF(talks); i++) {
        talk_close(&talks[i]);
    }
    talk_close(&known);
}

static void s63_a_storm_of_connections_that_end_at_once_leaves_nothing(void **state)
{
    (void)state;
    static const unsigned hosts[] = {STAGE_STRANGER, STAGE_CLIENT};
    struct talk talk;
    char before[sizeof(stage.world.log_line)];
    stage_start(&stage);
    memcpy(before, stage.world.log_line, sizeof(before));
    for (unsigned i = 0; i < 600; i++) {
        talk_open(&talk, stage.sim, hosts[i % 2], &stage.server);
        (void)sim_run_for(stage.sim, sim_below(stage.sim, 30 * NS_PER_MS));
        if (i % 3 == 0) {
            talk_close(&talk);
        } else {
            sim_peer_reset(talk.peer);
        }
    }
    assert_true(sim_run_for(stage.sim, 15 * NS_PER_S));
    assert_int_equal(mta()->server.conns.used, 0);
    assert_int_equal(mta()->server.refusals, 0);
    assert_string_equal(stage.world.log_line, before); /* not a line */
    assert_true(stage_mail(&stage, "b@t.test", "Subject: x\r\n\r\ntext\r\n"));
}

static void s64_content_cut_off_again_and_again_leaves_nothing_behind(void **state)
{
    (void)state;
    char *body = stage_body(900 * 1000);
    char names[4096];
    stage_start(&stage);
    for (unsigned i = 0; i < 80; i++) {
        struct talk talk;
        assert_true(stage_begin(&stage, &talk, STAGE_CLIENT));
        assert_true(stage_envelope(&talk, "b@t.test"));
        talk_say(&talk, body);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_true(block_pool_used(mta()->blocks) > 0);
        sim_peer_reset(talk.peer);
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        assert_int_equal(block_pool_used(mta()->blocks), 0);
        assert_int_equal(mta()->server.conns.used, 0);
    }
    /* 72 MB have been written; what nobody needs is written over. */
    unsigned files = sim_disk_list(stage.world.disk, "var/spool/lane-000", names, sizeof(names));
    assert_in_range(files, 3, 24);
    assert_int_equal(world_rows(&stage.world), 0);
    assert_true(stage_mail(&stage, "b@t.test", body));
    assert_true(stage_expect(&stage, 0, body));
    free(body);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(f08_clients_stopped_in_their_content_never_hold_up_deliveries),
        TEST(f08_while_blocks_are_short_who_holds_them_idle_is_sent_away_within_seconds),
        TEST(f08_the_account_books_what_ring_and_spool_hold_all_the_time),
        TEST(f08_watermarks_refuse_connections_then_mail_then_stop_reading),
        TEST(f08_who_is_in_a_transaction_while_nothing_is_read_is_sent_away),
        TEST(s61_a_byte_now_and_then_wins_no_time),
        TEST(s61_content_at_the_least_rate_is_taken_however_long_it_takes),
        TEST(time_in_which_the_client_waits_for_us_is_not_its_own),
        TEST(s62_many_clients_that_read_no_reply_hold_up_nobody),
        TEST(s62_a_client_that_reads_no_reply_holds_little_and_is_closed),
        TEST(one_ipv4_address_or_ipv6_64_counts_as_one_host),
        TEST(connections_of_a_host_come_at_its_rate_after_a_burst),
        TEST(s60_silent_strangers_are_few_for_each_address_and_go),
        TEST(s60_near_the_limit_of_all_connections_silent_strangers_go_in_seconds),
        TEST(s63_a_storm_of_connections_that_end_at_once_leaves_nothing),
        TEST(s64_content_cut_off_again_and_again_leaves_nothing_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
