/* Records in a ring: what is kept is whole and in order, and who is too slow can know it. */
#include "tsa/outbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct outbox outbox;
static void *memory;

static int set_up(void **state)
{
    (void)state;
    memory = malloc(OUTBOX_MEMORY);
    outbox_init(&outbox, memory);
    return memory == NULL;
}

static int tear_down(void **state)
{
    (void)state;
    free(memory);
    return 0;
}

/* A record that begins at `begin` of the log and is full of a byte that follows from it. */
static void put(uint64_t begin, size_t size)
{
    static uint8_t text[MIB];
    memset(text, (uint8_t)(begin * 31), size);
    const struct outbox_record record = {.text = slice_make(text, size), .begin = begin};
    outbox_put(&outbox, &record);
}

static void check_all(void)
{
    for (uint64_t number = outbox.oldest; number < outbox.next; number++) {
        const struct outbox_record *record = outbox_at(&outbox, number);
        for (size_t i = 0; i < record->text.size; i += 1 + record->text.size / 8) {
            assert_int_equal(record->text.data[i], (uint8_t)(record->begin * 31));
        }
        assert_true(record->begin >= outbox.gone);
        assert_int_equal(outbox_find(&outbox, record->begin), number);
        assert_int_equal(outbox_find(&outbox, record->begin + 1), number + 1);
    }
}

static void records_give_way_to_newer_ones_by_count(void **state)
{
    (void)state;
    assert_int_equal(outbox_find(&outbox, 0), 0);
    for (uint64_t i = 0; i < OUTBOX_RECORDS_MAX + 10; i++) {
        put(i * 2, 1);
    }
    assert_int_equal(outbox.next - outbox.oldest, OUTBOX_RECORDS_MAX);
    assert_int_equal(outbox.oldest, 10);
    assert_int_equal(outbox.gone, 9 * 2 + 1);
    check_all();
}

static void records_give_way_to_newer_ones_by_size(void **state)
{
    static const size_t sizes[] = {1, 1000, 700000, 65536, 3, MIB, 40000};
    uint64_t begin = 0;
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        size_t size = sizes[i % COUNT_OF(sizes)];
        put(begin, size);
        begin += size;
        check_all();
        assert_true(outbox.next > outbox.oldest);
    }
    uint64_t kept = 0;
    for (uint64_t number = outbox.oldest; number < outbox.next; number++) {
        kept += outbox_at(&outbox, number)->text.size;
    }
    assert_true(kept <= OUTBOX_BYTES && kept > OUTBOX_BYTES / 2);
    assert_int_equal(outbox.gone, outbox_at(&outbox, outbox.oldest)->begin -
                                      sizes[(outbox.oldest - 1) % COUNT_OF(sizes)] + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(records_give_way_to_newer_ones_by_count, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(records_give_way_to_newer_ones_by_size, set_up,
                                        tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
