/* A server asked by its name: which address is taken, and what there is when there is none. The
 * rest of what servers do is in tsa/publisher_test.c. */
#include "shard/io/http_caller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/shards.h"

#define REQUEST SLICE("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
#define ANSWER  SLICE("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")

static const char conf_text[] = "[dns]\nservers = []\nstatic = \"\"\"\n"
                                "a.test A 10.0.1.44\n"
                                "a.test A 10.0.1.45\n"
                                "txt.test TXT x\n\"\"\"\n"
                                "static_rcode = {\"slow.test\" = \"TIMEOUT\"}\n";

static struct sim *sim;
static struct sim_shards shards;
static struct boot_pages pages;
static struct conf *conf;
static struct resolver resolver;
static struct http_caller caller;
static struct url url;
static uint8_t url_text[URL_BYTES_MAX];
static unsigned ends;
static enum http_call_end end;
static unsigned connections;
static bool hangs;

static bool read_bytes(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    (void)context;
    (void)path;
    (void)reason_out;
    *bytes_out = slice_from_string(conf_text);
    return true;
}

static void served(struct sim_peer *peer, void *context)
{
    (void)context;
    if (sim_peer_state(peer) == SIM_PEER_EOF) {
        sim_peer_finish(peer);
    }
    if (!hangs && sim_peer_input(peer).size >= REQUEST.size) {
        sim_peer_consume(peer, REQUEST.size);
        sim_peer_send(peer, ANSWER);
    }
}

static void accepted(struct sim_peer *peer, void *context)
{
    connections += sim_peer_tag(peer) == NULL;
    sim_peer_tag_set(peer, &connections);
    served(peer, context);
}

static void done(struct http_caller *of, enum http_call_end how)
{
    assert_ptr_equal(of, &caller);
    ends++;
    end = how;
}

static int set_up(void **state)
{
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml", .hostname = SLICE("box.test"), .read = read_bytes};
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1, .verbose = true});
    conf = conf_load(&input, &messages);
    assert_non_null(conf);
    sim_shards_boot(&shards, sim_node_open(sim, NULL), 1, 16, 256);
    (void)sim_run_for(sim, NS_PER_S);
    resolver_init(&resolver, &shards.shards[0], &pages, &conf->dns);
    for (unsigned host = 300; host < 302; host++) {
        struct endpoint at = sim_endpoint(host, 80);
        sim_peer_listen(sim, &at, accepted, NULL);
    }
    ends = 0;
    connections = 0;
    hangs = false;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    http_caller_close(&caller);
    http_caller_close(&caller);
    resolver_stop(&resolver);
    ring_wake(shards.shards[0].ring);
    (void)sim_run_for(sim, 10 * NS_PER_S);
    assert_true(http_caller_closed(&caller) && resolver_idle(&resolver));
    resolver_fini(&resolver);
    sim_shards_stop(&shards);
    boot_pages_give(&pages);
    pages = (struct boot_pages){0};
    conf_free(conf);
    bool good = !sim_failed(sim);
    sim_close(sim);
    return good ? 0 : 1;
}

static void call(const char *where)
{
    static const struct http_caller_user user = {.done = done};
    assert_null(url_parse(slice_from_string(where), url_text, &url));
    caller = (struct http_caller){
        .shard = &shards.shards[0], .resolver = &resolver, .url = &url, .user = &user};
    http_caller_init(&caller);
}

static void asks(enum http_call_end wanted)
{
    unsigned before = ends;
    http_caller_ask(&caller, REQUEST, SLICE_NONE, 30 * NS_PER_S);
    assert_int_equal(ends, before); /* never from inside */
    ring_wake(shards.shards[0].ring);
    (void)sim_run_for(sim, 40 * NS_PER_S);
    assert_string_equal(sim_failure(sim), "");
    assert_int_equal(ends, before + 1);
    assert_int_equal(end, wanted);
}

static void a_connection_stays_open_between_requests(void **state)
{
    (void)state;
    call("http://a.test");
    for (unsigned i = 0; i < 3; i++) {
        asks(HTTP_CALL_ANSWERED);
        assert_int_equal(caller.response.status, 200);
        assert_true(slice_equal(buf_slice(&caller.response.body), SLICE("hi")));
    }
    assert_int_equal(connections, 1);
}

static void the_next_address_is_taken_after_a_failure(void **state)
{
    struct endpoint first = sim_endpoint(300, 80);
    (void)state;
    call("http://a.test");
    sim_reach_set(sim, &first, SIM_REACH_REFUSED);
    asks(HTTP_CALL_REFUSED);
    asks(HTTP_CALL_ANSWERED);
    http_caller_close(&caller);
    (void)sim_run_for(sim, NS_PER_S);
    asks(HTTP_CALL_ANSWERED); /* and stays taken */
}

static void what_has_no_address_is_said_and_so_is_who_hangs(void **state)
{
    (void)state;
    call("http://none.test");
    asks(HTTP_CALL_NO_ADDRESS);
    call("http://txt.test");
    asks(HTTP_CALL_NO_ADDRESS);
    call("http://slow.test");
    asks(HTTP_CALL_NO_ADDRESS);
    hangs = true;
    call("http://a.test");
    asks(HTTP_CALL_TIMEOUT);
}

static void localhost_is_this_host(void **state)
{
    (void)state;
    call("http://LocalHost:8008");
    asks(HTTP_CALL_REFUSED); /* nobody listens there in the simulator */
    assert_int_equal(caller.address_count, 2);
    for (unsigned i = 0; i < 2; i++) {
        assert_true(endpoint_is_loopback(&caller.addresses[i]));
        assert_int_equal(caller.addresses[i].port, 8008);
    }
}

static void a_request_that_is_closed_is_not_told_and_another_one_may_begin_at_once(void **state)
{
    (void)state;
    call("http://a.test");
    for (unsigned turns = 0; turns < 30; turns++) {
        http_caller_ask(&caller, REQUEST, SLICE_NONE, 30 * NS_PER_S);
        for (unsigned i = 0; i < turns; i++) {
            (void)sim_step(sim);
        }
        http_caller_close(&caller);
        unsigned before = ends;
        asks(HTTP_CALL_ANSWERED);
        assert_int_equal(ends, before + 1);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_stays_open_between_requests),
        TEST(the_next_address_is_taken_after_a_failure),
        TEST(what_has_no_address_is_said_and_so_is_who_hangs),
        TEST(localhost_is_this_host),
        TEST(a_request_that_is_closed_is_not_told_and_another_one_may_begin_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
