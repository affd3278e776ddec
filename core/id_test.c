#include "core/id.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static void layout_is_that_of_a_version_7_uuid(void **state)
{
    (void)state;
    struct id_source source;
    id_source_init(&source, 0x3FF, 0x3ABCDE);
    struct id id = id_next(&source, 0x0123456789ABull * NS_PER_MS + 17);
    char text[ID_TEXT_BYTES + 1] = {0};
    struct buf buf;
    buf_init(&buf, text, ID_TEXT_BYTES);
    id_put(&buf, &id);
    assert_false(buf.overflow);
    assert_string_equal(text, "0123456789ab7000babcdeffc000ffff");
    assert_int_equal(id_ms(&id), 0x0123456789ABull);
    assert_int_equal(id_boot(&id), 0x3ABCDE);
    assert_int_equal(id_index(&id), ID_INDEX_MESSAGE);
    struct id third = id_with_index(id, 3);
    assert_int_equal(id_index(&third), 3);
    assert_memory_equal(third.bytes, id.bytes, 14);
}

static void ids_grow_when_the_clock_stands_or_goes_back(void **state)
{
    (void)state;
    struct id_source source;
    id_source_init(&source, 1, 7);
    struct id last = id_next(&source, 5000 * NS_PER_MS);
    for (uint64_t i = 0; i < 40000; i++) {
        uint64_t wall_ms = i % 3 == 0 ? 4000 : 5000 + i / 20000;
        struct id id = id_next(&source, wall_ms * NS_PER_MS);
        assert_true(memcmp(last.bytes, id.bytes, sizeof(id.bytes)) < 0);
        last = id;
    }
    assert_int_equal(id_ms(&last), 5001);
}

static void a_full_counter_borrows_the_next_millisecond(void **state)
{
    (void)state;
    struct id_source source;
    id_source_init(&source, 1, 7);
    struct id first = id_next(&source, 5000 * NS_PER_MS);
    source.counter = (1u << 26) - 1;
    struct id id = id_next(&source, 5000 * NS_PER_MS);
    assert_int_equal(id_ms(&first), 5000);
    assert_int_equal(id_ms(&id), 5001);
}

static void parse_takes_32_hexadecimal_digits_only(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool valid;
    } rows[] = {
        {"0123456789ab7000babcdeffc000ffff", true},  {"0123456789AB7000BABCDEFFC000FFFF", true},
        {"0123456789ab7000babcdeffc000fff", false},  {"0123456789ab7000babcdeffc000ffff0", false},
        {"0123456789ab7000babcdeffc000fffg", false}, {"", false},
        {" 123456789ab7000babcdeffc000ffff", false},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct id id;
        bool valid = id_parse(slice_from_string(rows[i].text), &id);
        assert_int_equal(valid, rows[i].valid);
        if (valid) {
            char text[ID_TEXT_BYTES];
            struct buf buf;
            buf_init(&buf, text, sizeof(text));
            id_put(&buf, &id);
            assert_true(slice_equal_nocase(buf_slice(&buf), slice_from_string(rows[i].text)));
        }
    }
}

static void event_id_shows_spool_lane_and_sequence(void **state)
{
    (void)state;
    char text[ID_TEXT_BYTES + 1] = {0};
    struct buf buf;
    buf_init(&buf, text, ID_TEXT_BYTES);
    event_id_put(&buf, 0xFEDCBA9876543210ull, 0xABC, 0x123456789ull);
    assert_string_equal(text, "fedcba9876543210abc0000123456789");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layout_is_that_of_a_version_7_uuid),
        cmocka_unit_test(ids_grow_when_the_clock_stands_or_goes_back),
        cmocka_unit_test(a_full_counter_borrows_the_next_millisecond),
        cmocka_unit_test(parse_takes_32_hexadecimal_digits_only),
        cmocka_unit_test(event_id_shows_spool_lane_and_sequence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
