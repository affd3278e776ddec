/*
 * Clients that change shards: a whole node of several shards in the simulator, clients led by hand.
 */
#include "smtp/server_balance.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "smtp/server_conn.h"
#include "tests/kit/stage.h"

#define SHARDS      4
#define TALKS_MAX   64
#define SEEDS       12
/* More steps of the world than a connection needs from connect to banner. */
#define MOMENTS_MAX 60

static struct stage stage;
static struct talk talks[TALKS_MAX];

static void begin(uint64_t seed)
{
    stage_open(&stage, seed);
    stage.world.shards = SHARDS;
    world_set(&stage.world, "smtp_listener.0.max_connections=48");
    world_set(&stage.world, "smtp_listener.0.max_connections_per_host=20");
}

static void end(void)
{
    assert_true(stage_close(&stage));
}

static struct server *server_of(unsigned shard)
{
    return &stage.world.node.mtas[shard].server;
}

/* Counted by the shards' own lists; what they tell each other is the same. */
static unsigned clients_of(unsigned shard)
{
    unsigned count = 0;
    const struct list *open = &server_of(shard)->open;
    for (const struct list *at = open->next; at != open; at = at->next) {
        count += !CONTAINER_OF(at, struct server_conn, link)->refusal;
    }
    assert_int_equal(stage.world.node.loads[shard].clients, count);
    return count;
}

static void open_talks(unsigned first, unsigned count, unsigned host)
{
    for (unsigned i = first; i < first + count; i++) {
        talk_open(&talks[i], stage.sim, host, &stage.server);
    }
}

static void close_talks(unsigned first, unsigned count)
{
    for (unsigned i = first; i < first + count; i++) {
        talk_close(&talks[i]);
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

/* Nothing is counted or on its way when all clients have gone. */
static void expect_nobody(void)
{
    uint32_t hosts = 0;
    for (size_t i = 0; i < SERVER_HOSTS; i++) {
        hosts += stage.world.node.hosts->counts[i];
    }
    assert_int_equal(hosts, 0);
    assert_int_equal(stage.world.node.slots[0].used, 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_int_equal(clients_of(i), 0);
        assert_int_equal(server_of(i)->conns.used, 0);
        assert_int_equal(server_of(i)->buffers.used, 0);
        assert_int_equal(server_of(i)->balance.away, 0);
    }
}

/* --- before the banner ------------------------------------------------------------------------ */

static void l10_clients_are_spread_however_the_kernel_deals_them_out(void **state)
{
    (void)state;
    uint64_t placed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        stage_start(&stage);
        for (unsigned count = 1; count <= 4 * SHARDS; count++) {
            open_talks(count - 1, 1, count % 2 == 0 ? STAGE_CLIENT : STAGE_STRANGER);
            assert_true(stage_hears(&talks[count - 1], "220 "));
            for (unsigned i = 0; i < SHARDS; i++) {
                assert_in_range(clients_of(i), count / SHARDS, (count + SHARDS - 1) / SHARDS);
            }
        }
        placed += world_counter(&stage.world, COUNTER_clients_placed);
        assert_int_equal(world_counter(&stage.world, COUNTER_connections_in), 4 * SHARDS);
        close_talks(0, 4 * SHARDS);
        expect_nobody();
        end();
    }
    assert_true(placed > SEEDS);
}

/* At once, so that many are on their way at any time. */
static void l10_limits_of_listeners_and_hosts_are_exact_meanwhile(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        unsigned heard[3] = {0};
        begin(seed);
        stage_start(&stage);
        open_talks(0, 24, STAGE_STRANGER);
        open_talks(24, 40, STAGE_CLIENT);
        for (unsigned i = 0; i < 64; i++) {
            const char *line = talk_line(&talks[i]);
            assert_non_null(line);
            heard[0] += strncmp(line, "220 ", 4) == 0;
            heard[1] += strncmp(line, "421 4.7.0 Too many connections", 30) == 0;
            heard[2] += strcmp(line, "421 4.3.2 Too many connections") == 0;
        }
        assert_int_equal(heard[0] + heard[1] + heard[2], 64);
        assert_in_range(heard[0], 40, 48);
        assert_true(heard[1] <= 4 && heard[2] >= 12);
        close_talks(0, 64);
        expect_nobody();
        /* None of the places is lost. */
        open_talks(0, 20, STAGE_STRANGER);
        open_talks(20, 28, STAGE_CLIENT);
        for (unsigned i = 0; i < 48; i++) {
            assert_true(stage_hears(&talks[i], "220 "));
        }
        open_talks(48, 1, STAGE_CLIENT);
        assert_true(stage_hears(&talks[48], "421 4.3.2 Too many connections"));
        close_talks(0, 49);
        expect_nobody();
        end();
    }
}

/* --- while one is on its way ------------------------------------------------------------------ */

static unsigned away(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        count += server_of(i)->balance.away;
    }
    return count;
}

static bool is_away(void *context)
{
    (void)context;
    return away() > 0;
}

static bool is_none_away(void *context)
{
    (void)context;
    return away() == 0;
}

/* Opens up to SHARDS talks, until one is on its way; how many there are then. */
static unsigned open_until_away(void)
{
    for (unsigned count = 1; count <= SHARDS; count++) {
        open_talks(count - 1, 1, count % 2 == 0 ? STAGE_CLIENT : STAGE_STRANGER);
        if (sim_run_until(stage.sim, is_away, NULL, NS_PER_S)) {
            return count;
        }
        assert_false(sim_failed(stage.sim));
        assert_true(stage_hears(&talks[count - 1], "220 "));
    }
    return 0;
}

#define HOG_ROOM    82 /* per cent of memory: nobody takes clients of others */
#define HOG_READING 98 /* nothing more is read */

/* So much memory of all shards is in use; 0: no longer. */
static void hog_all(unsigned percent)
{
    static uint64_t hogged[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        struct account *account = &stage.world.node.mtas[i].shard.memory;
        if (percent == 0) {
            account_give(account, ACCOUNT_QUEUES, hogged[i]);
            continue;
        }
        uint64_t bytes = account->limit / 100 * percent;
        assert_true(account_used(account) < bytes);
        hogged[i] = bytes - account_used(account);
        assert_true(account_take(account, ACCOUNT_QUEUES, hogged[i]));
    }
}

static void a_shard_that_is_short_of_something_sends_clients_home(void **state)
{
    (void)state;
    unsigned returned = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        stage_start(&stage);
        unsigned count = open_until_away();
        if (count > 0) {
            hog_all(HOG_ROOM);
            assert_true(stage_hears(&talks[count - 1], "220 "));
            assert_int_equal(away(), 0);
            returned += world_counter(&stage.world, COUNTER_clients_placed) == 0;
            hog_all(0);
        }
        close_talks(0, count > 0 ? count : SHARDS);
        expect_nobody();
        end();
    }
    assert_true(returned > 0);
}

static void say_whole(struct talk *talk)
{
    talk_say(talk, "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n"
                   "BDAT 14 LAST\r\nSubject: x\r\n\r\n");
}

static unsigned shards_open(void)
{
    unsigned count = 0;
    for (unsigned i = 0; i < SHARDS; i++) {
        count += stage.world.node.loads[i].open;
    }
    return count;
}

/* One client a shard; all shards but the last find out that nothing can be stored any more. */
static void f03_a_shard_whose_spool_has_failed_is_sent_no_clients(void **state)
{
    (void)state;
    begin(1);
    stage_start(&stage);
    for (unsigned i = 0; i < SHARDS; i++) {
        assert_true(stage_begin(&stage, &talks[i], STAGE_CLIENT));
    }
    assert_true(sim_run_for(stage.sim, NS_PER_S)); /* segments are made ahead */
    assert_int_equal(shards_open(), SHARDS);
    sim_disk_failing_set(stage.world.disk, true, false, false);
    for (unsigned i = 0; i < 2 * (SHARDS - 1); i++) {
        say_whole(&talks[i / 2]); /* after the first one another segment is tried */
        assert_true(sim_run_for(stage.sim, NS_PER_S / 10));
    }
    assert_int_equal(shards_open(), 1);
    sim_disk_failing_set(stage.world.disk, false, false, false);
    assert_true(sim_run_for(stage.sim, 2 * NS_PER_S));
    assert_int_equal(shards_open(), SHARDS);
    close_talks(0, SHARDS);
    expect_nobody();
    end();
}

/* Takes whatever the pools of all shards still have, or gives it back. */
static void drain_pools(bool drain)
{
    static void *taken[SHARDS][256];
    static unsigned counts[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        struct pool *pool = &server_of(i)->conns;
        while (drain && pool->used < pool->capacity) {
            assert_true(counts[i] < COUNT_OF(taken[i]));
            taken[i][counts[i]++] = pool_take(pool);
        }
        while (!drain && counts[i] > 0) {
            pool_give(pool, taken[i][--counts[i]]);
        }
    }
}

static void a_shard_whose_pool_is_empty_sends_clients_home(void **state)
{
    (void)state;
    unsigned returned = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        stage_start(&stage);
        unsigned count = open_until_away();
        if (count > 0) {
            drain_pools(true);
            assert_true(sim_run_until(stage.sim, is_none_away, NULL, NS_PER_S));
            drain_pools(false);
            assert_true(stage_hears(&talks[count - 1], "220 "));
            returned += world_counter(&stage.world, COUNTER_clients_placed) == 0;
        }
        close_talks(0, count > 0 ? count : SHARDS);
        expect_nobody();
        end();
    }
    assert_true(returned > 0);
}

/* With as many away as may be, clients stay where they are. */
static void no_more_clients_are_on_their_way_than_there_may_be(void **state)
{
    (void)state;
    begin(1);
    stage_start(&stage);
    for (unsigned i = 0; i < SHARDS; i++) {
        server_of(i)->balance.away = SERVER_AWAY_MAX;
    }
    open_talks(0, 4 * SHARDS, STAGE_CLIENT);
    for (unsigned i = 0; i < 4 * SHARDS; i++) {
        assert_true(stage_hears(&talks[i], "220 "));
    }
    assert_int_equal(world_counter(&stage.world, COUNTER_clients_placed), 0);
    for (unsigned i = 0; i < SHARDS; i++) {
        server_of(i)->balance.away = 0;
    }
    close_talks(0, 4 * SHARDS);
    expect_nobody();
    end();
}

/* Whatever became of it: the node stops clean, and clients have heard so or nothing at all. */
static void l10_at_a_stop_at_any_moment_no_client_is_left_behind(void **state)
{
    (void)state;
    unsigned seen_away = 0;
    for (unsigned moment = 0; moment < MOMENTS_MAX; moment++) {
        begin(moment);
        stage_start(&stage);
        open_talks(0, 2 * SHARDS, moment % 2 == 0 ? STAGE_CLIENT : STAGE_STRANGER);
        for (unsigned i = 0; i < moment; i++) {
            assert_true(sim_step(stage.sim));
        }
        seen_away += away();
        world_stop(&stage.world, moment % 3 == 0 ? 2 : 1);
        for (unsigned i = 0; i < 2 * SHARDS; i++) {
            const char *line = talk_line(&talks[i]);
            if (line != NULL && strncmp(line, "220 ", 4) == 0) {
                line = talk_line(&talks[i]);
            }
            assert_true(line == NULL || strcmp(line, "421 4.3.2 Shutting down") == 0);
            talk_close(&talks[i]);
        }
        end();
    }
    assert_true(seen_away > 0);
}

static void a_client_that_leaves_on_its_way_is_counted_nowhere(void **state)
{
    (void)state;
    unsigned gone = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        begin(seed);
        stage_start(&stage);
        unsigned count = open_until_away();
        if (count > 0) {
            sim_peer_reset(talks[count - 1].peer);
            gone++;
        }
        close_talks(0, count > 0 ? count : SHARDS);
        expect_nobody();
        end();
    }
    assert_true(gone > 0);
}

/* --- between transactions --------------------------------------------------------------------- */

#define MAIL     "MAIL FROM:<a@c.test>\r\nRCPT TO:<b@t.test>\r\n"
#define MESSAGES 3

/* The only connection there is; null: it is on its way, or gone. */
static struct server_conn *only_conn(void)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        struct list *open = &server_of(i)->open;
        if (!list_empty(open)) {
            return CONTAINER_OF(open->next, struct server_conn, link);
        }
    }
    return NULL;
}

/* As after a second in which its shard was full and the next one idle: the session goes there. */
static void order_move(struct server_conn *conn)
{
    struct server_balance *balance = &conn->server->balance;
    unsigned next = (conn->server->shard->index + 1) % SHARDS;
    balance->to = &stage.world.node.loads[next];
    balance->loads[conn->server->shard->index].busy = SERVER_LOAD_ONE;
    balance->gap = SERVER_LOAD_ONE;
    balance->moves = 1;
    balance->all.before = 2;
    conn->share = (struct server_share){.second = balance->all.second, .before = 1};
}

static bool step(unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        if (!sim_step(stage.sim)) {
            return false;
        }
    }
    return true;
}

enum way { ONE_FLIGHT, ONE_BY_ONE, CUT_LINES, WAYS };

static void say_message(struct talk *talk, enum way way, unsigned number)
{
    char text[64];
    snprintf(text, sizeof(text), "BDAT 18 LAST\r\nSubject: %u\r\n\r\nab\r\n", number);
    talk_say(talk, MAIL);
    talk_say(talk, text);
    if (way == CUT_LINES) {
        talk_say(talk, "NOO");
    }
}

static void hear_message(struct talk *talk, enum way way)
{
    assert_true(stage_hears(talk, "250 2.1.0") && stage_hears(talk, "250 2.1.5"));
    assert_true(stage_hears(talk, "250 2.0.0 OK ids="));
    if (way == CUT_LINES) {
        talk_say(talk, "P\r\n");
        assert_true(stage_hears(talk, "250 2.0.0"));
    }
}

/* A session of MESSAGES in which the move is ordered at this moment, then what `then` does. */
static void session(enum way way, unsigned moment, void (*then)(void))
{
    struct talk *talk = &talks[0];
    assert_true(stage_begin(&stage, talk, STAGE_CLIENT));
    for (unsigned i = 0; i < MESSAGES; i++) {
        if (way == ONE_FLIGHT || i == 0) {
            say_message(talk, way, i);
        }
    }
    assert_true(step(moment));
    if (only_conn() != NULL) {
        order_move(only_conn());
        then();
    }
}

static void nothing(void)
{
}

static void rest_of_session(enum way way)
{
    struct talk *talk = &talks[0];
    for (unsigned i = 0; i < MESSAGES; i++) {
        hear_message(talk, way);
        if (way != ONE_FLIGHT && i + 1 < MESSAGES) {
            say_message(talk, way, i + 1);
        }
    }
    talk_say(talk, "QUIT\r\n");
    assert_true(stage_hears(talk, "221 "));
}

/* Whatever was said by then, in whatever pieces: no reply differs, no mail is lost or twice. */
static void l11_a_session_changes_shards_at_any_moment_and_nobody_notices(void **state)
{
    (void)state;
    for (enum way way = 0; way < WAYS; way++) {
        uint64_t moved = 0;
        for (unsigned moment = 0; moment < MOMENTS_MAX; moment++) {
            begin(moment + 1);
            stage_start(&stage);
            session(way, moment, nothing);
            rest_of_session(way);
            moved += world_counter(&stage.world, COUNTER_clients_moved);
            assert_true(talk_sink_wait(&stage.sink, MESSAGES, 10 * NS_PER_S));
            close_talks(0, 1);
            assert_int_equal(stage.sink.mails, MESSAGES);
            expect_nobody();
            end();
        }
        printf("way %u: %u of %u sessions moved\n", way, (unsigned)moved, MOMENTS_MAX);
        assert_in_range(moved, MOMENTS_MAX / 2, MOMENTS_MAX);
    }
}

/* Runs until the session is on its way; false: it never goes. */
static bool run_until_away(void)
{
    return sim_run_until(stage.sim, is_away, NULL, NS_PER_S);
}

static void short_of_memory(void)
{
    if (run_until_away()) {
        hog_all(HOG_ROOM);
        assert_true(sim_run_until(stage.sim, is_none_away, NULL, NS_PER_S));
        hog_all(0);
    }
}

static void without_a_place(void)
{
    if (run_until_away()) {
        drain_pools(true);
        assert_true(sim_run_until(stage.sim, is_none_away, NULL, NS_PER_S));
        drain_pools(false);
    }
}

static void l11_a_session_that_nobody_takes_goes_on_where_it_was(void **state)
{
    (void)state;
    void (*const failures[])(void) = {short_of_memory, without_a_place};
    for (unsigned i = 0; i < COUNT_OF(failures); i++) {
        for (unsigned moment = 0; moment < MOMENTS_MAX; moment += 3) {
            begin(moment + 1);
            stage_start(&stage);
            session((enum way)(moment / 3 % WAYS), moment, failures[i]);
            assert_int_equal(world_counter(&stage.world, COUNTER_clients_moved), 0);
            rest_of_session((enum way)(moment / 3 % WAYS));
            assert_true(talk_sink_wait(&stage.sink, MESSAGES, 10 * NS_PER_S));
            close_talks(0, 1);
            assert_int_equal(stage.sink.mails, MESSAGES);
            expect_nobody();
            end();
        }
    }
}

/* Where memory is short while nobody takes it: when it leaves, or when it comes home. */
static void l11_a_session_that_comes_home_is_read_if_the_others_are(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 2 * SEEDS; seed++) {
        struct talk *talk = &talks[0];
        bool at_home = seed % 2 == 0;
        begin(seed);
        stage_start(&stage);
        assert_true(stage_begin(&stage, talk, STAGE_CLIENT));
        struct server_conn *conn = only_conn();
        order_move(conn);
        talk_say(talk, "NOOP\r\n");
        assert_true(run_until_away());
        conn->stream.stopped = !at_home;
        hog_all(at_home ? HOG_READING : HOG_ROOM);
        assert_true(sim_run_until(stage.sim, is_none_away, NULL, NS_PER_S));
        assert_true(only_conn() == conn);
        assert_int_equal(conn->stream.stopped, at_home);
        hog_all(0);
        assert_true(stage_hears(talk, "250 2.0.0"));
        say_message(talk, ONE_BY_ONE, 0);
        hear_message(talk, ONE_BY_ONE);
        close_talks(0, 1);
        expect_nobody();
        end();
    }
}

/* What was answered by 250 comes, once; the client hears 421, or the end of the connection. */
static void l11_at_a_stop_at_any_moment_no_session_is_left_behind(void **state)
{
    (void)state;
    unsigned seen_away = 0;
    for (unsigned moment = 0; moment < MOMENTS_MAX; moment++) {
        for (unsigned level = 1; level <= 2; level++) {
            struct talk *talk = &talks[0];
            unsigned taken = 0;
            begin(moment + 1);
            stage_start(&stage);
            session(ONE_FLIGHT, moment / 2, nothing);
            assert_true(step(moment / 2));
            seen_away += away();
            world_stop(&stage.world, level);
            const char *line = talk_line(talk);
            while (line != NULL && line[0] == '2') {
                taken += strstr(line, "ids=") != NULL;
                line = talk_line(talk);
            }
            assert_true(line == NULL || strcmp(line, "421 4.3.2 Shutting down") == 0);
            talk_close(talk);
            assert_true(world_start(&stage.world));
            assert_true(talk_sink_wait(&stage.sink, taken, 10 * NS_PER_S));
            assert_true(sim_run_for(stage.sim, NS_PER_S));
            assert_in_range(stage.sink.mails, taken, MESSAGES);
            end();
        }
    }
    assert_true(seen_away > 0);
}

static void l11_a_client_may_leave_while_its_session_changes_shards(void **state)
{
    (void)state;
    for (unsigned moment = 0; moment < MOMENTS_MAX; moment++) {
        begin(moment + 1);
        stage_start(&stage);
        session(ONE_BY_ONE, moment, nothing);
        assert_true(step(moment % 7));
        if (moment % 2 == 0) {
            sim_peer_reset(talks[0].peer);
        } else {
            sim_peer_finish(talks[0].peer);
        }
        assert_true(sim_run_for(stage.sim, NS_PER_S));
        close_talks(0, 1);
        expect_nobody();
        end();
    }
}

/* More than goes along, while the receive is slow to end: the session stays, and loses nothing. */
static void l11_a_client_that_says_too_much_meanwhile_stays(void **state)
{
    (void)state;
    enum { NOOPS = 600 };
    unsigned stayed = 0;
    for (uint64_t seed = 1; seed <= SEEDS; seed++) {
        struct talk *talk = &talks[0];
        begin(seed);
        stage_start(&stage);
        assert_true(stage_begin(&stage, talk, STAGE_CLIENT));
        order_move(only_conn());
        sim_fault_set(stage.sim, SIM_FAULT_split, 500);
        sim_fault_set(stage.sim, SIM_FAULT_cancel_loses, 1000);
        sim_fault_set(stage.sim, SIM_FAULT_late_completion, 500);
        for (unsigned i = 0; i < NOOPS; i++) {
            talk_say(talk, "NOOP\r\n");
        }
        for (unsigned i = 0; i < NOOPS; i++) {
            assert_true(stage_hears(talk, "250 2.0.0"));
        }
        sim_faults_stop(stage.sim);
        stayed += world_counter(&stage.world, COUNTER_clients_moved) == 0;
        close_talks(0, 1);
        expect_nobody();
        end();
    }
    printf("%u of %u stayed\n", stayed, SEEDS);
    assert_true(stayed > 0);
}

/* Errors and names are the session's, wherever it is. */
static void l11_what_a_session_knows_goes_with_it(void **state)
{
    (void)state;
    struct talk *talk = &talks[0];
    begin(1);
    world_set(&stage.world, "smtp_listener.0.trace_headers={received_header=true}");
    stage_start(&stage);
    assert_true(stage_begin(&stage, talk, STAGE_STRANGER));
    for (unsigned i = 0; i < SERVER_ERRORS_MAX; i++) {
        if (i % 4 == 3) {
            order_move(only_conn());
        }
        talk_say(talk, "XXXX\r\n");
        assert_true(stage_hears(talk, "500 "));
    }
    talk_say(talk, "XXXX\r\n");
    assert_true(stage_hears(talk, "421 4.7.0"));
    assert_in_range(world_counter(&stage.world, COUNTER_clients_moved), 2, 5);
    close_talks(0, 1);
    expect_nobody();
    assert_true(stage_begin(&stage, talk, STAGE_CLIENT));
    order_move(only_conn());
    say_message(talk, ONE_BY_ONE, 0);
    hear_message(talk, ONE_BY_ONE);
    assert_true(talk_sink_wait(&stage.sink, 1, 10 * NS_PER_S));
    assert_non_null(strstr((const char *)stage.sink.mail[0].bytes, "c.test"));
    close_talks(0, 1);
    end();
}

/* --- when they go ----------------------------------------------------------------------------- */

/* These shards have not slept, as far as they know: at most from one look to the next. */
static bool full[SHARDS];

static void keep_full(void *context)
{
    for (unsigned i = 0; i < SHARDS; i++) {
        if (full[i]) {
            server_of(i)->balance.slept_ns = stage.world.node.mtas[i].shard.slept_ns;
        }
    }
    sim_after(stage.sim, NS_PER_MS, keep_full, context);
}

/* One message; the shard that took it. */
static unsigned place_of(struct talk *talk)
{
    struct id id;
    talk_say(talk, MAIL "BDAT 18 LAST\r\nSubject: 0\r\n\r\nab\r\n");
    assert_true(stage_hears(talk, "250 2.1.0") && stage_hears(talk, "250 2.1.5"));
    const char *reply = talk_reply(talk);
    assert_non_null(reply);
    const char *text = strstr(reply, "ids=");
    assert_non_null(text);
    assert_true(id_parse(slice_make(text + 4, ID_TEXT_BYTES), &id));
    return (unsigned)(id.bytes[11] << 2 | id.bytes[12] >> 6);
}

/* Opens clients until `count` of them are on one shard; their numbers, and which it is. */
static unsigned gather(unsigned count, unsigned *numbers_out)
{
    unsigned places[4 * SHARDS];
    for (unsigned i = 0; i < 4 * SHARDS; i++) {
        assert_true(stage_begin(&stage, &talks[i], STAGE_CLIENT));
        places[i] = place_of(&talks[i]);
        assert_in_range(places[i], 0, SHARDS - 1);
    }
    unsigned found = 0;
    for (unsigned i = 0; found < count; i++) {
        if (places[i] == places[0]) {
            numbers_out[found++] = i;
        }
    }
    return places[0];
}

static void l11_sessions_move_only_from_a_full_shard_to_one_with_room_and_only_if_it_helps(
    void **state)
{
    (void)state;
    static const struct {
        unsigned sessions;
        bool full;
        bool all_full;
        unsigned moved;
    } rows[] = {
        {2, false, false, 0}, {1, true, false, 0}, {2, true, true, 0},
        {2, true, false, 1},  {3, true, false, 2}, {4, true, false, 3},
    };
    for (unsigned row = 0; row < COUNT_OF(rows); row++) {
        unsigned numbers[4];
        unsigned places[4];
        begin(row + 1);
        stage_start(&stage);
        unsigned shard = gather(rows[row].sessions, numbers);
        assert_true(sim_run_for(stage.sim, 3 * NS_PER_S));
        for (unsigned i = 0; i < SHARDS; i++) {
            full[i] = rows[row].all_full || (rows[row].full && i == shard);
        }
        keep_full(NULL);
        for (unsigned round = 0; round < 50; round++) {
            for (unsigned i = 0; i < rows[row].sessions; i++) {
                places[i] = place_of(&talks[numbers[i]]);
            }
            assert_true(sim_run_for(stage.sim, 300 * NS_PER_MS));
        }
        unsigned left = 0;
        for (unsigned i = 0; i < rows[row].sessions; i++) {
            left += places[i] == shard;
        }
        assert_int_equal(world_counter(&stage.world, COUNTER_clients_moved), rows[row].moved);
        assert_int_equal(rows[row].sessions - left, rows[row].moved);
        close_talks(0, 4 * SHARDS);
        expect_nobody();
        end();
    }
}

/* --- all at once ------------------------------------------------------------------------------ */

/* Shards are full by turns, clients do whatever clients do; the ledger of the world judges. */
static void turns_body(struct sim *sim, void *context)
{
    struct world *world = &stage.world;
    uint64_t *moved = context;
    stage = (struct stage){.sim = sim};
    world_init(world, sim);
    world->shards = SHARDS;
    world->recipients_max = 2;
    world->think_ns = 100 * NS_PER_MS;
    world->aborts = 20;
    world_open(world);
    if (world_start(world)) {
        memset(full, 0, sizeof(full));
        keep_full(NULL);
        world_mail(world, 12, 4000, NS_PER_S);
        for (unsigned i = 0; i < 16 && !sim_failed(sim); i++) {
            full[i / 2 % SHARDS] = i % 2 == 0;
            (void)sim_run_for(sim, 3 * NS_PER_S);
        }
        *moved += world_counter(world, COUNTER_clients_moved);
        if (!sim_failed(sim)) {
            world_finish(world);
        }
    }
    world_close(world);
}

static void l11_moving_sessions_lose_no_message_and_send_none_twice(void **state)
{
    (void)state;
    uint64_t moved = 0;
    struct sim_campaign campaign = {
        .name = "moves", .count = 6, .swarm = SIM_FAULTS_HARMLESS, .body = turns_body,
        .context = &moved};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    printf("%u sessions moved\n", (unsigned)moved);
    assert_true(moved > 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l10_clients_are_spread_however_the_kernel_deals_them_out),
        cmocka_unit_test(l10_limits_of_listeners_and_hosts_are_exact_meanwhile),
        cmocka_unit_test(a_shard_that_is_short_of_something_sends_clients_home),
        cmocka_unit_test(f03_a_shard_whose_spool_has_failed_is_sent_no_clients),
        cmocka_unit_test(a_shard_whose_pool_is_empty_sends_clients_home),
        cmocka_unit_test(no_more_clients_are_on_their_way_than_there_may_be),
        cmocka_unit_test(l10_at_a_stop_at_any_moment_no_client_is_left_behind),
        cmocka_unit_test(a_client_that_leaves_on_its_way_is_counted_nowhere),
        cmocka_unit_test(l11_a_session_changes_shards_at_any_moment_and_nobody_notices),
        cmocka_unit_test(l11_a_session_that_nobody_takes_goes_on_where_it_was),
        cmocka_unit_test(l11_a_session_that_comes_home_is_read_if_the_others_are),
        cmocka_unit_test(l11_at_a_stop_at_any_moment_no_session_is_left_behind),
        cmocka_unit_test(l11_a_client_may_leave_while_its_session_changes_shards),
        cmocka_unit_test(l11_a_client_that_says_too_much_meanwhile_stays),
        cmocka_unit_test(l11_what_a_session_knows_goes_with_it),
        cmocka_unit_test(
            l11_sessions_move_only_from_a_full_shard_to_one_with_room_and_only_if_it_helps),
        cmocka_unit_test(l11_moving_sessions_lose_no_message_and_send_none_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
