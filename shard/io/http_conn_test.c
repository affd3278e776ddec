/* HTTP connections: slow clients, bodies, answers that take long, broken networks. */
#include "shard/io/http_conn.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kit/http_client.h"
#include "tests/kit/http_rig.h"

#define H "Host: 10.0.0.1\r\n"
#define J "Content-Type: application/json\r\n"

#define assert_heard(client, status, said) assert_true(http_client_hears(client, status, said))

static struct http_rig rig;
/* Too large for a stack. */
static struct http_client client;

static int set_up(void **state)
{
    const struct sim_options options = {.seed = 1, .verbose = true};
    (void)state;
    http_rig_open(&rig, sim_open(&options));
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    bool good = http_rig_stop(&rig);
    sim_close(rig.sim);
    return good ? 0 : 1;
}

/* --- slow clients --------------------------------------------------------------------------- */

static void h06_a_head_has_ten_seconds_from_its_first_byte(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    uint64_t began_ns = sim_now_ns(rig.sim);
    http_client_say_slowly(&client, "GET /tsa HTTP/1.1\r\n" H "X: 0123456789", NS_PER_S);
    assert_int_equal(http_client_hear(&client), 408);
    assert_true(http_client_closed(&client, 3 * NS_PER_S));
    assert_true(sim_now_ns(rig.sim) - began_ns < 15 * NS_PER_S);
    /* The second request of a connection as well. */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    assert_true(sim_run_for(rig.sim, 30 * NS_PER_S));
    http_client_say_slowly(&client, "GET /tsa HTTP/1.1\r\n" H "X: 0123456789", NS_PER_S);
    assert_int_equal(http_client_hear(&client), 408);
    assert_true(http_client_closed(&client, 3 * NS_PER_S));
    assert_int_equal(http_rig_counter(&rig, RIG_TSA, COUNTER_http_timed_out), 2);
}

static void h06_who_says_nothing_is_closed_without_a_word(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    assert_true(http_client_closed(&client, 11 * NS_PER_S));
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    assert_false(http_client_closed(&client, 59 * NS_PER_S));
    assert_true(http_client_closed(&client, 2 * NS_PER_S));
}

static void h06_a_refused_client_that_has_ended_is_closed_at_once(void **state)
{
    (void)state;
    sim_window_set(rig.sim, 16); /* the answer takes until the client reads */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    sim_window_set(rig.sim, 0);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\n\nand more that nobody reads");
    sim_peer_finish(client.peer);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(http_client_hear(&client), 400);
    assert_true(http_client_closed(&client, NS_PER_S));
}

static void h06_a_body_below_the_least_rate_is_given_up(void **state)
{
    (void)state;
    static char body[20 * 1000 + 1];
    memset(body, 'x', sizeof(body) - 1);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "POST /tsa HTTP/1.1\r\n" H J "Content-Length: 20000\r\n\r\n");
    http_client_say_slowly(&client, body, 100 * NS_PER_MS); /* 10 bytes a second */
    assert_int_equal(http_client_hear(&client), 408);
    assert_true(http_client_closed(&client, 3 * NS_PER_S));
    /* 1,000 bytes a second for 20 s are enough. */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "POST /tsa HTTP/1.1\r\n" H J "Content-Length: 20000\r\n\r\n");
    for (unsigned i = 0; i < 20; i++) {
        sim_peer_send(client.peer, slice_make(body, 1000));
        assert_true(sim_run_for(rig.sim, NS_PER_S));
    }
    assert_heard(&client, 200, "2 POST /tsa #20000\n");
    http_client_close(&client);
}

static void h06_a_reader_that_stops_is_closed_and_holds_no_more_than_it_did(void **state)
{
    (void)state;
    rig.told[RIG_TSA].lines = 100 * 1000; /* 100 MB, streamed */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_head(&client), 200);
    assert_true(sim_run_for(rig.sim, 20 * NS_PER_S));
    uint64_t memory = http_server_memory(&rig.servers[RIG_TSA]);
    assert_true(memory < 64 * KIB);
    assert_true(rig.told[RIG_TSA].streamed < 20);
    assert_int_equal(rig.told[RIG_TSA].gone, 0);
    assert_true(sim_run_for(rig.sim, 40 * NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].gone, 1);
    assert_int_equal(http_server_memory(&rig.servers[RIG_TSA]), 0);
}

static void h06_an_answer_behind_a_100_that_nobody_reads_has_its_deadline(void **state)
{
    (void)state;
    sim_window_set(rig.sim, 16); /* less than 100 Continue */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    sim_window_set(rig.sim, 0);
    http_client_say(&client, "POST /tsa HTTP/1.1\r\n" H J
                             "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(sim_peer_input(client.peer).size, 16);
    http_client_say(&client, "abc");
    assert_true(sim_run_for(rig.sim, 29 * NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].handled, 1);
    assert_int_equal(http_server_open(&rig.servers[RIG_TSA]), 2);
    assert_true(sim_run_for(rig.sim, 2 * NS_PER_S));
    assert_int_equal(http_server_open(&rig.servers[RIG_TSA]), 1); /* the listener */
    assert_int_equal(http_rig_counter(&rig, RIG_TSA, COUNTER_http_timed_out), 1);
    http_client_close(&client);
}

static void h06_a_stream_behind_a_100_that_nobody_reads_has_its_deadline(void **state)
{
    (void)state;
    sim_window_set(rig.sim, 16);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    sim_window_set(rig.sim, 0);
    http_client_say(&client, "GET /stream HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n");
    assert_true(sim_run_for(rig.sim, 32 * NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].streamed, 0);
    assert_int_equal(rig.told[RIG_TSA].gone, 1);
    assert_int_equal(http_server_open(&rig.servers[RIG_TSA]), 1); /* the listener */
    http_client_close(&client);
}

/* --- expectations and codings --------------------------------------------------------------- */

static void h07_a_client_that_waits_is_told_to_go_on(void **state)
{
    (void)state;
    static const char *const paths[] = {"/tsa", "/mail"};
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char request[256];
        char heard[64];
        (void)snprintf(request, sizeof(request),
                       "POST %s HTTP/1.1\r\n" H J
                       "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n",
                       paths[i]);
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, request);
        assert_int_equal(http_client_head(&client), 100);
        assert_string_equal(client.head, "HTTP/1.1 100 Continue\r\n\r\n");
        http_client_say(&client, "abc");
        (void)snprintf(heard, sizeof(heard), "%d POST %s abc\n", i == 0 ? RIG_TSA : 0, paths[i]);
        assert_heard(&client, 200, heard);
        http_client_close(&client);
    }
    /* What is refused is not asked for. */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "POST /small HTTP/1.1\r\n" H J
                             "Expect: 100-continue\r\nContent-Length: 11\r\n\r\n");
    assert_int_equal(http_client_head(&client), 413);
    http_client_close(&client);
}

static void h07_a_stream_behind_a_100_is_whole(void **state)
{
    (void)state;
    static const unsigned lines[] = {0, 3, 200};
    for (size_t i = 0; i < COUNT_OF(lines); i++) {
        rig.told[RIG_TSA].lines = lines[i];
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, "GET /stream HTTP/1.1\r\n" H "Expect: 100-continue\r\n\r\n");
        assert_int_equal(http_client_head(&client), 100);
        assert_int_equal(http_client_hear(&client), 200);
        assert_int_equal(client.bytes, lines[i] * 1000);
        http_client_close(&client);
    }
}

/* Posts `bytes` to /tsa in chunks of at most 1,000. */
static unsigned post_coded(const char *coding, const uint8_t *bytes, size_t size)
{
    char head[256];
    (void)snprintf(head, sizeof(head),
                   "POST /tsa HTTP/1.1\r\n" H J "Content-Encoding: %s\r\n"
                   "Transfer-Encoding: chunked\r\n\r\n",
                   coding);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, head);
    for (size_t at = 0; at < size; at += 1000) {
        size_t part = MIN_OF(size - at, 1000);
        (void)snprintf(head, sizeof(head), "%zx\r\n", part);
        http_client_say(&client, head);
        sim_peer_send(client.peer, slice_make(bytes + at, part));
        http_client_say(&client, "\r\n");
    }
    http_client_say(&client, "0\r\n\r\n");
    unsigned status = http_client_hear(&client);
    http_client_close(&client);
    return status;
}

static size_t deflated(const uint8_t *from, size_t size, uint8_t *to, size_t room)
{
    z_stream zlib = {.next_in = from, .avail_in = (uInt)size, .next_out = to};
    zlib.avail_out = (uInt)room;
    assert_int_equal(deflateInit2(&zlib, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(deflate(&zlib, Z_FINISH), Z_STREAM_END);
    assert_int_equal(deflateEnd(&zlib), Z_OK);
    return room - zlib.avail_out;
}

static void h08_the_decoded_size_is_what_is_limited(void **state)
{
    (void)state;
    static uint8_t plain[64 * MIB];
    static uint8_t coded[1 * MIB];
    size_t size = deflated(plain, RIG_BODY, coded, sizeof(coded));
    assert_true(size < 2000);
    assert_int_equal(post_coded("gzip", coded, size), 200);
    assert_string_equal(client.said, "2 POST /tsa #1048576\n");
    size = deflated(plain, RIG_BODY + 1, coded, sizeof(coded));
    assert_int_equal(post_coded("gzip", coded, size), 413);
    size = deflated(plain, sizeof(plain), coded, sizeof(coded));
    assert_int_equal(post_coded("gzip", coded, size), 413);
    size = ZSTD_compress(coded, sizeof(coded), plain, RIG_BODY, 3);
    assert_int_equal(post_coded("zstd", coded, size), 200);
    size = ZSTD_compress(coded, sizeof(coded), plain, sizeof(plain), 3);
    assert_int_equal(post_coded("zstd", coded, size), 413);
    assert_int_equal(post_coded("zstd", coded, size - 1), 413);
    size = deflated((const uint8_t *)"abc", 3, coded, sizeof(coded));
    assert_int_equal(post_coded("gzip", coded, size - 1), 400);
    assert_int_equal(post_coded("gzip", coded, 0), 400);
    assert_int_equal(post_coded("zstd", coded, size), 400);
    assert_int_equal(post_coded("gzip, zstd", coded, size), 415);
    coded[size] = 'x';
    assert_int_equal(post_coded("gzip", coded, size + 1), 400);
    assert_int_equal(rig.told[RIG_TSA].handled, 2);
    assert_true(sim_run_for(rig.sim, 5 * NS_PER_S));
    assert_int_equal(http_server_memory(&rig.servers[RIG_TSA]), 0);
}

/* --- handlers ------------------------------------------------------------------------------- */

static void head_and_old_clients_get_what_they_understand(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "HEAD /tsa HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_head(&client), 200);
    assert_non_null(strstr(client.head, "Content-Length: 13\r\n"));
    rig.told[RIG_TSA].lines = 3;
    http_client_say(&client, "HEAD /large HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_head(&client), 200);
    assert_non_null(strstr(client.head, "Content-Length: 3000\r\n"));
    http_client_say(&client, "HEAD /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_head(&client), 200);
    assert_non_null(strstr(client.head, "Transfer-Encoding: chunked\r\n"));
    assert_int_equal(rig.told[RIG_TSA].streamed, 0);
    http_client_say(&client, "GET /tsa HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    assert_non_null(strstr(client.head, "Connection: keep-alive\r\n"));
    http_client_say(&client, "GET /stream HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_int_equal(http_client_head(&client), 200);
    assert_null(strstr(client.head, "chunked"));
    assert_non_null(strstr(client.head, "Connection: close\r\n"));
    assert_true(http_client_take(&client, 3000, client.said));
    assert_memory_equal(client.said + 2990, "000000001\n", 10);
    assert_true(http_client_closed(&client, NS_PER_S));
}

static void large_answers_are_whole_and_in_bounded_pieces(void **state)
{
    (void)state;
    rig.told[RIG_TSA].lines = 200;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /large HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_hear(&client), 200);
    assert_int_equal(client.bytes, 200 * 1000);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(strtoul(client.said + i * 1000, NULL, 10), 200 - i);
    }
    http_client_say(&client, "GET /stream HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_hear(&client), 200);
    assert_int_equal(client.bytes, 200 * 1000);
    for (unsigned i = 0; i < 200; i++) {
        assert_int_equal(strtoul(client.said + i * 1000, NULL, 10), 200 - i);
    }
    /* More than HTTP may hold. */
    rig.told[RIG_TSA].lines = 5000;
    http_client_say(&client, "GET /large HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_hear(&client), 503);
    assert_non_null(strstr(client.head, "Retry-After: 1\r\n"));
    http_client_close(&client);
}

static void a_handler_may_answer_later_and_hears_when_the_client_has_gone(void **state)
{
    (void)state;
    struct http_told *told = &rig.told[0];
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /mail/later HTTP/1.1\r\n" H "\r\n");
    assert_true(sim_run_for(rig.sim, 120 * NS_PER_S));
    assert_non_null(told->kept);
    assert_int_equal(told->gone, 0);
    http_rig_answer(&rig, 0, "late");
    assert_heard(&client, 200, "late");
    http_client_say(&client, "GET /mail/later HTTP/1.1\r\n" H "\r\n");
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    sim_peer_reset(client.peer);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(told->gone, 1);
    assert_int_equal(http_server_open(&rig.servers[0]), 1); /* until it is answered */
    http_rig_answer(&rig, 0, "nobody hears");
    assert_int_equal(http_server_open(&rig.servers[0]), 0);
    /* One that has only said its last word still gets the answer. */
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /later HTTP/1.1\r\n" H "\r\n");
    sim_peer_finish(client.peer);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    http_rig_answer(&rig, RIG_TSA, "still there");
    assert_heard(&client, 200, "still there");
    assert_true(http_client_closed(&client, NS_PER_S));
}

/* --- whatever the network does -------------------------------------------------------------- */

/* On both kinds of shard, with and without bodies, sent ahead. */
static const char many[] =
    "GET /tsa HTTP/1.1\r\n" H "\r\n"
    "POST /mail HTTP/1.1\r\n" H J "Transfer-Encoding: chunked\r\n\r\n"
    "2\r\nab\r\n1;x\r\nc\r\n0\r\n\r\n"
    "\r\nHEAD /tree/x HTTP/1.1\r\n" H "\r\n"
    "POST /mail HTTP/1.1\r\n" H J "Content-Length: 2\r\n\r\nde"
    "GET /nowhere HTTP/1.1\r\n" H "Connection: close\r\n\r\n";

static bool hear_many(void)
{
    static const char *const said[] = {"2 GET /tsa \n", " POST /mail abc\n", "",
                                       " POST /mail de\n", "There is nothing here\n"};
    for (size_t i = 0; i < COUNT_OF(said); i++) {
        bool head_alone = i == 2;
        unsigned status = head_alone ? http_client_head(&client) : http_client_hear(&client);
        if (status != (i == 4 ? 404 : 200) || strstr(client.said, said[i]) == NULL) {
            sim_fail(rig.sim, "answer %zu: %u %s", i, status, client.said);
            return false;
        }
    }
    return http_client_closed(&client, 60 * NS_PER_S);
}

static void h05_answers_do_not_depend_on_where_the_bytes_are_cut(void **state)
{
    (void)state;
    for (size_t split = 1; split < sizeof(many) - 1; split++) {
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        sim_peer_send(client.peer, slice_make(many, split));
        assert_true(sim_run_for(rig.sim, 100 * NS_PER_MS));
        sim_peer_send(client.peer, slice_make(many + split, sizeof(many) - 1 - split));
        assert_true(hear_many());
    }
}

/* One client at a time: who is not listened to would be a slow reader. */
static void harmless_faults(struct sim *sim, void *context)
{
    (void)context;
    http_rig_open(&rig, sim);
    for (unsigned i = 0; i < 3; i++) {
        http_client_open(&client, rig.sim, RIG_CLIENT + i, &rig.at);
        http_client_say(&client, many);
        if (!hear_many()) {
            break;
        }
    }
    sim_faults_stop(sim);
    if (!http_rig_stop(&rig)) {
        sim_fail(sim, "the server did not stop");
    }
}

static void h05_answers_are_whole_and_in_order_whatever_the_network_does(void **state)
{
    struct sim_campaign campaign = {
        .name = "http",
        .count = 60,
        .swarm = SIM_FAULTS_HARMLESS & ~SIM_FAULT_BIT(accept_aborted),
        .body = harmless_faults,
    };
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

/* Connections break at any moment: nothing is asserted of what is heard, all comes home. */
static void any_faults(struct sim *sim, void *context)
{
    static struct http_client clients[10];
    (void)context;
    http_rig_open(&rig, sim);
    for (unsigned i = 0; i < COUNT_OF(clients); i++) {
        http_client_open(&clients[i], rig.sim, RIG_CLIENT + i, &rig.at);
        http_client_say(&clients[i], many);
        rig.told[RIG_TSA].lines = 100;
        if (sim_chance(sim, 500)) {
            http_client_say(&clients[i], i % 2 == 0 ? "GET /stream HTTP/1.1\r\n" H "\r\n" : many);
        }
        if (!sim_run_for(sim, sim_below(sim, NS_PER_S))) {
            break;
        }
        if (sim_chance(sim, 300) && sim_peer_state(clients[i].peer) == SIM_PEER_OPEN) {
            sim_peer_reset(clients[i].peer);
        }
    }
    (void)sim_run_for(sim, 20 * NS_PER_S);
    sim_faults_stop(sim);
    if (!http_rig_stop(&rig)) {
        sim_fail(sim, "the server did not stop");
    }
}

static void all_comes_home_whatever_breaks(void **state)
{
    struct sim_campaign campaign = {
        .name = "http breaks", .count = 200, .swarm = SIM_FAULTS_ALL, .body = any_faults};
    (void)state;
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

#define SOCKET                                                                                     \
    "GET /socket HTTP/1.1\r\n" H "Connection: keep-alive, Upgrade\r\n"                             \
    "Upgrade: WebSocket\r\nSec-WebSocket-Version: 13\r\n"                                          \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define SWITCHED                                                                                   \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"          \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"

static void switch_over(struct http_client *who, unsigned from, const char *behind)
{
    char request[512];
    char answer[sizeof(SWITCHED)] = "";
    snprintf(request, sizeof(request), "%s\r\n%s", SOCKET, behind);
    http_client_open(who, rig.sim, from, &rig.at);
    http_client_say(who, request);
    assert_true(http_client_take(who, sizeof(SWITCHED) - 1, answer));
    assert_string_equal(answer, SWITCHED);
}

static void a_websocket_has_both_directions_until_it_ends(void **state)
{
    char said[8] = "";
    (void)state;
    switch_over(&client, RIG_CLIENT, "ab");
    assert_true(http_client_take(&client, 2, said));
    assert_string_equal(said, "ab");
    assert_true(sim_run_for(rig.sim, 300 * NS_PER_S)); /* it may be silent as long as it likes */
    http_client_say(&client, "c!");
    assert_true(http_client_take(&client, 2, said));
    assert_string_equal(said, "c!");
    assert_true(http_client_closed(&client, NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].gone, 0);
}

static void a_websocket_whose_client_goes_or_whose_server_stops_is_told(void **state)
{
    static struct http_client other;
    (void)state;
    switch_over(&client, RIG_CLIENT, "");
    http_client_close(&client);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].gone, 1);
    switch_over(&other, RIG_CLIENT, "");
    http_server_stop(&rig.servers[RIG_TSA]);
    assert_true(http_client_closed(&other, NS_PER_S));
    assert_int_equal(rig.told[RIG_TSA].gone, 2);
}

static void h04_other_protocols_are_refused_and_so_is_half_a_handshake(void **state)
{
    static const struct {
        const char *request;
        unsigned status;
    } rows[] = {
        {"GET /tsa HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400},
        {"GET /none HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 400},
        {"GET /socket HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n", 400},
        {"GET /socket HTTP/1.1\r\n" H "Upgrade: websocket\r\n\r\n", 400},
        {"GET /socket HTTP/1.1\r\n" H "\r\n", 400},
        {"GET /socket HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 13\r\n\r\n", 400},
        {"GET /socket HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n"
         "Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", 400},
        {"POST /socket HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n"
         "Content-Length: 0\r\n\r\n", 400},
        {SOCKET "Origin: http://evil.test\r\n\r\n", 403},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, rows[i].request);
        assert_int_equal(http_client_hear(&client), rows[i].status);
        http_client_close(&client);
    }
    http_client_open(&client, rig.sim, RIG_OTHER, &rig.at);
    http_client_say(&client, SOCKET "\r\n");
    assert_int_equal(http_client_hear(&client), 403);
    assert_null(rig.told[RIG_TSA].kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(h06_a_head_has_ten_seconds_from_its_first_byte),
        TEST(h06_who_says_nothing_is_closed_without_a_word),
        TEST(h06_a_refused_client_that_has_ended_is_closed_at_once),
        TEST(h06_a_body_below_the_least_rate_is_given_up),
        TEST(h06_a_reader_that_stops_is_closed_and_holds_no_more_than_it_did),
        TEST(h06_an_answer_behind_a_100_that_nobody_reads_has_its_deadline),
        TEST(h06_a_stream_behind_a_100_that_nobody_reads_has_its_deadline),
        TEST(h07_a_client_that_waits_is_told_to_go_on),
        TEST(h07_a_stream_behind_a_100_is_whole),
        TEST(h08_the_decoded_size_is_what_is_limited),
        TEST(head_and_old_clients_get_what_they_understand),
        TEST(large_answers_are_whole_and_in_bounded_pieces),
        TEST(a_handler_may_answer_later_and_hears_when_the_client_has_gone),
        TEST(a_websocket_has_both_directions_until_it_ends),
        TEST(a_websocket_whose_client_goes_or_whose_server_stops_is_told),
        TEST(h04_other_protocols_are_refused_and_so_is_half_a_handshake),
        TEST(h05_answers_do_not_depend_on_where_the_bytes_are_cut),
        cmocka_unit_test(h05_answers_are_whole_and_in_order_whatever_the_network_does),
        cmocka_unit_test(all_comes_home_whatever_breaks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
