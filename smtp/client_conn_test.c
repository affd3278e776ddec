/*
 * The connection against scripted servers in the simulator: when each part of the dialogue times
 * out, what a peer's way of ending does, what the user is told, and in which order. Results of
 * replies are client_session_test.c's matter.
 */
#include "smtp/client_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "tests/sim/shards.h"

#define STEPS_MAX 24

/* Answers of the server that are no text. */
#define CLOSE "<close>"
#define RESET "<reset>"
#define DEAF  "<deaf>" /* reads no more */

/* The server waits until its input ends with `until`, then answers. */
struct step {
    const char *until; /* null ends the script; "" answers at once */
    const char *answer;
};

struct world {
    struct sim *sim;
    struct sim_node *node;
    struct sim_shards shards;
    struct endpoint server;
    const struct step *script; /* of the next connection */
    const struct step *second; /* and the one after */
    unsigned accepted;
    uint8_t heard[200000]; /* by the server, of all connections */
    size_t heard_bytes;
    size_t matched;        /* of these, by the script so far */
    struct client_options options;
    struct client_conn conn;
    struct block_pool *pool;
    struct message message;
    struct chain parts[3];
    struct spool_part part_list[3];
    struct client_transaction transaction;
    struct client_recipient recipients[3];
    uint32_t count;      /* of recipients */
    uint8_t texts[4096];
    unsigned to_send;    /* transactions to give from `idle` */
    bool close_when_idle;
    struct client_conn other; /* where the dialogue goes on after the first transaction, … */
    bool moves;
    bool held;       /* it could not: something was still being sent */
    bool closes;         /* … unless it is told to end first */
    bool part_missing;
    bool parts_late;
    unsigned idles;
    unsigned dones;
    unsigned parts_asked;
    unsigned taken;      /* messages of which the server has the end */
    unsigned delivered;  /* and as the user was told */
    unsigned uncertain;
    bool released;
    enum client_end end;
    uint64_t started_ns;
    uint64_t released_ns;
    char log[512];       /* i(dle) d(one) p(art) m(oved) r(eleased), in their order */
};

static struct world *world_of(struct client_conn *conn)
{
    return conn->context;
}

static void note(struct world *world, char what)
{
    size_t size = strlen(world->log);
    assert_true(size + 1 < sizeof(world->log));
    world->log[size] = what;
}

/* --- the server ------------------------------------------------------------------------------- */

static void server_run(struct sim_peer *peer, struct world *world)
{
    const struct step *step = sim_peer_tag(peer);
    while (step->until != NULL && strcmp(step->answer, DEAF) != 0) {
        size_t size = strlen(step->until);
        struct slice heard = slice_make(world->heard, world->heard_bytes);
        if (heard.size < world->matched + size ||
            !slice_ends_with(heard, slice_from_string(step->until))) {
            return;
        }
        world->matched = world->heard_bytes;
        world->taken += strcmp(step->until, "\r\n.\r\n") == 0;
        const char *answer = step->answer;
        step++;
        sim_peer_tag_set(peer, (void *)(uintptr_t)step);
        if (strcmp(answer, CLOSE) == 0) {
            sim_peer_close(peer);
            return;
        }
        if (strcmp(answer, RESET) == 0) {
            sim_peer_reset(peer);
            return;
        }
        sim_peer_send(peer, slice_from_string(answer));
    }
}

static void server_event(struct sim_peer *peer, void *context)
{
    struct world *world = context;
    if (sim_peer_state(peer) == SIM_PEER_ENDED) {
        return;
    }
    if (sim_peer_tag(peer) == NULL) {
        const struct step *script = world->accepted++ == 0 ? world->script : world->second;
        sim_peer_tag_set(peer, (void *)(uintptr_t)script);
    }
    const struct step *step = sim_peer_tag(peer);
    if (step->until != NULL && strcmp(step->answer, DEAF) == 0) {
        return;
    }
    struct slice input = sim_peer_input(peer);
    assert_true(world->heard_bytes + input.size <= sizeof(world->heard));
    if (input.size > 0) {
        memcpy(world->heard + world->heard_bytes, input.data, input.size);
        world->heard_bytes += input.size;
        sim_peer_consume(peer, input.size);
    }
    server_run(peer, world);
    if (sim_peer_state(peer) == SIM_PEER_EOF) {
        sim_peer_finish(peer);
    }
}

/* --- the user --------------------------------------------------------------------------------- */

static void begin(struct world *world, struct client_conn *conn)
{
    struct client_recipient *recipients = world->recipients;
    for (uint16_t i = 0; i < COUNT_OF(world->recipients); i++) {
        recipients[i].index = i;
        recipients[i].address = SLICE("r@t.test");
    }
    client_transaction_init(&world->transaction, &world->message, SLICE("s@a.test"), recipients,
                            world->count);
    buf_init(&world->transaction.texts, world->texts, sizeof(world->texts));
    client_conn_send(conn, &world->transaction);
}

static void user_idle(struct client_conn *conn)
{
    struct world *world = world_of(conn);
    note(world, 'i');
    world->idles++;
    assert_true(client_conn_is_idle(conn));
    bool moves = world->moves && conn == &world->conn && world->dones > 0;
    if (moves && !client_conn_may_detach(conn)) {
        world->held = true;
        client_conn_close(conn);
    } else if (moves) {
        client_conn_detach(conn);
        assert_false(client_conn_is_idle(conn));
        if (world->closes) {
            client_conn_close(conn);
        }
    } else if (world->to_send > 0) {
        world->to_send--;
        begin(world, conn);
        assert_false(client_conn_is_idle(conn));
    } else if (world->close_when_idle) {
        client_conn_close(conn);
    }
}

static void user_done(struct client_conn *conn, struct client_transaction *transaction)
{
    struct world *world = world_of(conn);
    note(world, 'd');
    world->dones++;
    assert_ptr_equal(transaction, &world->transaction);
    assert_int_not_equal(world->recipients[0].disposition, CLIENT_PENDING);
    assert_false(client_conn_is_idle(conn));
    world->delivered += world->recipients[0].disposition == CLIENT_DELIVERED;
    world->uncertain += world->recipients[0].uncertain;
}

static void give_part(void *context)
{
    struct world *world = context;
    client_conn_part(&world->conn, &world->parts[world->parts_asked - 1]);
}

static void user_need_part(struct client_conn *conn, uint32_t part)
{
    struct world *world = world_of(conn);
    note(world, 'p');
    assert_int_equal(part, world->parts_asked);
    world->parts_asked++;
    if (world->part_missing) {
        client_conn_part(conn, NULL);
    } else if (!world->parts_late) {
        client_conn_part(conn, &world->parts[part]);
    }
}

static void user_detached(struct client_conn *conn)
{
    struct world *world = world_of(conn);
    note(world, 'm');
    assert_false(timer_is_set(&conn->timer));
    world->other.context = world;
    client_conn_adopt(&world->other, conn->shard, conn->user, &world->options, conn);
    assert_true(client_conn_is_idle(&world->other));
    if (world->to_send > 0) {
        world->to_send--;
        begin(world, &world->other);
    }
}

static void user_released(struct client_conn *conn, enum client_end end)
{
    struct world *world = world_of(conn);
    note(world, 'r');
    world->released = true;
    world->released_ns = sim_now_ns(world->sim);
    world->end = end;
    assert_false(timer_is_set(&conn->timer));
}

static const struct client_user user = {
    .idle = user_idle, .done = user_done, .need_part = user_need_part,
    .detached = user_detached, .released = user_released};

/* --- the world -------------------------------------------------------------------------------- */

static struct world *world_open_seed(const struct step *script, uint64_t seed)
{
    struct world *world = calloc(1, sizeof(*world));
    assert_non_null(world);
    const struct sim_options options = {.seed = seed};
    world->sim = sim_open(&options);
    world->node = sim_node_open(world->sim, NULL);
    sim_shards_boot(&world->shards, world->node, 1, 64, 2048);
    world->server = sim_endpoint(900, 25);
    world->script = script;
    world->second = script;
    assert_non_null(sim_peer_listen(world->sim, &world->server, server_event, world));
    client_options_init(&world->options, SLICE("mta.test"));
    world->pool = block_pool_open(2 * MIB);
    chain_init(&world->message.body);
    for (size_t i = 0; i < COUNT_OF(world->parts); i++) {
        chain_init(&world->parts[i]);
    }
    world->close_when_idle = true;
    world->to_send = 1;
    world->count = 1;
    return world;
}

static struct world *world_open(const struct step *script)
{
    return world_open_seed(script, 7);
}

static void set_body(struct world *world, size_t bytes)
{
    static uint8_t line[80];
    memset(line, 'x', sizeof(line));
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    while (world->message.body.size < bytes) {
        assert_true(chain_append(&world->message.body, world->pool,
                                 slice_make(line, sizeof(line))));
    }
    world->message.body_bytes = world->message.body.size;
}

static void connect_now(struct world *world)
{
    struct client_target target = {
        .peer = world->server, .congestion = "", .options = &world->options};
    world->conn.context = world;
    world->started_ns = sim_now_ns(world->sim);
    client_conn_open(&world->conn, world->shards.peers[0], &user, &target);
}

static bool is_released(void *context)
{
    return ((struct world *)context)->released;
}

/* Until the connection is released; everything must have come home. */
static void world_run(struct world *world)
{
    connect_now(world);
    if (!sim_run_until(world->sim, is_released, world, 7200 * NS_PER_S)) {
        fail_msg("not released: %s; log %s; %s", sim_failure(world->sim), world->log,
                 client_session_doing(&world->conn.session));
    }
}

static void world_close(struct world *world)
{
    sim_shards_stop(&world->shards);
    if (sim_failed(world->sim)) {
        fail_msg("%s", sim_failure(world->sim));
    }
    sim_close(world->sim);
    block_pool_close(world->pool);
    free(world);
}

static uint64_t seconds(const struct world *world)
{
    return (world->released_ns - world->started_ns) / NS_PER_S;
}

static void expect_result(const struct world *world, enum client_disposition disposition,
                          bool uncertain, uint16_t code)
{
    assert_int_equal(world->recipients[0].disposition, disposition);
    assert_int_equal(world->recipients[0].uncertain, uncertain);
    assert_int_equal(world->recipients[0].code, code);
}

#define BANNER {"", "220 mx.test\r\n"}
#define EHLO_PLAIN {"EHLO mta.test\r\n", "250 mx.test\r\n"}
#define EHLO_PIPELINED {"EHLO mta.test\r\n", "250-mx.test\r\n250 PIPELINING\r\n"}
#define EHLO_CHUNKED {"EHLO mta.test\r\n", "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n"}
#define ENVELOPE_PIPELINED {"DATA\r\n", "250 a\r\n250 b\r\n354 c\r\n"}
#define FINAL {"\r\n.\r\n", "250 2.0.0 in\r\n"}
#define BYE {"QUIT\r\n", "221 bye\r\n"}
#define END {NULL, NULL}

/* --- whole dialogues -------------------------------------------------------------------------- */

static void message_is_delivered_and_the_connection_reused_without_rset(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL,
                                         ENVELOPE_PIPELINED, FINAL, BYE, END};
    struct world *world = world_open(script);
    set_body(world, 4096);
    world->to_send = 2;
    world_run(world);
    assert_string_equal(world->log, "ididir");
    assert_int_equal(world->end, CLIENT_END_CLOSED);
    expect_result(world, CLIENT_DELIVERED, false, 250);
    assert_null(memmem(world->heard, world->heard_bytes, "RSET", 4));
    assert_true(world->transaction.mail_sent_ns > 0);
    assert_true(world->transaction.done_ns >= world->transaction.mail_sent_ns);
    world_close(world);
}

static void a_dialogue_goes_on_in_another_connection_as_if_nothing_had_happened(void **state)
{
    (void)state;
    const struct step flight = {" LAST\r\nx\r\n", "250 a\r\n250 b\r\n250 in\r\n"};
    const struct step script[] = {BANNER, EHLO_CHUNKED, flight, flight, BYE, END};
    struct world *world = world_open(script);
    assert_true(chain_append(&world->message.body, world->pool, SLICE("x\r\n")));
    world->message.body_bytes = world->message.body.size;
    world->to_send = 2;
    world->moves = true;
    world_run(world);
    assert_string_equal(world->log, "idimdir");
    assert_int_equal(world->end, CLIENT_END_CLOSED);
    assert_int_equal(world->accepted, 1);
    assert_int_equal(world->delivered, 2);
    assert_int_equal(world->other.transactions, 2);
    assert_int_equal(world->other.opened_ns, world->conn.opened_ns);
    world_close(world);
}

/* It moves nowhere once it has been told to end: the server hears QUIT. */
static void a_connection_on_its_way_ends_where_it_is(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    struct world *world = world_open(script);
    set_body(world, 4096);
    world->moves = true;
    world->closes = true;
    world_run(world);
    assert_string_equal(world->log, "idir");
    assert_int_equal(world->end, CLIENT_END_CLOSED);
    assert_non_null(memmem(world->heard, world->heard_bytes, "QUIT\r\n", 6));
    world_close(world);
}

/* The reply to RSET can be there before the word that RSET was sent. */
static void a_connection_that_is_still_sending_goes_nowhere(void **state)
{
    (void)state;
    static const struct step script[] = {
        BANNER, EHLO_PLAIN, {"MAIL FROM:<s@a.test>\r\n", "450 no\r\n"},
        {"RSET\r\n", "250 ok\r\n"}, BYE, END};
    unsigned held = 0;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        struct world *world = world_open_seed(script, seed);
        sim_fault_set(world->sim, SIM_FAULT_late_completion, 500);
        set_body(world, 4096);
        world->moves = true;
        world_run(world);
        assert_string_equal(world->log, world->held ? "idir" : "idimr");
        held += world->held;
        world_close(world);
    }
    assert_in_range(held, 1, 39);
}

static void our_end_is_known_once_connected(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, BYE, END};
    static const struct endpoint any = {0};
    struct world *world = world_open(script);
    world->to_send = 0;
    connect_now(world);
    assert_true(endpoint_equal_address(&world->conn.source, &any));
    assert_true(sim_run_until(world->sim, is_released, world, 600 * NS_PER_S));
    assert_int_equal(world->idles, 1);
    struct endpoint own = sim_node_endpoint(world->node, 0);
    assert_true(endpoint_equal_address(&world->conn.source, &own));
    assert_int_not_equal(world->conn.source.port, 0);
    world_close(world);
}

static void pipelined_message_of_4_kib_is_two_sends(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    struct world *world = world_open(script);
    set_body(world, 4096);
    world->close_when_idle = false;
    connect_now(world);
    assert_true(sim_run_for(world->sim, 100 * NS_PER_MS));
    assert_int_equal(world->dones, 1);
    /* connect, EHLO, envelope, content; one receive armed; nothing else */
    assert_int_equal(ring_counts(world->shards.peers[0]->ring)->submitted, 5);
    client_conn_close(&world->conn);
    assert_true(sim_run_until(world->sim, is_released, world, 10 * NS_PER_S));
    world_close(world);
}

static void chunked_message_is_one_flight(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_CHUNKED,
                                         {"x\r\n", "250 a\r\n250 b\r\n250 c\r\n"}, BYE, END};
    struct world *world = world_open(script);
    set_body(world, 80);
    world_run(world);
    assert_string_equal(world->log, "idir");
    expect_result(world, CLIENT_DELIVERED, false, 250);
    assert_non_null(memmem(world->heard, world->heard_bytes, "BDAT 80 LAST\r\nxxx", 17));
    world_close(world);
}

static void refused_here_time_after_time_does_not_hold_up_the_shard(void **state)
{
    (void)state;
    static const struct step script[] = {
        BANNER, {"EHLO mta.test\r\n", "250-x\r\n250 SIZE 10\r\n"}, BYE, END};
    struct world *world = world_open(script);
    set_body(world, 100);
    world->to_send = 100;
    world_run(world);
    assert_int_equal(world->dones, 100);
    assert_int_equal(world->end, CLIENT_END_CLOSED);
    expect_result(world, CLIENT_BOUNCED, false, 552);
    assert_true(slice_equal(slice_make(world->heard, world->heard_bytes),
                            SLICE("EHLO mta.test\r\nQUIT\r\n")));
    world_close(world);
}

static void make_parts(struct world *world)
{
    static uint8_t line[1000];
    memset(line, 'p', sizeof(line));
    memcpy(line + sizeof(line) - 2, "\r\n", 2);
    for (uint32_t i = 0; i < 3; i++) {
        for (uint32_t lines = 0; lines < 20; lines++) {
            assert_true(
                chain_append(&world->parts[i], world->pool, slice_make(line, sizeof(line))));
        }
        world->part_list[i].size = 20000;
    }
    world->message.parts = world->part_list;
    world->message.part_count = 3;
    world->message.body_bytes = 60000;
    world->message.flags = SPOOL_MESSAGE_PARTS;
}

static void body_in_parts_is_asked_for_part_by_part(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    struct world *world = world_open(script);
    make_parts(world);
    world_run(world);
    assert_string_equal(world->log, "ipppdir");
    expect_result(world, CLIENT_DELIVERED, false, 250);
    world_close(world);
}

static void late_part_is_waited_for(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    struct world *world = world_open(script);
    make_parts(world);
    world->parts_late = true;
    connect_now(world);
    for (unsigned part = 1; part <= 3; part++) {
        assert_true(sim_run_for(world->sim, NS_PER_S));
        assert_int_equal(world->parts_asked, part);
        sim_after(world->sim, 0, give_part, world);
    }
    assert_true(sim_run_until(world->sim, is_released, world, 10 * NS_PER_S));
    assert_string_equal(world->log, "ipppdir");
    expect_result(world, CLIENT_DELIVERED, false, 250);
    world_close(world);
}

static void part_that_cannot_be_read_cuts_the_connection(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    struct world *world = world_open(script);
    make_parts(world);
    world->part_missing = true;
    world_run(world);
    assert_string_equal(world->log, "ipdr");
    assert_int_equal(world->end, CLIENT_END_BODY);
    expect_result(world, CLIENT_DEFERRED, false, 451);
    world_close(world);
}

/* --- greeting --------------------------------------------------------------------------------- */

struct greeting_case {
    const char *name;
    const struct step script[6];
    enum client_end end;
    uint16_t code;
    uint64_t seconds;
};

static const struct greeting_case greetings[] = {
    {"c01: no banner", {END}, CLIENT_END_TIMEOUT, 421, 300},
    {"c01: 554", {{"", "554 5.7.1 no\r\n"}, END}, CLIENT_END_REFUSED, 554, 0},
    {"c01: 421", {{"", "421 4.3.2 later\r\n"}, END}, CLIENT_END_REFUSED, 421, 0},
    {"c01: 521", {{"", "521 no mail\r\n"}, END}, CLIENT_END_REFUSED, 521, 0},
    {"c01: another protocol", {{"", "SSH-2.0-x\r\n"}, END}, CLIENT_END_PROTOCOL, 451, 0},
    {"c01: mixed codes", {{"", "220-a\r\n250 b\r\n"}, END}, CLIENT_END_PROTOCOL, 451, 0},
    {"c01: lone LF", {{"", "220 a\n"}, END}, CLIENT_END_PROTOCOL, 451, 0},
    {"c02: two banners", {{"", "220 a\r\n220 b\r\n"}, END}, CLIENT_END_PROTOCOL, 451, 0},
    {"c01: closed", {{"", CLOSE}, END}, CLIENT_END_BROKEN, 400, 0},
    {"c01: half a banner", {{"", "220-a\r\n220 "}, END}, CLIENT_END_TIMEOUT, 421, 300},
    {"c05: EHLO unanswered", {BANNER, END}, CLIENT_END_TIMEOUT, 421, 300},
    {"c05: EHLO 550", {BANNER, {"\r\n", "550 5.7.1 no\r\n"}, END}, CLIENT_END_REFUSED, 550, 0},
    {"c05: EHLO 451", {BANNER, {"\r\n", "451 no\r\n"}, END}, CLIENT_END_REFUSED, 451, 0},
    {"c05: EHLO 421", {BANNER, {"\r\n", "421 no\r\n"}, END}, CLIENT_END_REFUSED, 421, 0},
    {"c05: HELO 502", {BANNER, {"EHLO mta.test\r\n", "502 ?\r\n"},
     {"HELO mta.test\r\n", "502 ?\r\n"},
                  END}, CLIENT_END_REFUSED, 502, 0},
};

static void run_greetings(const char *id)
{
    for (size_t i = 0; i < COUNT_OF(greetings); i++) {
        const struct greeting_case *c = &greetings[i];
        if (strncmp(c->name, id, strlen(id)) != 0) {
            continue;
        }
        struct world *world = world_open(c->script);
        world_run(world);
        if (strcmp(world->log, "r") != 0 || world->end != c->end ||
            world->conn.session.failure.code != c->code || seconds(world) != c->seconds) {
            fail_msg("%s: log %s, end %s, code %u, after %llu s", c->name, world->log,
                     client_end_name(world->end), world->conn.session.failure.code,
                     (unsigned long long)seconds(world));
        }
        assert_false(world->conn.greeted);
        world_close(world);
    }
}

static void c01_bad_banners_fail_the_host_and_no_transaction(void **state)
{
    (void)state;
    run_greetings("c01");
}

static void c02_reply_that_nothing_asked_for_ends_the_connection(void **state)
{
    (void)state;
    run_greetings("c02");
}

static void c05_bad_replies_to_ehlo_and_helo_fail_the_host(void **state)
{
    (void)state;
    run_greetings("c05");
}

static void c05_helo_after_500_502_504(void **state)
{
    (void)state;
    static const char *const replies[] = {"500 ?\r\n", "502 ?\r\n", "504 ?\r\n"};
    for (size_t i = 0; i < COUNT_OF(replies); i++) {
        const struct step script[] = {BANNER, {"EHLO mta.test\r\n", replies[i]},
                                      {"HELO mta.test\r\n", "250 hi\r\n"}, BYE, END};
        struct world *world = world_open(script);
        world->to_send = 0;
        world_run(world);
        assert_string_equal(world->log, "ir");
        assert_false(world->conn.session.extensions.pipelining);
        world_close(world);
    }
}

static void c05_keywords_are_read_whatever_their_shape(void **state)
{
    (void)state;
    const struct step script[] = {
        BANNER,
        {"EHLO mta.test\r\n", "250-PIPELINING is no keyword here\r\n250-size "
                              "18446744073709551616\r\n250-8bitmime\r\n250-8BITMIME\r\n"
                              "250-XNOISE \x01\x02\r\n250-Chunking\r\n250 SMTPUTF8X\r\n"},
        BYE, END};
    struct world *world = world_open(script);
    world->to_send = 0;
    world_run(world);
    const struct client_extensions *offered = &world->conn.session.extensions;
    assert_false(offered->pipelining);
    assert_true(offered->size);
    assert_int_equal(offered->size_max, 0);
    assert_true(offered->eightbitmime);
    assert_true(offered->chunking);
    assert_false(offered->smtputf8);
    world_close(world);
}

static void connect_failures_are_named(void **state)
{
    (void)state;
    static const struct {
        enum sim_reach reach;
        enum stream_end end;
        uint64_t seconds;
    } cases[] = {
        {SIM_REACH_REFUSED, STREAM_REFUSED, 0},
        {SIM_REACH_NONE, STREAM_UNREACHABLE, 0},
        {SIM_REACH_SILENT, STREAM_TIMEOUT, 60},
    };
    static const struct step none[] = {END};
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct world *world = world_open(none);
        sim_reach_set(world->sim, &world->server, cases[i].reach);
        world_run(world);
        assert_string_equal(world->log, "r");
        assert_int_equal(world->end, CLIENT_END_CONNECT);
        assert_int_equal(world->conn.connect_end, cases[i].end);
        assert_int_equal(world->conn.session.failure.code, 400);
        assert_int_equal(seconds(world), cases[i].seconds);
        world_close(world);
    }
}

/* --- stalls, resets, surplus ------------------------------------------------------------------ */

struct end_case {
    const char *name;
    struct step script[8];
    unsigned to_send;
    const char *log;
    enum client_end end;
    enum client_disposition disposition; /* of the last transaction */
    bool uncertain;
    uint16_t code;
    uint64_t seconds;
};

static const struct end_case ends[] = {
    {"c19: silent at MAIL", {BANNER, EHLO_PLAIN, END}, 1, "idr", CLIENT_END_TIMEOUT,
     CLIENT_DEFERRED, false, 421, 300},
    {"silent at RCPT", {BANNER, EHLO_PLAIN, {"MAIL FROM:<s@a.test>\r\n", "250 a\r\n"}, END}, 1,
     "idr", CLIENT_END_TIMEOUT, CLIENT_DEFERRED, false, 421, 300},
    {"silent at DATA", {BANNER, EHLO_PIPELINED, {"DATA\r\n", "250 a\r\n250 b\r\n"}, END}, 1, "idr",
     CLIENT_END_TIMEOUT, CLIENT_DEFERRED, false, 421, 120},
    {"c14: deaf in content", {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, {"", DEAF}, END}, 1,
     "idr", CLIENT_END_TIMEOUT, CLIENT_DEFERRED, false, 421, 180},
    {"c15: silent after the dot", {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, END}, 1, "idr",
     CLIENT_END_TIMEOUT, CLIENT_DEFERRED, true, 421, 600},
    {"c15: reset after the dot",
     {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, {"\r\n.\r\n", RESET}, END}, 1, "idr",
     CLIENT_END_BROKEN, CLIENT_DEFERRED, true, 400, 0},
    {"c15: closed after the dot",
     {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, {"\r\n.\r\n", CLOSE}, END}, 1, "idr",
     CLIENT_END_BROKEN, CLIENT_DEFERRED, true, 400, 0},
    {"c15: 250, then closed",
     {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, {"", CLOSE}, END}, 1, "idir",
     CLIENT_END_CLOSED, CLIENT_DELIVERED, false, 250, 0},
    {"c16: 250, then another reply",
     {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, {"\r\n.\r\n", "250 in\r\n550 no\r\n"}, END}, 1,
     "idr", CLIENT_END_PROTOCOL, CLIENT_DELIVERED, false, 250, 0},
    {"c18: RSET unanswered",
     {BANNER, EHLO_PLAIN, {"MAIL FROM:<s@a.test>\r\n", "550 no\r\n"}, END}, 1, "idr",
     CLIENT_END_TIMEOUT, CLIENT_BOUNCED, false, 550, 5},
    {"c18: RSET refused",
     {BANNER, EHLO_PLAIN, {"MAIL FROM:<s@a.test>\r\n", "550 no\r\n"}, {"RSET\r\n", "500 ?\r\n"},
      END}, 1, "idr", CLIENT_END_RSET, CLIENT_BOUNCED, false, 550, 0},
    {"reset within the envelope", {BANNER, EHLO_PIPELINED, {"DATA\r\n", RESET}, END}, 1, "idr",
     CLIENT_END_BROKEN, CLIENT_DEFERRED, false, 400, 0},
    {"QUIT unanswered does not matter",
     {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, END}, 1, "idir", CLIENT_END_CLOSED,
     CLIENT_DELIVERED, false, 250, 5},
};

static void c13_to_c18_ends_of_dialogues(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ends); i++) {
        const struct end_case *c = &ends[i];
        struct world *world = world_open(c->script);
        set_body(world, strstr(c->name, "deaf") != NULL ? 400000 : 400);
        world->to_send = c->to_send;
        world_run(world);
        const struct client_recipient *r = &world->recipients[0];
        if (strcmp(world->log, c->log) != 0 || world->end != c->end ||
            r->disposition != c->disposition || r->uncertain != c->uncertain ||
            r->code != c->code || seconds(world) != c->seconds) {
            fail_msg("%s: log %s, end %s, disposition %u%s, code %u, %.*s, after %llu s", c->name,
                     world->log, client_end_name(world->end), r->disposition,
                     r->uncertain ? " uncertain" : "", r->code, (int)r->text.size, r->text.data,
                     (unsigned long long)seconds(world));
        }
        world_close(world);
    }
}

static void c19_batch_is_split_when_the_envelope_takes_too_long(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PLAIN,
                                         {"MAIL FROM:<s@a.test>\r\n", "250 a\r\n"},
                                         {"RCPT TO:<r@t.test>\r\n", "250 b\r\n"},
                                         {"DATA\r\n", "354 c\r\n"}, FINAL, BYE, END};
    struct world *world = world_open(script);
    set_body(world, 100);
    world->count = 3;
    world->options.envelope_budget_ns = 1;
    world_run(world);
    expect_result(world, CLIENT_DELIVERED, false, 250);
    assert_int_equal(world->recipients[1].disposition, CLIENT_RETRY_NOW);
    assert_int_equal(world->recipients[2].disposition, CLIENT_RETRY_NOW);
    world_close(world);
}

static void start_transaction(void *context)
{
    struct world *world = context;
    begin(world, &world->conn);
}

static void c17_peer_that_closes_an_idle_connection_is_no_failure(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL,
                                         {"", CLOSE}, END};
    struct world *world = world_open(script);
    set_body(world, 100);
    world->close_when_idle = false;
    world_run(world);
    assert_int_equal(world->end, CLIENT_END_PEER);
    assert_int_equal(world->recipients[0].disposition, CLIENT_DELIVERED);
    world_close(world);
}

static void c17_unasked_421_on_an_idle_connection_is_no_failure(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER,
                                         {"EHLO mta.test\r\n", "250 mx\r\n"},
                                         {"", "421 4.4.2 idle too long\r\n"},
                                         END};
    struct world *world = world_open(script);
    world->to_send = 0;
    world->close_when_idle = false;
    world_run(world);
    assert_int_equal(world->end, CLIENT_END_PEER);
    world_close(world);
}

static void c17_first_command_that_fails_on_a_used_connection_is_retried(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_CHUNKED,
                                         {"x\r\n", "250 a\r\n250 b\r\n250 c\r\n"},
                                         {"RCPT TO:<r@t.test>\r\n", RESET}, END};
    struct world *world = world_open(script);
    set_body(world, 80);
    world->close_when_idle = false;
    connect_now(world);
    assert_true(sim_run_for(world->sim, 20 * NS_PER_S));
    assert_int_equal(world->recipients[0].disposition, CLIENT_DELIVERED);
    sim_after(world->sim, 0, start_transaction, world);
    assert_true(sim_run_until(world->sim, is_released, world, 10 * NS_PER_S));
    assert_int_equal(world->dones, 2);
    expect_result(world, CLIENT_RETRY_NOW, false, 400);
    world_close(world);
}

/* Unless it is given a message in that turn, before the wheel runs. */
static void idle_connection_says_quit_after_idle_timeout(void **state)
{
    (void)state;
    static const struct step scripts[2][6] = {
        {BANNER, EHLO_PIPELINED, BYE, END},
        {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE, END}};
    for (unsigned given = 0; given < 2; given++) {
        struct world *world = world_open(scripts[given]);
        set_body(world, 80);
        world->to_send = 0;
        world->close_when_idle = false;
        connect_now(world);
        assert_true(sim_run_for(world->sim, NS_PER_S));
        world->close_when_idle = given == 1;
        uint64_t now_ns = ring_monotonic_ns(world->shards.peers[0]->ring);
        if (given == 1) {
            sim_after(world->sim, world->conn.timer.due_ns - now_ns - 1, start_transaction, world);
        }
        assert_true(sim_run_until(world->sim, is_released, world, 70 * NS_PER_S));
        assert_string_equal(world->log, given == 1 ? "idir" : "ir");
        assert_int_equal(world->delivered, given);
        assert_int_equal(world->end, CLIENT_END_CLOSED);
        assert_int_equal(seconds(world), 60);
        struct slice heard = slice_make(world->heard, world->heard_bytes);
        assert_true(slice_ends_with(heard, SLICE("QUIT\r\n")));
        world_close(world);
    }
}

static void cut(void *context)
{
    client_conn_cut(&((struct world *)context)->conn);
}

static void close_now(void *context)
{
    client_conn_close(&((struct world *)context)->conn);
}

static void c40_cut_at_any_moment_reports_once_and_releases(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, END};
    for (uint64_t after_us = 0; after_us < 2000; after_us += 50) {
        struct world *world = world_open(script);
        set_body(world, 4096);
        sim_after(world->sim, after_us * NS_PER_US, cut, world);
        sim_after(world->sim, (after_us + 10) * NS_PER_US, cut, world);
        world_run(world);
        assert_true(world->dones <= 1 && world->idles == world->dones);
        assert_int_equal(world->end, CLIENT_END_CLOSED);
        if (world->dones == 1) {
            bool all_sent = slice_ends_with(slice_make(world->heard, world->heard_bytes),
                                            SLICE("\r\n.\r\n"));
            assert_true(world->recipients[0].uncertain || !all_sent);
            assert_int_equal(world->recipients[0].disposition,
                             world->recipients[0].uncertain ? CLIENT_DEFERRED : CLIENT_RETRY_NOW);
        }
        world_close(world);
    }
}

static void close_lets_the_transaction_finish_and_quits(void **state)
{
    (void)state;
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL, BYE,
                                         END};
    for (uint64_t after_us = 0; after_us < 2000; after_us += 100) {
        struct world *world = world_open(script);
        set_body(world, 4096);
        sim_after(world->sim, after_us * NS_PER_US, close_now, world);
        world_run(world);
        assert_int_equal(world->end, CLIENT_END_CLOSED);
        if (world->idles > 0 && world->dones > 0) {
            assert_int_equal(world->recipients[0].disposition, CLIENT_DELIVERED);
        }
        world_close(world);
    }
}

/* --- faults ----------------------------------------------------------------------------------- */

struct tally {
    unsigned delivered;
    unsigned uncertain;
};

static void swarm_body(struct sim *sim, void *context)
{
    static const struct step script[] = {BANNER, EHLO_PIPELINED, ENVELOPE_PIPELINED, FINAL,
                                         ENVELOPE_PIPELINED, FINAL, BYE, END};
    struct tally *tally = context;
    struct world *world = calloc(1, sizeof(*world));
    world->sim = sim;
    world->node = sim_node_open(sim, NULL);
    sim_shards_boot(&world->shards, world->node, 1, 8, 256);
    world->server = sim_endpoint(900, 25);
    world->script = script;
    world->second = script;
    sim_peer_listen(sim, &world->server, server_event, world);
    client_options_init(&world->options, SLICE("mta.test"));
    world->pool = block_pool_open(MIB);
    chain_init(&world->message.body);
    set_body(world, 1 + sim_below(sim, 20000));
    world->close_when_idle = true;
    world->to_send = 2;
    world->count = 1;
    if (sim_chance(sim, 500)) {
        sim_fault_set(sim, SIM_FAULT_reset, 500);
    }
    connect_now(world);
    if (!sim_run_until(sim, is_released, world, 7200 * NS_PER_S)) {
        sim_fail(sim, "not released, log %s", world->log);
    }
    /* What the server took is delivered or may be; what is delivered the server took. */
    if (world->delivered > world->taken || world->taken > world->delivered + world->uncertain) {
        sim_fail(sim, "taken %u, delivered %u, uncertain %u", world->taken, world->delivered,
                 world->uncertain);
    }
    tally->delivered += world->delivered;
    tally->uncertain += world->uncertain;
    sim_shards_stop(&world->shards);
    block_pool_close(world->pool);
    free(world);
}

static void any_fault_of_the_network_ends_in_results_and_release(void **state)
{
    (void)state;
    struct tally tally = {0};
    struct sim_campaign campaign = {
        .name = "client_conn",
        .count = 300,
        .swarm = SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(reset) | SIM_FAULT_BIT(black_hole) |
                 SIM_FAULT_BIT(refuse) | SIM_FAULT_BIT(connect_silence) |
                 SIM_FAULT_BIT(source_missing) | SIM_FAULT_BIT(no_descriptors),
        .body = swarm_body,
        .context = &tally,
    };
    assert_int_equal(sim_campaign_run(&campaign), 0);
    print_message("%u delivered, %u uncertain\n", tally.delivered, tally.uncertain);
    assert_true(tally.delivered > 0 && tally.uncertain > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_is_delivered_and_the_connection_reused_without_rset),
        cmocka_unit_test(a_dialogue_goes_on_in_another_connection_as_if_nothing_had_happened),
        cmocka_unit_test(a_connection_on_its_way_ends_where_it_is),
        cmocka_unit_test(a_connection_that_is_still_sending_goes_nowhere),
        cmocka_unit_test(our_end_is_known_once_connected),
        cmocka_unit_test(pipelined_message_of_4_kib_is_two_sends),
        cmocka_unit_test(chunked_message_is_one_flight),
        cmocka_unit_test(refused_here_time_after_time_does_not_hold_up_the_shard),
        cmocka_unit_test(body_in_parts_is_asked_for_part_by_part),
        cmocka_unit_test(late_part_is_waited_for),
        cmocka_unit_test(part_that_cannot_be_read_cuts_the_connection),
        cmocka_unit_test(c01_bad_banners_fail_the_host_and_no_transaction),
        cmocka_unit_test(c02_reply_that_nothing_asked_for_ends_the_connection),
        cmocka_unit_test(c05_bad_replies_to_ehlo_and_helo_fail_the_host),
        cmocka_unit_test(c05_helo_after_500_502_504),
        cmocka_unit_test(c05_keywords_are_read_whatever_their_shape),
        cmocka_unit_test(connect_failures_are_named),
        cmocka_unit_test(c13_to_c18_ends_of_dialogues),
        cmocka_unit_test(c19_batch_is_split_when_the_envelope_takes_too_long),
        cmocka_unit_test(c17_peer_that_closes_an_idle_connection_is_no_failure),
        cmocka_unit_test(c17_unasked_421_on_an_idle_connection_is_no_failure),
        cmocka_unit_test(c17_first_command_that_fails_on_a_used_connection_is_retried),
        cmocka_unit_test(idle_connection_says_quit_after_idle_timeout),
        cmocka_unit_test(c40_cut_at_any_moment_reports_once_and_releases),
        cmocka_unit_test(close_lets_the_transaction_finish_and_quits),
        cmocka_unit_test(any_fault_of_the_network_ends_in_results_and_release),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
