/*
 * ringpost-tsad: automation of traffic shaping as a daemon. Reads the configuration, gives its one
 * shard a thread, then waits for signals. The only file of the daemon that knows processes, threads
 * and signals.
 */
#include <argp.h>
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
#include "shard/thread.h"
#include "shard/watchdog.h"
#include "tsa/tsad.h"

#define SETS_MAX     256
#define MESSAGES_MAX (256 * KIB)
/* How long a stop may take: answers, and the disk; with a second SIGTERM it ends within 2 s. */
#define STOP_NS     (10 * NS_PER_S)
#define STOP_CUT_NS (1800 * NS_PER_MS)

struct daemon {
    const char *file;
    const char *sets[SETS_MAX];
    size_t set_count;
    bool check_only;
    struct conf *conf;
    struct tsad tsad;
    struct thread thread;
    struct watched_shard watched;
    struct watchdog watchdog;
};

/* --- command line ----------------------------------------------------------------------------- */

enum { OPTION_CHECK = 256, OPTION_SET };

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "configuration file (without one: built-in defaults)", 0},
    {"set", OPTION_SET, "SECTION.KEY=VALUE", 0, "set one value after all files; repeatable", 0},
    {"check", OPTION_CHECK, NULL, 0, "validate everything, touch nothing, and exit", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct daemon *daemon = state->input;
    switch (key) {
    case 'c':
        daemon->file = argument;
        return 0;
    case OPTION_CHECK:
        daemon->check_only = true;
        return 0;
    case OPTION_SET:
        if (daemon->set_count == SETS_MAX) {
            argp_error(state, "more than %d --set", SETS_MAX);
        }
        daemon->sets[daemon->set_count++] = argument;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "no such argument: %s", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static void print_version(FILE *stream, struct argp_state *state)
{
    (void)state;
    fprintf(stream, "ringpost-tsad %s\n", RINGPOST_VERSION);
}

static struct conf *load_conf(const struct daemon *daemon)
{
    struct conf_messages messages = {0};
    char *text = malloc(MESSAGES_MAX);
    CHECK(text != NULL);
    buf_init(&messages.text, text, MESSAGES_MAX);
    struct conf *conf =
        conf_file_load(CONF_TSAD, daemon->file, daemon->sets, daemon->set_count, &messages);
    fwrite(messages.text.data, 1, messages.text.size, stderr);
    free(text);
    return conf;
}

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
static bool open_all(struct daemon *daemon)
{
    const struct conf *conf = daemon->conf;
    const struct tsad_options options_of_tsad = {
        .conf = conf,
        .conf_file = daemon->file,
        .conf_sets = daemon->sets,
        .conf_set_count = daemon->set_count,
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

static int run(struct daemon *daemon)
{
    sigset_t signals;
    struct tsad *tsad = &daemon->tsad;
    const struct thread_options thread = {.name = "tsa"};
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    /* Blocked before any thread is made: only sigtimedwait sees them. */
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    process_raise_file_limit();
    if (!open_all(daemon)) {
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

int main(int argc, char **argv)
{
    const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .doc = "Ringpost's automation of traffic shaping, for servers that publish their records "
               "to it. Without a configuration file it listens on 127.0.0.1:8008 for HTTP, keeps "
               "everything under ./var, and has no rules.",
    };
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    CHECK(daemon != NULL);
    argp_program_version_hook = print_version;
    argp_err_exit_status = PROCESS_EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, daemon);
    daemon->conf = load_conf(daemon);
    if (daemon->conf == NULL) {
        return PROCESS_EXIT_CONFIG;
    }
    int status = daemon->check_only ? EXIT_SUCCESS : run(daemon);
    if (daemon->check_only) {
        puts("configuration is good");
    }
    conf_free(daemon->conf);
    free(daemon);
    return status;
}
