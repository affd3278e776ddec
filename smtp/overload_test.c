#include "smtp/overload.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static struct shard shard;
static unsigned said;
static char text[LOGLINE_BYTES_MAX + 1];

static void put(void *context, struct slice line)
{
    (void)context;
    memcpy(text, line.data, line.size);
    text[line.size] = '\0';
    said++;
}

static struct overload begin(void)
{
    memset(&shard, 0, sizeof(shard));
    shard.now_ns = 5 * NS_PER_S;
    said = 0;
    return (struct overload){.shard = &shard, .log = {.put = put}};
}

static void a_line_is_passed_at_one_share_and_left_at_a_lower_one(void **state)
{
    (void)state;
    static const struct {
        enum overload_line line;
        enum counter counter;
        const char *name;
        uint64_t begins;
        uint64_t ends;
    } rows[] = {
        {OVERLOAD_CONNECTIONS, COUNTER_overload_connections, "of=memory_connections ", 800, 749},
        {OVERLOAD_MAIL, COUNTER_overload_mail, "of=memory_mail ", 900, 849},
        {OVERLOAD_READING, COUNTER_overload_reading, "of=memory_reading ", 970, 919},
        {OVERLOAD_BLOCKS, COUNTER_overload_staging, "of=staging ", 900, 849},
        {OVERLOAD_SLOTS, COUNTER_overload_slots, "of=max_connections ", 900, 799},
        {OVERLOAD_BUFFERS, COUNTER_overload_buffers, "of=receive_buffers ", 750, 499},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct overload overload = begin();
        assert_false(overload_set(&overload, rows[i].line, rows[i].begins - 1, 1000));
        assert_false(overload_is(&overload, rows[i].line) || overload_any(&overload));
        assert_true(overload_set(&overload, rows[i].line, rows[i].begins, 1000));
        assert_true(overload_is(&overload, rows[i].line) && overload_any(&overload));
        assert_int_equal(said, 1);
        assert_non_null(strstr(text, "event=overload shard=0 "));
        assert_non_null(strstr(text, rows[i].name));
        shard.now_ns += NS_PER_S;
        assert_false(overload_set(&overload, rows[i].line, rows[i].ends + 1, 1000));
        assert_true(overload_set(&overload, rows[i].line, rows[i].ends, 1000));
        assert_false(overload_is(&overload, rows[i].line) || overload_any(&overload));
        assert_int_equal(said, 2);
        assert_non_null(strstr(text, "event=overload_over shard=0 "));
        assert_int_equal(counters_get(&shard.counters, rows[i].counter), 1);
    }
}

static void however_often_a_line_is_crossed_the_log_has_one_line_a_second(void **state)
{
    (void)state;
    struct overload overload = begin();
    for (unsigned ms = 0; ms < 10000; ms++) {
        assert_true(overload_set(&overload, OVERLOAD_BLOCKS, ms % 2 == 0 ? 1000 : 0, 1000));
        assert_int_equal(overload_is(&overload, OVERLOAD_BLOCKS), ms % 2 == 0);
        shard.now_ns += NS_PER_MS;
    }
    assert_in_range(counters_get(&shard.counters, COUNTER_overload_staging), 4, 6);
    assert_in_range(said, 9, 11);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_passed_at_one_share_and_left_at_a_lower_one),
        cmocka_unit_test(however_often_a_line_is_crossed_the_log_has_one_line_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
