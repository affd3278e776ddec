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

/* All shards are short of memory, or no longer: nobody takes clients of others. */
static void hog_all(bool hog)
{
    static uint64_t hogged[SHARDS];
    for (unsigned i = 0; i < SHARDS; i++) {
        struct account *account = &stage.world.node.mtas[i].shard.memory;
        if (!hog) {
            account_give(account, ACCOUNT_QUEUES, hogged[i]);
            continue;
        }
        uint64_t bytes = account->limit / 100 * 82;
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
            hog_all(true);
            assert_true(stage_hears(&talks[count - 1], "220 "));
            assert_int_equal(away(), 0);
            returned += world_counter(&stage.world, COUNTER_clients_placed) == 0;
            hog_all(false);
        }
        close_talks(0, count > 0 ? count : SHARDS);
        expect_nobody();
        end();
    }
    assert_true(returned > 0);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l10_clients_are_spread_however_the_kernel_deals_them_out),
        cmocka_unit_test(l10_limits_of_listeners_and_hosts_are_exact_meanwhile),
        cmocka_unit_test(a_shard_that_is_short_of_something_sends_clients_home),
        cmocka_unit_test(a_shard_whose_pool_is_empty_sends_clients_home),
        cmocka_unit_test(no_more_clients_are_on_their_way_than_there_may_be),
        cmocka_unit_test(l10_at_a_stop_at_any_moment_no_client_is_left_behind),
        cmocka_unit_test(a_client_that_leaves_on_its_way_is_counted_nowhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
