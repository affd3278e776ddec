/*
 * Shares: a long queue of mail to one site stands in front, as much as four connections to a slow
 * server take minutes for; then come a few messages to the same site that do not have to wait for
 * it: urgent ones, or those of another tenant. The same few go through a second server, on which
 * nothing waits. Both take turns, as often as there are rounds, while the long queue lasts.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/cast.h"

#define SITE       "sink.test"
#define POLL_MS    20
#define STEPS      200u /* of the curve: half a per cent each */
#define RULE_BYTES 64

enum { BEHIND, ALONE, SERVERS_COUNT };

struct share_kind {
    const char *what;          /* the few: "urgent messages" */
    const char *crowd_fields;  /* of the header, of the mail in front */
    const char *few_fields;
    const char *configuration; /* beyond the usual one; null: nothing */
    bool all;                  /* what counts is when all of them are there, not the p99 */
    double times;              /* promised: at most so many times what they take alone … */
    double more_ms;            /* … and this on top, or, of the p99, at least this */
};

static const struct share_kind urgent = {
    .what = "urgent messages",
    .crowd_fields = "",
    .few_fields = "X-Ringpost-Class: urgent\r\n",
    .times = 3,
    .more_ms = 1000,
};

static const struct share_kind tenants = {
    .what = "messages of another tenant",
    .crowd_fields = "X-Tenant: crowd\r\n",
    .few_fields = "X-Tenant: few\r\n",
    .configuration = "[queues]\n"
                     "tenant_header = \"X-Tenant\"\n"
                     "[queues.tenant.crowd]\n"
                     "[queues.tenant.few]\n",
    .all = true,
    .times = 2,
    .more_ms = 1000,
};

/* Of the few of a round: content sent until the site has read it whole. */
struct share_times {
    double p50_ms;
    double p99_ms;
    double all_ms; /* the first was sent until the last is there */
};

struct share_round {
    double in_front; /* messages, when the round begins */
    struct share_times times[SERVERS_COUNT];
};

struct share {
    const struct scenario *scenario;
    const struct share_kind *kind;
    struct cast casts[SERVERS_COUNT];
    char rule[RULE_BYTES];
    double fill_seconds;
    unsigned round_count;
    struct share_round rounds[REPORT_ROUNDS_MAX];
    size_t latency_count;
    double *latencies_ms[SERVERS_COUNT]; /* owned: of all rounds, one after the other */
    struct scenario_picture picture;
};

/* --- the long queue --------------------------------------------------------------------------- */

static void share_progress(struct progress *progress, const struct cast_counts *counts,
                           uint64_t messages)
{
    if (progress_due(progress, clock_now_ns())) {
        fprintf(stderr, progress->terminal
                ? "\rfilling: %" PRIu64 " of %" PRIu64 " accepted, %" PRIu64 " delivered "
                : "event=progress accepted=%" PRIu64 " of=%" PRIu64 " delivered=%" PRIu64 "\n",
                counts->source.accepted, messages, counts->sink.messages);
    }
}

static bool share_fill(struct share *share, struct buf *reason)
{
    struct cast *cast = &share->casts[BEHIND];
    struct cast_counts counts;
    struct progress progress;
    uint64_t began_ns = clock_now_ns();
    progress_init(&progress, began_ns);
    if (!cast_start_source(cast, reason)) {
        return false;
    }
    while (!child_ended(&cast->source) && !mta_ended(&cast->mta, reason) &&
           cast_look(cast, &counts)) {
        share_progress(&progress, &counts, share->scenario->messages);
        clock_sleep_ms(POLL_MS);
    }
    progress_end(&progress);
    share->fill_seconds = (double)(clock_now_ns() - began_ns) / 1e9;
    return cast_wait_sent(cast, reason);
}

static bool share_start(struct share *share, struct buf *reason)
{
    static const char *const names[SERVERS_COUNT] = {"behind", "alone"};
    struct mta_options mta = {.connections = (unsigned)share->scenario->limit,
                              .more = share->kind->configuration};
    for (unsigned i = 0; i < SERVERS_COUNT; i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "%s-%s", share->scenario->head.bench, names[i]);
        if (!cast_start_sink(&share->casts[i], reason) ||
            !cast_start_mta(&share->casts[i], share->scenario->bin, name, mta, reason)) {
            return false;
        }
    }
    return true;
}

/* --- rounds ----------------------------------------------------------------------------------- */

/* The value that this share of sorted ones do not pass. */
static double value_at(const double *values, size_t count, double share)
{
    size_t at = (size_t)ceil(share * (double)count);
    return count > 0 ? values[MIN_OF(MAX_OF(at, 1), count) - 1] : NAN;
}

static struct share_times times_of(struct share *share, unsigned server)
{
    const struct cast *cast = &share->casts[server];
    size_t count = (size_t)share->scenario->few;
    double *latencies = share->latencies_ms[server] + share->latency_count;
    const uint64_t *due_ns = cast_due_ns(cast);
    const uint64_t *arrived_ns = cast_arrived_ns(cast) + cast->options.first;
    uint64_t first_ns = UINT64_MAX;
    uint64_t last_ns = 0;
    for (size_t i = 0; i < count; i++) {
        latencies[i] = (double)(int64_t)(arrived_ns[i] - due_ns[i]) / 1e6;
        first_ns = MIN_OF(first_ns, due_ns[i]);
        last_ns = MAX_OF(last_ns, arrived_ns[i]);
    }
    values_sort(latencies, count);
    return (struct share_times){.p50_ms = value_at(latencies, count, 0.5),
                                .p99_ms = value_at(latencies, count, 0.99),
                                .all_ms = (double)(last_ns - first_ns) / 1e6};
}

/* The few, through this server. */
static bool send_few(struct share *share, unsigned server, struct share_times *times_out,
                     struct buf *reason)
{
    struct cast *cast = &share->casts[server];
    cast_source_next(cast, share->scenario->few, SLICE(SITE),
                     slice_from_string(share->kind->few_fields));
    if (!cast_start_source(cast, reason) || !cast_wait_sent(cast, reason) ||
        !cast_wait_arrived(cast, reason)) {
        return false;
    }
    *times_out = times_of(share, server);
    return true;
}

/* Of the long queue, now. False with a reason when there is nothing of it left. */
static bool read_in_front(struct share *share, unsigned rounds, double *count_out,
                          struct buf *reason)
{
    struct cast_counts counts;
    uint64_t sent = share->scenario->messages + rounds * share->scenario->few;
    if (!cast_look(&share->casts[BEHIND], &counts)) {
        buf_put_string(reason, "the sink does not say how far it is");
        return false;
    }
    *count_out = (double)sent - (double)counts.sink.messages;
    if (!(*count_out > 0)) {
        buf_put_string(reason, "nothing is left of the mail in front: it takes more --messages");
        return false;
    }
    return true;
}

static bool share_round(struct share *share, struct buf *reason)
{
    unsigned number = share->round_count;
    struct share_round *round = &share->rounds[number];
    unsigned first = number % 2 == 0 ? BEHIND : ALONE;
    double left = 0;
    if (!read_in_front(share, number, &round->in_front, reason) ||
        !send_few(share, first, &round->times[first], reason) ||
        !send_few(share, 1 - first, &round->times[1 - first], reason) ||
        !read_in_front(share, number + 1, &left, reason)) {
        return false;
    }
    share->latency_count += (size_t)share->scenario->few;
    share->round_count++;
    fprintf(stderr, "round %u: p99 %.0f ms, all %.0f ms; alone %.0f ms, %.0f ms\n",
            share->round_count, round->times[BEHIND].p99_ms, round->times[BEHIND].all_ms,
            round->times[ALONE].p99_ms, round->times[ALONE].all_ms);
    return true;
}

static bool share_go(struct share *share, struct buf *reason)
{
    bool good = share_start(share, reason) && share_fill(share, reason);
    for (unsigned i = 0; good && i < share->scenario->rounds; i++) {
        good = share_round(share, reason);
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static double judged_ms(const struct share *share, const struct share_times *times)
{
    return share->kind->all ? times->all_ms : times->p99_ms;
}

static double allowed_ms(const struct share *share, const struct share_round *round)
{
    const struct share_kind *kind = share->kind;
    double alone_ms = kind->times * judged_ms(share, &round->times[ALONE]);
    return kind->all ? alone_ms + kind->more_ms : fmax(alone_ms, kind->more_ms);
}

static bool round_held(const struct share *share, unsigned round)
{
    return judged_ms(share, &share->rounds[round].times[BEHIND]) <=
           allowed_ms(share, &share->rounds[round]);
}

static unsigned held_count(const struct share *share)
{
    unsigned count = 0;
    for (unsigned i = 0; i < share->round_count; i++) {
        count += round_held(share, i);
    }
    return count;
}

/* Median over the rounds, of what is promised. */
static double median_ms(const struct share *share, unsigned server)
{
    double values[REPORT_ROUNDS_MAX];
    for (unsigned i = 0; i < share->round_count; i++) {
        values[i] = judged_ms(share, &share->rounds[i].times[server]);
    }
    return median_of(values, share->round_count);
}

static void put_times(struct json *json, const char *key, const struct share_times *times)
{
    json_key(json, key);
    json_object(json);
    report_put_number(json, "p50_ms", times->p50_ms, 3);
    report_put_number(json, "p99_ms", times->p99_ms, 3);
    report_put_number(json, "all_ms", times->all_ms, 3);
    json_object_end(json);
}

static void share_json(const void *result, struct buf *buf)
{
    const struct share *share = result;
    const struct scenario *scenario = share->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "messages", (double)scenario->messages, 0);
    report_put_number(&json, "size", (double)scenario->size, 0);
    report_put_number(&json, "few", (double)scenario->few, 0);
    report_put_number(&json, "connection_limit", (double)scenario->limit, 0);
    report_put_number(&json, "latency_ms", (double)scenario->latency_ms, 0);
    report_put_number(&json, "fill_seconds", share->fill_seconds, 3);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < share->round_count; i++) {
        const struct share_round *round = &share->rounds[i];
        json_object(&json);
        report_put_number(&json, "in_front", round->in_front, 0);
        put_times(&json, "behind", &round->times[BEHIND]);
        put_times(&json, "alone", &round->times[ALONE]);
        report_put_number(&json, "allowed_ms", allowed_ms(share, round), 3);
        json_key(&json, "held");
        json_bool(&json, round_held(share, i));
        json_object_end(&json);
    }
    json_array_end(&json);
    json_key(&json, "judged");
    json_string(&json, share->kind->all ? SLICE("all_ms") : SLICE("p99_ms"));
    report_put_number(&json, "behind_median_ms", median_ms(share, BEHIND), 3);
    report_put_number(&json, "alone_median_ms", median_ms(share, ALONE), 3);
    report_put_number(&json, "rounds_held", held_count(share), 0);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void put_promise(const struct share *share, struct buf *buf)
{
    const struct share_kind *kind = share->kind;
    buf_printf(buf, kind->all ? "promised: all of them within %.0f x alone + %.0f ms"
                              : "promised: p99 at most %.0f x alone, or %.0f ms",
               kind->times, kind->more_ms);
    buf_printf(buf, "; held in %u of %u rounds\nmedian %.0f ms, alone %.0f ms\n\n",
               held_count(share), share->round_count, median_ms(share, BEHIND),
               median_ms(share, ALONE));
}

static void share_table(const void *result, struct buf *buf)
{
    const struct share *share = result;
    const struct scenario *scenario = share->scenario;
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes to one site, handed in within %.1f "
               "s; then %" PRIu64 " %s\nto the same site, and through a server on which nothing "
               "waits; %" PRIu64 " connections to the\nsite, which takes %" PRIu64 " ms for each "
               "message. Milliseconds from content sent until it is there:\n\n"
               "                 ------- behind -------  ------- alone --------\n"
               "round  in front      p50     p99     all     p50     p99     all  held\n",
               scenario->messages, scenario->size, share->fill_seconds, scenario->few,
               share->kind->what, scenario->limit, scenario->latency_ms);
    for (unsigned i = 0; i < share->round_count; i++) {
        const struct share_round *round = &share->rounds[i];
        buf_printf(buf, "%5u %9.0f ", i + 1, round->in_front);
        for (unsigned server = 0; server < SERVERS_COUNT; server++) {
            report_put_cell(buf, round->times[server].p50_ms, 7, 0);
            report_put_cell(buf, round->times[server].p99_ms, 7, 0);
            report_put_cell(buf, round->times[server].all_ms, 7, 0);
        }
        buf_printf(buf, "  %s\n", round_held(share, i) ? "yes" : "NO");
    }
    put_promise(share, buf);
    scenario_put_files(buf, scenario, &share->picture);
}

/* Of all rounds: how many of a hundred messages were there after how long. */
static bool put_curve(struct share *share, struct buf *reason)
{
    FILE *table = scenario_table(share->scenario, "percent\tbehind_ms\talone_ms", reason);
    if (table == NULL) {
        return false;
    }
    for (unsigned i = 0; i < SERVERS_COUNT; i++) {
        values_sort(share->latencies_ms[i], share->latency_count);
    }
    for (unsigned i = 1; i <= STEPS; i++) {
        double part = (double)i / STEPS;
        fprintf(table, "%.1f\t%.3f\t%.3f\n", part * 100,
                value_at(share->latencies_ms[BEHIND], share->latency_count, part),
                value_at(share->latencies_ms[ALONE], share->latency_count, part));
    }
    return fclose(table) == 0;
}

static void share_plot(struct share *share)
{
    static const struct plot_panel panel = {
        .title = "So many of a hundred messages were there within",
        .y_label = "milliseconds",
        .series = {{"behind_ms", "behind the long queue", 1}, {"alone_ms", "alone", 1}},
    };
    const struct scenario *scenario = share->scenario;
    char title[128];
    char subtitle[256];
    (void)snprintf(title, sizeof(title), "Ringpost: %s behind a long queue", share->kind->what);
    (void)snprintf(subtitle, sizeof(subtitle),
                   "%" PRIu64 " behind %" PRIu64 " others to the same site, %" PRIu64
                   " connections, %" PRIu64 " ms each; %u rounds, %" PRIu64
                   " shard%s, ringpost " RINGPOST_VERSION,
                   scenario->few, scenario->messages, scenario->limit, scenario->latency_ms,
                   share->round_count, scenario->shards, scenario->shards == 1 ? "" : "s");
    struct plot plot = {.title = title,
                        .subtitle = subtitle,
                        .x_column = "percent",
                        .x_label = "per cent of the messages",
                        .x_per = 1,
                        .panels = &panel,
                        .panel_count = 1};
    scenario_draw(scenario, &plot, &share->picture);
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool open_casts(struct share *share, struct buf *reason)
{
    const struct scenario *scenario = share->scenario;
    (void)snprintf(share->rule, sizeof(share->rule), "dot * delay=%" PRIu64 " pass\n",
                   scenario->latency_ms);
    struct cast_options options = {
        .scenario = scenario,
        .domains = SLICE(SITE),
        .script = slice_from_string(share->rule),
        .times = scenario->rounds * scenario->few,
    };
    if (!cast_open(&share->casts[ALONE], &options, reason)) {
        return false;
    }
    options.messages = scenario->messages;
    options.fields = slice_from_string(share->kind->crowd_fields);
    options.times += scenario->messages;
    if (!cast_open(&share->casts[BEHIND], &options, reason)) {
        cast_close(&share->casts[ALONE]);
        return false;
    }
    return true;
}

static bool share_run(struct share *share, struct buf *reason)
{
    struct scenario_result result = {share, share_json, share_table};
    if (!open_casts(share, reason)) {
        return false;
    }
    bool good = share_go(share, reason);
    for (unsigned i = 0; i < SERVERS_COUNT; i++) {
        good = cast_end(&share->casts[i], good, reason);
        cast_close(&share->casts[i]);
    }
    if (!good || !put_curve(share, reason)) {
        return false;
    }
    share_plot(share);
    return scenario_publish(share->scenario, &result, reason);
}

static bool run_share(struct scenario *scenario, const struct share_kind *kind,
                      struct buf *reason)
{
    struct share *share = calloc(1, sizeof(*share));
    bool good = share != NULL;
    for (unsigned i = 0; good && i < SERVERS_COUNT; i++) {
        share->latencies_ms[i] = calloc(scenario->rounds * scenario->few, sizeof(double));
        good = share->latencies_ms[i] != NULL;
    }
    if (good) {
        share->scenario = scenario;
        share->kind = kind;
        good = share_run(share, reason);
    }
    for (unsigned i = 0; share != NULL && i < SERVERS_COUNT; i++) {
        free(share->latencies_ms[i]);
    }
    free(share);
    return good;
}

bool run_urgent(struct scenario *scenario, struct buf *reason)
{
    return run_share(scenario, &urgent, reason);
}

bool run_tenants(struct scenario *scenario, struct buf *reason)
{
    return run_share(scenario, &tenants, reason);
}
