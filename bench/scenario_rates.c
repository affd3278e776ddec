/*
 * Rates: a site that may have so many messages a second, and always more of them waiting. What
 * arrives there is counted: in the time from the first MAIL on, before which no rate was used,
 * never more than rate x time and the burst; in the time from the first arrival on not much less
 * than the rate. With 1, 2 and 4 shards, each a server of its own: a node's shards share one rate.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cast.h"

#define POLL_MS     50
#define END_MS      30000u /* beyond the time that is counted */
#define LEAST_SHARE 0.99   /* of rate x time, promised */
#define BIN_MS      100u   /* of the table */
#define CURVES      3u

static const unsigned shard_counts[CURVES] = {1, 2, 4};

struct rates_curve {
    double count;      /* arrivals within the time from the first MAIL on */
    double most;       /* allowed: rate x time + burst */
    double count_late; /* arrivals within the time from the first of them on */
    double least;      /* of these */
    bool held;
    uint64_t *arrived_ns; /* owned: since the first MAIL, sorted */
    size_t arrived_count;
};

struct rates {
    const struct scenario *scenario;
    uint64_t window_ns;
    struct rates_curve curves[CURVES];
    struct scenario_picture picture;
};

/* --- one server ------------------------------------------------------------------------------- */

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* Until the time is over at the sink; false with a reason. */
static bool wait_window(struct rates *rates, struct cast *cast, struct buf *reason)
{
    struct cast_counts counts;
    uint64_t patience_ns = clock_now_ns() + rates->window_ns + END_MS * NS_PER_MS;
    while (clock_now_ns() < patience_ns) {
        if (mta_ended(&cast->mta, reason)) {
            return false;
        }
        if (!cast_look(cast, &counts)) {
            buf_put_string(reason, "the sink does not say how far it is");
            return false;
        }
        if (counts.sink.messages > 0 &&
            clock_now_ns() > counts.sink.first_ns + rates->window_ns) {
            return true;
        }
        clock_sleep_ms(POLL_MS);
    }
    buf_put_string(reason, "nothing came to the sink");
    return false;
}

/* What has arrived within the time from the first arrival on, in order. */
static bool take_arrivals(const struct rates *rates, struct cast *cast, struct rates_curve *curve)
{
    struct cast_counts counts;
    const uint64_t *arrived_ns = cast_arrived_ns(cast);
    curve->arrived_ns = calloc(cast->options.times, sizeof(uint64_t));
    if (curve->arrived_ns == NULL || !cast_look(cast, &counts)) {
        return false;
    }
    uint64_t first_ns = counts.source.first_ns;
    for (uint64_t i = 0; i < cast->options.times; i++) {
        if (arrived_ns[i] != 0 && arrived_ns[i] - counts.sink.first_ns <= rates->window_ns) {
            curve->arrived_ns[curve->arrived_count++] = arrived_ns[i] - first_ns;
        }
    }
    qsort(curve->arrived_ns, curve->arrived_count, sizeof(uint64_t), compare);
    return true;
}

static void judge(struct rates *rates, struct rates_curve *curve)
{
    const struct scenario *scenario = rates->scenario;
    double sum = (double)(scenario->rate * scenario->seconds);
    for (size_t i = 0; i < curve->arrived_count; i++) {
        curve->count += curve->arrived_ns[i] <= rates->window_ns;
    }
    curve->count_late = (double)curve->arrived_count;
    curve->most = sum + (double)scenario->burst;
    curve->least = LEAST_SHARE * sum;
    curve->held = curve->count <= curve->most && curve->count_late >= curve->least;
}

static bool curve_go(struct rates *rates, struct cast *cast, struct buf *reason)
{
    char name[32];
    char site[128];
    struct mta_options mta = {.site = site};
    (void)snprintf(name, sizeof(name), "rates-%" PRIu64, cast->options.scenario->shards);
    (void)snprintf(site, sizeof(site), "max_message_rate = \"%" PRIu64 "/s,max_burst=%" PRIu64
                   "\"\n", rates->scenario->rate, rates->scenario->burst);
    return cast_start_sink(cast, reason) &&
           cast_start_mta(cast, rates->scenario->bin, name, mta, reason) &&
           cast_start_source(cast, reason) && cast_wait_sent(cast, reason) &&
           wait_window(rates, cast, reason);
}

static bool curve_run(struct rates *rates, unsigned index, struct buf *reason)
{
    struct rates_curve *curve = &rates->curves[index];
    struct scenario scenario = *rates->scenario;
    struct cast cast;
    scenario.shards = shard_counts[index];
    /* More than can go within the time, and what the sink takes until it is stopped. */
    uint64_t messages = scenario.rate * (scenario.seconds + 2) + scenario.burst;
    struct cast_options options = {.scenario = &scenario,
                                   .messages = messages,
                                   .times = messages,
                                   .domains = SLICE("sink.test")};
    if (!cast_open(&cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&cast, curve_go(rates, &cast, reason), reason);
    if (good && !take_arrivals(rates, &cast, curve)) {
        buf_put_string(reason, "no memory for what arrived");
        good = false;
    }
    cast_close(&cast);
    if (good) {
        judge(rates, curve);
        fprintf(stderr, "%u shard%s: %.0f of at most %.0f, %.0f of at least %.0f\n",
                shard_counts[index], shard_counts[index] == 1 ? "" : "s", curve->count,
                curve->most, curve->count_late, curve->least);
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static void rates_json(const void *result, struct buf *buf)
{
    const struct rates *rates = result;
    const struct scenario *scenario = rates->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "rate", (double)scenario->rate, 0);
    report_put_number(&json, "burst", (double)scenario->burst, 0);
    report_put_number(&json, "seconds", (double)scenario->seconds, 0);
    json_key(&json, "curves");
    json_array(&json);
    for (unsigned i = 0; i < CURVES; i++) {
        const struct rates_curve *curve = &rates->curves[i];
        json_object(&json);
        report_put_number(&json, "shards", shard_counts[i], 0);
        report_put_number(&json, "count", curve->count, 0);
        report_put_number(&json, "most", curve->most, 0);
        report_put_number(&json, "count_late", curve->count_late, 0);
        report_put_number(&json, "least", curve->least, 0);
        json_key(&json, "held");
        json_bool(&json, curve->held);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void rates_table(const void *result, struct buf *buf)
{
    const struct rates *rates = result;
    const struct scenario *scenario = rates->scenario;
    buf_printf(buf, "max_message_rate = \"%" PRIu64 "/s,max_burst=%" PRIu64 "\"; %" PRIu64
               " s, counted at the sink\n\n"
               "        from the first MAIL  from the first arrival\n"
               "shards      count   at most       count   at least  held\n",
               scenario->rate, scenario->burst, scenario->seconds);
    for (unsigned i = 0; i < CURVES; i++) {
        const struct rates_curve *curve = &rates->curves[i];
        buf_printf(buf, "%6u %10.0f %9.0f %11.0f %10.0f  %s\n", shard_counts[i], curve->count,
                   curve->most, curve->count_late, curve->least, curve->held ? "yes" : "NO");
    }
    buf_put_string(buf, "at most rate x time + burst, at least 0.99 x rate x time\n\n");
    scenario_put_files(buf, scenario, &rates->picture);
}

/* How far each was ahead of the rate: a straight line would hide it. */
static bool put_samples(struct rates *rates, struct buf *reason)
{
    size_t next[CURVES] = {0};
    FILE *table =
        scenario_table(rates->scenario, "second\tahead_1\tahead_2\tahead_4\tburst", reason);
    if (table == NULL) {
        return false;
    }
    for (uint64_t at_ns = 0; at_ns <= rates->window_ns; at_ns += BIN_MS * NS_PER_MS) {
        double due = (double)at_ns / 1e9 * (double)rates->scenario->rate;
        fprintf(table, "%.1f", (double)at_ns / 1e9);
        for (unsigned i = 0; i < CURVES; i++) {
            const struct rates_curve *curve = &rates->curves[i];
            while (next[i] < curve->arrived_count && curve->arrived_ns[next[i]] <= at_ns) {
                next[i]++;
            }
            fprintf(table, "\t%.1f", (double)next[i] - due);
        }
        fprintf(table, "\t%" PRIu64 "\n", rates->scenario->burst);
    }
    return fclose(table) == 0;
}

static void rates_plot(struct rates *rates)
{
    static const struct plot_panel panel = {
        .title = "Messages that have come, less rate x time",
        .y_label = "messages",
        .both_signs = true,
        .series = {{"ahead_1", "1 shard", 1}, {"ahead_2", "2 shards", 1},
                   {"ahead_4", "4 shards", 1}, {"burst", "allowed", 1}},
    };
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "max_message_rate = %" PRIu64 "/s, max_burst = %" PRIu64
                   ", counted at the sink, ringpost " RINGPOST_VERSION,
                   rates->scenario->rate, rates->scenario->burst);
    struct plot plot = {.title = "Ringpost at a rate",
                        .subtitle = subtitle,
                        .x_column = "second",
                        .x_label = "seconds since the first MAIL",
                        .x_per = 1,
                        .panels = &panel,
                        .panel_count = 1};
    scenario_draw(rates->scenario, &plot, &rates->picture);
}

bool run_rates(struct scenario *scenario, struct buf *reason)
{
    struct rates rates = {.scenario = scenario, .window_ns = scenario->seconds * NS_PER_S};
    struct scenario_result result = {&rates, rates_json, rates_table};
    if (scenario->rate * (scenario->seconds + 2) + scenario->burst > TALLY_NUMBERS_MAX) {
        buf_printf(reason, "--rate x --seconds: more than %u messages", TALLY_NUMBERS_MAX);
        return false;
    }
    bool good = true;
    for (unsigned i = 0; good && i < CURVES; i++) {
        good = curve_run(&rates, i, reason);
    }
    if (good && put_samples(&rates, reason)) {
        rates_plot(&rates);
        good = scenario_publish(scenario, &result, reason);
    }
    for (unsigned i = 0; i < CURVES; i++) {
        free(rates.curves[i].arrived_ns);
    }
    return good;
}
