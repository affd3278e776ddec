/*
 * Idle: SMTP connections that say EHLO and then nothing. What does each take in memory, by what the
 * kernel says of the process and by the server's own account? In steps up to the number asked for,
 * each with all connections anew: what the process has once used stays with it, so a step shows
 * what its connections take beyond those of the step before.
 */
#include "bench/scenario.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "bench/cast.h"
#include "bench/observe.h"

#define STEPS            5u
#define PROMISED_BYTES   4096.0
#define SPARE_FILES      256u  /* descriptors of a server beyond its clients */
#define SETTLE_MS        1000u /* until what was said at the beginning is given back */
#define POLL_MS          50u
#define BACK_MS          30000u
#define STILL_MS         12000u /* more than idle_timeout below, and than ready queues rest */

struct idle_look {
    double connections;
    double rss_bytes;
    double account_bytes; /* of connections, all threads */
};

struct idle {
    const struct scenario *scenario;
    struct cast cast;
    struct idle_look before;
    struct idle_look steps[STEPS];
    struct idle_look after; /* all are gone */
    struct scenario_picture picture;
};

/* --- looks ------------------------------------------------------------------------------------ */

static bool look(struct idle *idle, double connections, struct idle_look *look_out,
                 struct buf *reason)
{
    char line[MTA_LINE_MAX];
    struct process_use use;
    struct mta *mta = &idle->cast.mta;
    if (!mta_memory(mta, line, reason)) {
        return false;
    }
    if (!process_use_read(mta->child.pid, &use)) {
        buf_printf(reason, "cannot look at the server: %s", strerror(errno));
        return false;
    }
    *look_out = (struct idle_look){.connections = connections,
                                   .rss_bytes = (double)use.rss_bytes,
                                   .account_bytes = line_number(line, "connections")};
    return true;
}

/* Until the account of connections is no more than `bytes`; false with a reason. */
static bool wait_back(struct idle *idle, double bytes, struct idle_look *look_out,
                      struct buf *reason)
{
    for (unsigned waited = 0; waited < BACK_MS; waited += POLL_MS) {
        if (!look(idle, 0, look_out, reason)) {
            return false;
        }
        if (look_out->account_bytes <= bytes) {
            return true;
        }
        clock_sleep_ms(POLL_MS);
    }
    buf_printf(reason, "without connections the account of them is %.0f bytes, not %.0f",
               look_out->account_bytes, bytes);
    return false;
}

/* Until nothing of the warm-up ends any more: the account stands still. False with a reason. */
static bool wait_still(struct idle *idle, struct idle_look *look_out, struct buf *reason)
{
    double bytes = -1;
    unsigned still_ms = 0;
    for (unsigned waited = 0; waited < BACK_MS && still_ms < STILL_MS; waited += POLL_MS) {
        if (!look(idle, 0, look_out, reason)) {
            return false;
        }
        still_ms = look_out->account_bytes == bytes ? still_ms + POLL_MS : 0;
        bytes = look_out->account_bytes;
        clock_sleep_ms(POLL_MS);
    }
    return true;
}

/* --- the run ---------------------------------------------------------------------------------- */

/* Everything but connections has been used once: receive buffers, groups, pools. */
static bool warm_up(struct idle *idle, struct buf *reason)
{
    struct cast *cast = &idle->cast;
    return cast_start_source(cast, reason) && cast_wait_sent(cast, reason) &&
           cast_wait_received(cast, idle->scenario->messages, reason) &&
           wait_still(idle, &idle->before, reason);
}

static bool idle_step(struct idle *idle, unsigned step, struct buf *reason)
{
    uint64_t connections = idle->scenario->idle * (step + 1) / STEPS;
    if (!cast_start_idle(&idle->cast, connections, reason)) {
        return false;
    }
    clock_sleep_ms(SETTLE_MS);
    if (!look(idle, (double)connections, &idle->steps[step], reason)) {
        return false;
    }
    child_kill(&idle->cast.source);
    fprintf(stderr, "%" PRIu64 " connections: %.1f MiB more memory, %.1f MiB by the account\n",
            connections, (idle->steps[step].rss_bytes - idle->before.rss_bytes) / MIB_D,
            (idle->steps[step].account_bytes - idle->before.account_bytes) / MIB_D);
    return wait_back(idle, idle->before.account_bytes, &idle->after, reason);
}

static bool idle_go(struct idle *idle, struct buf *reason)
{
    /* Connections of the warm-up to the sink are not to end while there are looks. */
    struct mta_options mta = {.site = "idle_timeout = \"1s\"\n"};
    bool good = cast_start_sink(&idle->cast, reason) &&
                cast_start_mta(&idle->cast, idle->scenario->bin, "idle", mta, reason) &&
                warm_up(idle, reason);
    for (unsigned i = 0; good && i < STEPS; i++) {
        good = idle_step(idle, i, reason);
    }
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static double rss_each(const struct idle *idle, const struct idle_look *look)
{
    return (look->rss_bytes - idle->before.rss_bytes) / look->connections;
}

/* Of each connection more than in the step before. */
static double rss_more(const struct idle *idle, unsigned step)
{
    const struct idle_look *from = step > 0 ? &idle->steps[step - 1] : &idle->before;
    const struct idle_look *to = &idle->steps[step];
    return (to->rss_bytes - from->rss_bytes) / (to->connections - from->connections);
}

static double account_each(const struct idle *idle, const struct idle_look *look)
{
    return (look->account_bytes - idle->before.account_bytes) / look->connections;
}

static bool promise_held(const struct idle *idle)
{
    const struct idle_look *last = &idle->steps[STEPS - 1];
    return rss_each(idle, last) <= PROMISED_BYTES && account_each(idle, last) <= PROMISED_BYTES;
}

static void put_look(struct json *json, const struct idle_look *look)
{
    json_object(json);
    report_put_number(json, "connections", look->connections, 0);
    report_put_number(json, "rss_bytes", look->rss_bytes, 0);
    report_put_number(json, "account_bytes", look->account_bytes, 0);
    json_object_end(json);
}

static void idle_json(const void *result, struct buf *buf)
{
    const struct idle *idle = result;
    const struct idle_look *last = &idle->steps[STEPS - 1];
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &idle->scenario->head);
    json_key(&json, "before");
    put_look(&json, &idle->before);
    json_key(&json, "steps");
    json_array(&json);
    for (unsigned i = 0; i < STEPS; i++) {
        put_look(&json, &idle->steps[i]);
    }
    json_array_end(&json);
    json_key(&json, "after");
    put_look(&json, &idle->after);
    report_put_number(&json, "rss_bytes_each", rss_each(idle, last), 1);
    report_put_number(&json, "rss_bytes_more", rss_more(idle, STEPS - 1), 1);
    report_put_number(&json, "account_bytes_each", account_each(idle, last), 1);
    json_key(&json, "held");
    json_bool(&json, promise_held(idle));
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void idle_table(const void *result, struct buf *buf)
{
    const struct idle *idle = result;
    const struct idle_look *last = &idle->steps[STEPS - 1];
    buf_printf(buf, "%" PRIu64 " shard%s; before, after a relay of %" PRIu64 " messages: %.1f MiB "
               "resident,\n%.0f bytes by the account of connections\n\n"
               "                beyond that, MiB    ---------- bytes each -----------\n"
               "connections   resident  account   resident  account  each resident more\n",
               idle->scenario->shards, idle->scenario->shards == 1 ? "" : "s",
               idle->scenario->messages, idle->before.rss_bytes / MIB_D,
               idle->before.account_bytes);
    for (unsigned i = 0; i < STEPS; i++) {
        const struct idle_look *step = &idle->steps[i];
        buf_printf(buf, "%11.0f %10.1f %8.1f %10.0f %8.0f %19.0f\n", step->connections,
                   (step->rss_bytes - idle->before.rss_bytes) / MIB_D,
                   (step->account_bytes - idle->before.account_bytes) / MIB_D,
                   rss_each(idle, step), account_each(idle, step), rss_more(idle, i));
    }
    buf_printf(buf, "when they are gone: %.1f MiB resident beyond that, the account as before\n"
               "promised: at most %.0f bytes each by both: %s; resident / account %.3f\n"
               "what the kernel keeps for a socket is not in it\n\n",
               (idle->after.rss_bytes - idle->before.rss_bytes) / MIB_D, PROMISED_BYTES,
               promise_held(idle) ? "held" : "NOT HELD",
               rss_each(idle, last) / account_each(idle, last));
    scenario_put_files(buf, idle->scenario, &idle->picture);
}

static bool put_samples(struct idle *idle, struct buf *reason)
{
    FILE *table = scenario_table(idle->scenario, "connections\trss_bytes\taccount_bytes", reason);
    if (table == NULL) {
        return false;
    }
    fprintf(table, "0\t0\t0\n");
    for (unsigned i = 0; i < STEPS; i++) {
        fprintf(table, "%.0f\t%.0f\t%.0f\n", idle->steps[i].connections,
                idle->steps[i].rss_bytes - idle->before.rss_bytes,
                idle->steps[i].account_bytes - idle->before.account_bytes);
    }
    return fclose(table) == 0;
}

static void idle_plot(struct idle *idle)
{
    static const struct plot_panel panel = {
        .title = "Memory of ringpostd beyond that without connections",
        .y_label = "MiB",
        .series = {{"rss_bytes", "resident", MIB_D}, {"account_bytes", "its account", MIB_D}},
    };
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "SMTP connections that say nothing after EHLO; %" PRIu64
                   " shard%s, ringpost " RINGPOST_VERSION, idle->scenario->shards,
                   idle->scenario->shards == 1 ? "" : "s");
    struct plot plot = {.title = "Ringpost with idle connections",
                        .subtitle = subtitle,
                        .x_column = "connections",
                        .x_label = "connections",
                        .x_per = 1,
                        .panels = &panel,
                        .panel_count = 1};
    scenario_draw(idle->scenario, &plot, &idle->picture);
}

/* The server and the source have one each; both raise the soft limit. False with a reason. */
static bool raise_files(const struct scenario *scenario, struct buf *reason)
{
    struct rlimit limit;
    rlim_t wanted = scenario->idle + SPARE_FILES;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_max < wanted) {
        buf_printf(reason, "--connections: a process may have %" PRIu64 " descriptors here, %"
                   PRIu64 " are needed", (uint64_t)limit.rlim_max, (uint64_t)wanted);
        return false;
    }
    limit.rlim_cur = MAX_OF(limit.rlim_cur, wanted);
    return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}

static bool idle_run(struct idle *idle, struct buf *reason)
{
    struct scenario_result result = {idle, idle_json, idle_table};
    struct cast_options options = {.scenario = idle->scenario,
                                   .messages = idle->scenario->messages,
                                   .expected = idle->scenario->messages,
                                   .domains = SLICE("sink.test")};
    if (!raise_files(idle->scenario, reason) || !cast_open(&idle->cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&idle->cast, idle_go(idle, reason), reason);
    cast_close(&idle->cast);
    if (!good || !put_samples(idle, reason)) {
        return false;
    }
    idle_plot(idle);
    return scenario_publish(idle->scenario, &result, reason);
}

bool run_idle(struct scenario *scenario, struct buf *reason)
{
    struct idle *idle = calloc(1, sizeof(*idle));
    bool good = idle != NULL;
    if (good) {
        idle->scenario = scenario;
        good = idle_run(idle, reason);
    }
    free(idle);
    return good;
}
