/*
 * Backlog: one server is filled with mail that the sink refuses for now, each message tried once,
 * the next attempts spread over the hour that follows; another one stays empty. What does a queued
 * recipient cost in memory, and does mail to another domain notice? Relays through the two take
 * turns, while what is deferred comes due.
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
#include "bench/filling.h"
#include "bench/observe.h"

#define SPREAD_S 3600u

enum { FULL, EMPTY, SERVERS_COUNT };

static const char *const server_names[SERVERS_COUNT] = {"backlog-full", "backlog-empty"};

struct backlog_round {
    double rate[SERVERS_COUNT]; /* messages a second */
    double retried;             /* deferred recipients that came due meanwhile */
};

struct backlog {
    const struct scenario *scenario;
    struct cast casts[SERVERS_COUNT];
    struct filling filling;
    FILE *table;
    uint64_t accepted_before; /* at the last look */
    uint64_t looked_ns;
    double rss_before; /* bytes, of an empty server that is ready */
    double rss_after;
    unsigned round_count;
    struct backlog_round rounds[REPORT_ROUNDS_MAX];
    struct scenario_picture picture;
};

/* --- filling ---------------------------------------------------------------------------------- */

static bool read_rss(const struct cast *cast, double *bytes_out, struct buf *reason)
{
    struct process_use use;
    if (!process_use_read(cast->mta.child.pid, &use)) {
        buf_printf(reason, "cannot look at the server: %s", strerror(errno));
        return false;
    }
    *bytes_out = (double)use.rss_bytes;
    return true;
}

/* A line of the table: how long the queue is, how fast mail is taken, what memory it takes. */
static bool backlog_look(struct filling *filling, const struct cast_counts *counts,
                         struct buf *reason)
{
    struct backlog *backlog = CONTAINER_OF(filling, struct backlog, filling);
    uint64_t now_ns = clock_now_ns();
    uint64_t accepted = counts->source.accepted;
    double span = (double)(now_ns - backlog->looked_ns) / 1e9;
    if (!read_rss(filling->cast, &backlog->rss_after, reason)) {
        return false;
    }
    if (backlog->looked_ns != 0 && accepted > backlog->accepted_before) {
        fprintf(backlog->table, "%" PRIu64 "\t%.0f\t%.0f\n", accepted,
                (double)(accepted - backlog->accepted_before) / span, backlog->rss_after);
    }
    backlog->looked_ns = now_ns;
    backlog->accepted_before = accepted;
    return true;
}

static bool backlog_fill(struct backlog *backlog, struct buf *reason)
{
    struct mta_options mta = {.spread_s = SPREAD_S};
    for (unsigned i = 0; i < SERVERS_COUNT; i++) {
        struct cast *cast = &backlog->casts[i];
        if (!cast_start_sink(cast, reason) ||
            !cast_start_mta(cast, backlog->scenario->bin, server_names[i], mta, reason)) {
            return false;
        }
    }
    backlog->filling =
        (struct filling){.cast = &backlog->casts[FULL], .look = backlog_look};
    backlog->table =
        scenario_table(backlog->scenario, "queued\taccept_rate\trss_bytes", reason);
    return backlog->table != NULL &&
           read_rss(&backlog->casts[FULL], &backlog->rss_before, reason) &&
           filling_run(&backlog->filling, reason);
}

/* --- relays ----------------------------------------------------------------------------------- */

/* Another relay through this server; its rate. */
static bool relay(struct backlog *backlog, unsigned server, double *rate_out, struct buf *reason)
{
    struct cast *cast = &backlog->casts[server];
    struct cast_counts before;
    struct cast_counts counts;
    uint64_t messages = backlog->scenario->relay_messages;
    cast_source_next(cast, messages, SLICE("sink.test"), SLICE_NONE);
    if (!cast_look(cast, &before) || !cast_start_source(cast, reason) ||
        !cast_wait_sent(cast, reason) ||
        !cast_wait_received(cast, before.sink.messages + messages, reason) ||
        !cast_look(cast, &counts)) {
        return false;
    }
    *rate_out = (double)messages /
                ((double)(counts.sink.last_ns - counts.source.first_ns) / 1e9);
    return true;
}

static bool refused(struct cast *cast, double *count_out)
{
    struct cast_counts counts;
    bool good = cast_look(cast, &counts);
    *count_out = good ? (double)counts.sink.refused : 0;
    return good;
}

static bool backlog_round(struct backlog *backlog, struct buf *reason)
{
    struct backlog_round *round = &backlog->rounds[backlog->round_count];
    unsigned first = backlog->round_count % 2 == 0 ? FULL : EMPTY;
    double before = 0;
    double after = 0;
    if (!refused(&backlog->casts[FULL], &before) ||
        !relay(backlog, first, &round->rate[first], reason) ||
        !relay(backlog, 1 - first, &round->rate[1 - first], reason) ||
        !refused(&backlog->casts[FULL], &after)) {
        return false;
    }
    round->retried = after - before;
    backlog->round_count++;
    fprintf(stderr, "round %u: full %.0f/s, empty %.0f/s, ratio %.3f; %.0f deferred tried again\n",
            backlog->round_count, round->rate[FULL], round->rate[EMPTY],
            round->rate[FULL] / round->rate[EMPTY], round->retried);
    return true;
}

static bool backlog_go(struct backlog *backlog, struct buf *reason)
{
    double warm = 0;
    bool good = backlog_fill(backlog, reason) && relay(backlog, EMPTY, &warm, reason);
    for (unsigned i = 0; good && i < backlog->scenario->rounds; i++) {
        good = backlog_round(backlog, reason);
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static double bytes_per_recipient(const struct backlog *backlog)
{
    return (backlog->rss_after - backlog->rss_before) / (double)backlog->scenario->messages;
}

static double round_ratio(const void *round)
{
    const double *rate = ((const struct backlog_round *)round)->rate;
    return rate[FULL] / rate[EMPTY];
}

static double median_ratio(const struct backlog *backlog)
{
    return median_of_rounds(backlog->rounds, sizeof(backlog->rounds[0]), backlog->round_count,
                            round_ratio);
}

static void backlog_json(const void *result, struct buf *buf)
{
    const struct backlog *backlog = result;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    scenario_put_filling(&json, backlog->scenario, backlog->filling.seconds);
    report_put_number(&json, "rss_before", backlog->rss_before, 0);
    report_put_number(&json, "rss_after", backlog->rss_after, 0);
    report_put_number(&json, "bytes_per_recipient", bytes_per_recipient(backlog), 1);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < backlog->round_count; i++) {
        const struct backlog_round *round = &backlog->rounds[i];
        json_object(&json);
        report_put_number(&json, "full", round->rate[FULL], 1);
        report_put_number(&json, "empty", round->rate[EMPTY], 1);
        report_put_number(&json, "ratio", round_ratio(round), 4);
        report_put_number(&json, "retried", round->retried, 0);
        json_object_end(&json);
    }
    json_array_end(&json);
    report_put_number(&json, "ratio_median", median_ratio(backlog), 4);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void backlog_table(const void *result, struct buf *buf)
{
    const struct backlog *backlog = result;
    const struct scenario *scenario = backlog->scenario;
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes for %" PRIu64
               " domains, each tried once; filled in %.1f s\n"
               "memory: %.1f MiB before, %.1f MiB after: %.1f bytes a recipient\n\n"
               "relay of %" PRIu64 " messages to another domain\n"
               "round  full/s  empty/s   ratio  deferred tried again\n",
               scenario->messages, scenario->size, scenario->queues, backlog->filling.seconds,
               backlog->rss_before / MIB_D, backlog->rss_after / MIB_D,
               bytes_per_recipient(backlog), scenario->relay_messages);
    for (unsigned i = 0; i < backlog->round_count; i++) {
        const struct backlog_round *round = &backlog->rounds[i];
        buf_printf(buf, "%5u %7.0f %8.0f %7.3f %21.0f\n", i + 1, round->rate[FULL],
                   round->rate[EMPTY], round_ratio(round), round->retried);
    }
    buf_printf(buf, "full to empty: median %.3f of %u\n\n", median_ratio(backlog),
               backlog->round_count);
    scenario_put_files(buf, scenario, &backlog->picture);
}

static const struct plot_panel panels[] = {
    {.title = "Messages accepted a second", .y_label = "messages/s",
     .series = {{"accept_rate", NULL, 1}}},
    {.title = "Memory of ringpostd", .y_label = "MiB resident",
     .series = {{"rss_bytes", NULL, MIB_D}}},
};

static void backlog_plot(struct backlog *backlog)
{
    const struct scenario *scenario = backlog->scenario;
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "%" PRIu64 " messages of %" PRIu64 " bytes for %" PRIu64
                   " domains, all answered 450; %" PRIu64 " shard%s, ringpost " RINGPOST_VERSION,
                   scenario->messages, scenario->size, scenario->queues, scenario->shards,
                   scenario->shards == 1 ? "" : "s");
    struct plot plot = {.title = "Ringpost filling a queue",
                        .subtitle = subtitle,
                        .x_column = "queued",
                        .x_label = "thousands of recipients queued",
                        .x_per = 1000,
                        .panels = panels,
                        .panel_count = COUNT_OF(panels)};
    scenario_draw(scenario, &plot, &backlog->picture);
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool open_casts(struct backlog *backlog, struct slice domains, struct buf *reason)
{
    struct cast_options full = {.scenario = backlog->scenario,
                                .messages = backlog->scenario->messages,
                                .domains = domains,
                                .script = SLICE(DOMAINS_LATER_RULE)};
    struct cast_options empty = {.scenario = backlog->scenario};
    if (!cast_open(&backlog->casts[FULL], &full, reason)) {
        return false;
    }
    if (!cast_open(&backlog->casts[EMPTY], &empty, reason)) {
        cast_close(&backlog->casts[FULL]);
        return false;
    }
    return true;
}

static bool backlog_run(struct backlog *backlog, struct slice domains, struct buf *reason)
{
    struct scenario_result result = {backlog, backlog_json, backlog_table};
    if (!open_casts(backlog, domains, reason)) {
        return false;
    }
    bool good = backlog_go(backlog, reason);
    for (unsigned i = 0; i < SERVERS_COUNT; i++) {
        good = cast_end(&backlog->casts[i], good, reason);
        cast_close(&backlog->casts[i]);
    }
    if (backlog->table != NULL) {
        (void)fclose(backlog->table);
        backlog_plot(backlog);
    }
    return good && scenario_publish(backlog->scenario, &result, reason);
}

bool run_backlog(struct scenario *scenario, struct buf *reason)
{
    struct backlog *backlog = calloc(1, sizeof(*backlog));
    size_t text_bytes = (size_t)scenario->queues * DOMAINS_LATER_BYTES;
    char *text = malloc(text_bytes);
    bool good = backlog != NULL && text != NULL;
    if (good) {
        struct buf domains;
        buf_init(&domains, text, text_bytes);
        domains_put_later(&domains, scenario->queues, 1);
        backlog->scenario = scenario;
        good = backlog_run(backlog, buf_slice(&domains), reason);
    }
    free(backlog);
    free(text);
    return good;
}
