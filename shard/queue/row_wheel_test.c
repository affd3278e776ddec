#include "shard/queue/row_wheel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/prng.h"

static struct account account;
static struct slab rows;

static int open_rows(void **state)
{
    (void)state;
    account = (struct account){.limit = 64 * MIB};
    return slab_init(&rows, &account, ACCOUNT_ROWS, sizeof(struct row), 200000);
}

static int close_rows(void **state)
{
    (void)state;
    slab_fini(&rows);
    return account_used(&account) == 0 ? 0 : -1;
}

static void slab_books_chunks_and_stops_at_the_account(void **state)
{
    (void)state;
    struct account small = {.limit = 3 * MIB};
    struct slab slab;
    assert_int_equal(slab_init(&slab, &small, ACCOUNT_ROWS, sizeof(struct row), 1000000), 0);
    uint32_t taken = 0;
    uint32_t handle = SLAB_NONE;
    for (uint32_t next = slab_take(&slab); next != SLAB_NONE; next = slab_take(&slab)) {
        handle = next;
        taken++;
    }
    assert_int_equal(taken, SLAB_CHUNK_BYTES / sizeof(struct row));
    row_at(&slab, handle)->attempts = 7;
    slab_give(&slab, handle);
    assert_int_equal(slab_room(&slab), 1);
    assert_int_equal(slab_take(&slab), handle);
    assert_int_equal(row_at(&slab, handle)->attempts, 0);
    slab_fini(&slab);
    assert_int_equal(account_used(&small), 0);
}

static void lists_keep_order(void **state)
{
    (void)state;
    struct row_list list;
    uint32_t handles[4];
    row_list_init(&list);
    for (size_t i = 0; i < COUNT_OF(handles); i++) {
        handles[i] = slab_take(&rows);
        row_list_push_back(&rows, &list, handles[i]);
    }
    row_list_remove(&rows, &list, handles[1]);
    row_list_push_front(&rows, &list, handles[1]);
    row_list_remove(&rows, &list, handles[3]);
    static const size_t order[] = {1, 0, 2};
    uint32_t at = list.first;
    for (size_t i = 0; i < COUNT_OF(order); i++) {
        assert_int_equal(at, handles[order[i]]);
        at = row_at(&rows, at)->queue_next;
    }
    assert_int_equal(at, ROW_NONE);
    assert_int_equal(list.count, 3);
}

/* Every row comes out in its second, also ones due later than the wheel is long. */
static void wheel_gives_rows_in_their_second(void **state)
{
    (void)state;
    struct row_wheel wheel;
    struct prng prng;
    const uint64_t seed = 20261122;
    const uint32_t start = 1700000000;
    print_message("seed %llu\n", (unsigned long long)seed);
    prng_seed(&prng, seed);
    assert_int_equal(row_wheel_init(&wheel, &rows, start), 0);
    enum { COUNT = 2000 };
    uint32_t left = 0;
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t handle = slab_take(&rows);
        uint32_t ahead = (uint32_t)prng_below(&prng, i % 4 == 0 ? 3 * ROW_WHEEL_SLOTS : 100000);
        row_at(&rows, handle)->due_s = start + ahead;
        row_wheel_put(&wheel, handle);
        if (i % 10 == 9) {
            row_wheel_remove(&wheel, handle);
            slab_give(&rows, handle);
        } else {
            left++;
        }
    }
    uint32_t now = start;
    while (left > 0) {
        uint32_t handle = row_wheel_next(&wheel, now);
        if (handle == ROW_NONE) {
            uint32_t due = row_wheel_due(&wheel, UINT32_MAX);
            assert_true(due > now && due != UINT32_MAX);
            now = due;
            continue;
        }
        assert_int_equal(row_at(&rows, handle)->due_s, now);
        slab_give(&rows, handle);
        left--;
    }
    assert_int_equal(wheel.count, 0);
    assert_int_equal(row_wheel_next(&wheel, now), ROW_NONE);
    row_wheel_fini(&wheel);
}

static void wheel_gives_past_times_at_once(void **state)
{
    (void)state;
    struct row_wheel wheel;
    assert_int_equal(row_wheel_init(&wheel, &rows, 1000), 0);
    uint32_t handle = slab_take(&rows);
    row_at(&rows, handle)->due_s = 10;
    row_wheel_put(&wheel, handle);
    assert_int_equal(row_wheel_due(&wheel, 5), 1000);
    assert_int_equal(row_wheel_next(&wheel, 1000), handle);
    assert_int_equal(row_wheel_due(&wheel, 5), UINT32_MAX);
    row_wheel_fini(&wheel);
}

/* As after a start with a long queue: all of them stand in the last slot of the round. */
static void rows_due_beyond_the_round_are_placed_again_some_at_a_time(void **state)
{
    (void)state;
    enum { COUNT = 2 * ROW_WHEEL_MOVES + 100 };
    const uint32_t start = 1700000000;
    const uint32_t again = start + ROW_WHEEL_SLOTS - 2; /* the last slot comes up */
    struct row_wheel wheel;
    assert_int_equal(row_wheel_init(&wheel, &rows, start), 0);
    for (uint32_t i = 0; i < COUNT; i++) {
        uint32_t handle = slab_take(&rows);
        row_at(&rows, handle)->due_s = again + 100;
        row_wheel_put(&wheel, handle);
    }
    for (unsigned calls = 0; calls < COUNT / ROW_WHEEL_MOVES; calls++) {
        assert_int_equal(row_wheel_next(&wheel, again), ROW_NONE);
        assert_false(row_wheel_drained(&wheel, again));
    }
    assert_int_equal(row_wheel_next(&wheel, again), ROW_NONE);
    assert_true(row_wheel_drained(&wheel, again));
    assert_int_equal(wheel.count, COUNT);
    assert_int_equal(row_wheel_next(&wheel, again + 99), ROW_NONE);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_not_equal(row_wheel_next(&wheel, again + 100), ROW_NONE);
    }
    assert_int_equal(wheel.count, 0);
    row_wheel_fini(&wheel);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slab_books_chunks_and_stops_at_the_account),
        cmocka_unit_test_setup_teardown(lists_keep_order, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(wheel_gives_rows_in_their_second, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(wheel_gives_past_times_at_once, open_rows, close_rows),
        cmocka_unit_test_setup_teardown(rows_due_beyond_the_round_are_placed_again_some_at_a_time,
                                        open_rows, close_rows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
