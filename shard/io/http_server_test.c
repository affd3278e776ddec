/* HTTP on the simulated network: who answers, who may ask, and how it ends. */
#include "shard/io/http_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "shard/io/http_conn.h"
#include "tests/kit/http_client.h"
#include "tests/kit/http_rig.h"

#define H "Host: 10.0.0.1\r\n"
#define J "Content-Type: application/json\r\n"

#define assert_heard(client, status, said) assert_true(http_client_hears(client, status, said))

static struct http_rig rig;
/* Too large for a stack. */
static struct http_client client;
static struct http_client second;

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

/* --- requests and answers ------------------------------------------------------------------- */

static void a_request_is_answered_by_the_shard_of_its_route(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\nabc");
    assert_heard(&client, 200, "0 POST /mail abc\n");
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\ndef");
    assert_heard(&client, 200, "0 POST /mail def\n");
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 3\r\n\r\nghi");
    assert_heard(&client, 200, "1 POST /mail ghi\n");
    http_client_close(&client);
}

static void h05_pipelined_requests_are_answered_in_order_over_shards(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n"
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
    assert_true(http_client_closed(&client, NS_PER_S));
    assert_int_equal(http_rig_counter(&rig, RIG_TSA, COUNTER_http_handed), 2);
    uint64_t requests = 0;
    for (unsigned i = 0; i <= RIG_MAILS; i++) {
        requests += http_rig_counter(&rig, i, COUNTER_http_requests);
    }
    assert_int_equal(requests, 6);
}

static void h05_ten_thousand_pipelined_requests_hold_bounded_memory(void **state)
{
    (void)state;
    static const char request[] = "GET /tsa HTTP/1.1\r\n" H "\r\n";
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    for (unsigned i = 0; i < 10000; i++) {
        http_client_say(&client, request);
    }
    for (unsigned i = 0; i < 10000; i++) {
        assert_heard(&client, 200, "2 GET /tsa \n");
        assert_true(http_server_memory(&rig.servers[RIG_TSA]) < 16 * KIB);
        assert_true(ring_buffers_held(rig.shards.shards[RIG_TSA].ring) <= STREAM_HELD_MAX + 4);
    }
    assert_int_equal(rig.told[RIG_TSA].handled, 10000);
    http_client_close(&client);
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
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, rows[i].request);
        http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(http_client_hear(&client), rows[i].status);
        assert_non_null(strstr(client.head, "\r\nConnection: close\r\n"));
        assert_int_equal(http_client_hear(&client), 0);
        assert_true(http_client_closed(&client, 3 * NS_PER_S));
    }
    for (unsigned i = 0; i <= RIG_MAILS; i++) {
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
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        http_client_say(&client, rows[i].request);
        assert_int_equal(http_client_hear(&client), rows[i].status);
        assert_null(strstr(client.head, "Connection: close"));
        assert_non_null(strstr(client.head, "\r\nDate: "));
        assert_non_null(strstr(client.head, " GMT\r\n"));
        if (rows[i].allow != NULL) {
            assert_non_null(strstr(client.head, rows[i].allow));
        } else {
            assert_null(strstr(client.head, "Allow: "));
        }
    }
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    http_client_close(&client);
}

/* --- access --------------------------------------------------------------------------------- */

static void h17_strangers_and_foreign_pages_are_refused(void **state)
{
    (void)state;
    static const struct {
        const char *fields;
        unsigned status;
    } rows[] = {
        {"Host: 10.0.0.1\r\n", 200},
        {"Host: 10.0.0.1:8000\r\n", 200},
        {"Host: [::1]:8000\r\n", 200},
        {"Host: localhost\r\n", 200},
        {"Host: LOCALHOST:8000\r\n", 200},
        {"Host: mta.test:8000\r\n", 200},
        {"Host: evil.test\r\n", 403},
        {"Host: mta.test.evil.test\r\n", 403},
        {"Host: 10.0.0.1.evil.test\r\n", 403},
        {"Host: localhost.evil.test\r\n", 403},
        {"Host: evil.test:8000\r\n", 403},
        {"Host: :8000\r\n", 403},
        {"Host: 10.0.0.1\r\nOrigin: http://10.0.0.1\r\n", 200},
        {"Host: mta.test:8000\r\nOrigin: http://mta.test:8000\r\n", 200},
        {"Host: mta.test\r\nOrigin: https://mta.test\r\n", 200},
        {"Host: 10.0.0.1:8000\r\nOrigin: http://10.0.0.1\r\n", 403},
        {"Host: 10.0.0.1\r\nOrigin: http://evil.test\r\n", 403},
        {"Host: 10.0.0.1\r\nOrigin: null\r\n", 403},
        {"Host: 10.0.0.1\r\nOrigin: http://10.0.0.1\r\nOrigin: http://evil.test\r\n", 403},
        {"Host: 10.0.0.1\r\nOrigin:\r\n", 403},
    };
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char request[256];
        (void)snprintf(request, sizeof(request), "GET /tsa HTTP/1.1\r\n%s\r\n", rows[i].fields);
        http_client_say(&client, request);
        assert_int_equal(http_client_hear(&client), rows[i].status);
    }
    http_client_close(&client);
    http_client_open(&client, rig.sim, RIG_OTHER, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_hear(&client), 403);
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\na");
    assert_int_equal(http_client_hear(&client), 403);
    assert_int_equal(rig.told[0].handled + rig.told[1].handled, 0);
    http_client_close(&client);
}

static void h17_paths_that_could_mean_another_one_are_not_found(void **state)
{
    (void)state;
    static const char *const paths[] = {
        "//tsa",      "/tsa/",        "/tree/../tsa", "/tree//x",  "/tree/%2e%2e/tsa",
        "/tree/%00",  "/tree/x;y",    "/tree/./x",    "/tree/a\\b", "/tree/..",
        "/tree/%74sa", "/TSA",        "/%74sa",       "/tsa;x",   "/tsa%00",
        "/./tsa",     "/x/../tsa",    "/tsa/.",       "/tsa\\",   "/tsa%3Fa",
    };
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    for (size_t i = 0; i < COUNT_OF(paths); i++) {
        char request[256];
        (void)snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\n" H "\r\n", paths[i]);
        http_client_say(&client, request);
        assert_int_equal(http_client_hear(&client), 404);
    }
    http_client_say(&client, "GET /tree/x?a=//..%2e;%00 HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tree/x \n");
    http_client_close(&client);
}

static void h17_a_post_of_a_form_is_no_json(void **state)
{
    (void)state;
    static const struct {
        const char *path;
        const char *type;
        unsigned status;
    } rows[] = {
        {"/tsa", "Content-Type: text/plain\r\n", 415},
        {"/tsa", "Content-Type: application/x-www-form-urlencoded\r\n", 415},
        {"/tsa", "Content-Type: multipart/form-data\r\n", 415},
        {"/tsa", "Content-Type: application/x-ndjson\r\n", 415},
        {"/tsa", "Content-Type: text/plain; application/json\r\n", 415},
        {"/tsa", "Content-Type: application/jsonx\r\n", 415},
        {"/tsa", "", 415},
        {"/tsa", "Content-Type: application/json\r\nContent-Type: text/plain\r\n", 415},
        {"/tsa", "Content-Type: Application/JSON ; charset=utf-8\r\n", 200},
        {"/small", "Content-Type: application/json\r\n", 200},
        {"/small", "Content-Type: text/plain\r\n", 415},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char request[256];
        (void)snprintf(request, sizeof(request),
                       "POST %s HTTP/1.1\r\n" H "%sContent-Length: 2\r\n\r\n{}", rows[i].path,
                       rows[i].type);
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, request);
        assert_int_equal(http_client_hear(&client), rows[i].status);
        http_client_close(&client);
    }
}

/* --- limits and the end --------------------------------------------------------------------- */

static void an_idle_connection_is_small(void **state)
{
    (void)state;
    assert_true(sizeof(struct http_conn) <= 4 * KIB);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(http_server_memory(&rig.servers[RIG_TSA]), sizeof(struct http_conn));
    assert_int_equal(ring_buffers_held(rig.shards.shards[RIG_TSA].ring), 0);
    http_client_close(&client);
}

static void the_longest_idle_connection_makes_room_for_a_new_one(void **state)
{
    (void)state;
    static struct http_client all[RIG_CONNS + 10];
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        http_client_open(&all[i], rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&all[i], "GET /tsa HTTP/1.1\r\n" H "\r\n");
        assert_heard(&all[i], 200, "2 GET /tsa \n");
    }
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        assert_int_equal(http_client_closed(&all[i], 0), i < 10);
        http_client_close(&all[i]);
    }
}

/* What fills the house, and who is to have room all the same. */
static const struct slow_row {
    const char *says;
    uint64_t for_ns;
    bool room;
} slow_rows[] = {
    {"GET /tsa HTTP/1.1\r\nX: ", 2 * NS_PER_S, true},
    {"POST /tsa HTTP/1.1\r\n" H J "Content-Length: 9\r\n\r\n", 2 * NS_PER_S, true},
    {"POST /tsa HTTP/1.1\r\n" H J "Content-Length: 9\r\n\r\n", NS_PER_S / 2, false},
    {"GET /tsa HTTP/1.1\r\nX: ", NS_PER_S / 2, false},
};

static void h06_who_is_slow_makes_room_when_nobody_is_idle(void **state)
{
    (void)state;
    static struct http_client all[RIG_CONNS];
    for (size_t row = 0; row < COUNT_OF(slow_rows); row++) {
        for (unsigned i = 0; i < COUNT_OF(all); i++) {
            http_client_open(&all[i], rig.sim, RIG_CLIENT, &rig.at);
            http_client_say(&all[i], slow_rows[row].says);
        }
        assert_true(sim_run_for(rig.sim, slow_rows[row].for_ns));
        uint64_t closed = http_rig_counter(&rig, RIG_TSA, COUNTER_http_slow_closed);
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
        if (slow_rows[row].room) {
            assert_heard(&client, 200, "2 GET /tsa \n");
        }
        assert_true(sim_run_for(rig.sim, NS_PER_S / 10));
        unsigned gone = 0;
        for (unsigned i = 0; i < COUNT_OF(all); i++) {
            gone += http_client_closed(&all[i], 0);
        }
        assert_int_equal(gone, slow_rows[row].room);
        closed = http_rig_counter(&rig, RIG_TSA, COUNTER_http_slow_closed) - closed;
        assert_int_equal(closed, slow_rows[row].room);
        for (unsigned i = 0; i < COUNT_OF(all); i++) {
            http_client_close(&all[i]);
        }
        http_client_close(&client);
        assert_true(sim_run_for(rig.sim, 3 * NS_PER_S));
    }
}

static void a_connection_that_comes_with_a_request_makes_no_room_for_others(void **state)
{
    (void)state;
    static const char *const begun = "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\n";
    static struct http_client all[RIG_CONNS];
    static struct http_client more[4];
    http_server_set_takes(&rig.servers[1], false);
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        http_client_open(&all[i], rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&all[i], begun);
    }
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(http_server_open(&rig.servers[0]), RIG_CONNS); /* all busy with bodies */
    for (unsigned i = 0; i < COUNT_OF(more); i++) {
        http_client_open(&more[i], rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&more[i], begun);
        http_client_say(&more[i], "a");
    }
    for (unsigned i = 0; i < COUNT_OF(more); i++) {
        assert_heard(&more[i], 200, "0 POST /mail a\n");
    }
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        http_client_say(&all[i], "b");
        assert_heard(&all[i], 200, "0 POST /mail b\n");
        http_client_close(&all[i]);
    }
    for (unsigned i = 0; i < COUNT_OF(more); i++) {
        http_client_close(&more[i]);
    }
}

static void strangers_leave_connections_to_others(void **state)
{
    (void)state;
    static struct http_client all[RIG_CONNS];
    unsigned refused = 0;
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        http_client_open(&all[i], rig.sim, RIG_OTHER, &rig.at);
    }
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        refused += http_client_closed(&all[i], 0);
    }
    assert_int_equal(refused, RIG_CONNS - RIG_CONNS / 4);
    assert_int_equal(rig.servers[RIG_TSA].strangers, RIG_CONNS / 4);
    for (unsigned i = 0; i < COUNT_OF(all); i++) {
        http_client_close(&all[i]);
    }
    http_client_close(&client);
}

static void h16_requests_of_mail_are_503_while_no_thread_takes_them(void **state)
{
    (void)state;
    http_server_set_takes(&rig.servers[0], false);
    http_server_set_takes(&rig.servers[1], false);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\na");
    assert_int_equal(http_client_hear(&client), 503);
    assert_non_null(strstr(client.head, "Retry-After: 1\r\n"));
    http_client_close(&client);
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 200, "2 GET /tsa \n");
    http_client_close(&client);
    http_server_set_takes(&rig.servers[1], true);
    for (unsigned i = 0; i < 3; i++) {
        http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
        http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\na");
        assert_heard(&client, 200, "1 POST /mail a\n");
        http_client_close(&client);
    }
    assert_int_equal(rig.told[0].handled, 0);
}

static void a_head_that_finds_no_memory_is_503_whatever_was_asked_before(void **state)
{
    (void)state;
    static char request[4 * KIB];
    struct metered *memory = &rig.servers[RIG_TSA].memory;
    memory->limit = 0;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&client, 503, "Out of memory for HTTP\n");
    assert_non_null(strstr(client.head, "Retry-After: 1\r\n"));
    assert_true(http_client_closed(&client, 3 * NS_PER_S));
    assert_int_equal(http_rig_counter(&rig, RIG_TSA, COUNTER_http_refused), 1);
    /* Behind a HEAD, and for want of room for a longer head. */
    memory->limit = sizeof(struct http_head) + 2 * KIB;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "HEAD /tsa HTTP/1.1\r\n" H "\r\n");
    assert_int_equal(http_client_head(&client), 200);
    (void)snprintf(request, sizeof(request), "GET /tsa HTTP/1.1\r\n" H "X: %03000d\r\n\r\n", 0);
    http_client_say(&client, request);
    assert_heard(&client, 503, "Out of memory for HTTP\n");
    assert_non_null(strstr(client.head, "Retry-After: 1\r\n"));
    assert_true(http_client_closed(&client, 3 * NS_PER_S));
    assert_int_equal(http_rig_counter(&rig, RIG_TSA, COUNTER_http_refused), 2);
    assert_int_equal(rig.told[RIG_TSA].handled, 1);
    memory->limit = RIG_MEMORY;
}

static void a_stop_ends_what_has_begun_and_closes_the_rest(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "GET /later HTTP/1.1\r\n" H "\r\n");
    http_client_open(&second, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&second, "GET /tsa HTTP/1.1\r\n" H "\r\n");
    assert_heard(&second, 200, "2 GET /tsa \n");
    http_server_stop(&rig.servers[RIG_TSA]);
    assert_true(http_client_closed(&second, NS_PER_S));
    assert_false(http_client_closed(&client, NS_PER_S));
    http_rig_answer(&rig, RIG_TSA, "done");
    assert_heard(&client, 200, "done");
    assert_non_null(strstr(client.head, "Connection: close\r\n"));
    assert_true(http_client_closed(&client, NS_PER_S));
    assert_int_equal(http_server_open(&rig.servers[RIG_TSA]), 0);
}

static void a_connection_sent_to_a_thread_that_stops_is_closed_and_nothing_is_lost(void **state)
{
    (void)state;
    http_client_open(&client, rig.sim, RIG_CLIENT, &rig.at);
    http_client_say(&client, "POST /mail HTTP/1.1\r\n" H J "Content-Length: 1\r\n\r\na");
    /* It stops, but the TSA shard has not seen that yet. */
    rig.servers[0].stopping = true;
    rig.servers[1].stopping = true;
    assert_int_equal(http_client_hear(&client), 0);
    assert_int_equal(rig.told[0].handled + rig.told[1].handled, 0);
    assert_int_equal(http_rig_counter(&rig, 0, COUNTER_http_turned_away), 1);
    assert_true(sim_run_for(rig.sim, NS_PER_S));
    assert_int_equal(http_server_memory(&rig.servers[RIG_TSA]), 0);
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
        TEST(h17_strangers_and_foreign_pages_are_refused),
        TEST(h17_paths_that_could_mean_another_one_are_not_found),
        TEST(h17_a_post_of_a_form_is_no_json),
        TEST(an_idle_connection_is_small),
        TEST(the_longest_idle_connection_makes_room_for_a_new_one),
        TEST(h06_who_is_slow_makes_room_when_nobody_is_idle),
        TEST(a_connection_that_comes_with_a_request_makes_no_room_for_others),
        TEST(strangers_leave_connections_to_others),
        TEST(h16_requests_of_mail_are_503_while_no_thread_takes_them),
        TEST(a_head_that_finds_no_memory_is_503_whatever_was_asked_before),
        TEST(a_stop_ends_what_has_begun_and_closes_the_rest),
        TEST(a_connection_sent_to_a_thread_that_stops_is_closed_and_nothing_is_lost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
