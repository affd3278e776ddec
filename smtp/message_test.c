#include "smtp/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define COUNT_MAX 16

struct stage {
    struct boot_pages pages;
    struct block_pool *blocks;
    struct messages messages;
};

static struct stage stage;

static int set_up(void **state)
{
    (void)state;
    stage = (struct stage){.blocks = block_pool_open(1 * MIB)};
    messages_init(&stage.messages, &stage.pages, stage.blocks, COUNT_MAX, 7);
    return stage.blocks == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    /* Whatever the test did: nothing is left. */
    int left = stage.messages.pool.used != 0 || block_pool_used(stage.blocks) != 0 ||
               stage.messages.kept.count != 0;
    block_pool_close(stage.blocks);
    boot_pages_give(&stage.pages);
    return left;
}

/* At a place of its own, with a head and a body. */
static struct message *message_make(uint32_t segment, uint32_t offset_64, size_t body_bytes)
{
    struct message *message = message_new(&stage.messages);
    assert_non_null(message);
    message->location = (struct spool_location){segment, offset_64};
    message->head = block_take(stage.blocks, 100);
    assert_non_null(message->head);
    for (size_t i = 0; i < body_bytes; i += 1000) {
        static const uint8_t some[1000];
        assert_true(chain_append(&message->body, stage.blocks, slice_make(some, sizeof(some))));
    }
    return message;
}

static void drop(struct message *message)
{
    message_unref(&stage.messages, message);
}

static void the_last_reference_gives_every_block_back(void **state)
{
    (void)state;
    struct message *message = message_make(1, 1, 20000);
    message_ref(message);
    drop(message);
    assert_true(block_pool_used(stage.blocks) > 20000);
    drop(message);
    assert_int_equal(block_pool_used(stage.blocks), 0);
}

static void what_a_message_takes_of_the_blocks_is_known_before_it_is_read(void **state)
{
    (void)state;
    static const struct spool_part parts[3];
    struct message *message = message_make(1, 1, 20000);
    assert_int_equal(message_block_bytes(message), block_pool_used(stage.blocks));
    message->parts = parts;
    message->part_count = COUNT_OF(parts);
    /* A piece of it is read at a time, whatever its size. */
    assert_int_equal(message_block_bytes(message), 2 * KIB + 2 * BLOCK_BYTES_MAX);
    assert_int_equal(message_block_bytes_for(100 * MIB), 2 * KIB + 2 * BLOCK_BYTES_MAX);
    assert_int_equal(message_block_bytes_for(20000), 2 * KIB + 32 * KIB);
    assert_int_equal(message_block_bytes_for(0), 2 * KIB + 2 * KIB);
    drop(message);
}

static void a_kept_message_is_found_by_its_place_alone(void **state)
{
    (void)state;
    struct message *one = message_make(1, 5, 0);
    struct message *two = message_make(5, 1, 0);
    messages_keep(&stage.messages, one, 1);
    messages_keep(&stage.messages, two, 1);
    struct message *found =
        messages_find(&stage.messages, (struct spool_location){.segment = 5, .offset_64 = 1});
    assert_ptr_equal(found, two);
    assert_int_equal(found->refs, 3);
    drop(found);
    assert_null(messages_find(&stage.messages, (struct spool_location){1, 1}));
    message_attempted(&stage.messages, one, 1);
    assert_null(messages_find(&stage.messages, one->location));
    message_attempted(&stage.messages, two, 1);
    drop(one);
    drop(two);
}

static void a_message_is_kept_until_every_row_had_its_first_attempt(void **state)
{
    (void)state;
    struct message *message = message_make(1, 1, 3000);
    struct spool_location place = message->location;
    messages_keep(&stage.messages, message, 3);
    drop(message);
    message = messages_find(&stage.messages, place);
    message_attempted(&stage.messages, message, 2);
    drop(message);
    message = messages_find(&stage.messages, place);
    assert_non_null(message);
    message_attempted(&stage.messages, message, 0); /* a second attempt counts for nothing */
    assert_true(message->kept);
    message_attempted(&stage.messages, message, 1);
    assert_false(message->kept);
    message_attempted(&stage.messages, message, 1); /* one that was loaded again is not kept */
    assert_null(messages_find(&stage.messages, place));
    drop(message);
}

static void shedding_takes_the_oldest_that_nobody_sends_until_there_is_room(void **state)
{
    (void)state;
    struct message *sent = NULL;
    for (uint32_t i = 0; i < 10; i++) {
        struct message *message = message_make(1, i, 20000);
        messages_keep(&stage.messages, message, 1);
        if (i == 0) {
            sent = message; /* a transfer holds it */
        } else {
            drop(message);
        }
    }
    uint64_t before = block_pool_used(stage.blocks);
    messages_shed(&stage.messages, 100);
    assert_int_equal(block_pool_used(stage.blocks), before);
    messages_shed(&stage.messages, 20);
    assert_true(block_pool_used(stage.blocks) <= block_pool_size(stage.blocks) / 100 * 20);
    assert_true(block_pool_used(stage.blocks) > block_pool_size(stage.blocks) / 100 * 10);
    assert_true(sent->kept);
    assert_null(messages_find(&stage.messages, (struct spool_location){1, 1}));
    struct message *youngest = messages_find(&stage.messages, (struct spool_location){1, 9});
    assert_non_null(youngest);
    drop(youngest);
    messages_shed(&stage.messages, 0);
    assert_int_equal(stage.messages.kept.count, 1);
    drop(sent);
    messages_shed(&stage.messages, 0);
}

static void shedding_takes_some_thousand_at_a_time(void **state)
{
    enum { COUNT = MESSAGES_SHED_MAX + 10 };
    (void)tear_down(state);
    stage = (struct stage){.blocks = block_pool_open(64 * MIB)};
    messages_init(&stage.messages, &stage.pages, stage.blocks, COUNT, 7);
    for (uint32_t i = 0; i < COUNT; i++) {
        struct message *message = message_make(1, i, 0);
        messages_keep(&stage.messages, message, 1);
        drop(message);
    }
    messages_shed(&stage.messages, 0);
    assert_int_equal(stage.messages.kept.count, 10);
    messages_shed(&stage.messages, 0);
    assert_int_equal(stage.messages.kept.count, 0);
}

static void an_exhausted_pool_gives_no_message(void **state)
{
    (void)state;
    struct message *messages[COUNT_MAX];
    for (uint32_t i = 0; i < COUNT_MAX; i++) {
        messages[i] = message_make(1, i, 0);
        messages_keep(&stage.messages, messages[i], 1); /* the table has room for all */
    }
    assert_null(message_new(&stage.messages));
    for (uint32_t i = 0; i < COUNT_MAX; i++) {
        message_attempted(&stage.messages, messages[i], 1);
        drop(messages[i]);
    }
}

static void a_load_is_taken_over_whole_and_left_empty(void **state)
{
    (void)state;
    struct message *message = message_new(&stage.messages);
    struct spool_load load = {.location = {3, 4}, .created_ns = 9, .flags = 1, .body_bytes = 5};
    chain_init(&load.body);
    load.head = block_take(stage.blocks, 10);
    load.envelope = SLICE("envelope");
    assert_true(chain_append(&load.body, stage.blocks, SLICE("hello")));
    message_from_load(message, &load);
    assert_null(load.head);
    assert_int_equal(load.body.size, 0);
    assert_int_equal(message->body.size, 5);
    assert_int_equal(message->location.segment, 3);
    assert_int_equal(message->created_ns, 9);
    assert_true(slice_equal(message->envelope, SLICE("envelope")));
    drop(message);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_last_reference_gives_every_block_back),
        TEST(what_a_message_takes_of_the_blocks_is_known_before_it_is_read),
        TEST(a_kept_message_is_found_by_its_place_alone),
        TEST(a_message_is_kept_until_every_row_had_its_first_attempt),
        TEST(shedding_takes_the_oldest_that_nobody_sends_until_there_is_room),
        TEST(shedding_takes_some_thousand_at_a_time),
        TEST(an_exhausted_pool_gives_no_message),
        TEST(a_load_is_taken_over_whole_and_left_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
