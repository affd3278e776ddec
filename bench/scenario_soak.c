/*
 * Soak: an open loop for a long time, a share of the mail never taken, looked at about once a
 * second. What is live grows as that mail gathers; disk beside it, memory without its rows and
 * descriptors must not.
 */
#include "bench/scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cast.h"
#include "bench/domains.h"
#include "bench/levels.h"
#include "bench/observe.h"
#include "core/check.h"

#define RETRY_S        21600u /* deferred mail is tried once in six hours */
#define ROW_BYTES      64.0   /* of memory, of one queued recipient: what is allowed for it */
#define LIVE_BYTES_MIN 1048576.0 /* with less than that live the ratio says nothing */
#define SAMPLES_MAX    3600u
#define END_MS_MAX     60000u
#define END_LOOK_MS    50

enum soak_column {
    SECOND,
    ACCEPTED,
    DELIVERED,
    QUEUED,
    ACCEPT_RATE,
    DELIVER_RATE,
    SPOOL_BYTES,
    LIVE_BYTES,
    SPOOL_PER_LIVE,
    RSS_BYTES,
    RSS_LESS_ROWS_BYTES,
    DESCRIPTORS,
    LOG_BYTES,
    P99_MS,
    COLUMN_COUNT,
};

/* What must level off has a rule; the others have none. */
static const struct {
    const char *name;  /* in the table of samples and in JSON */
    const char *label; /* for people, with the unit */
    double per;        /* of the column, in one such unit */
    int decimals;
    bool judged;
    struct level_rule rule; /* the slack in the unit of the column */
} columns[COLUMN_COUNT] = {
    [SECOND] = {"second", "second", 1, 0, false, {0, 0}},
    [ACCEPTED] = {"accepted", "accepted", 1, 0, false, {0, 0}},
    [DELIVERED] = {"delivered", "delivered", 1, 0, false, {0, 0}},
    [QUEUED] = {"queued", "queued", 1, 0, false, {0, 0}},
    [ACCEPT_RATE] = {"accept_rate", "accepted a second", 1, 0, false, {0, 0}},
    [DELIVER_RATE] = {"deliver_rate", "delivered a second", 1, 0, false, {0, 0}},
    [SPOOL_BYTES] = {"spool_bytes", "spool, MiB on disk", MIB_D, 1, false, {0, 0}},
    [LIVE_BYTES] = {"live_bytes", "live, MiB: queued x size", MIB_D, 1, false, {0, 0}},
    [SPOOL_PER_LIVE] = {"spool_per_live", "spool / live", 1, 3, true, {0.05, 0.1}},
    [RSS_BYTES] = {"rss_bytes", "memory (RSS), MiB", MIB_D, 1, false, {0, 0}},
    [RSS_LESS_ROWS_BYTES] = {"rss_less_rows_bytes", "memory less 64 B a row, MiB", MIB_D, 1, true,
                             {0.05, 4 * MIB_D}},
    [DESCRIPTORS] = {"descriptors", "open descriptors", 1, 1, true, {0.05, 4}},
    [LOG_BYTES] = {"log_bytes", "event log, MiB", MIB_D, 1, false, {0, 0}},
    [P99_MS] = {"p99_ms", "p99 of 250, ms", 1, 2, false, {0, 0}},
};

struct soak {
    const struct scenario *scenario;
    struct cast cast;
    uint64_t seconds;
    uint64_t interval_ms;
    uint64_t began_ns;
    FILE *table;
    struct cast_counts before; /* of the sample before */
    struct cast_counts counts;
    unsigned sample_count;
    double *samples[COLUMN_COUNT]; /* owned: samples_room() of each */
    struct scenario_picture picture;
};

/* --- samples ---------------------------------------------------------------------------------- */

static unsigned samples_room(const struct soak *soak)
{
    return (unsigned)(soak->seconds * 1000 / soak->interval_ms) + 2;
}

static bool samples_take(struct soak *soak)
{
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        soak->samples[i] = calloc(samples_room(soak), sizeof(double));
        if (soak->samples[i] == NULL) {
            return false;
        }
    }
    return true;
}

/* p99 of what was answered since the sample before, milliseconds. */
static double p99_ms(const struct histogram *now, const struct histogram *before)
{
    struct histogram since = *now;
    since.count -= before->count;
    since.sum -= before->sum;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        since.buckets[i] -= before->buckets[i];
    }
    return percentiles_ms(&since).p99;
}

static void sample_counts(struct soak *soak, double second, double *value)
{
    const struct cast_counts *now = &soak->counts;
    const struct cast_counts *before = &soak->before;
    double span = second;
    if (soak->sample_count > 0) {
        span -= soak->samples[SECOND][soak->sample_count - 1];
    }
    value[SECOND] = second;
    value[ACCEPTED] = (double)now->source.accepted;
    value[DELIVERED] = (double)now->sink.messages;
    /* The two are not of the same instant. */
    value[QUEUED] = fmax(value[ACCEPTED] - value[DELIVERED], 0);
    value[ACCEPT_RATE] = (value[ACCEPTED] - (double)before->source.accepted) / span;
    value[DELIVER_RATE] = (value[DELIVERED] - (double)before->sink.messages) / span;
    value[LIVE_BYTES] = value[QUEUED] * (double)soak->scenario->size;
    value[P99_MS] = p99_ms(&now->source.latency, &before->source.latency);
}

static bool sample_observed(struct soak *soak, double *value)
{
    struct disk_use spool;
    struct disk_use log;
    struct process_use process;
    char path[4096 + 32];
    (void)snprintf(path, sizeof(path), "%s/soak/spool", soak->scenario->dir);
    bool good = disk_use_read(path, &spool);
    (void)snprintf(path, sizeof(path), "%s/soak/log", soak->scenario->dir);
    if (!good || !disk_use_read(path, &log) ||
        !process_use_read(soak->cast.mta.child.pid, &process)) {
        return false;
    }
    value[SPOOL_BYTES] = (double)spool.bytes;
    value[LOG_BYTES] = (double)log.bytes;
    value[SPOOL_PER_LIVE] =
        value[LIVE_BYTES] >= LIVE_BYTES_MIN ? value[SPOOL_BYTES] / value[LIVE_BYTES] : NAN;
    value[RSS_BYTES] = (double)process.rss_bytes;
    value[RSS_LESS_ROWS_BYTES] = value[RSS_BYTES] - ROW_BYTES * value[QUEUED];
    value[DESCRIPTORS] = (double)process.descriptors;
    return true;
}

static bool table_open(struct soak *soak, struct buf *reason)
{
    char names[512];
    struct buf buf;
    buf_init(&buf, names, sizeof(names));
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        buf_printf(&buf, "%s%s", i > 0 ? "\t" : "", columns[i].name);
    }
    buf_put_byte(&buf, 0);
    CHECK(!buf.overflow);
    soak->table = scenario_table(soak->scenario, names, reason);
    return soak->table != NULL;
}

static bool table_put(struct soak *soak, const double *value)
{
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        fprintf(soak->table, "%s%.*f", i > 0 ? "\t" : "", i == SECOND ? 3 : columns[i].decimals,
                value[i]);
    }
    fprintf(soak->table, "\n");
    return fflush(soak->table) == 0;
}

static bool sample(struct soak *soak, struct buf *reason)
{
    double value[COLUMN_COUNT];
    soak->before = soak->counts;
    if (mta_ended(&soak->cast.mta, reason)) {
        return false;
    }
    if (!cast_look(&soak->cast, &soak->counts)) {
        buf_put_string(reason, "source or sink does not say how far it is");
        return false;
    }
    sample_counts(soak, (double)(clock_now_ns() - soak->began_ns) / 1e9, value);
    if (!sample_observed(soak, value) || !table_put(soak, value)) {
        buf_printf(reason, "cannot look at the server, or write what was seen: %s",
                   strerror(errno));
        return false;
    }
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        soak->samples[i][soak->sample_count] = value[i];
    }
    soak->sample_count++;
    return true;
}

static void soak_progress(struct progress *progress, const struct soak *soak)
{
    if (soak->sample_count == 0 || !progress_due(progress, clock_now_ns())) {
        return;
    }
    double value[COLUMN_COUNT];
    for (unsigned i = 0; i < COLUMN_COUNT; i++) {
        value[i] = soak->samples[i][soak->sample_count - 1] / columns[i].per;
    }
    fprintf(stderr, progress->terminal
            ? "\r\033[K%.0f of %" PRIu64 " s: %.0f accepted, %.0f queued, spool %.0f MiB, memory "
              "%.0f MiB, p99 %.1f ms "
            : "event=progress second=%.0f of=%" PRIu64 " accepted=%.0f queued=%.0f spool_mib=%.0f "
              "rss_mib=%.0f p99_ms=%.1f\n",
            value[SECOND], soak->seconds, value[ACCEPTED], value[QUEUED], value[SPOOL_BYTES],
            value[RSS_BYTES], value[P99_MS]);
}

/* --- the run ---------------------------------------------------------------------------------- */

/* Until it is time for the next sample; false when the source has sent everything before. */
static bool wait_due(struct soak *soak, uint64_t due_ns)
{
    while (clock_now_ns() < due_ns) {
        if (child_ended(&soak->cast.source)) {
            return false;
        }
        clock_sleep_ms(5);
    }
    return true;
}

static bool soak_watch(struct soak *soak, struct buf *reason)
{
    struct progress progress;
    bool good = true;
    soak->began_ns = clock_now_ns();
    progress_init(&progress, soak->began_ns);
    while (good && soak->sample_count < samples_room(soak)) {
        /* One that comes late is not made up for. */
        uint64_t turn = (clock_now_ns() - soak->began_ns) / (soak->interval_ms * NS_PER_MS) + 1;
        if (!wait_due(soak, soak->began_ns + turn * soak->interval_ms * NS_PER_MS)) {
            break; /* a sample of a part of the interval would show a drop that is none */
        }
        good = sample(soak, reason);
        soak_progress(&progress, soak);
    }
    progress_end(&progress);
    return good;
}

/* Until all that was accepted has been delivered or refused; what is left then is lost. */
static bool wait_settled(struct soak *soak, struct buf *reason)
{
    uint64_t undelivered = 0;
    for (unsigned waited = 0; waited < END_MS_MAX; waited += END_LOOK_MS) {
        if (!cast_look(&soak->cast, &soak->counts)) {
            break;
        }
        undelivered = soak->counts.source.accepted - soak->counts.sink.messages;
        if (undelivered <= soak->counts.sink.refused) {
            return true;
        }
        clock_sleep_ms(END_LOOK_MS);
    }
    buf_printf(reason, "of %" PRIu64 " messages not delivered only %" PRIu64 " were refused",
               undelivered, soak->counts.sink.refused);
    return false;
}

static bool soak_go(struct soak *soak, struct buf *reason)
{
    struct mta_options mta = {.retry_s = RETRY_S};
    struct cast *cast = &soak->cast;
    return cast_start_sink(cast, reason) &&
           cast_start_mta(cast, soak->scenario->bin, "soak", mta, reason) &&
           table_open(soak, reason) && cast_start_source(cast, reason) &&
           soak_watch(soak, reason) && cast_wait_sent(cast, reason) && wait_settled(soak, reason);
}

/* --- the result ------------------------------------------------------------------------------- */

static const struct plot_panel panels[] = {
    {.title = "Messages a second", .y_label = "messages/s",
     .series = {{"accept_rate", "accepted (250)", 1}, {"deliver_rate", "delivered", 1}}},
    {.title = "Message due until 250 read, p99", .y_label = "milliseconds",
     .series = {{"p99_ms", NULL, 1}}},
    {.title = "Recipients queued: accepted, not delivered", .y_label = "thousands",
     .series = {{"queued", NULL, 1000}}},
    {.title = "Spool", .y_label = "GiB",
     .series = {{"spool_bytes", "allocated on disk", GIB_D},
                {"live_bytes", "live: queued x message size", GIB_D}}},
    {.title = "Spool on disk / live mail: must level off", .y_label = "times",
     .logarithmic = true, .series = {{"spool_per_live", NULL, 1}}},
    {.title = "Memory of ringpostd", .y_label = "MiB",
     .series = {{"rss_bytes", "resident", MIB_D},
                {"rss_less_rows_bytes", "less 64 B a recipient: must level off", MIB_D}}},
    {.title = "Open descriptors of ringpostd: must level off", .y_label = "descriptors",
     .series = {{"descriptors", NULL, 1}}},
    {.title = "Event log on disk", .y_label = "MiB", .series = {{"log_bytes", NULL, MIB_D}}},
};

static void soak_plot(struct soak *soak)
{
    const struct scenario *scenario = soak->scenario;
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "%" PRIu64 " messages/s of %" PRIu64 " bytes, %.1f %% of them always answered "
                   "450; %" PRIu64 " shard%s, ringpost " RINGPOST_VERSION, scenario->rate,
                   scenario->size, (double)scenario->defer_per_mille / 10, scenario->shards,
                   scenario->shards == 1 ? "" : "s");
    struct plot plot = {.title = "Ringpost under steady load",
                        .subtitle = subtitle,
                        .x_column = columns[SECOND].name,
                        .x_label = "minutes since the first message",
                        .x_per = 60,
                        .panels = panels,
                        .panel_count = COUNT_OF(panels)};
    scenario_draw(scenario, &plot, &soak->picture);
}

static struct level level_of_column(const struct soak *soak, unsigned column)
{
    return level_of(soak->samples[SECOND], soak->samples[column], soak->sample_count,
                    &columns[column].rule);
}

static void soak_json(const void *result, struct buf *buf)
{
    const struct soak *soak = result;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &soak->scenario->head);
    report_put_number(&json, "seconds", (double)soak->seconds, 0);
    report_put_number(&json, "rate", (double)soak->scenario->rate, 0);
    report_put_number(&json, "accepted", (double)soak->counts.source.accepted, 0);
    report_put_number(&json, "delivered", (double)soak->counts.sink.messages, 0);
    report_put_number(&json, "refused", (double)soak->counts.sink.refused, 0);
    report_put_number(&json, "samples", soak->sample_count, 0);
    json_key(&json, "columns");
    json_object(&json);
    for (unsigned i = ACCEPT_RATE; i < COLUMN_COUNT; i++) {
        struct level level = level_of_column(soak, i);
        json_key(&json, columns[i].name);
        json_object(&json);
        report_put_number(&json, "first", level.first, 3);
        report_put_number(&json, "middle", level.middle, 3);
        report_put_number(&json, "last", level.last, 3);
        report_put_number(&json, "per_hour", level.per_hour, 3);
        json_key(&json, "level");
        if (columns[i].judged && level.known) {
            json_bool(&json, level.level);
        } else {
            json_null(&json);
        }
        json_object_end(&json);
    }
    json_object_end(&json);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void soak_table(const void *result, struct buf *buf)
{
    const struct soak *soak = result;
    buf_printf(buf, "%" PRIu64 " s at %" PRIu64 " messages/s: %" PRIu64 " accepted, %" PRIu64
               " delivered, %" PRIu64 " refused and kept; %u samples\n\n"
               "mean of the third          first     middle       last   per hour  level\n",
               soak->seconds, soak->scenario->rate, soak->counts.source.accepted,
               soak->counts.sink.messages,
               soak->counts.source.accepted - soak->counts.sink.messages, soak->sample_count);
    for (unsigned i = QUEUED; i < COLUMN_COUNT; i++) {
        struct level level = level_of_column(soak, i);
        double per = columns[i].per;
        buf_printf(buf, "%-27s", columns[i].label);
        report_put_cell(buf, level.first / per, 8, columns[i].decimals);
        report_put_cell(buf, level.middle / per, 10, columns[i].decimals);
        report_put_cell(buf, level.last / per, 10, columns[i].decimals);
        report_put_cell(buf, level.per_hour / per, 10, columns[i].decimals);
        if (columns[i].judged) {
            buf_put_string(buf, !level.known ? "  unknown" : level.level ? "  yes" : "  NO");
        }
        buf_put_string(buf, "\n");
    }
    buf_put_string(buf, "\nlevel: the mean of the last third is above that of the middle third by "
                        "no more than\n5 %, or 0.1 (spool / live), 4 MiB (memory), 4 "
                        "(descriptors); per hour is the slope of\na line through the last "
                        "half.\n\n");
    scenario_put_files(buf, soak->scenario, &soak->picture);
}

/* Domains of the mail that stays, and one whose mail is taken. */
static void put_domains(const struct scenario *scenario, struct buf *buf)
{
    if (scenario->defer_per_mille > 0) {
        domains_put_later(buf, scenario->queues, scenario->defer_per_mille);
    }
    if (scenario->defer_per_mille < 1000) {
        buf_printf(buf, "sink.test:%" PRIu64 "\n",
                   (1000 - scenario->defer_per_mille) * scenario->queues);
    }
}

static bool soak_run(struct soak *soak, char *text, size_t text_bytes, struct buf *reason)
{
    struct scenario_result result = {soak, soak_json, soak_table};
    struct buf domains;
    buf_init(&domains, text, text_bytes);
    put_domains(soak->scenario, &domains);
    struct cast_options options = {
        .scenario = soak->scenario,
        .messages = MIN_OF(soak->scenario->rate * soak->seconds, TALLY_NUMBERS_MAX),
        .rate = soak->scenario->rate,
        .domains = buf_slice(&domains),
        .script = SLICE(DOMAINS_LATER_RULE),
    };
    if (!cast_open(&soak->cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&soak->cast, soak_go(soak, reason), reason);
    cast_close(&soak->cast);
    if (soak->table != NULL) {
        (void)fclose(soak->table);
        soak_plot(soak); /* of a run that failed, too: it may show why */
    }
    return good && scenario_publish(soak->scenario, &result, reason);
}

bool run_soak(struct scenario *scenario, struct buf *reason)
{
    struct soak *soak = calloc(1, sizeof(*soak));
    size_t text_bytes = ((size_t)scenario->queues + 1) * DOMAINS_LATER_BYTES;
    char *text = malloc(text_bytes);
    bool good = soak != NULL && text != NULL && scenario_rate(scenario, reason);
    if (good) {
        soak->scenario = scenario;
        soak->seconds = scenario->seconds > 0 ? scenario->seconds : scenario->minutes * 60;
        soak->interval_ms = MAX_OF(1000, soak->seconds * 1000 / SAMPLES_MAX);
        good = samples_take(soak) && soak_run(soak, text, text_bytes, reason);
    }
    for (unsigned i = 0; soak != NULL && i < COLUMN_COUNT; i++) {
        free(soak->samples[i]);
    }
    free(soak);
    free(text);
    return good;
}
