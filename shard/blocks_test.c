#include "shard/blocks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "core/poison.h"

#include <errno.h>
#include <string.h>

static const uint32_t class_bytes[] = {2 * KIB, 8 * KIB, 32 * KIB, 256 * KIB};

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static void assert_all_free(const struct block_pool *pool, uint32_t units)
{
    assert_int_equal(block_pool_used(pool), 0);
    assert_int_equal(block_pool_free_count(pool, 0), 0);
    assert_int_equal(block_pool_free_count(pool, 1), 0);
    assert_int_equal(block_pool_free_count(pool, 2), 0);
    assert_int_equal(block_pool_free_count(pool, 3), units);
}

static void a_size_asked_for_gets_the_smallest_class_that_holds_it(void **state)
{
    (void)state;
    static const struct {
        size_t bytes;
        unsigned class_index;
    } cases[] = {
        {0, 0},     {1, 0},     {2016, 0},   {2017, 1},   {8160, 1},      {8161, 2},
        {32736, 2}, {32737, 3}, {262112, 3}, {262113, 3}, {100 * MIB, 3},
    };
    struct block_pool *pool = block_pool_open(BLOCK_BYTES_MAX);
    assert_non_null(pool);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct block *block = block_take(pool, cases[i].bytes);
        assert_non_null(block);
        assert_int_equal(block->class_index, cases[i].class_index);
        assert_int_equal(block->capacity, class_bytes[cases[i].class_index] - BLOCK_HEADER_BYTES);
        assert_int_equal(block->size, 0);
        assert_int_equal((uintptr_t)block->data % 8, 0);
        assert_int_equal(block_pool_used(pool), class_bytes[cases[i].class_index]);
        assert_int_equal(block_bytes_for(cases[i].bytes), class_bytes[cases[i].class_index]);
        memset(block->data, 0xA5, block->capacity);
        block_give(pool, block);
        assert_int_equal(IS_POISONED(&block->data[0]), POISON_IN_FORCE);
        assert_int_equal(IS_POISONED((uint8_t *)block + class_bytes[cases[i].class_index] - 1),
                         POISON_IN_FORCE);
        assert_all_free(pool, 1);
    }
    block_pool_close(pool);
}

static void exhaustion_returns_null_and_a_give_makes_room_again(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_open(BLOCK_BYTES_MAX - 1);
    assert_non_null(pool);
    assert_int_equal(block_pool_size(pool), BLOCK_BYTES_MAX);
    struct block *blocks[128];
    for (size_t i = 0; i < 128; i++) {
        blocks[i] = block_take(pool, 1);
        assert_non_null(blocks[i]);
    }
    assert_int_equal(block_pool_used(pool), BLOCK_BYTES_MAX);
    assert_null(block_take(pool, 1));
    /* Four neighbours become one of 8 KiB; three do not. */
    block_give(pool, blocks[8]);
    block_give(pool, blocks[9]);
    block_give(pool, blocks[11]);
    assert_null(block_take(pool, 8160));
    block_give(pool, blocks[10]);
    blocks[8] = block_take(pool, 8160);
    assert_non_null(blocks[8]);
    assert_null(block_take(pool, 1));
    block_give(pool, blocks[8]);
    for (size_t i = 0; i < 128; i++) {
        if (i < 8 || i > 11) {
            block_give(pool, blocks[i]);
        }
    }
    assert_all_free(pool, 1);
    block_pool_close(pool);
}

static void a_pool_of_nothing_is_refused(void **state)
{
    (void)state;
    errno = 0;
    assert_null(block_pool_open(0));
    assert_int_equal(errno, EINVAL);
    assert_null(block_pool_open(UINT64_MAX));
    assert_null(block_pool_open(1ull << 61));
    block_pool_close(NULL);
}

/* Takes and gives at random against a plain table of what is held; contents never overlap. */
static void random_takes_and_gives_keep_blocks_apart_and_counts_right(void **state)
{
    (void)state;
    uint64_t seed = 0x9E3779B97F4A7C15ull;
    print_message("seed %llx\n", (unsigned long long)seed);
    struct block_pool *pool = block_pool_open(4 * BLOCK_BYTES_MAX);
    assert_non_null(pool);
    struct block *held[256] = {0};
    uint64_t used = 0;
    for (unsigned step = 0; step < 20000; step++) {
        size_t at = next_random(&seed) % COUNT_OF(held);
        if (held[at] != NULL) {
            uint8_t mark = (uint8_t)at;
            assert_int_equal(held[at]->data[0], mark);
            assert_int_equal(held[at]->data[held[at]->capacity - 1], mark);
            used -= class_bytes[held[at]->class_index];
            block_give(pool, held[at]);
            held[at] = NULL;
        } else {
            unsigned class_index = (unsigned)(next_random(&seed) % 16);
            class_index = class_index < 9 ? 0 : class_index < 13 ? 1 : class_index < 15 ? 2 : 3;
            held[at] = block_take(pool, class_bytes[class_index] - BLOCK_HEADER_BYTES);
            if (held[at] != NULL) {
                held[at]->data[0] = (uint8_t)at;
                held[at]->data[held[at]->capacity - 1] = (uint8_t)at;
                used += class_bytes[held[at]->class_index];
            }
        }
        assert_int_equal(block_pool_used(pool), used);
        uint64_t free_bytes = 0;
        for (unsigned i = 0; i < BLOCK_CLASS_COUNT; i++) {
            free_bytes += (uint64_t)block_pool_free_count(pool, i) * class_bytes[i];
        }
        assert_int_equal(free_bytes + used, block_pool_size(pool));
    }
    for (size_t i = 0; i < COUNT_OF(held); i++) {
        if (held[i] != NULL) {
            block_give(pool, held[i]);
        }
    }
    assert_all_free(pool, 4);
    block_pool_close(pool);
}

static void a_chain_grows_by_class_and_copies_out_any_range(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_open(2 * BLOCK_BYTES_MAX);
    assert_non_null(pool);
    struct chain chain;
    chain_init(&chain);
    assert_null(chain_last(&chain));
    for (uint32_t i = 0; i < 25000; i++) {
        assert_true(chain_append(&chain, pool, slice_make(&i, sizeof(i))));
    }
    assert_int_equal(chain.size, 100000);
    unsigned class_index = 0;
    for (struct list *node = chain.blocks.next; node != &chain.blocks; node = node->next) {
        assert_int_equal(CONTAINER_OF(node, struct block, link)->class_index, class_index);
        class_index++;
    }
    assert_int_equal(class_index, 4);
    assert_int_equal(chain_block_bytes(&chain), block_pool_used(pool));
    for (uint32_t i = 0; i < 25000; i += 7) {
        uint32_t value = 0;
        chain_copy_out(&chain, (uint64_t)i * sizeof(i), sizeof(i), &value);
        assert_int_equal(value, i);
    }
    static uint8_t whole[100000];
    chain_copy_out(&chain, 0, sizeof(whole), whole);
    assert_int_equal(whole[99996] | whole[99997] << 8, 24999);
    chain_copy_out(&chain, 100000, 0, whole);
    struct chain other;
    chain_init(&other);
    assert_true(chain_append(&other, pool, SLICE("abc")));
    chain_move(&other, &chain);
    assert_int_equal(other.size, 100003);
    assert_int_equal(chain.size, 0);
    assert_null(chain_last(&chain));
    uint8_t edge[4];
    chain_copy_out(&other, 2, 4, edge);
    assert_memory_equal(edge, "c\0\0\0", 4);
    chain_clear(&other, pool);
    chain_clear(&other, pool);
    assert_all_free(pool, 2);
    block_pool_close(pool);
}

static void a_chain_takes_smaller_blocks_when_large_ones_are_out(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_open(BLOCK_BYTES_MAX);
    assert_non_null(pool);
    struct block *pin = block_take(pool, 1);
    struct chain chain;
    chain_init(&chain);
    static const uint8_t zeros[BLOCK_BYTES_MAX];
    struct block *block = chain_room(&chain, pool, BLOCK_BYTES_MAX);
    assert_non_null(block);
    assert_int_equal(block->class_index, 2);
    assert_ptr_equal(chain_room(&chain, pool, 1), block);
    /* Everything but the pinned 2 KiB can be filled, then the append fails. */
    assert_false(chain_append(&chain, pool, slice_make(zeros, sizeof(zeros))));
    assert_int_equal(block_pool_used(pool), BLOCK_BYTES_MAX);
    assert_null(chain_room(&chain, pool, 1));
    chain_clear(&chain, pool);
    block_give(pool, pin);
    assert_all_free(pool, 1);
    block_pool_close(pool);
}

/* However small and scattered what clients hold. */
static void f08_what_receives_never_takes_of_the_reserve(void **state)
{
    (void)state;
    static const struct {
        uint64_t units;
        uint64_t reserve;
    } rows[] = {{1, 0}, {2, 1}, {8, 4}, {9, 4}, {40, 5}, {224, 28}};
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct block_pool *pool = block_pool_open(rows[i].units * BLOCK_BYTES_MAX);
        assert_non_null(pool);
        block_pool_set_reserve(pool);
        struct block_pool *receiving = block_pool_receiving(pool);
        uint64_t common = (rows[i].units - rows[i].reserve) * BLOCK_BYTES_MAX;
        assert_int_equal(block_pool_size(pool), rows[i].units * BLOCK_BYTES_MAX);
        assert_int_equal(block_pool_size(receiving), common);
        struct chain held;
        chain_init(&held);
        for (struct block *block; (block = block_take(receiving, 1)) != NULL;) {
            list_push_back(&held.blocks, &block->link);
        }
        assert_int_equal(block_pool_used(receiving), common);
        assert_int_equal(block_pool_used(pool), common);
        assert_int_equal(block_pool_free_count(pool, 3), rows[i].reserve);
        for (uint64_t unit = 0; unit < rows[i].reserve; unit++) {
            struct block *block = block_take(pool, BLOCK_DATA_BYTES_MAX);
            assert_non_null(block);
            list_push_back(&held.blocks, &block->link);
        }
        assert_null(block_take(pool, 1));
        assert_int_equal(block_pool_used(receiving), common);
        chain_clear(&held, i % 2 == 0 ? pool : receiving);
        assert_all_free(pool, (uint32_t)rows[i].units);
        block_pool_close(pool);
    }
}

/* A peer that does not read its mail holds common blocks, as long as there are any. */
static void f08_sending_takes_the_reserve_last(void **state)
{
    (void)state;
    struct block_pool *pool = block_pool_open(8 * BLOCK_BYTES_MAX);
    assert_non_null(pool);
    block_pool_set_reserve(pool);
    struct chain held;
    chain_init(&held);
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(block_pool_used(block_pool_receiving(pool)), i * BLOCK_BYTES_MAX);
        struct block *block = block_take(pool, BLOCK_DATA_BYTES_MAX);
        assert_non_null(block);
        list_push_back(&held.blocks, &block->link);
    }
    assert_int_equal(block_pool_used(block_pool_receiving(pool)), 4 * BLOCK_BYTES_MAX);
    assert_null(block_take(block_pool_receiving(pool), 1));
    chain_clear(&held, pool);
    assert_all_free(pool, 8);
    block_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_size_asked_for_gets_the_smallest_class_that_holds_it),
        cmocka_unit_test(exhaustion_returns_null_and_a_give_makes_room_again),
        cmocka_unit_test(a_pool_of_nothing_is_refused),
        cmocka_unit_test(random_takes_and_gives_keep_blocks_apart_and_counts_right),
        cmocka_unit_test(a_chain_grows_by_class_and_copies_out_any_range),
        cmocka_unit_test(a_chain_takes_smaller_blocks_when_large_ones_are_out),
        cmocka_unit_test(f08_what_receives_never_takes_of_the_reserve),
        cmocka_unit_test(f08_sending_takes_the_reserve_last),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
