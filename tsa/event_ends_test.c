#include "tsa/event_ends.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <cmocka.h>

#define FILE_A "20251009-085323.000000"
#define FILE_B "20251009-085323.000001"

static struct event_ends ends;
static unsigned said;

static void say(void *context, struct slice line)
{
    (void)context;
    (void)line;
    said++;
}

static int set_up(void **state)
{
    const struct log_sink sink = {.put = say};
    (void)state;
    said = 0;
    event_ends_init(&ends, "log", &sink);
    return 0;
}

/* What was written and not synced may stand behind it. */
static void ev02_of_the_file_being_written_only_what_is_durable_may_be_read(void **state)
{
    (void)state;
    assert_int_equal(event_ends_durable(&ends, FILE_A), UINT64_MAX);
    event_ends_begin(&ends, SLICE(FILE_A));
    assert_true(event_ends_is_open(&ends, FILE_A));
    assert_false(event_ends_is_open(&ends, FILE_B));
    assert_int_equal(event_ends_durable(&ends, FILE_A), 0);
    event_ends_grow(&ends, 100);
    event_ends_grow(&ends, 20);
    assert_int_equal(event_ends_durable(&ends, FILE_A), 120);
    event_ends_close(&ends);
    assert_false(event_ends_is_open(&ends, FILE_A));
    assert_int_equal(event_ends_durable(&ends, FILE_A), UINT64_MAX);
}

/* The frame that failed is written again, into another file. */
static void ev02_of_a_file_that_failed_only_what_was_durable_may_be_read(void **state)
{
    char name[EVENT_FILE_NAME_BYTES + 1];
    (void)state;
    event_ends_begin(&ends, SLICE(FILE_A));
    event_ends_grow(&ends, 100);
    event_ends_fail(&ends);
    event_ends_close(&ends);
    event_ends_begin(&ends, SLICE(FILE_B));
    assert_int_equal(event_ends_durable(&ends, FILE_A), 100);
    assert_int_equal(event_ends_durable(&ends, FILE_B), 0);
    event_ends_fail(&ends);
    assert_int_equal(event_ends_durable(&ends, FILE_B), 0);
    for (unsigned i = 2; i < EVENT_ENDS_FAILED + 1; i++) {
        snprintf(name, sizeof(name), "20251009-085323.%06u", i);
        event_ends_begin(&ends, slice_from_string(name));
        event_ends_fail(&ends);
    }
    assert_int_equal(event_ends_durable(&ends, FILE_A), UINT64_MAX); /* the oldest is forgotten */
    assert_int_equal(event_ends_durable(&ends, FILE_B), 0);
}

struct waiter {
    struct event_watch watch;
    unsigned told;
    bool leaves;
};

static void told(struct event_watch *watch)
{
    struct waiter *waiter = CONTAINER_OF(watch, struct waiter, watch);
    waiter->told++;
    if (waiter->leaves) {
        list_remove(&watch->link);
    }
}

static void who_waits_is_told_and_may_leave(void **state)
{
    struct waiter waiters[3] = {{.leaves = true}, {.leaves = false}, {.leaves = true}};
    (void)state;
    event_ends_begin(&ends, SLICE(FILE_A));
    for (unsigned i = 0; i < COUNT_OF(waiters); i++) {
        waiters[i].watch.news = told;
        event_ends_watch(&ends, &waiters[i].watch);
    }
    event_ends_grow(&ends, 1);
    event_ends_grow(&ends, 1);
    for (unsigned i = 0; i < COUNT_OF(waiters); i++) {
        assert_int_equal(waiters[i].told, waiters[i].leaves ? 1 : 2);
    }
    event_ends_say_damage(&ends, FILE_A, 7);
    assert_int_equal(said, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ev02_of_the_file_being_written_only_what_is_durable_may_be_read,
                               set_up),
        cmocka_unit_test_setup(ev02_of_a_file_that_failed_only_what_was_durable_may_be_read,
                               set_up),
        cmocka_unit_test_setup(who_waits_is_told_and_may_leave, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
