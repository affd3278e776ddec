/*
 * The echo service on the real ring: two shards, each with a server and clients of both servers,
 * thousands of connections that end whole or are broken off in the middle. Afterwards nothing is
 * left: no descriptor, no wake lost, no completion ring overrun.
 */
#include "tests/kit/echo.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>

#include "shard/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define SHARDS       2
#define CLIENTS      10
#define GOAL         2000 /* connections that each shard's clients make */
#define SIZE_MAX_ONE 6000

struct party {
    struct shard shard;
    struct thread thread;
    struct echo_server server;
    struct endpoint servers[SHARDS];
    struct echo_client clients[CLIENTS];
    struct deferred starting;
    struct mail news; /* "finished", to the first party; "stop", from it */
    unsigned finished; /* parties that have said so; counted by the first */
    unsigned started;
    unsigned ended;
    unsigned results[ECHO_WRONG + 1];
};

static struct party *party_of(struct shard *shard)
{
    return CONTAINER_OF(shard, struct party, shard);
}

static unsigned descriptors(void)
{
    unsigned count = 0;
    DIR *directory = opendir("/proc/self/fd");
    assert_non_null(directory);
    while (readdir(directory) != NULL) {
        count++;
    }
    closedir(directory);
    return count;
}

static void news_stop(struct shard *receiver, struct mail *mail)
{
    (void)mail;
    echo_server_stop(&party_of(receiver)->server);
}

static void news_finished(struct shard *receiver, struct mail *mail)
{
    (void)mail;
    struct party *first = party_of(receiver);
    first->finished++;
    for (unsigned i = 0; first->finished == SHARDS && i < SHARDS; i++) {
        struct mail *news = &party_of(receiver->peers[i])->news;
        news->arrive = news_stop;
        shard_send(receiver, i, news);
    }
}

static void client_done(struct echo_client *client);

static void party_start_client(struct party *party, struct echo_client *client)
{
    struct prng *prng = &party->shard.prng;
    client->done = client_done;
    client->size = 1 + prng_below(prng, SIZE_MAX_ONE);
    client->quit_at = prng_chance(prng, 500) ? 1 + prng_below(prng, client->size) : 0;
    client->deadline_ns = 60 * NS_PER_S;
    client->nap_per_mille = 0;
    unsigned to = party->started % SHARDS;
    party->started++;
    echo_client_start(client, &party->shard, &party->servers[to]);
}

static void client_done(struct echo_client *client)
{
    struct party *party = party_of(client->shard);
    party->results[client->result]++;
    party->ended++;
    if (party->started < GOAL) {
        party_start_client(party, client);
    } else if (party->ended == GOAL) {
        party->news.arrive = news_finished;
        shard_send(&party->shard, 0, &party->news);
    }
}

static void party_begin(struct deferred *deferred)
{
    struct party *party = CONTAINER_OF(deferred, struct party, starting);
    for (unsigned i = 0; i < CLIENTS; i++) {
        party_start_client(party, &party->clients[i]);
    }
}

static void party_run(void *context)
{
    struct party *party = context;
    shard_defer(&party->shard, &party->starting);
    while (!party->server.stopped) {
        shard_turn(&party->shard, false);
    }
}

static void party_open(struct party *party, unsigned index, struct shard **peers)
{
    /* Few and small buffers: receives starve and pause all the time. */
    static const struct ring_options options = {
        .submit_entries = 64, .complete_entries = 1024, .buffer_count = 16, .buffer_bytes = 512};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct shard_options shard = {.index = index, .count = SHARDS, .peers = peers};
    assert_int_equal(ring_open(&options, &shard.ring, &reason), 0);
    assert_int_equal(shard_init(&party->shard, &shard), 0);
    deferred_init(&party->starting, party_begin);
}

static void party_check(const struct party *party)
{
    const struct ring_counts *counts = ring_counts(party->shard.ring);
    print_message("whole %u, gone %u; %llu turns, %llu starved receives, %llu wakes\n",
                  party->results[ECHO_WHOLE], party->results[ECHO_GONE],
                  (unsigned long long)counts->enters, (unsigned long long)counts->no_buffers,
                  (unsigned long long)counts->wakes);
    assert_int_equal(party->results[ECHO_WHOLE] + party->results[ECHO_GONE], GOAL);
    assert_true(party->results[ECHO_WHOLE] > 0 && party->results[ECHO_GONE] > 0);
    assert_int_equal(party->server.accepted, GOAL);
    assert_int_equal(counters_get(&party->shard.counters, COUNTER_lost_wakeups), 0);
    assert_int_equal(counts->cq_overflows, 0);
    assert_int_equal(party->shard.timers.count, 0);
}

static void u05_thousands_of_connections_and_aborts_leave_nothing(void **state)
{
    (void)state;
    static struct party parties[SHARDS];
    static struct shard *peers[SHARDS];
    unsigned before = descriptors();
    for (unsigned i = 0; i < SHARDS; i++) {
        peers[i] = &parties[i].shard;
        party_open(&parties[i], i, peers);
    }
    unsigned open = descriptors();
    struct endpoint any, bound;
    assert_true(endpoint_parse(SLICE("127.0.0.1:0"), 0, &any));
    for (unsigned i = 0; i < SHARDS; i++) {
        struct shard *shard = &parties[i].shard;
        assert_int_equal(echo_server_start(&parties[i].server, shard, &any, &bound), 0);
        for (unsigned k = 0; k < SHARDS; k++) {
            parties[k].servers[i] = bound;
        }
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        const struct thread_options options = {.name = "party"};
        assert_int_equal(thread_start(&parties[i].thread, &options, party_run, &parties[i]), 0);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        thread_join(&parties[i].thread);
    }
    assert_int_equal(descriptors(), open);
    for (unsigned i = 0; i < SHARDS; i++) {
        party_check(&parties[i]);
    }
    for (unsigned i = 0; i < SHARDS; i++) {
        shard_fini(&parties[i].shard);
    }
    assert_int_equal(descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(u05_thousands_of_connections_and_aborts_leave_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
