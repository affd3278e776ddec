#include "smtp/body_cursor.h"

#include "core/little.h"
#include "core/prng.h"
#include "shard/ring.h"
#include "smtp/content.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#define PARTS_MAX 4
#define BODY_MAX  4000
#define WIRE_MAX  (4 * BODY_MAX)

struct world {
    struct block_pool *pool;
    struct message message;
    struct chain parts[PARTS_MAX];
    struct spool_part part_list[PARTS_MAX];
    uint8_t body[BODY_MAX];
    size_t body_bytes;
    uint8_t dots[BODY_MAX * 4];
    uint8_t cuts[64];
};

static int set_up(void **state)
{
    struct world *world = calloc(1, sizeof(*world));
    world->pool = block_pool_open(MIB);
    chain_init(&world->message.body);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        chain_init(&world->parts[i]);
    }
    *state = world;
    return world->pool == NULL;
}

static int tear_down(void **state)
{
    struct world *world = *state;
    block_pool_close(world->pool);
    free(world);
    return 0;
}

static void empty(struct world *world)
{
    chain_clear(&world->message.body, world->pool);
    for (size_t i = 0; i < PARTS_MAX; i++) {
        chain_clear(&world->parts[i], world->pool);
    }
    world->message = (struct message){0};
    chain_init(&world->message.body);
}

/* Blocks that hold at most `run` bytes each, so that lines are split at every place. */
static void append_runs(struct world *world, struct chain *chain, struct slice bytes, size_t run)
{
    while (bytes.size > 0) {
        size_t size = MIN_OF(run, bytes.size);
        struct block *block = block_take(world->pool, size);
        assert_non_null(block);
        memcpy(block->data, bytes.data, size);
        block->size = (uint32_t)size;
        list_push_back(&chain->blocks, &block->link);
        chain->size += size;
        bytes = slice_skip(bytes, size);
    }
}

static void set_body(struct world *world, struct slice body, size_t run)
{
    empty(world);
    memcpy(world->body, body.data, body.size);
    world->body_bytes = body.size;
    world->message.body_bytes = body.size;
    append_runs(world, &world->message.body, body, run);
}

static void list_dots(struct world *world)
{
    size_t count = 0;
    for (size_t i = 0; i < world->body_bytes; i++) {
        if (world->body[i] == '.' && (i == 0 || world->body[i - 1] == '\n')) {
            little_put_u32(world->dots + 4 * count++, (uint32_t)i);
        }
    }
    world->message.dots = slice_make(world->dots, 4 * count);
}

/* Byte by byte, by definition. */
static size_t reference(const struct world *world, enum body_mode mode, uint8_t *out)
{
    const struct message *message = &world->message;
    uint8_t plain[WIRE_MAX];
    size_t plain_bytes = 0;
    for (size_t i = 0; i < message->prepend.size; i++) {
        plain[plain_bytes++] = message->prepend.data[i];
    }
    for (size_t i = 0; i < world->body_bytes; i++) {
        bool cut = false;
        for (size_t c = 0; c < message->cuts.size; c += 8) {
            uint32_t start = little_u32(message->cuts.data + c);
            cut = cut || (i >= start && i - start < little_u32(message->cuts.data + c + 4));
        }
        if (!cut) {
            plain[plain_bytes++] = world->body[i];
        }
    }
    size_t size = 0;
    for (size_t i = 0; i < plain_bytes; i++) {
        bool line_start = i == 0 || plain[i - 1] == '\n';
        if (mode == BODY_DATA && line_start && plain[i] == '.') {
            out[size++] = '.';
        }
        out[size++] = plain[i];
    }
    if (mode == BODY_DATA) {
        if (plain_bytes > 0 && plain[plain_bytes - 1] != '\n') {
            memcpy(out + size, "\r\n", 2);
            size += 2;
        }
        memcpy(out + size, ".\r\n", 3);
        size += 3;
    }
    return size;
}

/* Runs the cursor to its end and gathers what it says. */
static size_t gather(struct world *world, enum body_mode mode, unsigned capacity, size_t bytes_max,
                     uint8_t *out)
{
    struct body_cursor cursor;
    body_cursor_init(&cursor, &world->message, mode);
    size_t size = 0;
    uint32_t parts = 0;
    for (size_t calls = 0; calls < 20000; calls++) {
        struct iovec iovecs[RING_IOVECS_MAX];
        unsigned count = 0;
        enum body_status status = body_cursor_next(&cursor, iovecs, capacity, bytes_max, &count);
        assert_true(count <= capacity);
        size_t bytes = 0;
        for (unsigned i = 0; i < count; i++) {
            assert_true(iovecs[i].iov_len > 0);
            memcpy(out + size, iovecs[i].iov_base, iovecs[i].iov_len);
            size += iovecs[i].iov_len;
            bytes += iovecs[i].iov_len;
        }
        assert_true(bytes <= bytes_max);
        if (status == BODY_END) {
            assert_int_equal(parts, world->message.part_count);
            assert_int_equal(body_cursor_next(&cursor, iovecs, 1, 16, &count), BODY_END);
            assert_int_equal(count, 0);
            return size;
        }
        if (status == BODY_NEED_PART) {
            assert_int_equal(count, 0);
            assert_int_equal(cursor.part, parts);
            body_cursor_give(&cursor, &world->parts[parts++]);
        } else {
            assert_true(count > 0);
        }
    }
    fail_msg("the cursor does not end");
    return 0;
}

static void check(struct world *world, unsigned capacity, size_t bytes_max)
{
    uint8_t expected[WIRE_MAX];
    uint8_t got[WIRE_MAX];
    for (enum body_mode mode = BODY_DATA; mode <= BODY_BDAT; mode++) {
        size_t expected_bytes = reference(world, mode, expected);
        size_t got_bytes = gather(world, mode, capacity, bytes_max, got);
        assert_int_equal(got_bytes, expected_bytes);
        assert_memory_equal(got, expected, expected_bytes);
        if (mode == BODY_BDAT) {
            assert_int_equal(got_bytes, body_size(&world->message));
        }
    }
}

static void content_is_stuffed_ended_and_closed(void **state)
{
    static const char *bodies[] = {
        "", ".", "..", ".\r\n", "a", "a\r\n", "\r\n", "\r\n.", "\r\n.\r\n", ".\r\n.\r\n",
        "a\r\n.b\r\n..c\r\n\r\n.", "a.\r\nb.c\r\n", "line\r\n...\r\nno end",
    };
    struct world *world = *state;
    for (size_t i = 0; i < COUNT_OF(bodies); i++) {
        for (size_t run = 1; run < 6; run++) {
            for (unsigned unlisted = 0; unlisted < 2; unlisted++) {
                set_body(world, slice_from_string(bodies[i]), run);
                if (unlisted) {
                    world->message.flags = SPOOL_MESSAGE_DOTS_UNLISTED;
                } else {
                    list_dots(world);
                }
                check(world, 1, 16);
                check(world, RING_IOVECS_MAX, 100000);
                world->message.prepend = SLICE("Received: x\r\n");
                check(world, 2, 17);
            }
        }
    }
}

static void one_iovec_a_block_when_there_is_nothing_to_change(void **state)
{
    struct world *world = *state;
    set_body(world, SLICE("Subject: x\r\n\r\nhello\r\n"), 1000);
    world->message.prepend = SLICE("Received: x\r\n");
    struct body_cursor cursor;
    body_cursor_init(&cursor, &world->message, BODY_DATA);
    struct iovec iovecs[RING_IOVECS_MAX];
    unsigned count = 0;
    assert_int_equal(body_cursor_next(&cursor, iovecs, RING_IOVECS_MAX, 100000, &count), BODY_END);
    assert_int_equal(count, 3);
    const struct block *block = chain_last(&world->message.body);
    assert_ptr_equal(iovecs[1].iov_base, block->data); /* not copied */
    assert_int_equal(iovecs[1].iov_len, 21);
    assert_int_equal(iovecs[2].iov_len, 3);
}

static void cuts_leave_out_whole_lines(void **state)
{
    struct world *world = *state;
    struct slice body = SLICE("A: 1\r\n.B: 2\r\nC: 3\r\n\r\n.x\r\n");
    for (size_t run = 1; run < 9; run++) {
        for (unsigned unlisted = 0; unlisted < 2; unlisted++) {
            set_body(world, body, run);
            little_put_u32(world->cuts, 6);
            little_put_u32(world->cuts + 4, 7); /* .B: 2 */
            little_put_u32(world->cuts + 8, 13);
            little_put_u32(world->cuts + 12, 6); /* C: 3, next to it */
            world->message.cuts = slice_make(world->cuts, 16);
            if (unlisted) {
                world->message.flags = SPOOL_MESSAGE_DOTS_UNLISTED;
            } else {
                list_dots(world);
            }
            uint8_t wire[WIRE_MAX];
            size_t size = gather(world, BODY_DATA, 3, 16, wire);
            assert_true(slice_equal(slice_make(wire, size), SLICE("A: 1\r\n\r\n..x\r\n.\r\n")));
            check(world, 1, 16);
            check(world, 64, 1000);
        }
    }
}

/* Cuts the body into parts of random sizes, each a chain of its own. */
static void make_parts(struct world *world, struct prng *prng, size_t run)
{
    struct message *message = &world->message;
    chain_clear(&message->body, world->pool);
    struct slice rest = slice_make(world->body, world->body_bytes);
    for (uint32_t i = 0; i < PARTS_MAX; i++) {
        size_t left = PARTS_MAX - 1 - i; /* parts to come; none is empty */
        size_t size = left == 0 ? rest.size : 1 + prng_below(prng, rest.size - left);
        append_runs(world, &world->parts[i], slice_first(rest, size), run);
        world->part_list[i] = (struct spool_part){.size = (uint32_t)size};
        rest = slice_skip(rest, size);
    }
    message->parts = world->part_list;
    message->part_count = PARTS_MAX;
    message->flags |= SPOOL_MESSAGE_PARTS;
}

static struct slice random_body(struct prng *prng, uint8_t *out)
{
    size_t size = 0;
    size_t lines = prng_below(prng, 40);
    for (size_t i = 0; i < lines; i++) {
        size_t length = prng_below(prng, 20);
        for (size_t k = 0; k < length; k++) {
            out[size++] = (uint8_t)"..ab"[prng_below(prng, 4)];
        }
        if (i + 1 < lines || prng_below(prng, 2) == 0) {
            memcpy(out + size, "\r\n", 2);
            size += 2;
        }
    }
    return slice_make(out, size);
}

/* Up to two cuts of whole lines. */
static void random_cuts(struct world *world, struct prng *prng)
{
    size_t count = 0;
    uint32_t at = 0;
    const uint8_t *body = world->body;
    while (at < world->body_bytes && count < 2) {
        const uint8_t *end = memchr(body + at, '\n', world->body_bytes - at);
        if (end == NULL) {
            break;
        }
        uint32_t size = (uint32_t)(end - (body + at)) + 1;
        if (prng_below(prng, 4) == 0) {
            little_put_u32(world->cuts + 8 * count, at);
            little_put_u32(world->cuts + 8 * count + 4, size);
            count++;
        }
        at += size;
    }
    world->message.cuts = slice_make(world->cuts, 8 * count);
}

static void any_message_matches_the_reference(void **state)
{
    struct world *world = *state;
    const uint64_t seed = 20240611;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_seed(&prng, seed);
    for (unsigned round = 0; round < 1500; round++) {
        uint8_t bytes[BODY_MAX];
        size_t run = 1 + prng_below(&prng, 30);
        set_body(world, random_body(&prng, bytes), run);
        random_cuts(world, &prng);
        if (prng_below(&prng, 2) == 0) {
            world->message.flags = SPOOL_MESSAGE_DOTS_UNLISTED;
        } else {
            list_dots(world);
        }
        if (prng_below(&prng, 2) == 0) {
            world->message.prepend = SLICE("Received: by x\r\n\t; now\r\n");
        }
        if (prng_below(&prng, 2) == 0 && world->body_bytes >= PARTS_MAX) {
            make_parts(world, &prng, run);
        }
        unsigned capacity = (unsigned)(1 + prng_below(&prng, RING_IOVECS_MAX));
        check(world, capacity, 16 + prng_below(&prng, 300));
    }
}

/* R: what DATA sends is what the content pass of a server stores, but for a missing last CRLF. */
static void data_comes_back_through_the_content_pass(void **state)
{
    struct world *world = *state;
    const uint64_t seed = 77;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_seed(&prng, seed);
    XXH3_state_t *hash = XXH3_createState();
    for (unsigned round = 0; round < 300; round++) {
        uint8_t bytes[BODY_MAX];
        set_body(world, random_body(&prng, bytes), 1 + prng_below(&prng, 50));
        list_dots(world);
        uint8_t wire[WIRE_MAX];
        size_t size = gather(world, BODY_DATA, 5, 64, wire);
        struct content content;
        content_begin(&content, world->pool, hash, MIB, 0, NULL);
        struct slice input = slice_make(wire, size);
        assert_true(content_data(&content, &input));
        assert_int_equal(input.size, 0);
        assert_int_equal(content.fault, CONTENT_OK);
        size_t body = world->body_bytes;
        assert_true(content.size == body ||
                    (content.size == body + 2 && world->body[body - 1] != '\n'));
        uint8_t stored[BODY_MAX];
        chain_copy_out(&content.body, 0, body, stored);
        assert_memory_equal(stored, world->body, body);
        assert_int_equal(content.dots.size, world->message.dots.size);
        content_drop(&content);
    }
    XXH3_freeState(hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(content_is_stuffed_ended_and_closed),
        cmocka_unit_test(one_iovec_a_block_when_there_is_nothing_to_change),
        cmocka_unit_test(cuts_leave_out_whole_lines),
        cmocka_unit_test(any_message_matches_the_reference),
        cmocka_unit_test(data_comes_back_through_the_content_pass),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
