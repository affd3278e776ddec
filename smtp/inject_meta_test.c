#include "smtp/inject_meta.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "smtp/named_values.h"

static struct json_reader *reader;
static uint8_t arena_bytes[2 * MIB];

static int set_up(void **state)
{
    (void)state;
    reader = json_reader_open();
    return reader == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    json_reader_close(reader);
    return 0;
}

static const struct json_value *read(struct arena *arena, const char *text)
{
    struct json_problem problem;
    const struct json_value *value =
        json_value_read(reader, slice_from_string(text), arena, &problem);
    assert_non_null(value);
    return value;
}

static const char *put(const char *text, struct buf *buf)
{
    struct arena arena;
    arena_init(&arena, arena_bytes, sizeof(arena_bytes));
    return inject_meta_put(buf, read(&arena, text));
}

static void values_are_kept_as_json_in_their_order(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *kept;
    } cases[] = {
        {"{}", ""},
        {"{\"a\":1}", "a=1;"},
        {"{\"b\":\"x\", \"a\" : [ 1, {\"c\": null}, [], {} ] }",
         "b=\"x\";a=[1,{\"c\":null},[],{}];"},
        {"{\"a\":true,\"b\":false,\"c\":null}", "a=true;b=false;c=null;"},
        {"{\"a\":-9223372036854775808,\"b\":1.5,\"c\":1e300,\"d\":0.1}",
         "a=-9223372036854775808;b=1.5;c=1e+300;d=0.1;"},
        {"{\"a\":\"\\u0007\\r\\n\\u2028\\\"\"}", "a=\"\\u0007\\r\\n\\u2028\\\"\";"},
        {"{\"a\":{\"b\":{\"c\":[[2]]},\"d\":3}}", "a={\"b\":{\"c\":[[2]]},\"d\":3};"},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        uint8_t memory[INJECT_META_BYTES_MAX];
        char shown[2048] = "";
        size_t size = 0;
        struct named_value member;
        struct buf buf;
        buf_init(&buf, memory, sizeof(memory));
        assert_null(put(cases[i].text, &buf));
        struct slice list = buf_slice(&buf);
        while (named_value_next(&list, &member)) {
            size += (size_t)snprintf(shown + size, sizeof(shown) - size, "%.*s=%.*s;",
                                     (int)member.name.size, (const char *)member.name.data,
                                     (int)member.value.size, (const char *)member.value.data);
        }
        assert_string_equal(shown, cases[i].kept);
    }
}

static void what_does_not_fit_is_said(void **state)
{
    (void)state;
    static char text[4096];
    uint8_t memory[INJECT_META_BYTES_MAX];
    struct buf buf;
    for (int size = INJECT_META_BYTES_MAX - 4 - 2 - 1; size <= INJECT_META_BYTES_MAX; size++) {
        snprintf(text, sizeof(text), "{\"a\":\"%0*d\"}", size, 1);
        buf_init(&buf, memory, sizeof(memory));
        assert_int_equal(put(text, &buf) == NULL, size + 4 + 2 <= INJECT_META_BYTES_MAX);
    }
    for (int depth = INJECT_META_DEPTH_MAX; depth <= INJECT_META_DEPTH_MAX + 1; depth++) {
        size_t at = (size_t)snprintf(text, sizeof(text), "{\"a\":");
        for (int i = 0; i < depth; i++) {
            text[at++] = '[';
        }
        for (int i = 0; i < depth; i++) {
            text[at++] = ']';
        }
        text[at++] = '}';
        text[at] = '\0';
        buf_init(&buf, memory, sizeof(memory));
        const char *wrong = put(text, &buf);
        assert_int_equal(wrong == NULL, depth == INJECT_META_DEPTH_MAX);
    }
    for (int size = INJECT_META_NAME_BYTES_MAX; size <= INJECT_META_NAME_BYTES_MAX + 1; size++) {
        snprintf(text, sizeof(text), "{\"%0*d\":1}", size, 1);
        buf_init(&buf, memory, sizeof(memory));
        assert_int_equal(put(text, &buf) == NULL, size == INJECT_META_NAME_BYTES_MAX);
    }
    buf_init(&buf, memory, sizeof(memory));
    assert_non_null(put("{\"\":1}", &buf));
}

static void the_same_metadata_are_equal(void **state)
{
    (void)state;
    static const struct {
        const char *one;
        const char *other;
        bool equal;
    } cases[] = {
        {"{\"a\":[1,{\"b\":2}]}", "{ \"a\" : [1, {\"b\":2}] }", true},
        {"{\"a\":1}", "{\"a\":2}", false},
        {"{\"a\":1}", "{\"b\":1}", false},
        {"{\"a\":1}", "{\"a\":1,\"b\":1}", false},
        {"{\"a\":1}", "{}", false},
        {"{}", "{}", true},
    };
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        struct arena arena;
        arena_init(&arena, arena_bytes, sizeof(arena_bytes));
        const struct json_value *one = read(&arena, cases[i].one);
        const struct json_value *other = read(&arena, cases[i].other);
        assert_int_equal(inject_meta_equal(one, other), cases[i].equal);
        assert_int_equal(inject_meta_equal(one, NULL), one->size == 0);
        assert_int_equal(inject_meta_equal(NULL, other), other->size == 0);
    }
    assert_true(inject_meta_equal(NULL, NULL));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(values_are_kept_as_json_in_their_order),
        TEST(what_does_not_fit_is_said),
        TEST(the_same_metadata_are_equal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
