#include "shard/mailbox.h"

#include <stdlib.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* The receiver is a stand-in: arrive functions only hand it on. */
struct letter {
    struct mail mail;
    unsigned number;
};

static unsigned next_number;

static void letter_arrive(struct shard *receiver, struct mail *mail)
{
    assert_null(receiver);
    struct letter *letter = CONTAINER_OF(mail, struct letter, mail);
    assert_int_equal(letter->number, next_number);
    next_number++;
}

static int box_setup(void **state)
{
    next_number = 0;
    struct mailbox *box = aligned_alloc(64, sizeof(*box));
    if (box == NULL) {
        return -1;
    }
    mailbox_init(box);
    *state = box;
    return 0;
}

static int box_teardown(void **state)
{
    free(*state);
    return 0;
}

static void nothing_arrives_before_it_is_flushed(void **state)
{
    struct mailbox *box = *state;
    struct letter letter = {.mail = {.arrive = letter_arrive}};
    assert_false(mailbox_flush(box));
    mailbox_put(box, &letter.mail);
    assert_false(mailbox_waiting(box));
    assert_int_equal(mailbox_drain(box, NULL, 10), 0);
    assert_true(mailbox_flush(box));
    assert_true(mailbox_waiting(box));
    assert_false(mailbox_flush(box));
    assert_int_equal(mailbox_drain(box, NULL, 10), 1);
    assert_false(mailbox_waiting(box));
    assert_int_equal(next_number, 1);
}

static void what_does_not_fit_follows_in_order(void **state)
{
    struct mailbox *box = *state;
    enum { LETTERS = 3 * MAILBOX_CELLS + 7 };
    static struct letter letters[LETTERS];
    for (unsigned i = 0; i < LETTERS; i++) {
        letters[i] = (struct letter){.mail = {.arrive = letter_arrive}, .number = i};
        mailbox_put(box, &letters[i].mail);
    }
    assert_int_equal(box->overflow_count, LETTERS - MAILBOX_CELLS);
    assert_true(mailbox_flush(box));
    assert_true(mailbox_overflowing(box));
    unsigned drained = 0;
    while (mailbox_waiting(box)) {
        drained += mailbox_drain(box, NULL, 100);
        (void)mailbox_flush(box);
    }
    assert_int_equal(drained, LETTERS);
    assert_int_equal(next_number, LETTERS);
    assert_false(mailbox_overflowing(box));
    assert_int_equal(box->overflow_count, 0);
}

static void indices_wrap_around(void **state)
{
    struct mailbox *box = *state;
    enum { LETTERS = 2000 };
    static struct letter letters[LETTERS];
    atomic_store(&box->tail, UINT32_MAX - 5);
    atomic_store(&box->head, UINT32_MAX - 5);
    box->head_seen = UINT32_MAX - 5;
    box->tail_seen = UINT32_MAX - 5;
    uint64_t seed = 5;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_seed(&prng, seed);
    for (unsigned put = 0; put < LETTERS || next_number < LETTERS;) {
        for (uint64_t batch = prng_below(&prng, 40); batch > 0 && put < LETTERS; batch--, put++) {
            letters[put] = (struct letter){.mail = {.arrive = letter_arrive}, .number = put};
            mailbox_put(box, &letters[put].mail);
        }
        if (prng_chance(&prng, 700)) {
            (void)mailbox_flush(box);
        }
        unsigned limit = (unsigned)prng_below(&prng, 35);
        assert_true(mailbox_drain(box, NULL, limit) <= limit);
    }
    assert_int_equal(next_number, LETTERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(nothing_arrives_before_it_is_flushed, box_setup,
                                        box_teardown),
        cmocka_unit_test_setup_teardown(what_does_not_fit_follows_in_order, box_setup,
                                        box_teardown),
        cmocka_unit_test_setup_teardown(indices_wrap_around, box_setup, box_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
