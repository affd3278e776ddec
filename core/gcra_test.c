#include "core/gcra.h"

#include <stdio.h>
#include <string.h>

#include "core/prng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define DAY_S 86400ull

static struct rate rate_of(const char *text)
{
    struct rate rate;
    const char *wrong = rate_parse(slice_from_string(text), &rate);
    if (wrong != NULL) {
        fail_msg("%s: %s", text, wrong);
    }
    return rate;
}

static void rates_are_read_as_kumomta_writes_them(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t count;
        uint64_t period_s;
        uint64_t burst;
        uint64_t interval_ns;
        const char *again; /* as it is written back */
    } rows[] = {
        {"100/s", 100, 1, 100, 10000000, "100/s"},
        {"100/sec", 100, 1, 100, 10000000, "100/s"},
        {"100/second", 100, 1, 100, 10000000, "100/s"},
        {"50/m", 50, 60, 50, 1200000000, "50/m"},
        {"50/min", 50, 60, 50, 1200000000, "50/m"},
        {"50/minute", 50, 60, 50, 1200000000, "50/m"},
        {"1,000/hr", 1000, 3600, 1000, 3600000000, "1000/h"},
        {"1_000/h", 1000, 3600, 1000, 3600000000, "1000/h"},
        {"1000/hour", 1000, 3600, 1000, 3600000000, "1000/h"},
        {"10_0,00/d", 10000, DAY_S, 10000, 8640000000, "10000/d"},
        {"500/day,max_burst=1", 500, DAY_S, 1, 172800000000, "500/d,max_burst=1"},
        {"500/d,max_burst=1_0,0", 500, DAY_S, 100, 172800000000, "500/d,max_burst=100"},
        {"local:100/hr", 100, 3600, 100, 36000000000, "local:100/h"},
        {"local:7/10min,max_burst=3", 7, 600, 3, 85714285715, "local:7/600s,max_burst=3"},
        {"100/123m", 100, 7380, 100, 73800000000, "100/7380s"},
        {"1/60s", 1, 60, 1, 60000000000, "1/m"},
        {"3/s", 3, 1, 3, 333333334, "3/s"},
        {"1/d", 1, DAY_S, 1, DAY_S * NS_PER_S, "1/d"},
        {"1/366d", 1, 366 * DAY_S, 1, 366 * DAY_S * NS_PER_S, "1/31622400s"},
        {"1,000,000/s", 1000000, 1, 1000000, 1000, "1000000/s"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char memory[RATE_TEXT_MAX + 1] = {0};
        struct buf buf;
        struct rate rate = rate_of(rows[i].text);
        assert_int_equal(rate.count, rows[i].count);
        assert_int_equal(rate.period_ns, rows[i].period_s * NS_PER_S);
        assert_int_equal(rate.burst, rows[i].burst);
        assert_int_equal(rate.interval_ns, rows[i].interval_ns);
        assert_int_equal(rate.local, rows[i].text[0] == 'l');
        buf_init(&buf, memory, RATE_TEXT_MAX);
        rate_put(&buf, &rate);
        assert_false(buf.overflow);
        assert_string_equal(memory, rows[i].again);
        struct rate again = rate_of(memory);
        assert_memory_equal(&again, &rate, sizeof(rate));
    }
}

static void what_is_no_rate_is_refused_with_the_reason(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *reason; /* a part of it */
    } rows[] = {
        {"", "COUNT/PERIOD"},
        {"100", "COUNT/PERIOD"},
        {"local:", "COUNT/PERIOD"},
        {"local:local:1/s", "a count above 0"},
        {"/s", "a count above 0"},
        {"0/s", "a count above 0"},
        {"_/s", "a count above 0"},
        {"-1/s", "a count above 0"},
        {"1.5/s", "a count above 0"},
        {"1k/s", "a count above 0"},
        {" 1/s", "a count above 0"},
        {"18446744073709551616/d", "a count above 0"},
        {"1/", "after the slash"},
        {"1/s ", "after the slash"},
        {"1/S", "after the slash"},
        {"1/week", "after the slash"},
        {"1/5", "after the slash"},
        {"1/1_0s", "after the slash"},
        {"1/99999999999999999999s", "after the slash"},
        {"1/s/s", "after the slash"},
        {"1/s,burst=1", "after the slash"},
        {"1/s,max_burst", "after the slash"},
        {"1/213503982334601d", "366 days"},
        {"1/0s", "366 days"},
        {"1/367d", "366 days"},
        {"1/s,max_burst=", "max_burst wants"},
        {"1/s,max_burst=0", "max_burst wants"},
        {"1/s,max_burst=x", "max_burst wants"},
        {"1/s,max_burst=1,max_burst=2", "max_burst wants"},
        {"1000001/s", "1,000,000 a second"},
        {"18446744073709551615/d", "1,000,000 a second"},
        {"1/s,max_burst=18446744073709551615", "ten years"},
        {"1/d,max_burst=3661", "ten years"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rate rate = {.count = 77};
        const char *reason = rate_parse(slice_from_string(rows[i].text), &rate);
        if (reason == NULL || strstr(reason, rows[i].reason) == NULL) {
            fail_msg("\"%s\": %s", rows[i].text, reason == NULL ? "taken" : reason);
        }
        assert_int_equal(rate.count, 77);
    }
}

static void a_full_bucket_gives_its_burst_at_once_and_then_one_token_an_interval(void **state)
{
    (void)state;
    const struct rate rate = rate_of("10/s,max_burst=3");
    const uint64_t now = 1000 * NS_PER_S;
    struct gcra_grant grant = gcra_reserve(&rate, 0, now, now + NS_PER_S, 100);
    /* Three that may go, and those of the second that follows. */
    assert_int_equal(grant.count, 13);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, now), 3);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, now + 99999999), 3);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, now + 100000000), 4);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, now + NS_PER_S), 13);
    assert_int_equal(grant.arrival_ns, now + 13 * rate.interval_ns);
    /* All given back: the bucket is as it was. */
    uint64_t arrival = grant.arrival_ns - grant.count * rate.interval_ns;
    struct gcra_grant again = gcra_reserve(&rate, arrival, now, now + NS_PER_S, 100);
    assert_memory_equal(&again, &grant, sizeof(grant));
    /* Long after, it is full again, and no fuller. */
    const uint64_t later = now + 1000 * NS_PER_S;
    grant = gcra_reserve(&rate, grant.arrival_ns, later, later, 100);
    assert_int_equal(grant.count, 3);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, 3, later), 3);
}

static void a_clock_that_does_not_move_gives_no_more_than_the_burst(void **state)
{
    (void)state;
    static const char *const texts[] = {"1/d", "1/s", "1000000/s", "500/d,max_burst=7",
                                        "1000000/s,max_burst=1"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const struct rate rate = rate_of(texts[i]);
        uint64_t arrival = 0;
        uint64_t given = 0;
        for (unsigned step = 0; step < 100; step++) {
            struct gcra_grant grant = gcra_reserve(&rate, arrival, 5, 5, 1 + rate.burst / 10);
            arrival = grant.arrival_ns;
            given += gcra_ready(&rate, grant.first_ns, grant.count, 5);
        }
        assert_int_equal(given, rate.burst);
    }
}

static void no_token_is_reserved_beyond_the_horizon(void **state)
{
    (void)state;
    const struct rate rate = rate_of("1/d");
    struct gcra_grant grant = gcra_reserve(&rate, 0, 0, NS_PER_S, 16);
    assert_int_equal(grant.count, 1);
    assert_int_equal(grant.first_ns, 0);
    const uint64_t arrival = grant.arrival_ns;
    grant = gcra_reserve(&rate, arrival, 0, NS_PER_S, 16);
    assert_int_equal(grant.count, 0);
    assert_int_equal(grant.arrival_ns, arrival);
    grant = gcra_reserve(&rate, arrival, 0, RATE_ANY_TIME, 1);
    assert_int_equal(grant.count, 1);
    assert_int_equal(grant.first_ns, (int64_t)(DAY_S * NS_PER_S));
    assert_int_equal(gcra_ready(&rate, grant.first_ns, 1, DAY_S * NS_PER_S - 1), 0);
    assert_int_equal(gcra_ready(&rate, grant.first_ns, 1, DAY_S * NS_PER_S), 1);
}

static void the_longest_of_bursts_and_periods_stay_within_64_bits(void **state)
{
    (void)state;
    static const char *const texts[] = {"1/366d,max_burst=10", "1/s,max_burst=316224000",
                                        "1000000/s,max_burst=316224000000000"};
    const uint64_t now = 200ull * 366 * DAY_S * NS_PER_S; /* up for two centuries */
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const struct rate rate = rate_of(texts[i]);
        struct gcra_grant grant = gcra_reserve(&rate, 0, now, now, UINT64_MAX);
        assert_int_equal(grant.count, rate.burst);
        assert_int_equal(grant.arrival_ns, now + rate_span_ns(&rate));
        grant = gcra_reserve(&rate, grant.arrival_ns, now, now + NS_PER_S, UINT64_MAX);
        assert_true(grant.first_ns > (int64_t)now);
        grant = gcra_reserve(&rate, 0, 0, 0, UINT64_MAX);
        assert_int_equal(grant.count, rate.burst);
        assert_true(grant.first_ns <= 0);
        assert_int_equal(gcra_ready(&rate, grant.first_ns, grant.count, 0), rate.burst);
    }
}

/* Users that reserve ahead, use when the instant has come, and give back what they do not need. */
static void never_more_than_rate_and_burst_whatever_is_given_back(void **state)
{
    (void)state;
    static const char *const texts[] = {"100/s", "100/s,max_burst=1", "7/m,max_burst=3", "3/s"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        const struct rate rate = rate_of(texts[i]);
        struct prng prng;
        struct { int64_t first_ns; uint64_t count; } held[8] = {{0}};
        const uint64_t start = 77 * NS_PER_S;
        uint64_t arrival = 0;
        uint64_t now = start;
        uint64_t used = 0;
        prng_seed(&prng, i + 1);
        for (unsigned step = 0; step < 200000; step++) {
            unsigned who = (unsigned)prng_below(&prng, COUNT_OF(held));
            now += prng_below(&prng, rate.interval_ns / 2);
            if (held[who].count == 0) {
                struct gcra_grant grant = gcra_reserve(&rate, arrival, now, now + NS_PER_S,
                                                       1 + prng_below(&prng, 16));
                arrival = grant.arrival_ns;
                held[who].first_ns = grant.first_ns;
                held[who].count = grant.count;
            } else if (prng_chance(&prng, 100)) {
                arrival -= held[who].count * rate.interval_ns;
                held[who].count = 0;
            } else {
                uint64_t ready = gcra_ready(&rate, held[who].first_ns, held[who].count, now);
                used += ready;
                held[who].count -= ready;
                held[who].first_ns += (int64_t)(ready * rate.interval_ns);
            }
            assert_true(used <= (now - start) / rate.interval_ns + rate.burst);
        }
        assert_true(used > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rates_are_read_as_kumomta_writes_them),
        cmocka_unit_test(what_is_no_rate_is_refused_with_the_reason),
        cmocka_unit_test(a_full_bucket_gives_its_burst_at_once_and_then_one_token_an_interval),
        cmocka_unit_test(a_clock_that_does_not_move_gives_no_more_than_the_burst),
        cmocka_unit_test(no_token_is_reserved_beyond_the_horizon),
        cmocka_unit_test(the_longest_of_bursts_and_periods_stay_within_64_bits),
        cmocka_unit_test(never_more_than_rate_and_burst_whatever_is_given_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
