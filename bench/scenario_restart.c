/*
 * Restart: a spool is filled with mail that nobody takes, in equal steps. After each of them the
 * server is killed, and started again with its files out of the page cache; with the full queue as
 * often as there are rounds, each time on what the kill before left.
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

#define RETRY_S        86400u /* the next attempts lie beyond the run */

/* A start. */
struct restart_round {
    double seconds; /* exec → event=ready */
    double queued;
    double rss;     /* bytes, when it is ready */
    struct disk_use spool; /* before the start */
    struct cache_drop drop;
};

struct restart {
    const struct scenario *scenario;
    double fill_seconds;
    unsigned step_count; /* with less than the full queue */
    struct restart_round steps[SCENARIO_STEPS_MAX];
    unsigned round_count;
    struct restart_round rounds[REPORT_ROUNDS_MAX];
    struct scenario_picture picture;
};

/* --- filling ---------------------------------------------------------------------------------- */

/* How many messages are queued when so many steps are done. */
static uint64_t messages_after(const struct scenario *scenario, uint64_t steps)
{
    return scenario->messages / scenario->steps * steps +
           scenario->messages % scenario->steps * steps / scenario->steps;
}

static bool restart_begin(const struct restart *restart, struct cast *cast, struct buf *reason)
{
    struct mta_options mta = {.retry_s = RETRY_S};
    return cast_start_sink(cast, reason) &&
           cast_start_mta(cast, restart->scenario->bin, "restart", mta, reason);
}

static bool restart_fill(struct restart *restart, struct cast *cast, uint64_t step,
                         struct buf *reason)
{
    const struct scenario *scenario = restart->scenario;
    struct filling filling = {.cast = cast};
    if (step > 0) {
        cast_source_next(cast,
                         messages_after(scenario, step + 1) - messages_after(scenario, step),
                         cast->options.domains, cast->options.fields);
    }
    if (!filling_run(&filling, reason)) {
        return false;
    }
    restart->fill_seconds += filling.seconds;
    return true;
}

/* --- starts ----------------------------------------------------------------------------------- */

static bool restart_round(const struct scenario *scenario, struct cast *cast, uint64_t messages,
                          struct restart_round *round, struct buf *reason)
{
    struct mta_options mta = {.retry_s = RETRY_S, .keep = true};
    struct process_use use;
    char spool[4096 + 32];
    (void)snprintf(spool, sizeof(spool), "%s/restart/spool", scenario->dir);
    mta_kill(&cast->mta);
    if (!disk_use_read(spool, &round->spool)) {
        buf_printf(reason, "%s: cannot be read", spool);
        return false;
    }
    round->drop = cache_drop(spool);
    if (!cast_start_mta(cast, scenario->bin, "restart", mta, reason)) {
        return false;
    }
    if (!process_use_read(cast->mta.child.pid, &use)) {
        buf_printf(reason, "cannot look at the server: %s", strerror(errno));
        return false;
    }
    round->seconds = (double)cast->mta.ready_ns / 1e9;
    round->queued = cast->mta.queued;
    round->rss = (double)use.rss_bytes;
    if (!(round->queued == (double)messages)) {
        buf_printf(reason, "after SIGKILL queued=%.0f, not %" PRIu64, round->queued, messages);
        return false;
    }
    fprintf(stderr, "start: %.3f s, queued=%.0f, %.1f MiB resident\n", round->seconds,
            round->queued, round->rss / MIB_D);
    return true;
}

static bool restart_rounds(struct restart *restart, struct cast *cast, struct buf *reason)
{
    const struct scenario *scenario = restart->scenario;
    bool good = restart_begin(restart, cast, reason);
    for (uint64_t i = 0; good && i + 1 < scenario->steps; i++) {
        good = restart_fill(restart, cast, i, reason) &&
               restart_round(scenario, cast, messages_after(scenario, i + 1),
                             &restart->steps[restart->step_count++], reason);
    }
    good = good && restart_fill(restart, cast, scenario->steps - 1, reason);
    for (uint64_t i = 0; good && i < scenario->rounds; i++) {
        good = restart_round(scenario, cast, scenario->messages,
                             &restart->rounds[restart->round_count++], reason);
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static double best_seconds(const struct restart *restart)
{
    double best = INFINITY;
    for (unsigned i = 0; i < restart->round_count; i++) {
        best = fmin(best, restart->rounds[i].seconds);
    }
    return best;
}

static double round_seconds(const void *round)
{
    return ((const struct restart_round *)round)->seconds;
}

static double median_seconds(const struct restart *restart)
{
    return median_of_rounds(restart->rounds, sizeof(restart->rounds[0]), restart->round_count,
                            round_seconds);
}

static void put_round(struct json *json, const struct restart_round *round)
{
    json_object(json);
    report_put_number(json, "seconds", round->seconds, 3);
    report_put_number(json, "queued", round->queued, 0);
    report_put_number(json, "rss", round->rss, 0);
    json_key(json, "spool");
    json_object(json);
    json_key(json, "segments");
    json_u64(json, round->spool.segments);
    json_key(json, "bytes");
    json_u64(json, round->spool.bytes);
    json_key(json, "checkpoints");
    json_u64(json, round->spool.checkpoints);
    json_key(json, "checkpoint_bytes");
    json_u64(json, round->spool.checkpoint_bytes);
    json_object_end(json);
    json_key(json, "page_cache_dropped");
    json_bool(json, round->drop.kernel);
    json_object_end(json);
}

static void put_rounds(struct json *json, const char *key, const struct restart_round *rounds,
                       unsigned count)
{
    json_key(json, key);
    json_array(json);
    for (unsigned i = 0; i < count; i++) {
        put_round(json, &rounds[i]);
    }
    json_array_end(json);
}

static void restart_json(const void *result, struct buf *buf)
{
    const struct restart *restart = result;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    scenario_put_filling(&json, restart->scenario, restart->fill_seconds);
    put_rounds(&json, "steps", restart->steps, restart->step_count);
    put_rounds(&json, "rounds", restart->rounds, restart->round_count);
    report_put_number(&json, "seconds_best", best_seconds(restart), 3);
    report_put_number(&json, "seconds_median", median_seconds(restart), 3);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void put_row(struct buf *buf, const struct restart_round *round)
{
    buf_printf(buf, "%10.0f %8.3f %13.1f %9" PRIu64 " %12.2f", round->queued, round->seconds,
               round->rss / MIB_D, round->spool.segments, (double)round->spool.bytes / GIB_D);
    if (round->spool.checkpoints > 0) {
        buf_printf(buf, " %15.1f\n", (double)round->spool.checkpoint_bytes / MIB_D);
    } else {
        buf_put_string(buf, "            none\n");
    }
}

static void restart_table(const void *result, struct buf *buf)
{
    const struct restart *restart = result;
    const struct scenario *scenario = restart->scenario;
    const struct restart_round *first = &restart->rounds[0];
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes for %" PRIu64
               " domains, each tried once; filled in %.1f s\n"
               "page cache: %" PRIu64 " files of the spool dropped, %s\n"
               "segments are read past it (O_DIRECT) where the file system can, cold or not; "
               "checkpoints and the program are not\n\n"
               "    queued  seconds  MiB resident  segments  GiB on disk  checkpoint MiB\n",
               scenario->messages, scenario->size, scenario->queues, restart->fill_seconds,
               first->drop.files,
               first->drop.kernel ? "then all of the machine's" : "no right to drop all of it");
    for (unsigned i = 0; i < restart->step_count; i++) {
        put_row(buf, &restart->steps[i]);
    }
    for (unsigned i = 0; i < restart->round_count; i++) {
        put_row(buf, &restart->rounds[i]);
    }
    buf_printf(buf, "exec to event=ready: best %.3f s, median %.3f s of %u\n",
               best_seconds(restart), median_seconds(restart), restart->round_count);
    if (restart->step_count > 0) {
        buf_put_string(buf, "\n");
        scenario_put_files(buf, scenario, &restart->picture);
    }
}

/* --- the picture ------------------------------------------------------------------------------ */

static void put_sample(FILE *table, const struct restart_round *round, double seconds)
{
    fprintf(table, "%.0f\t%.3f\t%.0f\t%" PRIu64 "\n", round->queued, seconds, round->rss,
            round->spool.bytes);
}

static const struct plot_panel panels[] = {
    {.title = "From exec to event=ready", .y_label = "seconds", .series = {{"seconds", NULL, 1}}},
    {.title = "Memory of ringpostd, ready", .y_label = "MiB resident",
     .series = {{"rss_bytes", NULL, MIB_D}}},
};

/* Against the length of the queue; of the full one the best start. */
static bool restart_plot(struct restart *restart, struct buf *reason)
{
    const struct scenario *scenario = restart->scenario;
    FILE *table = scenario_table(scenario, "queued\tseconds\trss_bytes\tspool_bytes", reason);
    if (table == NULL) {
        return false;
    }
    for (unsigned i = 0; i < restart->step_count; i++) {
        put_sample(table, &restart->steps[i], restart->steps[i].seconds);
    }
    put_sample(table, &restart->rounds[0], best_seconds(restart));
    (void)fclose(table);
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "messages of %" PRIu64 " bytes for %" PRIu64 " domains, after SIGKILL, cold "
                   "cache; %" PRIu64 " shard%s, ringpost " RINGPOST_VERSION,
                   scenario->size, scenario->queues, scenario->shards,
                   scenario->shards == 1 ? "" : "s");
    struct plot plot = {.title = "Ringpost starting with mail queued",
                        .subtitle = subtitle,
                        .x_column = "queued",
                        .x_label = "thousands of recipients queued",
                        .x_per = 1000,
                        .panels = panels,
                        .panel_count = COUNT_OF(panels)};
    scenario_draw(scenario, &plot, &restart->picture);
    return true;
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool restart_publish(struct restart *restart, struct buf *reason)
{
    struct scenario_result result = {restart, restart_json, restart_table};
    return (restart->step_count == 0 || restart_plot(restart, reason)) &&
           scenario_publish(restart->scenario, &result, reason);
}

bool run_restart(struct scenario *scenario, struct buf *reason)
{
    struct restart *restart = calloc(1, sizeof(*restart));
    struct cast *cast = calloc(1, sizeof(*cast));
    size_t domains_bytes = (size_t)scenario->queues * DOMAINS_LATER_BYTES;
    char *text = malloc(domains_bytes);
    struct buf domains;
    scenario->steps = MIN_OF(scenario->steps, scenario->messages);
    bool good = restart != NULL && cast != NULL && text != NULL;
    if (good) {
        buf_init(&domains, text, domains_bytes);
        domains_put_later(&domains, scenario->queues, 1);
        struct cast_options options = {.scenario = scenario,
                                       .messages = messages_after(scenario, 1),
                                       .domains = buf_slice(&domains),
                                       .script = SLICE(DOMAINS_LATER_RULE)};
        restart->scenario = scenario;
        good = cast_open(cast, &options, reason);
    }
    if (good) {
        good = cast_end(cast, restart_rounds(restart, cast, reason), reason);
        cast_close(cast);
    }
    good = good && restart_publish(restart, reason);
    free(restart);
    free(cast);
    free(text);
    return good;
}
