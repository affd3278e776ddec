/*
 * ringpost-tsad: automation of traffic shaping as a daemon. Reads the configuration, gives its one
 * shard a thread, then waits for signals. The only file of the daemon that knows processes, threads
 * and signals.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "core/check.h"
#include "shard/process.h"
#include "shard/process_main.h"
#include "shard/thread.h"
#include "shard/watchdog.h"
#include "tsa/tsad.h"

/* How long a stop may take: answers, and the disk; with a second SIGTERM it ends within 2 s. */
#define STOP_NS     (10 * NS_PER_S)
#define STOP_CUT_NS (1800 * NS_PER_MS)

struct daemon {
    const struct conf *conf;
    struct tsad tsad;
    struct thread thread;
    struct watched_shard watched;
    struct watchdog watchdog;
};

/* --- running ---------------------------------------------------------------------------------- */

static void run_shard(void *context)
{
    struct tsad *tsad = context;
    while (!tsad_finished(tsad)) {
        tsad_turn(tsad, false);
    }
}

static void say_ready(const struct daemon *daemon)
{
    struct logline line;
    logline_begin(&line, "ready");
    process_put_endpoints(&line, "http", daemon->tsad.bound, daemon->conf->http_listener_count);
    logline_u64(&line, "pid", (uint64_t)getpid());
    logline_u64(&line, "restored", daemon->tsad.store.restored);
    logline_string(&line, "version", RINGPOST_VERSION);
    logline_end(&line, &process_stderr);
    (void)sd_notify(0, "READY=1");
}

static void say_stopped(const struct tsad *tsad)
{
    struct logline line;
    const struct automation_stats *stats = &tsad->tsa.automation.stats;
    logline_begin(&line, "stopped");
    logline_u64(&line, "records_accepted", tsad->tsa.stats.accepted);
    logline_u64(&line, "records_rejected", tsad->tsa.stats.rejected);
    logline_u64(&line, "records_judged", stats->records);
    logline_u64(&line, "matches", stats->matches);
    logline_u64(&line, "effects_begun", stats->changes[AUTOMATION_BEGUN]);
    logline_u64(&line, "subscribers_lost", tsad->tsa.hub.lost);
    logline_u64(&line, "http_requests",
                counters_get(&tsad->shard.counters, COUNTER_http_requests));
    logline_u64(&line, "lost_wakeups", counters_get(&tsad->shard.counters, COUNTER_lost_wakeups));
    logline_u64(&line, "cq_overflows", counters_get(&tsad->shard.counters, COUNTER_cq_overflows));
    logline_end(&line, &process_stderr);
}

/* The disk does not come back: what is durable is as safe as after a crash. */
static _Noreturn void give_up_stop(void)
{
    process_say("stop_cut_short", "something could not be written in time");
    _exit(EXIT_SUCCESS);
}

/* Waits for signals; looks now and then how it is, more often while it starts or stops. */
static void wait_and_stop(struct daemon *daemon, const sigset_t *signals)
{
    const struct timespec soon = {.tv_nsec = 20 * (long)NS_PER_MS};
    const struct timespec later = {.tv_nsec = 200 * (long)NS_PER_MS};
    struct tsad *tsad = &daemon->tsad;
    uint64_t deadline_ns = UINT64_MAX;
    unsigned level = 0;
    bool ready = false;
    while (!tsad_finished(tsad)) {
        if (!ready && tsad_state(tsad) == TSAD_READY) {
            ready = true;
            say_ready(daemon);
        }
        if (process_monotonic_ns() >= deadline_ns) {
            give_up_stop();
        }
        int signal = sigtimedwait(signals, NULL, !ready || level > 0 ? &soon : &later);
        if (signal == SIGTERM || signal == SIGINT) {
            if (!ready) {
                _exit(EXIT_SUCCESS); /* nothing was accepted: there is nothing to end */
            }
            (void)sd_notify(0, "STOPPING=1");
            tsad_stop(tsad, ++level);
            deadline_ns = MIN_OF(deadline_ns, process_monotonic_ns() +
                                                  (level > 1 ? STOP_CUT_NS : STOP_NS));
        } else if (signal == SIGHUP) {
            tsad_reload(tsad);
        }
    }
}

/* All that has to be there before its thread; false: it was told why. */
static bool open_all(struct daemon *daemon, const struct process_command *command)
{
    const struct conf *conf = daemon->conf;
    const struct tsad_options options_of_tsad = {
        .conf = conf,
        .conf_file = command->file,
        .conf_sets = command->sets,
        .conf_set_count = command->set_count,
        .log = process_stderr,
        .memory_bytes = process_memory_limit(conf),
    };
    const char *refusal = process_become_user(conf);
    if (refusal != NULL) {
        fprintf(stderr, "ringpost-tsad: %s\n", refusal);
        return false;
    }
    if (!process_make_dirs(conf->node.state_dir)) {
        fprintf(stderr, "ringpost-tsad: %s: %s\n", conf->node.state_dir, strerror(errno));
        return false;
    }
    if (tsad_open(&daemon->tsad, &options_of_tsad) != 0) {
        fprintf(stderr, "ringpost-tsad: %s\n", daemon->tsad.reason);
        return false;
    }
    return true;
}

static int run(struct daemon *daemon, const struct process_command *command)
{
    sigset_t signals;
    struct tsad *tsad = &daemon->tsad;
    const struct thread_options thread = {.name = "tsa"};
    process_block_signals(&signals);
    process_raise_file_limit();
    if (!open_all(daemon, command)) {
        return EXIT_FAILURE;
    }
    daemon->watched = (struct watched_shard){.shard = &tsad->shard, .thread = &daemon->thread};
    int error = thread_start(&daemon->thread, &thread, run_shard, tsad);
    if (error == 0) {
        error = watchdog_start(&daemon->watchdog, &daemon->watched, 1, WATCHDOG_STAND_MS);
    }
    if (error != 0) {
        fprintf(stderr, "ringpost-tsad: cannot start threads: %s\n", strerror(-error));
        _exit(EXIT_FAILURE);
    }
    wait_and_stop(daemon, &signals);
    if (tsad_state(tsad) == TSAD_FAILED) {
        fprintf(stderr, "ringpost-tsad: %s\n", tsad->reason);
        _exit(EXIT_FAILURE);
    }
    watchdog_stop(&daemon->watchdog);
    thread_join(&daemon->thread);
    say_stopped(tsad);
    tsad_close(tsad);
    return EXIT_SUCCESS;
}

static int run_daemon(const struct process_command *command)
{
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    CHECK(daemon != NULL);
    daemon->conf = command->conf;
    int status = run(daemon, command);
    free(daemon);
    return status;
}

int main(int argc, char **argv)
{
    const struct process_program program = {
        .name = "ringpost-tsad",
        .doc = "Ringpost's automation of traffic shaping, for servers that publish their records "
               "to it. Without a configuration file it listens on 127.0.0.1:8008 for HTTP, keeps "
               "everything under ./var, and has no rules.",
        .reads = CONF_TSAD,
        .run = run_daemon,
    };
    return process_main(&program, argc, argv);
}
