/* The log of a lane: which place in it a number has. */
#include "shard/spool/segment.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/prng.h"
#include "tests/sim/shards.h"

#define LOG_MAX 200u
#define ROUNDS  60u

static struct sim_shards shards;
static struct sim *sim;
static struct segments segments;

static int open_lane(void **state)
{
    static const struct spool_options options = {.path = "spool", .segment_bytes = 64 * KIB};
    (void)state;
    sim = sim_open(&(struct sim_options){.seed = 1});
    sim_shards_boot(&shards, sim_node_open(sim, NULL), 1, 64, 2048);
    return segments_init(&segments, shards.peers[0], &options);
}

static int close_lane(void **state)
{
    (void)state;
    segments_fini(&segments);
    sim_shards_stop(&shards);
    sim_close(sim);
    return 0;
}

/* Of so many segments, up to `gap` numbers after each of them have left. The last number. */
static uint32_t log_make(struct prng *prng, uint32_t first, uint32_t count, uint32_t gap)
{
    uint32_t number = first;
    segments.count = 0;
    segments.log.count = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct segment *segment = segments_add(&segments, i, -1);
        assert_non_null(segment);
        number += i == 0 ? 0 : 1 + (uint32_t)prng_below(prng, gap + 1);
        segment->number = number;
        segments_append_log(&segments, segment);
    }
    return number;
}

static uint32_t index_by_looking_at_all(uint32_t number)
{
    uint32_t index = 0;
    while (index < segments.log.count && segments_at(&segments, index)->number < number) {
        index++;
    }
    return index;
}

static void expect_index(uint32_t number)
{
    uint32_t index = index_by_looking_at_all(number);
    assert_int_equal(segments_index(&segments, number), index);
    struct segment *found = segments_find(&segments, number);
    bool there = index < segments.log.count && segments_at(&segments, index)->number == number;
    assert_ptr_equal(found, there ? segments_at(&segments, index) : NULL);
}

static void a_number_is_found_whatever_has_left_the_log(void **state)
{
    static const uint32_t gaps[] = {0, 1, 7, 1000000};
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        struct prng prng;
        prng_seed(&prng, round);
        uint32_t count = (uint32_t)prng_below(&prng, LOG_MAX);
        uint32_t first = 1 + (uint32_t)prng_below(&prng, 100);
        uint32_t last = log_make(&prng, first, count, gaps[round % COUNT_OF(gaps)]);
        for (uint32_t number = 0; number < first + 2 * LOG_MAX; number++) {
            expect_index(number);
        }
        for (uint32_t i = 0; i < count; i++) {
            uint32_t number = segments_at(&segments, i)->number;
            expect_index(number - 1);
            expect_index(number);
            expect_index(number + 1);
        }
        expect_index(last + 1);
        expect_index(UINT32_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_found_whatever_has_left_the_log),
    };
    return cmocka_run_group_tests(tests, open_lane, close_lane);
}
