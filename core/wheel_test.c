#include "core/wheel.h"

#include <stdio.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define TICK  WHEEL_TICK_NS
#define START (123456789 * NS_PER_MS)

struct probe {
    struct timer timer;
    struct wheel *wheel;
    uint64_t again_ns;    /* set again from the callback */
    struct probe *victim; /* cleared from the callback */
    unsigned fired;
};

static void probe_fire(struct timer *timer)
{
    struct probe *probe = CONTAINER_OF(timer, struct probe, timer);
    assert_false(timer_is_set(timer));
    probe->fired++;
    if (probe->again_ns != 0) {
        timer_set(probe->wheel, timer, probe->again_ns);
        probe->again_ns = 0;
    }
    if (probe->victim != NULL) {
        timer_clear(probe->wheel, &probe->victim->timer);
    }
}

static void probe_init(struct probe *probe, struct wheel *wheel)
{
    *probe = (struct probe){.wheel = wheel};
    timer_init(&probe->timer, probe_fire);
}

/* Runs the wheel only at the times it asks for; returns when the probe fired. */
static uint64_t run_until_fired(struct wheel *wheel, const struct probe *probe)
{
    for (unsigned runs = 0; runs < 10000; runs++) {
        uint64_t next_ns = wheel_next_ns(wheel);
        assert_true(next_ns != UINT64_MAX);
        wheel_run(wheel, next_ns);
        if (probe->fired > 0) {
            return next_ns;
        }
    }
    fail_msg("never fired");
    return 0;
}

static void never_early_at_most_a_tick_late(void **state)
{
    (void)state;
    static const uint64_t delays[] = {
        1,           TICK - 1,        TICK,           TICK + 1,          63 * TICK,
        64 * TICK,   65 * TICK,       4095 * TICK,    4096 * TICK,       4097 * TICK,
        NS_PER_S,    300 * NS_PER_S,  262143 * TICK,  262144 * TICK + 5, 36 * 3600 * NS_PER_S,
        1ull << 57,  90000 * NS_PER_S, 300000 * NS_PER_S,
    };
    for (uint64_t start = 0; start < 70; start++) {
        for (size_t i = 0; i < COUNT_OF(delays); i++) {
            struct wheel wheel;
            struct probe probe;
            uint64_t now_ns = START + start * 4099 * TICK;
            wheel_init(&wheel, now_ns);
            probe_init(&probe, &wheel);
            timer_set(&wheel, &probe.timer, now_ns + delays[i]);
            uint64_t fired_ns = run_until_fired(&wheel, &probe);
            assert_true(fired_ns >= now_ns + delays[i]);
            assert_true(fired_ns <= now_ns + delays[i] + TICK);
            assert_int_equal(wheel.count, 0);
            assert_true(wheel_next_ns(&wheel) == UINT64_MAX);
        }
    }
}

static void a_deadline_in_the_past_fires_with_the_next_tick(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe probe;
    wheel_init(&wheel, START);
    probe_init(&probe, &wheel);
    timer_set(&wheel, &probe.timer, 0);
    assert_true(timer_is_set(&probe.timer));
    assert_int_equal(wheel_run(&wheel, START + TICK), 1);
    assert_int_equal(probe.fired, 1);
}

static void later_is_lazy_earlier_moves(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe probe;
    wheel_init(&wheel, START);
    probe_init(&probe, &wheel);
    timer_set(&wheel, &probe.timer, START + 10 * TICK);
    timer_set(&wheel, &probe.timer, START + 1000 * TICK);
    assert_int_equal(wheel.count, 1);
    wheel_run(&wheel, START + 999 * TICK);
    assert_int_equal(probe.fired, 0);
    timer_set(&wheel, &probe.timer, START + 1001 * TICK);
    wheel_run(&wheel, START + 1001 * TICK + TICK);
    assert_int_equal(probe.fired, 1);

    timer_set(&wheel, &probe.timer, START + 5000 * TICK);
    timer_set(&wheel, &probe.timer, START + 1010 * TICK);
    wheel_run(&wheel, START + 1010 * TICK + TICK);
    assert_int_equal(probe.fired, 2);
    assert_int_equal(wheel.count, 0);
}

static void clear_is_final_and_free_to_repeat(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe probe;
    wheel_init(&wheel, START);
    probe_init(&probe, &wheel);
    timer_clear(&wheel, &probe.timer);
    timer_set(&wheel, &probe.timer, START + NS_PER_S);
    timer_clear(&wheel, &probe.timer);
    timer_clear(&wheel, &probe.timer);
    assert_int_equal(wheel.count, 0);
    assert_int_equal(wheel_run(&wheel, START + 10 * NS_PER_S), 0);
    assert_int_equal(probe.fired, 0);
}

static void a_callback_may_set_and_clear_any_timer(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe first, second;
    wheel_init(&wheel, START);
    probe_init(&first, &wheel);
    probe_init(&second, &wheel);
    timer_set(&wheel, &first.timer, START + TICK);
    timer_set(&wheel, &second.timer, START + TICK);
    first.victim = &second;
    first.again_ns = START + 3 * TICK;
    assert_int_equal(wheel_run(&wheel, START + 2 * TICK), 1);
    assert_int_equal(second.fired, 0);
    assert_true(timer_is_set(&first.timer));
    assert_int_equal(wheel_run(&wheel, START + 4 * TICK), 1);
    assert_int_equal(first.fired, 2);
    assert_int_equal(wheel.count, 0);
}

static void a_callback_that_is_always_due_does_not_spin(void **state)
{
    (void)state;
    struct wheel wheel;
    struct probe probe;
    wheel_init(&wheel, START);
    probe_init(&probe, &wheel);
    probe.again_ns = 1;
    timer_set(&wheel, &probe.timer, 1);
    wheel_run(&wheel, START + TICK);
    assert_int_equal(probe.fired, 1);
    wheel_run(&wheel, START + 2 * TICK);
    assert_int_equal(probe.fired, 2);
}

/* Against a table of deadlines: every run fires exactly those that are due, none early. */
static void agrees_with_a_plain_table(void **state)
{
    (void)state;
    enum { PROBES = 200, STEPS = 20000 };
    uint64_t seed = 20261122;
    print_message("seed %llu\n", (unsigned long long)seed);
    struct prng prng;
    prng_seed(&prng, seed);
    static struct probe probes[PROBES];
    struct wheel wheel;
    uint64_t now_ns = START;
    wheel_init(&wheel, now_ns);
    for (unsigned i = 0; i < PROBES; i++) {
        probe_init(&probes[i], &wheel);
    }
    for (unsigned step = 0; step < STEPS; step++) {
        struct probe *probe = &probes[prng_below(&prng, PROBES)];
        if (prng_chance(&prng, 300)) {
            timer_clear(&wheel, &probe->timer);
        } else {
            uint64_t span = 1ull << prng_below(&prng, 48);
            timer_set(&wheel, &probe->timer, now_ns + prng_below(&prng, span));
        }
        uint64_t due[PROBES];
        for (unsigned i = 0; i < PROBES; i++) {
            due[i] = probes[i].timer.due_ns;
            probes[i].fired = 0;
        }
        now_ns += prng_below(&prng, 1ull << prng_below(&prng, 40));
        wheel_run(&wheel, now_ns);
        size_t set = 0;
        for (unsigned i = 0; i < PROBES; i++) {
            bool must = due[i] != 0 && due[i] + 2 * TICK <= now_ns;
            bool may = due[i] != 0 && due[i] <= now_ns;
            assert_true(probes[i].fired >= must && probes[i].fired <= may);
            set += timer_is_set(&probes[i].timer);
        }
        assert_int_equal(set, wheel.count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(never_early_at_most_a_tick_late),
        cmocka_unit_test(a_deadline_in_the_past_fires_with_the_next_tick),
        cmocka_unit_test(later_is_lazy_earlier_moves),
        cmocka_unit_test(clear_is_final_and_free_to_repeat),
        cmocka_unit_test(a_callback_may_set_and_clear_any_timer),
        cmocka_unit_test(a_callback_that_is_always_due_does_not_spin),
        cmocka_unit_test(agrees_with_a_plain_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
