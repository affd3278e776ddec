#include "tools/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>

static const struct table_column columns[] = {
    {.title = "queue", .flexible = true},
    {.title = "count", .right = true},
    {.title = "reason"},
};

static void put_row(struct table *table, const char *queue, uint64_t count, const char *reason)
{
    table_text(table, slice_from_string(queue));
    table_count(table, count);
    table_text(table, slice_from_string(reason));
}

static void assert_line(const struct table *table, uint32_t row, const char *wanted)
{
    uint8_t bytes[1024];
    struct buf line;
    buf_init(&line, bytes, sizeof(bytes));
    table_line(table, row, &line);
    buf_put_byte(&line, 0);
    assert_string_equal((const char *)bytes, wanted);
}

static void columns_stand_under_their_titles(void **state)
{
    struct table table;
    (void)state;
    table_init(&table, columns, COUNT_OF(columns));
    put_row(&table, "example.com", 1234567, "not_due");
    put_row(&table, "b\xc3\xbc" "cher.test", 8, "");
    table_layout(&table, 0);
    assert_int_equal(table_rows(&table), 2);
    assert_line(&table, TABLE_HEAD, "queue            count  reason");
    assert_line(&table, 0, "example.com  1,234,567  not_due");
    assert_line(&table, 1, "b\xc3\xbc" "cher.test          8  -");
    table_reset(&table);
    assert_int_equal(table_rows(&table), 0);
    table_fini(&table);
}

static void the_flexible_column_gives_way_and_says_so(void **state)
{
    struct table table;
    (void)state;
    table_init(&table, columns, COUNT_OF(columns));
    put_row(&table, "a-very-long-name.example.com", 10, "not_due");
    put_row(&table, "x.test", 1, "none");
    table_layout(&table, 33);
    assert_line(&table, 0, "a-very-long-name\xe2\x80\xa6     10  not_due");
    assert_line(&table, 1, "x.test                 1  none");
    table_layout(&table, 5); /* not below eight columns */
    assert_line(&table, 0, "a-very-\xe2\x80\xa6     10  not_due");
    table_fini(&table);
}

static void o01_a_cell_cannot_move_the_cursor(void **state)
{
    struct table table;
    (void)state;
    table_init(&table, columns, COUNT_OF(columns));
    put_row(&table, "\x1b[2J\r\nx", 1, "a\tb");
    table_layout(&table, 0);
    assert_line(&table, 0, "\\u001b[2J\\r\\nx      1  a\\tb");
    table_fini(&table);
}

static void many_rows_and_huge_cells_have_room(void **state)
{
    enum { ROWS = 2000, HUGE = 100000 };
    struct table table;
    char *huge = malloc(HUGE + 1);
    uint8_t *bytes = malloc(TABLE_LINE_BYTES);
    struct buf line;
    (void)state;
    assert_true(huge != NULL && bytes != NULL);
    for (size_t i = 0; i < HUGE; i++) {
        huge[i] = '\x01';
    }
    huge[HUGE] = 0;
    table_init(&table, columns, COUNT_OF(columns));
    for (unsigned i = 0; i < ROWS; i++) {
        put_row(&table, i == 1000 ? huge : "x.test", i, "none");
    }
    table_layout(&table, 0);
    assert_int_equal(table_rows(&table), ROWS);
    buf_init(&line, bytes, TABLE_LINE_BYTES);
    table_line(&table, 1000, &line);
    assert_false(line.overflow);
    table_layout(&table, 40);
    assert_line(&table, ROWS - 1, "x.test                     1,999  none");
    table_fini(&table);
    free(huge);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_stand_under_their_titles),
        cmocka_unit_test(the_flexible_column_gives_way_and_says_so),
        cmocka_unit_test(o01_a_cell_cannot_move_the_cursor),
        cmocka_unit_test(many_rows_and_huge_cells_have_room),
    };
    readable_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
