/*
 * ringpostd: the MTA. Reads the configuration, opens a node, gives each shard a thread, then waits
 * for signals. The only file of the daemon that knows processes, threads and signals.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "core/check.h"
#include "shard/process.h"
#include "shard/process_main.h"
#include "shard/secret_file.h"
#include "shard/thread.h"
#include "shard/watchdog.h"
#include "smtp/node.h"

/* How long a stop may take once connections are cut; with a second SIGTERM it ends within 2 s. */
#define STOP_CUT_NS (1800 * NS_PER_MS)

/* What a shard's thread is told. */
struct runner {
    struct node *node;
    unsigned index;
};

struct daemon {
    const struct conf *conf;
    struct node node;
    struct runner runners[SHARDS_MAX];
    struct thread threads[SHARDS_MAX];
    struct watched_shard watched[SHARDS_MAX];
    struct watchdog watchdog;
    struct queue_report report;
    void *report_memory; /* null: no report is being made or printed */
    bool report_wanted;
};

/* --- where we run ----------------------------------------------------------------------------- */

/* node.id of the configuration, else of state_dir/node.id, which is made at the first start. */
static bool find_node_id(const struct conf *conf, struct id *id_out)
{
    char path[PATH_MAX];
    char text[ID_TEXT_BYTES + 1] = "";
    if (conf->node.id_set) {
        memcpy(id_out->bytes, conf->node.id, sizeof(id_out->bytes));
        return true;
    }
    if (!process_make_dirs(conf->node.state_dir)) {
        return false;
    }
    snprintf(path, sizeof(path), "%s/node.id", conf->node.state_dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (fd < 0) {
        return false;
    }
    ssize_t size = read(fd, text, ID_TEXT_BYTES);
    bool known = size == ID_TEXT_BYTES && id_parse(slice_make(text, ID_TEXT_BYTES), id_out);
    if (!known) {
        struct timespec now;
        struct id_source source;
        struct buf buf;
        clock_gettime(CLOCK_REALTIME, &now);
        id_source_init(&source, 0, (uint32_t)now.tv_nsec % ID_BOOTS);
        *id_out = id_next(&source, (uint64_t)now.tv_sec * NS_PER_S);
        buf_init(&buf, text, sizeof(text));
        id_put(&buf, id_out);
        known = pwrite(fd, text, ID_TEXT_BYTES, 0) == ID_TEXT_BYTES && fsync(fd) == 0;
    }
    close(fd);
    return known;
}

/* state_dir/reference.key, which is made at the first start. */
static bool find_reference_key(const struct conf *conf, struct reference_key *key_out)
{
    char path[PATH_MAX];
    if (!process_make_dirs(conf->node.state_dir)) {
        fprintf(stderr, "ringpostd: %s: %s\n", conf->node.state_dir, strerror(errno));
        return false;
    }
    snprintf(path, sizeof(path), "%s/reference.key", conf->node.state_dir);
    const char *fault = secret_file_load(path, key_out->bytes, sizeof(key_out->bytes));
    if (fault != NULL) {
        fprintf(stderr, "ringpostd: %s: %s\n", path, fault);
    }
    return fault == NULL;
}

/* The log may fill up later, which is dealt with then; that it can never be written is told now. */
static bool log_usable(const struct conf *conf)
{
    return process_make_dirs(conf->log.path) && access(conf->log.path, W_OK | X_OK) == 0;
}

static unsigned shard_count(const struct conf *conf)
{
    unsigned count = conf->node.shards > 0 ? conf->node.shards : thread_cpus();
    return MIN_OF(count, SHARDS_MAX - 1u);
}

/* --- running ---------------------------------------------------------------------------------- */

static void run_shard(void *context)
{
    struct runner *runner = context;
    while (!node_finished(runner->node, runner->index)) {
        node_turn(runner->node, runner->index, false);
    }
}

/* What makes a 250 worth less than it promises. */
static void say_unsafe(const struct conf *conf)
{
    struct statfs info;
    if (conf->spool.sync == CONF_SYNC_NONE) {
        process_say("unsafe", "spool.sync = none: acknowledged mail can be lost");
    }
    if (statfs(conf->spool.path, &info) == 0 &&
        (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)) {
        process_say("unsafe", "spool.path lies in memory: acknowledged mail can be lost");
    }
}

static void say_ready(const struct daemon *daemon)
{
    const struct node *node = &daemon->node;
    struct logline line;
    logline_begin(&line, "ready");
    process_put_endpoints(&line, "smtp", node->bound, daemon->conf->smtp_listener_count);
    process_put_endpoints(&line, "http", node->http_bound, daemon->conf->http_listener_count);
    logline_u64(&line, "pid", (uint64_t)getpid());
    logline_u64(&line, "queued", node->queued);
    logline_string(&line, "version", RINGPOST_VERSION);
    logline_end(&line, &process_stderr);
    say_unsafe(daemon->conf);
    (void)sd_notify(0, "READY=1");
}

/* Of all commits of all lanes, for the bench. */
static void put_commits(struct logline *line, const struct node *node)
{
    struct histogram ns;
    struct histogram messages;
    histogram_init(&ns);
    histogram_init(&messages);
    for (unsigned i = 0; i < node->shards; i++) {
        histogram_merge(&ns, spool_commit_ns(node->mtas[i].spool));
        histogram_merge(&messages, spool_commit_messages(node->mtas[i].spool));
    }
    logline_u64(line, "commit_messages_p50", histogram_percentile(&messages, 500));
    logline_u64(line, "commit_messages_max", messages.max);
    logline_u64(line, "commit_us_p50", histogram_percentile(&ns, 500) / NS_PER_US);
    logline_u64(line, "commit_us_p99", histogram_percentile(&ns, 990) / NS_PER_US);
}

static void put_reactions(struct logline *line, const struct histogram *ns)
{
    logline_u64(line, "reactions", ns->count);
    logline_u64(line, "reaction_us_p50", histogram_percentile(ns, 500) / NS_PER_US);
    logline_u64(line, "reaction_us_p99", histogram_percentile(ns, 990) / NS_PER_US);
    logline_u64(line, "reaction_us_max", ns->max / NS_PER_US);
}

static void say_stopped(const struct node *node)
{
    struct logline line;
    logline_begin(&line, "stopped");
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        logline_u64(&line, counter_name((enum counter)i), node_counter(node, (enum counter)i));
    }
    put_commits(&line, node);
    put_reactions(&line, &node->control->advisor.reaction);
    logline_string(&line, "sync",
                   node->options.conf->spool.sync == CONF_SYNC_COMMIT ? "commit" : "none");
    logline_end(&line, &process_stderr);
}

/* --- reports ---------------------------------------------------------------------------------- */

static void report_ask(struct daemon *daemon)
{
    struct node *node = &daemon->node;
    daemon->report_wanted = false;
    daemon->report_memory = aligned_alloc(64, align_up(queue_report_memory(node->shards), 64));
    if (daemon->report_memory == NULL) {
        process_say("report_end", "no memory for it");
        return;
    }
    queue_report_init(&daemon->report, node->shards, daemon->report_memory);
    node_report(node, &daemon->report);
}

/* A line to a pipe with less room than this may block, and with it the signals. */
static bool stderr_has_room(void)
{
    static_assert(LOGLINE_BYTES_MAX < PIPE_BUF, "what poll calls writable holds a line");
    struct pollfd poll_stderr = {.fd = STDERR_FILENO, .events = POLLOUT};
    return poll(&poll_stderr, 1, 0) != 0;
}

/* Prints as much of the report as can be printed now. */
static void report_print(struct daemon *daemon)
{
    struct slice line;
    if (daemon->report_memory == NULL || !queue_report_done(&daemon->report)) {
        return;
    }
    while (stderr_has_room()) {
        if (!queue_report_next(&daemon->report, &line)) {
            free(daemon->report_memory);
            daemon->report_memory = NULL;
            return;
        }
        process_stderr.put(NULL, line);
    }
}

/*
 * A stop that does not come to its end: a disk, a full log or a bug holds something back. What is
 * durable is as safe as after a crash, and the supervisor gets the exit it was promised.
 */
static _Noreturn void give_up_stop(const struct node *node)
{
    process_say("stop_cut_short", "something could not be written in time; what has no recorded "
                                  "outcome is tried again after the next start");
    say_stopped(node);
    _exit(EXIT_SUCCESS);
}

/* Waits for signals; looks now and then how the node is, more often while it starts or stops, or
 * makes a report. */
static void wait_and_stop(struct daemon *daemon, const sigset_t *signals)
{
    const struct timespec soon = {.tv_nsec = 20 * (long)NS_PER_MS};
    const struct timespec later = {.tv_nsec = 200 * (long)NS_PER_MS};
    struct node *node = &daemon->node;
    uint64_t deadline_ns = UINT64_MAX;
    unsigned level = 0;
    bool ready = false;
    while (node_state(node) != NODE_STOPPED && node_state(node) != NODE_FAILED) {
        if (!ready && node_state(node) == NODE_READY) {
            ready = true;
            say_ready(daemon);
        }
        if (process_monotonic_ns() >= deadline_ns) {
            give_up_stop(node);
        }
        if (ready && daemon->report_wanted && daemon->report_memory == NULL) {
            report_ask(daemon);
        }
        report_print(daemon);
        bool busy = !ready || level > 0 || daemon->report_memory != NULL;
        int signal = sigtimedwait(signals, NULL, busy ? &soon : &later);
        if (signal == SIGTERM || signal == SIGINT) {
            if (!ready) {
                /* Nothing was accepted and recovery wrote nothing: there is nothing to end. */
                _exit(0);
            }
            (void)sd_notify(0, "STOPPING=1");
            node_stop(node, ++level);
            uint64_t patience_ns = daemon->conf->node.stop_timeout_ns + STOP_CUT_NS;
            deadline_ns = MIN_OF(deadline_ns,
                                 process_monotonic_ns() + (level > 1 ? STOP_CUT_NS : patience_ns));
        } else if (signal == SIGHUP) {
            node_reload(node);
        } else if (signal == SIGUSR1) {
            daemon->report_wanted = true;
        }
    }
}

static int start_thread(struct daemon *daemon, unsigned index)
{
    struct node *node = &daemon->node;
    bool mail = index < node->shards;
    char name[16];
    snprintf(name, sizeof(name), mail ? "shard-%u" : "tsa", index);
    const struct thread_options thread = {
        .name = name,
        .pin = daemon->conf->node.pin && mail,
        .cpu = index,
    };
    daemon->runners[index] = (struct runner){.node = node, .index = index};
    daemon->watched[index] = (struct watched_shard){
        .shard = node->peers[index],
        .thread = &daemon->threads[index],
    };
    return thread_start(&daemon->threads[index], &thread, run_shard,
                        &daemon->runners[index]);
}

static int run(struct daemon *daemon, const struct process_command *command)
{
    sigset_t signals;
    struct node *node = &daemon->node;
    process_block_signals(&signals);
    process_raise_file_limit();
    const char *refusal = process_become_user(daemon->conf);
    if (refusal != NULL) {
        fprintf(stderr, "ringpostd: %s\n", refusal);
        return EXIT_FAILURE;
    }
    struct node_options options_of_node = {
        .conf = daemon->conf,
        .conf_file = command->file,
        .conf_sets = command->sets,
        .conf_set_count = command->set_count,
        .log = process_stderr,
        .shards = shard_count(daemon->conf),
        .memory_bytes = process_memory_limit(daemon->conf),
    };
    if (!find_node_id(daemon->conf, &options_of_node.id)) {
        fprintf(stderr, "ringpostd: %s/node.id: %s\n", daemon->conf->node.state_dir,
                strerror(errno));
        return EXIT_FAILURE;
    }
    if (!find_reference_key(daemon->conf, &options_of_node.key)) {
        return EXIT_FAILURE;
    }
    if (!log_usable(daemon->conf)) {
        fprintf(stderr, "ringpostd: log: %s: %s\n", daemon->conf->log.path, strerror(errno));
        return EXIT_FAILURE;
    }
    if (node_open(node, &options_of_node) != 0) {
        fprintf(stderr, "ringpostd: %s\n", node->reason);
        return EXIT_FAILURE;
    }
    int error = 0;
    for (unsigned i = 0; i < node_thread_count(node) && error == 0; i++) {
        error = start_thread(daemon, i);
    }
    if (error == 0) {
        error = watchdog_start(&daemon->watchdog, daemon->watched, node_thread_count(node),
                               WATCHDOG_STAND_MS);
    }
    if (error != 0) {
        fprintf(stderr, "ringpostd: cannot start threads: %s\n", strerror(-error));
        _exit(EXIT_FAILURE);
    }
    wait_and_stop(daemon, &signals);
    if (node_state(node) == NODE_FAILED) {
        fprintf(stderr, "ringpostd: %s\n", node->reason);
        _exit(EXIT_FAILURE);
    }
    watchdog_stop(&daemon->watchdog);
    for (unsigned i = 0; i < node_thread_count(node); i++) {
        thread_join(&daemon->threads[i]);
    }
    say_stopped(node);
    node_close(node);
    free(daemon->report_memory);
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
        .name = "ringpostd",
        .doc = "Ringpost's mail transfer agent. Without a configuration file it listens on "
               "127.0.0.1:2025 for SMTP and on 127.0.0.1:8000 for HTTP, and keeps everything "
               "under ./var.",
        .reads = CONF_MTA,
        .run = run_daemon,
    };
    return process_main(&program, argc, argv);
}
