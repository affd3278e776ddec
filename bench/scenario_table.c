/*
 * Table: what a relayed message costs, for three sizes, three modes and one and two shards: its
 * rate beside the floor's, in turns, CPU and calls into the kernel; and, from short runs of the
 * build that counts them, allocations.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/round.h"

#define SIZES  3u
#define MODES  3u
#define SHARDS 2u /* one, two */
#define CASES  (SIZES * MODES)

/* What the second of two counting runs relays more is what counts: a start may allocate, too. */
#define COUNTED_FIRST 2000u
#define COUNTED_MORE  8000u

static const struct {
    uint64_t size;
    const char *name;
} sizes[SIZES] = {{1024, "1K"}, {4096, "4K"}, {51200, "50K"}};

static const struct {
    enum bench_mode mode;
    const char *name;
} modes[MODES] = {{MODE_PLAIN, "plain"}, {MODE_PIPELINED, "pipelined"}, {MODE_BDAT, "bdat"}};

enum table_value { RATIO, CPU_US, ENTERS, MALLOCS, VALUES };


struct table_round {
    double floor_rate;
    double rate[SHARDS];
    double values[SHARDS][VALUES]; /* mallocs are not of rounds */
};

struct table_case {
    uint64_t size;
    enum bench_mode mode;
    char name[32];
    struct table_round rounds[REPORT_ROUNDS_MAX];
    double mallocs[SHARDS]; /* NAN: not counted */
};

struct table {
    struct scenario *scenario;
    struct table_case cases[CASES];
    struct scenario_picture picture;
};

/* --- runs ------------------------------------------------------------------------------------- */

static struct scenario scenario_of(const struct table *table, const struct table_case *row,
                                   unsigned shards)
{
    struct scenario scenario = *table->scenario;
    scenario.size = row->size;
    scenario.mode = row->mode;
    scenario.shards = shards;
    return scenario;
}

static bool relay(const struct table *table, const struct table_case *row, unsigned which,
                  struct table_round *round, struct buf *reason)
{
    struct run run;
    struct scenario scenario = scenario_of(table, row, which + 1);
    struct round_options options = {.bin = scenario.bin, .messages = scenario.messages};
    if (!round_run(&scenario, &options, &run, reason)) {
        return false;
    }
    round->rate[which] = run.rate;
    round->values[which][RATIO] = run.rate / round->floor_rate;
    round->values[which][CPU_US] = run.mta_cpu_us_per_message;
    round->values[which][ENTERS] = run.enters_per_message;
    return true;
}

/* The floor, then one and two shards, or two and one. */
static bool table_round(const struct table *table, struct table_case *row, unsigned number,
                        struct buf *reason)
{
    struct run floor;
    struct table_round *round = &row->rounds[number];
    struct scenario scenario = scenario_of(table, row, 1);
    if (!floor_run(&scenario, false, &floor, reason)) {
        return false;
    }
    round->floor_rate = floor.rate;
    return relay(table, row, number % 2, round, reason) &&
           relay(table, row, 1 - number % 2, round, reason);
}

/* Allocations of the mail shards, of one more message. */
static bool count_mallocs(const struct table *table, struct table_case *row, unsigned which,
                          struct buf *reason)
{
    struct run first;
    struct run second;
    struct scenario scenario = scenario_of(table, row, which + 1);
    struct round_options options = {.bin = scenario.nomalloc, .messages = COUNTED_FIRST};
    row->mallocs[which] = NAN;
    if (scenario.nomalloc == NULL) {
        return true;
    }
    if (!round_run(&scenario, &options, &first, reason)) {
        return false;
    }
    options.messages += COUNTED_MORE;
    if (!round_run(&scenario, &options, &second, reason)) {
        return false;
    }
    row->mallocs[which] = (second.mallocs - first.mallocs) / COUNTED_MORE;
    if (!isfinite(row->mallocs[which])) {
        buf_printf(reason, "--nomalloc %s: that build does not count", scenario.nomalloc);
        return false;
    }
    return true;
}

static double median_value(const struct table *table, const struct table_case *row,
                           unsigned which, enum table_value value)
{
    double values[REPORT_ROUNDS_MAX];
    unsigned count = (unsigned)table->scenario->rounds;
    if (value == MALLOCS) {
        return row->mallocs[which];
    }
    for (unsigned i = 0; i < count; i++) {
        values[i] = row->rounds[i].values[which][value];
    }
    return median_of(values, count);
}

static double median_rate(const struct table *table, const struct table_case *row,
                          unsigned which)
{
    double values[REPORT_ROUNDS_MAX];
    unsigned count = (unsigned)table->scenario->rounds;
    for (unsigned i = 0; i < count; i++) {
        values[i] = row->rounds[i].rate[which];
    }
    return median_of(values, count);
}

static bool case_run(struct table *table, struct table_case *row, struct buf *reason)
{
    bool good = true;
    for (unsigned i = 0; good && i < table->scenario->rounds; i++) {
        good = table_round(table, row, i, reason);
    }
    for (unsigned which = 0; good && which < SHARDS; which++) {
        good = count_mallocs(table, row, which, reason);
    }
    if (good) {
        fprintf(stderr, "%s: ratio %.3f, with two shards %.3f\n", row->name,
                median_value(table, row, 0, RATIO), median_value(table, row, 1, RATIO));
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static void table_json(const void *result, struct buf *buf)
{
    const struct table *table = result;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &table->scenario->head);
    report_put_number(&json, "messages", (double)table->scenario->messages, 0);
    report_put_number(&json, "rounds", (double)table->scenario->rounds, 0);
    json_key(&json, "cases");
    json_array(&json);
    for (unsigned i = 0; i < CASES * SHARDS; i++) {
        const struct table_case *row = &table->cases[i / SHARDS];
        unsigned which = i % SHARDS;
        json_object(&json);
        report_put_number(&json, "size", (double)row->size, 0);
        json_key(&json, "mode");
        json_string(&json, slice_from_string(modes[i / SHARDS % MODES].name));
        report_put_number(&json, "shards", which + 1, 0);
        report_put_number(&json, "rate", median_rate(table, row, which), 1);
        report_put_number(&json, "ratio", median_value(table, row, which, RATIO), 4);
        report_put_number(&json, "mta_cpu_us_per_message",
                          median_value(table, row, which, CPU_US), 2);
        report_put_number(&json, "enters_per_message", median_value(table, row, which, ENTERS),
                          3);
        report_put_number(&json, "mallocs_per_message", row->mallocs[which], 4);
        json_object_end(&json);
    }
    json_array_end(&json);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void table_text(const void *result, struct buf *buf)
{
    const struct table *table = result;
    buf_printf(buf, "%" PRIu64 " messages each, medians of %" PRIu64 " round%s of floor, one shard,"
               " two shards\nin turns; of ringpostd, for each message: CPU, calls into the kernel, "
               "allocations\n\n"
               "size  mode       shards    rate/s  ratio   CPU us  enters  mallocs\n",
               table->scenario->messages, table->scenario->rounds,
               table->scenario->rounds == 1 ? "" : "s");
    for (unsigned i = 0; i < CASES * SHARDS; i++) {
        const struct table_case *row = &table->cases[i / SHARDS];
        unsigned which = i % SHARDS;
        buf_printf(buf, "%-5s %-10s %6u", sizes[i / SHARDS / MODES].name,
                   modes[i / SHARDS % MODES].name, which + 1);
        report_put_cell(buf, median_rate(table, row, which), 9, 0);
        report_put_cell(buf, median_value(table, row, which, RATIO), 6, 3);
        report_put_cell(buf, median_value(table, row, which, CPU_US), 8, 1);
        report_put_cell(buf, median_value(table, row, which, ENTERS), 7, 2);
        report_put_cell(buf, row->mallocs[which], 8, 3);
        buf_put_string(buf, "\n");
    }
    if (table->scenario->nomalloc == NULL) {
        buf_put_string(buf, "mallocs are counted by the build of the preset nomalloc: --nomalloc "
                            "build/nomalloc/bin\n");
    }
    buf_put_string(buf, "\n");
    scenario_put_files(buf, table->scenario, &table->picture);
}

static bool put_samples(const struct table *table, struct buf *reason)
{
    FILE *file = scenario_table(table->scenario, "case\tratio_1\tratio_2\tcpu_us_1\tcpu_us_2\t"
                                "enters_1\tenters_2\tmallocs_1\tmallocs_2", reason);
    if (file == NULL) {
        return false;
    }
    for (unsigned i = 0; i < CASES; i++) {
        fprintf(file, "%s", table->cases[i].name);
        for (unsigned value = 0; value < VALUES; value++) {
            for (unsigned which = 0; which < SHARDS; which++) {
                fprintf(file, "\t%.4f",
                        median_value(table, &table->cases[i], which, (enum table_value)value));
            }
        }
        fprintf(file, "\n");
    }
    return fclose(file) == 0;
}

static void table_plot(struct table *table)
{
    static const struct plot_panel panels[] = {
        {.title = "Rate beside the floor", .y_label = "relay / floor",
         .series = {{"ratio_1", "1 shard", 1}, {"ratio_2", "2 shards", 1}}},
        {.title = "CPU of ringpostd for each message", .y_label = "microseconds",
         .series = {{"cpu_us_1", "1 shard", 1}, {"cpu_us_2", "2 shards", 1}}},
        {.title = "Calls into the kernel for each message", .y_label = "enters",
         .series = {{"enters_1", "1 shard", 1}, {"enters_2", "2 shards", 1}}},
        {.title = "Allocations for each message", .y_label = "mallocs",
         .series = {{"mallocs_1", "1 shard", 1}, {"mallocs_2", "2 shards", 1}}},
    };
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "%" PRIu64 " messages each, medians of %" PRIu64
                   " round%s, durable, ringpost " RINGPOST_VERSION,
                   table->scenario->messages, table->scenario->rounds,
                   table->scenario->rounds == 1 ? "" : "s");
    struct plot plot = {.title = "Ringpost: what a relayed message costs",
                        .subtitle = subtitle,
                        .bars = true,
                        .x_column = "case",
                        .x_per = 1,
                        .panels = panels,
                        .panel_count = table->scenario->nomalloc != NULL ? 4 : 3};
    scenario_draw(table->scenario, &plot, &table->picture);
}

/* --- the run ---------------------------------------------------------------------------------- */

bool run_table(struct scenario *scenario, struct buf *reason)
{
    struct table *table = calloc(1, sizeof(*table));
    bool good = table != NULL && scenario_segment(scenario, reason);
    for (unsigned i = 0; good && i < CASES; i++) {
        struct table_case *row = &table->cases[i];
        table->scenario = scenario;
        row->size = sizes[i / MODES].size;
        row->mode = modes[i % MODES].mode;
        (void)snprintf(row->name, sizeof(row->name), "%s %s", sizes[i / MODES].name,
                       modes[i % MODES].name);
        good = case_run(table, row, reason);
    }
    if (good && put_samples(table, reason)) {
        struct scenario_result result = {table, table_json, table_text};
        table_plot(table);
        good = scenario_publish(scenario, &result, reason);
    }
    free(table);
    return good;
}
