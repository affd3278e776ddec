#include "core/htab.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

#define KEYS 600

/* Values index this table of keys; hashes may be made to collide on purpose. */
struct keys {
    uint32_t keys[KEYS];
};

static bool key_equal(const void *context, uint64_t value, const void *key)
{
    return ((const struct keys *)context)->keys[value] == *(const uint32_t *)key;
}

static struct slice key_slice(const uint32_t *key)
{
    return slice_make(key, sizeof(*key));
}

static void finds_what_was_inserted_and_nothing_else(void **state)
{
    (void)state;
    static struct keys keys;
    uint32_t slot_count = htab_slots_for(KEYS / 2);
    assert_int_equal(slot_count, 512);
    void *memory = malloc(htab_memory(slot_count));
    struct htab table;
    htab_init(&table, memory, slot_count, 42, key_equal, &keys);
    for (uint32_t i = 0; i < KEYS; i++) {
        keys.keys[i] = i * 3;
    }
    uint64_t value = 0;
    for (uint32_t i = 0; i < KEYS / 2; i++) {
        uint64_t hash = htab_hash(&table, key_slice(&keys.keys[i]));
        assert_false(htab_find(&table, hash, &keys.keys[i], &value));
        assert_true(htab_insert(&table, hash, i));
        assert_true(htab_find(&table, hash, &keys.keys[i], &value));
        assert_int_equal(value, i);
    }
    for (uint32_t i = 0; i < KEYS; i++) {
        uint64_t hash = htab_hash(&table, key_slice(&keys.keys[i]));
        assert_int_equal(htab_find(&table, hash, &keys.keys[i], &value), i < KEYS / 2);
    }
    free(memory);
}

static void a_full_table_refuses_until_it_is_grown(void **state)
{
    (void)state;
    static struct keys keys;
    struct htab_slot small[4];
    struct htab_slot large[16];
    struct htab table;
    htab_init(&table, small, COUNT_OF(small), 7, key_equal, &keys);
    for (uint32_t i = 0; i < 4; i++) {
        keys.keys[i] = 100 + i;
        uint64_t hash = htab_hash(&table, key_slice(&keys.keys[i]));
        assert_int_equal(htab_insert(&table, hash, i), i < 3);
    }
    assert_ptr_equal(htab_grow(&table, large, COUNT_OF(large)), small);
    assert_int_equal(table.count, 3);
    uint64_t value = 0;
    for (uint32_t i = 0; i < 3; i++) {
        uint64_t hash = htab_hash(&table, key_slice(&keys.keys[i]));
        assert_true(htab_find(&table, hash, &keys.keys[i], &value));
        assert_int_equal(value, i);
    }
    uint32_t cursor = 0;
    unsigned seen = 0;
    while (htab_next(&table, &cursor, &value)) {
        seen |= 1u << value;
    }
    assert_int_equal(seen, 7);
}

static void the_seed_changes_the_hash(void **state)
{
    (void)state;
    struct htab_slot slots[4];
    struct htab table;
    htab_init(&table, slots, COUNT_OF(slots), 1, key_equal, NULL);
    uint64_t one = htab_hash(&table, SLICE("example.com"));
    htab_init(&table, slots, COUNT_OF(slots), 2, key_equal, NULL);
    assert_true(one != htab_hash(&table, SLICE("example.com")));
}

/* Against a plain array; hashes of few bits, so that runs collide, overlap and wrap around. */
static void random_inserts_and_removes_agree_with_a_plain_array(void **state)
{
    (void)state;
    uint64_t seed = 0xD1B54A32D192ED03ull;
    print_message("seed %llx\n", (unsigned long long)seed);
    static struct keys keys;
    static bool present[KEYS];
    static struct htab_slot slots[1024];
    struct htab table;
    htab_init(&table, slots, COUNT_OF(slots), 0, key_equal, &keys);
    uint32_t count = 0;
    for (uint32_t i = 0; i < KEYS; i++) {
        keys.keys[i] = i;
    }
    for (uint32_t step = 0; step < 200000; step++) {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        uint32_t key = (uint32_t)(seed >> 20) % KEYS;
        uint64_t hash = 1000 + key / 8 * 3;
        uint64_t value = 0;
        assert_int_equal(htab_find(&table, hash, &key, &value), present[key]);
        if (present[key]) {
            assert_int_equal(value, key);
            assert_true(htab_remove(&table, hash, &key, &value));
            assert_int_equal(value, key);
            count--;
        } else {
            assert_false(htab_remove(&table, hash, &key, &value));
            assert_true(htab_insert(&table, hash, key));
            count++;
        }
        present[key] = !present[key];
        assert_int_equal(table.count, count);
    }
}

/* Entries that collide, wrap around and go away meanwhile are never lost on the way. */
static void moving_in_steps_keeps_every_entry_reachable(void **state)
{
    (void)state;
    static struct keys keys;
    static struct htab_slot small[512];
    static struct htab_slot large[1024];
    struct htab from;
    struct htab to;
    uint32_t cursor = 0;
    uint64_t value;
    bool removed[384] = {0};
    htab_init(&from, small, COUNT_OF(small), 3, key_equal, &keys);
    htab_init(&to, large, COUNT_OF(large), 3, key_equal, &keys);
    for (uint32_t i = 0; i < 384; i++) {
        keys.keys[i] = i;
        /* All of 32 homes, the last ones of the table among them. */
        assert_true(htab_insert(&from, 480 + i % 32 + (uint64_t)512 * (i + 1), i));
    }
    for (unsigned step = 0; htab_move(&to, &from, &cursor, 3); step++) {
        for (uint32_t i = 0; i < 384; i++) {
            uint64_t hash = 480 + i % 32 + (uint64_t)512 * (i + 1);
            bool found = htab_find(&from, hash, &keys.keys[i], &value) ||
                         htab_find(&to, hash, &keys.keys[i], &value);
            assert_int_equal(found, !removed[i]);
            if (found && i == step * 5 % 384) {
                removed[i] = htab_remove(&from, hash, &keys.keys[i], &value) ||
                             htab_remove(&to, hash, &keys.keys[i], &value);
                assert_true(removed[i]);
            }
        }
    }
    uint32_t left = 0;
    for (uint32_t i = 0; i < 384; i++) {
        left += !removed[i];
    }
    assert_int_equal(to.count, left);
    assert_int_equal(from.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(finds_what_was_inserted_and_nothing_else),
        cmocka_unit_test(a_full_table_refuses_until_it_is_grown),
        cmocka_unit_test(the_seed_changes_the_hash),
        cmocka_unit_test(random_inserts_and_removes_agree_with_a_plain_array),
        cmocka_unit_test(moving_in_steps_keeps_every_entry_reachable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
