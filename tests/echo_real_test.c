/* The same echo service on io_uring, over loopback: one shard, many connections at once. */
#include "tests/kit/echo.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define CLIENTS   16
#define TURNS_MAX 2000000

struct run {
    struct shard shard;
    struct shard *peers[1];
    struct echo_server server;
    struct echo_client clients[CLIENTS];
};

static void client_ended(struct echo_client *client)
{
    assert_true(client->result == ECHO_WHOLE || client->result == ECHO_GONE);
}

static unsigned running(const struct run *run)
{
    unsigned count = 0;
    for (unsigned i = 0; i < CLIENTS; i += 1) {
        count += run->clients[i].result == ECHO_RUNNING || run->clients[i].stream.fd >= 0;
    }
    return count;
}

static void start(struct run *run, uint32_t buffers)
{
    uint8_t text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct ring_options ring_options = {.submit_entries = 64,
                                        .complete_entries = 1024,
                                        .buffer_count = buffers,
                                        .buffer_bytes = 256};
    struct ring *ring = NULL;
    assert_int_equal(ring_open(&ring_options, &ring, &reason), 0);
    run->peers[0] = &run->shard;
    struct shard_options options = {.count = 1, .ring = ring, .peers = run->peers};
    assert_int_equal(shard_init(&run->shard, &options), 0);
    static const struct endpoint loopback = {
        .address = {[10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1}};
    struct endpoint where;
    assert_int_equal(echo_server_start(&run->server, &run->shard, &loopback, &where), 0);
    run->server.nap_per_mille = 2;
    for (unsigned i = 0; i < CLIENTS; i += 1) {
        struct echo_client *client = &run->clients[i];
        client->done = client_ended;
        client->size = 1 + 5000 * i;
        client->quit_at = i % 5 == 4 ? 3000 : 0;
        client->deadline_ns = 60 * NS_PER_S;
        client->nap_per_mille = i % 3 == 2 ? 5 : 0;
        echo_client_start(client, &run->shard, &where);
    }
}

static void echo_is_whole(uint32_t buffers)
{
    struct run *run = calloc(1, sizeof(*run));
    start(run, buffers);
    for (unsigned i = 0; i < TURNS_MAX && running(run) > 0; i += 1) {
        shard_turn(&run->shard, false);
    }
    assert_int_equal(running(run), 0);
    assert_int_equal(run->server.accepted, CLIENTS);
    echo_server_stop(&run->server);
    for (unsigned i = 0; i < TURNS_MAX && !run->server.stopped; i += 1) {
        shard_turn(&run->shard, false);
    }
    assert_true(run->server.stopped);
    assert_int_equal(counters_get(&run->shard.counters, COUNTER_lost_wakeups), 0);
    assert_int_equal(counters_get(&run->shard.counters, COUNTER_cq_overflows), 0);
    shard_fini(&run->shard);
    free(run);
}

static void echo_is_whole_with_buffers_to_spare(void **state)
{
    (void)state;
    echo_is_whole(512);
}

static void u06_echo_is_whole_with_two_buffers(void **state)
{
    (void)state;
    echo_is_whole(2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(echo_is_whole_with_buffers_to_spare),
        cmocka_unit_test(u06_echo_is_whole_with_two_buffers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
