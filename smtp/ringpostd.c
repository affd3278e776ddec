/*
 * ringpostd: the MTA. Reads the configuration, opens a node, gives each shard a thread, then waits
 * for signals. The only file of the daemon that knows processes, threads and signals.
 */
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/magic.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#include "core/check.h"
#include "shard/conf_file.h"
#include "shard/thread.h"
#include "shard/watchdog.h"
#include "smtp/node.h"

#define EXIT_USAGE   2
#define EXIT_CONFIG  3
#define SETS_MAX     256
#define MESSAGES_MAX (256 * KIB)
/* How long a stop may take once connections are cut; with a second SIGTERM it ends within 2 s. */
#define STOP_CUT_NS (1800 * NS_PER_MS)

/* What a shard's thread is told. */
struct runner {
    struct node *node;
    unsigned index;
};

struct daemon {
    const char *file;
    const char *sets[SETS_MAX];
    size_t set_count;
    bool check_only;
    struct conf *conf;
    struct node node;
    struct runner runners[SHARDS_MAX];
    struct thread threads[SHARDS_MAX];
    struct watched_shard watched[SHARDS_MAX];
    struct watchdog watchdog;
    struct queue_report report;
    void *report_memory; /* null: no report is being made or printed */
    bool report_wanted;
};

/* --- command line ----------------------------------------------------------------------------- */

enum { OPTION_CHECK = 256, OPTION_SET };

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "main configuration file (without one: built-in defaults)", 0},
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
    fprintf(stream, "ringpostd %s\n", RINGPOST_VERSION);
}

/* --- log lines -------------------------------------------------------------------------------- */

static void stderr_put(void *context, struct slice line)
{
    (void)context;
    /* One write a line, so that lines of several threads never mix. */
    ssize_t written = write(STDERR_FILENO, line.data, line.size);
    (void)written;
}

static const struct log_sink stderr_sink = {.put = stderr_put};

static void say_failure(const char *event, const char *reason)
{
    struct logline line;
    logline_begin(&line, event);
    logline_string(&line, "reason", reason);
    logline_end(&line, &stderr_sink);
}

/* --- configuration ---------------------------------------------------------------------------- */

static struct conf *load_conf(const struct daemon *daemon)
{
    struct conf_messages messages = {0};
    char *text = malloc(MESSAGES_MAX);
    CHECK(text != NULL);
    buf_init(&messages.text, text, MESSAGES_MAX);
    struct conf *conf =
        conf_file_load(CONF_MTA, daemon->file, daemon->sets, daemon->set_count, &messages);
    fwrite(messages.text.data, 1, messages.text.size, stderr);
    free(text);
    return conf;
}

/* --- where we run ----------------------------------------------------------------------------- */

static bool make_dirs(const char *path)
{
    char copy[PATH_MAX];
    size_t size = strlen(path);
    if (size >= sizeof(copy)) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(copy, path, size + 1);
    for (char *at = copy + 1; at <= copy + size; at++) {
        if (*at != '/' && *at != '\0') {
            continue;
        }
        char saved = *at;
        *at = '\0';
        if (mkdir(copy, 0750) != 0 && errno != EEXIST) {
            return false;
        }
        *at = saved;
    }
    return true;
}

/* node.id of the configuration, else of state_dir/node.id, which is made at the first start. */
static bool find_node_id(const struct conf *conf, struct id *id_out)
{
    char path[PATH_MAX];
    char text[ID_TEXT_BYTES + 1] = "";
    if (conf->node.id_set) {
        memcpy(id_out->bytes, conf->node.id, sizeof(id_out->bytes));
        return true;
    }
    if (!make_dirs(conf->node.state_dir)) {
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

/* The log may fill up later, which is dealt with then; that it can never be written is told now. */
static bool log_usable(const struct conf *conf)
{
    return make_dirs(conf->log.path) && access(conf->log.path, W_OK | X_OK) == 0;
}

static uint64_t memory_limit(const struct conf *conf)
{
    struct sysinfo info;
    uint64_t memory = 1024ull * MIB;
    if (conf->memory.limit_bytes > 0) {
        return conf->memory.limit_bytes;
    }
    if (sysinfo(&info) == 0) {
        memory = (uint64_t)info.totalram * info.mem_unit;
    }
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (file != NULL) {
        char text[32] = "";
        uint64_t group;
        if (fgets(text, sizeof(text), file) != NULL) {
            text[strcspn(text, "\n")] = '\0';
            if (slice_parse_u64(slice_from_string(text), &group)) {
                memory = MIN_OF(memory, group);
            }
        }
        fclose(file);
    }
    return memory / 4 * 3;
}

static unsigned shard_count(const struct conf *conf)
{
    unsigned count = conf->node.shards > 0 ? conf->node.shards : thread_cpus();
    return MIN_OF(count, SHARDS_MAX - 1u);
}

/*
 * From root to node.user and node.group, before anything is made: all files belong to them. What is
 * kept is the right to bind ports below 1024, for the listeners.
 */
static const char *become_user(const struct conf *conf)
{
    const struct passwd *user = NULL;
    const struct group *group = NULL;
    if (conf->node.user[0] == '\0' && conf->node.group[0] == '\0') {
        return NULL;
    }
    if (geteuid() != 0) {
        return "node.user and node.group: only root may become another user";
    }
    if (conf->node.user[0] != '\0' && (user = getpwnam(conf->node.user)) == NULL) {
        return "node.user: there is no such user";
    }
    if (conf->node.group[0] != '\0' && (group = getgrnam(conf->node.group)) == NULL) {
        return "node.group: there is no such group";
    }
    uid_t uid = user != NULL ? user->pw_uid : 0;
    gid_t gid = group != NULL ? group->gr_gid : user->pw_gid;
    if (prctl(PR_SET_KEEPCAPS, 1) != 0 || setgroups(0, NULL) != 0 ||
        setresgid(gid, gid, gid) != 0 || setresuid(uid, uid, uid) != 0) {
        return "node.user and node.group: the system refused the change";
    }
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct sets[2] = {{0}};
    sets[0].effective = 1u << CAP_NET_BIND_SERVICE;
    sets[0].permitted = sets[0].effective;
    if (uid != 0 && syscall(SYS_capset, &header, sets) != 0) {
        return "the right to bind low ports could not be kept";
    }
    return NULL;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
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
        say_failure("unsafe", "spool.sync = none: acknowledged mail can be lost");
    }
    if (statfs(conf->spool.path, &info) == 0 &&
        (info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)) {
        say_failure("unsafe", "spool.path lies in memory: acknowledged mail can be lost");
    }
}

static void put_endpoints(struct logline *line, const char *key, const struct endpoint *endpoints,
                          size_t count)
{
    char text[CONF_LISTENERS_MAX * ENDPOINT_TEXT_MAX];
    struct buf buf;
    buf_init(&buf, text, sizeof(text));
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            buf_put_byte(&buf, ',');
        }
        endpoint_put(&buf, &endpoints[i]);
    }
    logline_text(line, key, buf.size > 0 ? buf_slice(&buf) : SLICE("none"));
}

static void say_ready(const struct daemon *daemon)
{
    const struct node *node = &daemon->node;
    struct logline line;
    logline_begin(&line, "ready");
    put_endpoints(&line, "smtp", node->bound, daemon->conf->smtp_listener_count);
    put_endpoints(&line, "http", node->http_bound, daemon->conf->http_listener_count);
    logline_u64(&line, "pid", (uint64_t)getpid());
    logline_u64(&line, "queued", node->queued);
    logline_string(&line, "version", RINGPOST_VERSION);
    logline_end(&line, &stderr_sink);
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

static void say_stopped(const struct node *node)
{
    struct logline line;
    logline_begin(&line, "stopped");
    for (unsigned i = 0; i < COUNTERS_COUNT; i++) {
        logline_u64(&line, counter_name((enum counter)i), node_counter(node, (enum counter)i));
    }
    put_commits(&line, node);
    logline_string(&line, "sync",
                   node->options.conf->spool.sync == CONF_SYNC_COMMIT ? "commit" : "none");
    logline_end(&line, &stderr_sink);
}

/* --- reports ---------------------------------------------------------------------------------- */

static void report_ask(struct daemon *daemon)
{
    struct node *node = &daemon->node;
    daemon->report_wanted = false;
    daemon->report_memory = aligned_alloc(64, align_up(queue_report_memory(node->shards), 64));
    if (daemon->report_memory == NULL) {
        say_failure("report_end", "no memory for it");
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
        stderr_put(NULL, line);
    }
}

static uint64_t monotonic_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

/*
 * A stop that does not come to its end: a disk, a full log or a bug holds something back. What is
 * durable is as safe as after a crash, and the supervisor gets the exit it was promised.
 */
static _Noreturn void give_up_stop(const struct node *node)
{
    say_failure("stop_cut_short", "something could not be written in time; what has no recorded "
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
        if (monotonic_ns() >= deadline_ns) {
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
                                 monotonic_ns() + (level > 1 ? STOP_CUT_NS : patience_ns));
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

static int run(struct daemon *daemon)
{
    sigset_t signals;
    struct node *node = &daemon->node;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGUSR1);
    /* Blocked before any thread is made: only sigtimedwait sees them. */
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    const char *refusal = become_user(daemon->conf);
    if (refusal != NULL) {
        fprintf(stderr, "ringpostd: %s\n", refusal);
        return EXIT_FAILURE;
    }
    struct node_options options_of_node = {
        .conf = daemon->conf,
        .conf_file = daemon->file,
        .conf_sets = daemon->sets,
        .conf_set_count = daemon->set_count,
        .log = stderr_sink,
        .shards = shard_count(daemon->conf),
        .memory_bytes = memory_limit(daemon->conf),
    };
    if (!find_node_id(daemon->conf, &options_of_node.id)) {
        fprintf(stderr, "ringpostd: %s/node.id: %s\n", daemon->conf->node.state_dir,
                strerror(errno));
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

int main(int argc, char **argv)
{
    const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .doc = "Ringpost's mail transfer agent. Without a configuration file it listens on "
               "127.0.0.1:2025 for SMTP and on 127.0.0.1:8000 for HTTP, and keeps everything "
               "under ./var.",
    };
    struct daemon *daemon = calloc(1, sizeof(*daemon));
    CHECK(daemon != NULL);
    argp_program_version_hook = print_version;
    argp_err_exit_status = EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, daemon);
    daemon->conf = load_conf(daemon);
    if (daemon->conf == NULL) {
        return EXIT_CONFIG;
    }
    int status = daemon->check_only ? EXIT_SUCCESS : run(daemon);
    if (daemon->check_only) {
        puts("configuration is good");
    }
    conf_free(daemon->conf);
    free(daemon);
    return status;
}
