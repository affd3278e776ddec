/*
 * Restart: a spool is filled with mail that nobody takes, the server is killed, and started again
 * with its files out of the page cache; as often as there are rounds, each time what the kill
 * before left.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "bench/cast.h"
#include "bench/domains.h"
#include "bench/filling.h"
#include "bench/observe.h"

#define RETRY_S        86400u /* the next attempts lie beyond the run */
#define GIB            1073741824.0

struct restart_round {
    double seconds; /* exec → event=ready */
    double queued;
    struct disk_use spool; /* before the start */
    struct cache_drop drop;
};

struct restart {
    const struct scenario *scenario;
    double fill_seconds;
    unsigned round_count;
    struct restart_round rounds[REPORT_ROUNDS_MAX];
};

/* --- filling ---------------------------------------------------------------------------------- */

static bool restart_fill(struct restart *restart, struct cast *cast, struct buf *reason)
{
    struct mta_options mta = {.retry_s = RETRY_S};
    struct filling filling = {.cast = cast};
    bool good = cast_start_sink(cast, reason) &&
                cast_start_mta(cast, restart->scenario->bin, "restart", mta, reason) &&
                filling_run(&filling, reason);
    restart->fill_seconds = filling.seconds;
    return good;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static bool restart_round(struct restart *restart, struct cast *cast, struct buf *reason)
{
    const struct scenario *scenario = restart->scenario;
    struct restart_round *round = &restart->rounds[restart->round_count];
    struct mta_options mta = {.retry_s = RETRY_S, .keep = true};
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
    round->seconds = (double)cast->mta.ready_ns / 1e9;
    round->queued = cast->mta.queued;
    if (!(round->queued == (double)scenario->messages)) {
        buf_printf(reason, "after SIGKILL queued=%.0f, not %" PRIu64, round->queued,
                   scenario->messages);
        return false;
    }
    restart->round_count++;
    fprintf(stderr, "round %u: %.3f s, queued=%.0f\n", restart->round_count, round->seconds,
            round->queued);
    return true;
}

static bool restart_rounds(struct restart *restart, struct cast *cast, struct buf *reason)
{
    if (!restart_fill(restart, cast, reason)) {
        return false;
    }
    for (unsigned i = 0; i < restart->scenario->rounds; i++) {
        if (!restart_round(restart, cast, reason)) {
            return false;
        }
    }
    return true;
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

static void restart_json(const void *result, struct buf *buf)
{
    const struct restart *restart = result;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    scenario_put_filling(&json, restart->scenario, restart->fill_seconds);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < restart->round_count; i++) {
        put_round(&json, &restart->rounds[i]);
    }
    json_array_end(&json);
    report_put_number(&json, "seconds_best", best_seconds(restart), 3);
    report_put_number(&json, "seconds_median", median_seconds(restart), 3);
    json_object_end(&json);
    buf_put_string(buf, "\n");
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
               "round  seconds     queued  segments  GiB on disk  checkpoint MiB\n",
               scenario->messages, scenario->size, scenario->queues, restart->fill_seconds,
               first->drop.files,
               first->drop.kernel ? "then all of the machine's" : "no right to drop all of it");
    for (unsigned i = 0; i < restart->round_count; i++) {
        const struct restart_round *round = &restart->rounds[i];
        buf_printf(buf, "%5u %8.3f %10.0f %9" PRIu64 " %12.2f", i + 1, round->seconds,
                   round->queued, round->spool.segments, (double)round->spool.bytes / GIB);
        if (round->spool.checkpoints > 0) {
            buf_printf(buf, " %15.1f\n", (double)round->spool.checkpoint_bytes / MIB);
        } else {
            buf_put_string(buf, "            none\n");
        }
    }
    buf_printf(buf, "exec to event=ready: best %.3f s, median %.3f s of %u\n",
               best_seconds(restart), median_seconds(restart), restart->round_count);
}

bool run_restart(struct scenario *scenario, struct buf *reason)
{
    struct restart *restart = calloc(1, sizeof(*restart));
    struct cast *cast = calloc(1, sizeof(*cast));
    size_t domains_bytes = (size_t)scenario->queues * DOMAINS_LATER_BYTES;
    char *text = malloc(domains_bytes);
    struct buf domains;
    bool good = restart != NULL && cast != NULL && text != NULL;
    if (good) {
        buf_init(&domains, text, domains_bytes);
        domains_put_later(&domains, scenario->queues, 1);
        struct cast_options options = {.scenario = scenario,
                                       .messages = scenario->messages,
                                       .domains = buf_slice(&domains),
                                       .script = SLICE(DOMAINS_LATER_RULE)};
        restart->scenario = scenario;
        good = cast_open(cast, &options, reason);
    }
    if (good) {
        good = cast_end(cast, restart_rounds(restart, cast, reason), reason);
        cast_close(cast);
    }
    if (good) {
        struct scenario_result result = {restart, restart_json, restart_table};
        good = scenario_publish(scenario, &result, reason);
    }
    free(restart);
    free(cast);
    free(text);
    return good;
}
