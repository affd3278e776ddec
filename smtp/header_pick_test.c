#include "smtp/header_pick.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/named_values.h"

static const struct slice listed[] = {{(const uint8_t *)"Subject", 7}, {(const uint8_t *)"x-*", 3}};
static const struct conf_names names = {.names = listed, .count = COUNT_OF(listed)};

static struct block_pool *pool;

static int set_up(void **state)
{
    (void)state;
    pool = block_pool_open(4 * MIB);
    return pool == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    bool leaked = block_pool_used(pool) != 0;
    block_pool_close(pool);
    return leaked;
}

/* The piece in memory of its own, so that a look behind it is seen. */
static void take(struct header_pick *pick, struct slice bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    header_pick_take(pick, pool, slice_make(copy, bytes.size));
    free(copy);
}

/* "name=value|name=value" */
static const char *shown(const struct header_pick *pick)
{
    static char text[4 * HEADER_PICK_BYTES_MAX];
    struct slice list = header_pick_list(pick);
    struct named_value field;
    size_t size = 0;
    text[0] = 0;
    while (named_value_next(&list, &field)) {
        size += (size_t)snprintf(text + size, sizeof(text) - size, "%s%.*s=%.*s",
                                 size == 0 ? "" : "|", (int)field.name.size,
                                 (const char *)field.name.data, (int)field.value.size,
                                 (const char *)field.value.data);
    }
    assert_int_equal(list.size, 0);
    return text;
}

static const struct {
    const char *text;
    const char *picked;
} messages[] = {
    {"Subject: a\r\n\r\n", "Subject=a"},
    {"From: b\r\nsubJECT:a b\r\nTo: c\r\n\r\n", "subJECT=a b"},
    {"Subject: a\r\n b\r\n\tc\r\nX-Y: d\r\n\r\n", "Subject=a b c|X-Y=d"},
    {"Subject:\r\n a\r\n\r\n", "Subject=a"},
    {"Subject:   a \t \r\n  \r\n\r\n", "Subject=a"},
    {"Subject:\r\nX-:\r\n\r\n", "Subject=|X-="},
    {"Subject \t: a\r\n\r\n", "Subject=a"},
    {"Subject x: a\r\n\r\n", ""},
    {"Subject\r\nX-A: b\r\n\r\n", "X-A=b"},
    {"Subjects: a\r\nSub: b\r\nX: c\r\n: d\r\n\r\n", ""},
    {"A: b\r\n Subject: no\r\n\r\n", ""},
    {"X-A: 1\r\nx-a: 2\r\nX-A: 3\r\n\r\n", "X-A=1|x-a=2|X-A=3"},
    {"X-A: b", "X-A=b"},
    {"X-A: b\r\n", "X-A=b"},
    {"X-A: b\r\n c", "X-A=b c"},
    {"X-A: a:b = c|d\r\n\r\n", "X-A=a:b = c|d"},
    {"X-A", ""},
    {"", ""},
    {"\r\n", ""},
    {" Subject: a\r\n\r\n", ""},
};

static void expect(struct header_pick *pick, size_t i)
{
    header_pick_end(pick);
    if (strcmp(shown(pick), messages[i].picked) != 0) {
        fail_msg("\"%s\": \"%s\"", messages[i].text, shown(pick));
    }
    assert_int_equal(pick->block == NULL, messages[i].picked[0] == '\0');
    header_pick_drop(pick, pool);
}

static void fields_that_are_listed_are_picked_at_every_split(void **state)
{
    (void)state;
    struct header_pick pick;
    for (size_t i = 0; i < COUNT_OF(messages); i++) {
        struct slice text = slice_from_string(messages[i].text);
        for (size_t split = 0; split <= text.size; split++) {
            header_pick_init(&pick, &names);
            take(&pick, slice_first(text, split));
            take(&pick, slice_skip(text, split));
            expect(&pick, i);
        }
        header_pick_init(&pick, &names);
        for (size_t at = 0; at < text.size; at++) {
            take(&pick, slice_make(text.data + at, 1));
        }
        expect(&pick, i);
    }
}

static size_t value_bytes(const struct header_pick *pick, unsigned number)
{
    struct slice list = header_pick_list(pick);
    struct named_value field = {0};
    for (unsigned i = 0; i <= number; i++) {
        assert_true(named_value_next(&list, &field));
    }
    assert_true(slice_is_utf8(field.value));
    return field.value.size;
}

/* A value, the list and a name have their maxima; what is cut is cut between characters. */
static void long_fields_are_cut_and_what_has_no_room_is_left_out(void **state)
{
    (void)state;
    static const char *const units[] = {"a", "\xC3\xA9", "\xE2\x82\xAC", "\xF0\x9F\x98\x80"};
    for (size_t u = 0; u < COUNT_OF(units); u++) {
        for (size_t shift = 0; shift < 4; shift++) {
            struct header_pick pick;
            size_t unit = strlen(units[u]);
            header_pick_init(&pick, &names);
            take(&pick, SLICE("Subject: "));
            take(&pick, slice_make("xxxx", shift));
            for (size_t i = 0; i < 2 * HEADER_PICK_VALUE_BYTES_MAX / unit; i++) {
                take(&pick, slice_make(units[u], unit));
            }
            take(&pick, SLICE("\r\nX-B: "));
            for (unsigned i = 0; i < 2000; i++) {
                take(&pick, SLICE("b"));
            }
            take(&pick, SLICE("\r\nX-C: c\r\n\r\n"));
            header_pick_end(&pick);
            size_t whole = (HEADER_PICK_VALUE_BYTES_MAX - shift) / unit * unit + shift;
            assert_int_equal(value_bytes(&pick, 0), whole);
            size_t used = 3 + 7 + HEADER_PICK_VALUE_BYTES_MAX;
            assert_true(value_bytes(&pick, 1) >= HEADER_PICK_BYTES_MAX - used - 3 - 3);
            assert_true(header_pick_list(&pick).size <= HEADER_PICK_BYTES_MAX);
            header_pick_drop(&pick, pool);
        }
    }
}

static void a_name_that_is_too_long_is_none(void **state)
{
    (void)state;
    for (int size = HEADER_PICK_NAME_BYTES_MAX - 1; size <= HEADER_PICK_NAME_BYTES_MAX + 1;
         size++) {
        struct header_pick pick;
        char text[128];
        int total = snprintf(text, sizeof(text), "X-%0*d: a\r\n\r\n", size - 2, 1);
        header_pick_init(&pick, &names);
        take(&pick, slice_make(text, (size_t)total));
        header_pick_end(&pick);
        assert_int_equal(header_pick_list(&pick).size > 0, size <= HEADER_PICK_NAME_BYTES_MAX);
        header_pick_drop(&pick, pool);
    }
}

static void without_a_block_it_says_so(void **state)
{
    (void)state;
    struct block *blocks[64];
    unsigned count = 0;
    while ((blocks[count] = block_take(pool, BLOCK_DATA_BYTES_MAX)) != NULL) {
        count++;
    }
    while ((blocks[count] = block_take(pool, HEADER_PICK_BYTES_MAX)) != NULL && count < 62) {
        count++;
    }
    struct header_pick pick;
    header_pick_init(&pick, &names);
    take(&pick, SLICE("From: a\r\n"));
    assert_false(pick.no_memory);
    if (blocks[count] == NULL) {
        take(&pick, SLICE("Subject: a\r\n\r\n"));
        assert_true(pick.no_memory);
    }
    header_pick_end(&pick);
    header_pick_drop(&pick, pool);
    while (count-- > 0) {
        block_give(pool, blocks[count]);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(fields_that_are_listed_are_picked_at_every_split),
        TEST(long_fields_are_cut_and_what_has_no_room_is_left_out),
        TEST(a_name_that_is_too_long_is_none),
        TEST(without_a_block_it_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
