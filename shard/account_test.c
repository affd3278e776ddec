#include "shard/account.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static void take_stops_at_the_limit_and_books_nothing(void **state)
{
    (void)state;
    struct account account = {.limit = 100};
    assert_true(account_take(&account, ACCOUNT_GROUPS, 60));
    assert_false(account_take(&account, ACCOUNT_EVENTS, 41));
    assert_false(account_take(&account, ACCOUNT_EVENTS, UINT64_MAX));
    assert_int_equal(account_used(&account), 60);
    assert_true(account_take(&account, ACCOUNT_EVENTS, 40));
    account_give(&account, ACCOUNT_GROUPS, 60);
    assert_int_equal(account_used(&account), 40);
    assert_int_equal(account.used[ACCOUNT_EVENTS], 40);
}

static void every_consumer_has_a_name(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ACCOUNT_CONSUMERS; i++) {
        assert_non_null(account_consumer_name((enum account_consumer)i));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(take_stops_at_the_limit_and_books_nothing),
        cmocka_unit_test(every_consumer_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
