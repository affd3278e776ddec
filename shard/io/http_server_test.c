/*
 * HTTP on the simulated network: two mail shards and the TSA shard, clients led by hand. The routes
 * are the test's: what they answer says which shard did.
 */
#include "shard/io/http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "shard/io/http_conn.h"
#include "tests/kit/talk.h"
#include "tests/sim/shards.h"

#define MAILS   2
#define TSA     MAILS
#define CLIENT  250
#define OTHER   (7 * 256 + 1) /* not in trusted_hosts */
#define CONNS   40
#define MEMORY  (4 * MIB)
#define BODY    (1 * MIB)
#define PORT    8000

/* What the handlers of a shard have been asked. */
struct told {
    struct http_exchange *kept; /* by /later and /stream, up to the answer */
    unsigned gone;
    unsigned handled;
    unsigned streamed; /* calls of `fill` */
    unsigned lines;    /* that it is to put */
    bool wait;
    bool cut;
};

static struct {
    struct sim *sim;
    struct sim_node *node;
    struct sim_shards shards;
    struct boot_pages pages;
    struct conf conf;
    struct conf_http_listener listener;
    struct network trusted;
    struct http_server servers[MAILS + 1];
    struct http_server *mails[MAILS];
    struct told told[MAILS + 1];
    struct endpoint at;
} rig;

/* --- handlers ------------------------------------------------------------------------------- */

static struct told *told_of(struct http_exchange *exchange)
{
    struct told *told = exchange->context;
    assert_ptr_equal(told, &rig.told[exchange->shard->index]);
    return told;
}

/* The shard, the method, the path, and the body in short. */
static void handle_echo(struct http_exchange *exchange)
{
    uint8_t memory[200];
    struct buf text;
    buf_init(&text, memory, sizeof(memory));
    told_of(exchange)->handled++;
    buf_printf(&text, "%u %s ", exchange->shard->index, http_method_name(exchange->method));
    buf_put(&text, exchange->path);
    buf_put_byte(&text, ' ');
    if (exchange->body.size > 64) {
        buf_printf(&text, "#%zu", exchange->body.size);
    } else {
        buf_put(&text, exchange->body);
    }
    buf_put_byte(&text, '\n');
    http_answer(exchange, 200, SLICE("text/plain"), buf_slice(&text));
}

static void later_gone(struct http_exchange *exchange)
{
    assert_true(exchange->lost);
    told_of(exchange)->gone++;
}

static void handle_later(struct http_exchange *exchange)
{
    struct told *told = told_of(exchange);
    assert_null(told->kept);
    told->handled++;
    told->kept = exchange;
    exchange->gone = later_gone;
}

static void answer_later(unsigned shard, const char *text)
{
    struct http_exchange *exchange = rig.told[shard].kept;
    rig.told[shard].kept = NULL;
    http_answer(exchange, 200, SLICE("text/plain"), slice_from_string(text));
}

static enum http_fill fill_lines(struct http_exchange *exchange, struct buf *room)
{
    struct told *told = told_of(exchange);
    told->streamed++;
    while (told->lines > 0 && buf_room(room) >= 1000) {
        buf_printf(room, "%0999u\n", told->lines--);
    }
    if (told->lines > 0) {
        return HTTP_FILL_MORE;
    }
    if (told->cut) {
        return HTTP_FILL_CUT;
    }
    return told->wait ? HTTP_FILL_WAIT : HTTP_FILL_END;
}

static void stream_gone(struct http_exchange *exchange)
{
    struct told *told = told_of(exchange);
    told->gone++;
    told->kept = NULL;
}

static void handle_stream(struct http_exchange *exchange)
{
    struct told *told = told_of(exchange);
    exchange->gone = stream_gone;
    if (http_answer_stream(exchange, 200, SLICE("application/x-ndjson"), fill_lines)) {
        told->kept = exchange;
    }
}

/* `lines` of 1,000 bytes in one piece of memory. */
static void handle_large(struct http_exchange *exchange)
{
    struct told *told = told_of(exchange);
    struct buf *room = http_answer_room(exchange, told->lines * 1000 + 1);
    if (room == NULL) {
        return;
    }
    for (unsigned i = told->lines; i > 0; i--) {
        buf_printf(room, "%0999u\n", i);
    }
    http_answer_written(exchange, 200, SLICE("text/plain"));
}

static const struct http_route routes[] = {
    {"/tsa", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, handle_echo},
    {"/tsa", HTTP_METHOD_POST, HTTP_ON_TSA_SHARD, HTTP_CARRIES_JSON, 0, handle_echo},
    {"/tree/*", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, handle_echo},
    {"/mail", HTTP_METHOD_POST, HTTP_ON_MAIL_SHARD, HTTP_CARRIES_JSON, 0, handle_echo},
    {"/small", HTTP_METHOD_POST, HTTP_ON_TSA_SHARD, HTTP_CARRIES_RECORDS, 10, handle_echo},
    {"/later", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, handle_later},
    {"/mail/later", HTTP_METHOD_GET, HTTP_ON_MAIL_SHARD, HTTP_CARRIES_NOTHING, 0, handle_later},
    {"/stream", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, handle_stream},
    {"/large", HTTP_METHOD_GET, HTTP_ON_TSA_SHARD, HTTP_CARRIES_NOTHING, 0, handle_large},
};

/* --- the rig -------------------------------------------------------------------------------- */

static void server_set_up(unsigned index)
{
    const struct http_options options = {
        .shard = &rig.shards.shards[index],
        .conf = &rig.conf,
        .routes = routes,
        .route_count = COUNT_OF(routes),
        .context = &rig.told[index],
        .tsa = &rig.servers[TSA],
        .mails = rig.mails,
        .mail_count = MAILS,
        .connections_max = CONNS,
        .memory_max = MEMORY,
        .pages = &rig.pages,
    };
    http_server_init(&rig.servers[index], &options);
    http_server_set_takes(&rig.servers[index], true);
}

static void rig_open(uint64_t seed)
{
    const struct sim_options options = {.seed = seed, .verbose = true};
    memset(&rig, 0, sizeof(rig));
    rig.sim = sim_open(&options);
    rig.node = sim_node_open(rig.sim, NULL);
    sim_shards_boot(&rig.shards, rig.node, MAILS + 1, 64, 16 * KIB);
    assert_true(network_parse(SLICE("10.0.0.0/24"), &rig.trusted));
    rig.listener = (struct conf_http_listener){
        .listen = sim_node_endpoint(rig.node, PORT),
        .hostname = SLICE("mta.test"),
        .trusted_hosts = &rig.trusted,
        .trusted_host_count = 1,
        .request_body_limit = BODY,
    };
    rig.conf.http_listeners = &rig.listener;
    rig.conf.http_listener_count = 1;
    for (unsigned i = 0; i <= MAILS; i++) {
        server_set_up(i);
        if (i < MAILS) {
            rig.mails[i] = &rig.servers[i];
        }
    }
    struct buf reason;
    uint8_t memory[100];
    buf_init(&reason, memory, sizeof(memory));
    assert_int_equal(http_server_start(&rig.servers[TSA], &rig.at, &reason), 0);
}

static bool all_over(void *context)
{
    (void)context;
    unsigned open = 0;
    for (unsigned i = 0; i <= MAILS; i++) {
        open += http_server_open(&rig.servers[i]);
    }
    return open == 0;
}

static int set_up(void **state)
{
    (void)state;
    rig_open(1);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (unsigned i = 0; i <= MAILS; i++) {
        http_server_stop(&rig.servers[i]);
        http_server_cut(&rig.servers[i]);
        if (rig.told[i].kept != NULL) {
            answer_later(i, "");
        }
    }
    bool over = sim_run_until(rig.sim, all_over, NULL, 60 * NS_PER_S);
    for (unsigned i = 0; i <= MAILS; i++) {
        over = over && http_server_memory(&rig.servers[i]) == 0;
    }
    sim_shards_stop(&rig.shards);
    bool good = over && !sim_failed(rig.sim);
    boot_pages_give(&rig.pages);
    sim_close(rig.sim);
    return good ? 0 : 1;
}

/* --- a client ------------------------------------------------------------------------------- */

struct client {
    struct sim_peer *peer;
    char said[256 * KIB]; /* the last answer's body */
    size_t bytes;
    unsigned status;
    char head[1024];
};

static void client_open(struct client *client, unsigned host)
{
    struct endpoint from = sim_endpoint(host, 0);
    client->peer = sim_peer_connect(rig.sim, &from, &rig.at, NULL, NULL);
}

static void say(struct client *client, const char *text)
{
    sim_peer_send(client->peer, slice_from_string(text));
}

static bool peer_has_head(void *context)
{
    struct client *client = context;
    struct slice input = sim_peer_input(client->peer);
    return sim_peer_state(client->peer) >= SIM_PEER_EOF ||
           (input.size > 0 && memmem(input.data, input.size, "\r\n\r\n", 4) != NULL);
}

static bool peer_has_more(void *context)
{
    struct client *client = context;
    return sim_peer_state(client->peer) >= SIM_PEER_EOF ||
           sim_peer_input(client->peer).size > client->bytes;
}

/* Reads `count` bytes into `into`. */
static void take(struct client *client, size_t count, char *into)
{
    while (sim_peer_input(client->peer).size < count) {
        client->bytes = sim_peer_input(client->peer).size;
        assert_true(sim_run_until(rig.sim, peer_has_more, client, 60 * NS_PER_S));
        assert_true(sim_peer_input(client->peer).size > client->bytes);
    }
    memcpy(into, sim_peer_input(client->peer).data, count);
    sim_peer_consume(client->peer, count);
}

static void hear_chunks(struct client *client)
{
    client->bytes = 0;
    size_t total = 0;
    for (;;) {
        char line[16] = {0};
        size_t at = 0;
        do {
            take(client, 1, &line[at]);
        } while (line[at++] != '\n');
        size_t size = strtoul(line, NULL, 16);
        char end[2];
        assert_true(total + size < sizeof(client->said));
        take(client, size, client->said + total);
        total += size;
        take(client, 2, end);
        assert_memory_equal(end, "\r\n", 2);
        if (size == 0) {
            break;
        }
    }
    client->said[total] = '\0';
    client->bytes = total;
}

/* The next head; 0: the connection ended instead. */
static unsigned hear_head(struct client *client)
{
    client->status = 0;
    client->head[0] = '\0';
    client->said[0] = '\0';
    if (!sim_run_until(rig.sim, peer_has_head, client, 60 * NS_PER_S)) {
        return 0;
    }
    struct slice input = sim_peer_input(client->peer);
    const uint8_t *end = input.size > 0 ? memmem(input.data, input.size, "\r\n\r\n", 4) : NULL;
    if (end == NULL) {
        return 0;
    }
    size_t size = (size_t)(end - input.data) + 4;
    assert_true(size < sizeof(client->head));
    memcpy(client->head, input.data, size);
    client->head[size] = '\0';
    sim_peer_consume(client->peer, size);
    assert_memory_equal(client->head, "HTTP/1.1 ", 9);
    client->status = (unsigned)strtoul(client->head + 9, NULL, 10);
    return client->status;
}

/* The next answer whole; its status, or 0 when the connection ended instead. */
static unsigned hear(struct client *client)
{
    if (hear_head(client) < 200) {
        return client->status;
    }
    const char *length = strstr(client->head, "Content-Length: ");
    if (strstr(client->head, "Transfer-Encoding: chunked") != NULL) {
        assert_null(length);
        hear_chunks(client);
    } else if (length != NULL) {
        size_t size = strtoul(length + 16, NULL, 10);
        assert_true(size < sizeof(client->said));
        take(client, size, client->said);
        client->said[size] = '\0';
        client->bytes = size;
    }
    return client->status;
}

static bool peer_ended(void *context)
{
    return sim_peer_state(((struct client *)context)->peer) >= SIM_PEER_EOF;
}

static bool closed(struct client *client, uint64_t within_ns)
{
    return sim_run_until(rig.sim, peer_ended, client, within_ns) &&
           sim_peer_input(client->peer).size == 0;
}

#define H "Host: 10.0.0.1\r\n"
#define J "Content-Type: application/json\r\n"

static void assert_heard(struct client *client, unsigned status, const char *said)
{
    assert_int_equal(hear(client), status);
    assert_string_equal(client->said, said);
}

static struct client client; /* too large for a stack */

/* --- requests and answers ------------------------------------------------------------------- */

static void a_request_is_answered_by_the_shard_of_its_route(void **state)
{
    (void)state;
    client_open(&client, CLIENT);
    say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\nabc");
    assert_heard(&client, 200, "0 POST /mail abc\n");
    say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\ndef");
    assert_heard(&client, 200, "0 POST /mail def\n");
    say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\nghi");
    assert_heard(&client, 200, "1 POST /mail ghi\n");
    sim_peer_close(client.peer);
}

static void h05_pipelined_requests_are_answered_in_order_over_shards(void **state)
{
    (void)state;
    client_open(&client, CLIENT);
    say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n"
                 "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\na"
                 "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\nb"
                 "GET /tree/x HTTP/1.1\r\n" H "\r\n"
                 "POST /tsa HTTP/1.1\r\n" H J "Transfer-Encoding: chunked\r\n\r\n"
                 "1\r\nc\r\n0\r\n\r\n"
                 "POST /mail HTTP/1.1\r\n" H J "Connection: close\r\nContent-Length: 1\r\n\r\nd");
    assert_heard(&client, 200, "2 GET /tsa \n");
    assert_heard(&client, 200, "0 POST /mail a\n");
    assert_heard(&client, 200, "0 POST /mail b\n");
    assert_heard(&client, 200, "2 GET /tree/x \n");
    assert_heard(&client, 200, "2 POST /tsa c\n");
    assert_heard(&client, 200, "1 POST /mail d\n");
    assert_non_null(strstr(client.head, "Connection: close"));
    assert_true(closed(&client, NS_PER_S));
    assert_int_equal(counters_get(&rig.shards.shards[TSA].counters, COUNTER_http_handed), 2);
}

static void h05_ten_thousand_pipelined_requests_hold_bounded_memory(void **state)
{
    (void)state;
    static const char request[] = "GET /tsa HTTP/1.1\r\n" H "\r\n";
    client_open(&client, CLIENT);
    for (unsigned i = 0; i < 10000; i++) {
        say(&client, request);
    }
    for (unsigned i = 0; i < 10000; i++) {
        assert_heard(&client, 200, "2 GET /tsa \n");
        assert_true(http_server_memory(&rig.servers[TSA]) < 16 * KIB);
        assert_true(ring_buffers_held(rig.shards.shards[TSA].ring) <= STREAM_HELD_MAX + 4);
    }
    assert_int_equal(rig.told[TSA].handled, 10000);
    sim_peer_close(client.peer);
}

static void h05_after_an_error_nothing_more_is_read(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        unsigned status;
    } rows[] = {
        {"GET /tsa HTTP/1.1\r\n\r\n", 400},
        {"GET /tsa HTTP/2.0\r\n\r\n", 505},
        {"TRACE /tsa HTTP/1.1\r\n" H "\r\n", 405},
        {"POST /tsa HTTP/1.1\r\n" H J "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
         400},
        {"POST /nowhere HTTP/1.1\r\n" H J "Content-Length: 5\r\n\r\n", 404},
        {"POST /tsa HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 415},
        {"POST /tsa HTTP/1.1\r\n" H J "Content-Encoding: br\r\nContent-Length: 5\r\n\r\n", 415},
        {"POST /tsa HTTP/1.1\r\n" H J "Content-Encoding: gzip, gzip\r\nContent-Length: 5\r\n\r\n",
         415},
        {"POST /tsa HTTP/1.1\r\n" H J "Content-Length: 1048577\r\n\r\n", 413},
        {"POST /tsa HTTP/1.1\r\n" H J "Transfer-Encoding: chunked\r\n\r\n100001\r\n", 413},
        {"POST /tsa HTTP/1.1\r\n" H J "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
        {"POST /tsa HTTP/1.1\r\n" H J "Expect: x\r\nContent-Length: 5\r\n\r\n", 417},
        {"GET /tsa HTTP/1.1\r\n" H "Content-Length: 5\r\n\r\n", 413},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        client_open(&client, CLIENT);
        say(&client, rows[i].request);
        say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(hear(&client), rows[i].status);
        assert_non_null(strstr(client.head, "\r\nConnection: close\r\n"));
        assert_int_equal(hear(&client), 0);
        assert_true(closed(&client, 3 * NS_PER_S));
    }
    for (unsigned i = 0; i <= MAILS; i++) {
        assert_int_equal(rig.told[i].handled, 0);
    }
}

static void what_a_request_without_body_is_refused_for_costs_no_connection(void **state)
{
    (void)state;
    static const struct {
        const char *request;
        unsigned status;
        const char *allow; /* null: no such header */
    } rows[] = {
        {"GET /nowhere HTTP/1.1\r\n" H "\r\n", 404, NULL},
        {"GET / HTTP/1.1\r\n" H "\r\n", 404, NULL},
        {"GET /tsa/ HTTP/1.1\r\n" H "\r\n", 404, NULL},
        {"GET /tsax HTTP/1.1\r\n" H "\r\n", 404, NULL},
        {"DELETE /tsa HTTP/1.1\r\n" H "\r\n", 405, "Allow: GET, HEAD, POST, OPTIONS\r\n"},
        {"GET /mail HTTP/1.1\r\n" H "\r\n", 405, "Allow: POST, OPTIONS\r\n"},
        {"OPTIONS /tsa HTTP/1.1\r\n" H "\r\n", 204, "Allow: GET, HEAD, POST, OPTIONS\r\n"},
        {"OPTIONS * HTTP/1.1\r\n" H "\r\n", 204, "Allow: GET, HEAD, POST, OPTIONS\r\n"},
        {"POST /tsa HTTP/1.1\r\n" H "\r\n", 415, NULL},
        {"POST /tsa HTTP/1.1\r\n" H "Content-Type: text/plain\r\n\r\n", 415, NULL},
    };
    client_open(&client, CLIENT);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        say(&client, rows[i].request);
        assert_int_equal(hear(&client), rows[i].status);
        assert_null(strstr(client.head, "Connection: close"));
        assert_non_null(strstr(client.head, "\r\nDate: "));
        assert_non_null(strstr(client.head, " GMT\r\n"));
        if (rows[i].allow != NULL) {
            assert_non_null(strstr(client.head, rows[i].allow));
        } else {
            assert_null(strstr(client.head, "Allow: "));
        }
    }
    say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    sim_peer_close(client.peer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_request_is_answered_by_the_shard_of_its_route),
        TEST(h05_pipelined_requests_are_answered_in_order_over_shards),
        TEST(h05_ten_thousand_pipelined_requests_hold_bounded_memory),
        TEST(h05_after_an_error_nothing_more_is_read),
        TEST(what_a_request_without_body_is_refused_for_costs_no_connection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
