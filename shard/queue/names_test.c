#include "shard/queue/names.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define COUNT_MAX 300000u

static struct account account;
static struct queue_names names;
static struct queue_name *kept; /* by number */

static bool name_equal(const void *context, uint64_t value, const void *key)
{
    (void)context;
    return slice_equal(queue_names_text(&names, kept[value]), *(const struct slice *)key);
}

static int names_open(void **state)
{
    (void)state;
    account = (struct account){.limit = 1024 * MIB};
    kept = calloc(COUNT_MAX, sizeof(*kept));
    return queue_names_init(&names, &account, COUNT_MAX, 7, name_equal, NULL);
}

static int names_close(void **state)
{
    (void)state;
    queue_names_fini(&names);
    free(kept);
    return account_used(&account) != 0;
}

/* Of the lengths that there are, all of them. */
static struct slice name_of(uint32_t number)
{
    static char text[QUEUE_NAME_BYTES_MAX];
    int size = snprintf(text, sizeof(text), "%u", number);
    size_t bytes = (size_t)size + number % (QUEUE_NAME_BYTES_MAX - 8);
    memset(text + size, 'x', bytes - (size_t)size);
    return slice_make(text, bytes);
}

static void names_of_every_length_are_found_and_their_room_is_used_again(void **state)
{
    (void)state;
    uint32_t number;
    for (unsigned turn = 0; turn < 3; turn++) {
        for (uint32_t i = 0; i < 3000; i++) {
            assert_false(queue_names_find(&names, name_of(i), &number));
            assert_true(queue_names_add(&names, name_of(i), i, &kept[i]));
        }
        for (uint32_t i = 0; i < 3000; i++) {
            assert_true(queue_names_find(&names, name_of(i), &number));
            assert_int_equal(number, i);
            assert_true(slice_equal(queue_names_text(&names, kept[i]), name_of(i)));
        }
        for (uint32_t i = 0; i < 3000; i++) {
            queue_names_remove(&names, kept[i]);
        }
        assert_int_equal(queue_names_count(&names), 0);
    }
    /* 3,000 names of 360 bytes on average, once. */
    assert_in_range(names.fresh, 3000 * 350, 3000 * 400);
}

/* A table of hundreds of thousands grows by a few entries with each change. */
static void a_growing_table_knows_every_name_at_every_moment(void **state)
{
    (void)state;
    char text[32];
    uint32_t number;
    unsigned growing = 0;
    for (uint32_t i = 0; i < COUNT_MAX; i++) {
        int size = snprintf(text, sizeof(text), "d%u.example", i);
        assert_true(queue_names_add(&names, slice_make(text, (size_t)size), i, &kept[i]));
        growing += names.old.slots != NULL;
        uint32_t probe = (i * 2654435761u) % (i + 1);
        size = snprintf(text, sizeof(text), "d%u.example", probe);
        bool removed = kept[probe].bytes == 0;
        assert_int_equal(queue_names_find(&names, slice_make(text, (size_t)size), &number),
                         !removed);
        if (!removed && i % 5 == 0) {
            assert_int_equal(number, probe);
            queue_names_remove(&names, kept[probe]);
            kept[probe].bytes = 0;
        }
    }
    assert_in_range(growing, 1000, COUNT_MAX / 2);
    uint32_t there = 0;
    for (uint32_t i = 0; i < COUNT_MAX; i++) {
        int size = snprintf(text, sizeof(text), "d%u.example", i);
        bool found = queue_names_find(&names, slice_make(text, (size_t)size), &number);
        assert_int_equal(found, kept[i].bytes > 0);
        there += found;
    }
    assert_int_equal(there, queue_names_count(&names));
    /* 32 bytes of text and at most 43 of the table each, of those there were at once. */
    assert_true(account_used(&account) <= (uint64_t)COUNT_MAX * (32 + 43) + 2 * MIB);
}

static void without_memory_a_name_is_refused_and_nothing_is_kept(void **state)
{
    (void)state;
    account.limit = account_used(&account);
    assert_false(queue_names_add(&names, SLICE("a.test"), 0, &kept[0]));
    account.limit += 64 * KIB; /* of text; too little for a larger table with it */
    char text[32];
    uint32_t number = 0;
    int size = snprintf(text, sizeof(text), "d%u", number);
    while (queue_names_add(&names, slice_make(text, (size_t)size), number, &kept[number])) {
        number++;
        size = snprintf(text, sizeof(text), "d%u", number);
    }
    assert_int_equal(number, 1536); /* three quarters of 2,048 slots */
    assert_false(queue_names_find(&names, slice_make(text, (size_t)size), &number));
    queue_names_remove(&names, kept[5]);
    assert_true(queue_names_add(&names, SLICE("d5"), 5, &kept[5]));
    account.limit += 128 * KIB;
    assert_true(queue_names_add(&names, SLICE("last"), 1536, &kept[1536]));
}

int main(void)
{
#define NAMES_TEST(name) cmocka_unit_test_setup_teardown(name, names_open, names_close)
    const struct CMUnitTest tests[] = {
        NAMES_TEST(names_of_every_length_are_found_and_their_room_is_used_again),
        NAMES_TEST(a_growing_table_knows_every_name_at_every_moment),
        NAMES_TEST(without_memory_a_name_is_refused_and_nothing_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
