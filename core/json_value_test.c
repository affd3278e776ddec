#include "core/json_value.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/buf.h"

#define MEMORY_BYTES (8u * MIB)

struct fixture {
    struct json_reader *reader;
    struct arena arena;
    struct json_problem problem;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof(*fixture));
    void *memory = malloc(MEMORY_BYTES);
    assert_true(fixture != NULL && memory != NULL);
    arena_init(&fixture->arena, memory, MEMORY_BYTES);
    fixture->reader = json_reader_open();
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    json_reader_close(fixture->reader);
    free(fixture->arena.data);
    free(fixture);
    return 0;
}

static const struct json_value *read_text(struct fixture *fixture, struct slice text)
{
    arena_rewind(&fixture->arena, 0);
    return json_value_read(fixture->reader, text, &fixture->arena, &fixture->problem);
}

static void a_document_is_read_with_all_its_kinds(void **state)
{
    struct slice text = SLICE(" {\"s\":\"caf\\u00e9 \\ud83d\\ude00\",\"i\":-5,\"d\":0.5,\"t\":true,"
                              "\"n\":null,\"a\":[1,[],{}],\"o\":{\"k\":\"v\"},\"\":0} ");
    const struct json_value *root = read_text(*state, text);
    assert_non_null(root);
    assert_int_equal(root->kind, JSON_OBJECT);
    assert_int_equal(root->size, 8);
    assert_true(slice_equal(json_value_text(json_value_member(root, SLICE("s"))),
                            SLICE("caf\xC3\xA9 \xF0\x9F\x98\x80")));
    assert_int_equal(json_value_member(root, SLICE("i"))->integer, -5);
    assert_true(json_value_member(root, SLICE("d"))->number == 0.5);
    assert_true(json_value_member(root, SLICE("t"))->boolean);
    assert_int_equal(json_value_member(root, SLICE("n"))->kind, JSON_NULL);
    const struct json_value *array = json_value_member(root, SLICE("a"));
    assert_int_equal(array->kind, JSON_ARRAY);
    assert_int_equal(array->size, 3);
    assert_int_equal(array->elements[0].integer, 1);
    assert_int_equal(array->elements[1].kind, JSON_ARRAY);
    assert_int_equal(array->elements[2].kind, JSON_OBJECT);
    const struct json_value *object = json_value_member(root, SLICE("o"));
    assert_true(slice_equal(json_value_text(json_value_member(object, SLICE("k"))), SLICE("v")));
    assert_int_equal(json_value_member(root, SLICE(""))->kind, JSON_INTEGER);
    assert_null(json_value_member(root, SLICE("absent")));
    assert_null(json_value_member(array, SLICE("k")));
}

static void h09_what_is_no_sound_document_is_refused_with_its_fault(void **state)
{
    const struct {
        struct slice text;
        enum json_fault fault;
    } cases[] = {
        {SLICE(""), JSON_MALFORMED},
        {SLICE("  "), JSON_MALFORMED},
        {SLICE("\xEF\xBB\xBF{}"), JSON_MALFORMED},
        {SLICE("{} x"), JSON_MALFORMED},
        {SLICE("{}{}"), JSON_MALFORMED},
        {SLICE("{},"), JSON_MALFORMED},
        {SLICE("[1,]"), JSON_MALFORMED},
        {SLICE("{\"a\":}"), JSON_MALFORMED},
        {SLICE("{a:1}"), JSON_MALFORMED},
        {SLICE("[NaN]"), JSON_MALFORMED},
        {SLICE("[Infinity]"), JSON_MALFORMED},
        {SLICE("[1e309]"), JSON_BAD_NUMBER},
        {SLICE("[-1e309]"), JSON_BAD_NUMBER},
        {SLICE("[01]"), JSON_BAD_NUMBER},
        {SLICE("[1.]"), JSON_BAD_NUMBER},
        {SLICE("[9223372036854775808]"), JSON_BAD_NUMBER},
        {SLICE("[99999999999999999999999]"), JSON_BAD_NUMBER},
        {SLICE("[\"\xFF\"]"), JSON_BAD_STRING},
        {SLICE("[\"\xED\xA0\x80\"]"), JSON_BAD_STRING},
        {SLICE("[\"\\ud800\"]"), JSON_BAD_STRING},
        {SLICE("[\"\\ud800\\u0041\"]"), JSON_BAD_STRING},
        {SLICE("[\"\\udc00\"]"), JSON_BAD_STRING},
        {SLICE("[\"a\\u0000b\"]"), JSON_BAD_STRING},
        {SLICE("{\"a\\u0000b\":1}"), JSON_BAD_STRING},
        {SLICE("[\"a\nb\"]"), JSON_BAD_STRING},
        {SLICE("[\"\\x\"]"), JSON_BAD_STRING},
        {SLICE("{\"a\":1,\"b\":2,\"a\":3}"), JSON_KEY_TWICE},
        {SLICE("[{\"a\":{\"\":1,\"\":1}}]"), JSON_KEY_TWICE},
        {SLICE("{\"a\":1,\"\\u0061\":3}"), JSON_KEY_TWICE},
    };
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        const struct json_value *root = read_text(fixture, cases[i].text);
        if (root != NULL || fixture->problem.fault != cases[i].fault) {
            fail_msg("case %zu: %.*s: %s", i, (int)cases[i].text.size,
                     (const char *)cases[i].text.data, json_fault_text(fixture->problem.fault));
        }
    }
    assert_true(slice_equal(fixture->problem.key, SLICE("a")));
    assert_non_null(read_text(fixture, SLICE("[9223372036854775807,-9223372036854775808,1e308]")));
}

static void h09_sixty_four_levels_are_read_and_more_are_refused(void **state)
{
    static const size_t depths[] = {1, 63, 64, 65, 66, 100000};
    struct fixture *fixture = *state;
    for (size_t i = 0; i < COUNT_OF(depths); i++) {
        for (unsigned closed = 0; closed < 2; closed++) {
            size_t size = depths[i] * (1 + closed);
            char *text = malloc(size);
            assert_non_null(text);
            memset(text, '[', depths[i]);
            memset(text + depths[i], ']', size - depths[i]);
            const struct json_value *root = read_text(fixture, slice_make(text, size));
            free(text);
            if (closed && depths[i] <= JSON_DEPTH_MAX) {
                assert_non_null(root);
            } else {
                assert_null(root);
                assert_int_equal(fixture->problem.fault, closed ? JSON_TOO_DEEP : JSON_MALFORMED);
            }
        }
    }
}

/* {"k0":0,"k1":1,…} with `count` members, and one more when `more` is its text. */
static struct slice put_members(struct buf *buf, size_t count, struct slice more)
{
    buf_reset(buf);
    buf_put_byte(buf, '{');
    for (size_t i = 0; i < count; i++) {
        buf_put_string(buf, i == 0 ? "\"k" : ",\"k");
        buf_put_u64(buf, i);
        buf_put_string(buf, "\":");
        buf_put_u64(buf, i);
    }
    buf_put(buf, more);
    buf_put_byte(buf, '}');
    assert_false(buf->overflow);
    return buf_slice(buf);
}

static void members_are_found_however_many_there_are(void **state)
{
    static const size_t counts[] = {0, 1, 2, 7, 8, 9, 10, 100, 9999, 10000};
    char *memory = malloc(MIB);
    struct buf buf;
    buf_init(&buf, memory, MIB);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        const struct json_value *root = read_text(*state, put_members(&buf, counts[i], SLICE("")));
        assert_non_null(root);
        assert_int_equal(root->size, counts[i]);
        for (size_t k = 0; k <= counts[i]; k++) {
            char key[16];
            snprintf(key, sizeof(key), "k%zu", k);
            const struct json_value *value = json_value_member(root, slice_from_string(key));
            if (k == counts[i]) {
                assert_null(value);
            } else {
                assert_int_equal(value->integer, k);
                assert_ptr_equal(value, &root->members[k].value); /* in the document's order */
            }
        }
    }
    free(memory);
}

static void h09_a_key_twice_is_named_wherever_it_stands(void **state)
{
    static const size_t counts[] = {2, 8, 9, 1000, 9999};
    struct fixture *fixture = *state;
    char *memory = malloc(MIB);
    struct buf buf;
    buf_init(&buf, memory, MIB);
    for (size_t i = 0; i < COUNT_OF(counts); i++) {
        struct slice text = put_members(&buf, counts[i], SLICE(",\"k1\":0"));
        assert_null(read_text(fixture, text));
        assert_int_equal(fixture->problem.fault, JSON_KEY_TWICE);
        assert_true(slice_equal(fixture->problem.key, SLICE("k1")));
    }
    free(memory);
}

static void h09_a_document_beyond_its_memory_or_its_members_is_refused(void **state)
{
    struct fixture *fixture = *state;
    char *text = malloc(24 * MIB);
    struct buf buf;
    buf_init(&buf, text, 24 * MIB);
    assert_null(read_text(fixture, put_members(&buf, JSON_MEMBERS_MAX + 1, SLICE(""))));
    assert_int_equal(fixture->problem.fault, JSON_TOO_LARGE);
    assert_null(read_text(fixture, put_members(&buf, 1000000, SLICE(""))));
    assert_int_equal(fixture->problem.fault, JSON_TOO_LARGE);
    /* A million numbers, and a string larger than the arena. */
    memset(text, '1', 2000001);
    for (size_t i = 0; i < 2000001; i += 2) {
        text[i] = i == 0 ? '[' : i == 2000000 ? ']' : ',';
    }
    assert_null(read_text(fixture, slice_make(text, 2000001)));
    assert_int_equal(fixture->problem.fault, JSON_TOO_LARGE);
    memset(text, 'x', 24 * MIB);
    text[0] = text[24 * MIB - 1] = '"';
    assert_null(read_text(fixture, slice_make(text, 24 * MIB)));
    assert_int_equal(fixture->problem.fault, JSON_TOO_LARGE);
    /* The reader and the arena are as good as new. */
    assert_non_null(read_text(fixture, SLICE("{\"a\":[1,2]}")));
    free(text);
}

/* Where the parser's count of elements ends, with memory for as many. */
static void h09_an_array_of_more_elements_than_are_counted_is_refused(void **state)
{
    const size_t counted = 0xFFFFFF;
    const size_t size = 2 * (counted + 1000) + 1;
    const size_t memory_bytes = counted * sizeof(struct json_value) + MIB;
    struct fixture *fixture = *state;
    struct arena arena;
    char *text = malloc(size);
    void *memory = malloc(memory_bytes);
    assert_true(text != NULL && memory != NULL);
    for (size_t i = 0; i < size; i += 2) {
        text[i] = ',';
        text[i + 1 < size ? i + 1 : i] = '1';
    }
    text[0] = '[';
    text[size - 1] = ']';
    arena_init(&arena, memory, memory_bytes);
    assert_null(json_value_read(fixture->reader, slice_make(text, size), &arena,
                                &fixture->problem));
    assert_int_equal(fixture->problem.fault, JSON_TOO_LARGE);
    free(memory);
    free(text);
}

static void h09_every_size_of_memory_is_enough_or_refused(void **state)
{
    struct slice text = SLICE("{\"a\":[1,\"two\",{\"b\":null}],\"c\":\"text\"}");
    struct fixture *fixture = *state;
    size_t capacity = fixture->arena.capacity;
    size_t enough = 0;
    assert_non_null(read_text(fixture, text));
    enough = fixture->arena.size;
    for (size_t size = 0; size <= enough; size++) {
        fixture->arena.capacity = size;
        assert_true((read_text(fixture, text) != NULL) == (size == enough));
        assert_true(size == enough || fixture->problem.fault == JSON_TOO_LARGE);
    }
    fixture->arena.capacity = capacity;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_document_is_read_with_all_its_kinds),
        TEST(h09_what_is_no_sound_document_is_refused_with_its_fault),
        TEST(h09_sixty_four_levels_are_read_and_more_are_refused),
        TEST(members_are_found_however_many_there_are),
        TEST(h09_a_key_twice_is_named_wherever_it_stands),
        TEST(h09_a_document_beyond_its_memory_or_its_members_is_refused),
        TEST(h09_an_array_of_more_elements_than_are_counted_is_refused),
        TEST(h09_every_size_of_memory_is_enough_or_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
