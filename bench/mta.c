#include "bench/mta.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/domains.h"
#include "bench/rules.h"
#include "core/check.h"

#define READY_MS     120000
#define STOP_MS      90000
#define REPORT_MS    10000
#define LOG_TAIL_MAX 65536
#define CONFIGURATION_BYTES 8192u
#define SITE_BYTES          80u /* of its names, in that */

/* Where mail goes: by static names, an MX and a host for each site, or one list for all. */
static void put_names(const struct mta_options *options, struct buf *buf)
{
    if (options->sites == 0) {
        buf_printf(buf,
                   "[queues.queue.default]\n"
                   "protocol = { smtp = { mx_list = [\"[127.0.0.1]:%u\"] } }\n",
                   options->sink_port);
        return;
    }
    buf_put_string(buf, "[dns]\n"
                        "servers = []\n"
                        "static = \"\"\"\n");
    for (unsigned i = 0; i < options->sites; i++) {
        buf_printf(buf, "*.s%u.test. MX 10 mx.s%u.test.\nmx.s%u.test. A 127.0.0.1\n", i, i, i);
    }
    buf_put_string(buf, "\"\"\"\n"
                        "[queues.queue.default]\n");
}

/* Of the block of [shaping], when mail goes by names: hosts on loopback, at the sink's port. */
static void put_hosts(const struct mta_options *options, struct buf *buf)
{
    if (options->sites > 0) {
        buf_printf(buf, "smtp_port = %u\nprohibited_hosts = []\n", options->sink_port);
    }
}

/* Its rules stand in a file of their own. */
static void put_tsad(const struct mta_options *options, struct buf *buf)
{
    buf_put_string(buf, "[node]\n"
                        "state_dir = \"state\"\n");
    if (options->rules > 0) {
        buf_put_string(buf, "[shaping]\nfiles = [\"rules.toml\"]\n");
    }
    buf_put_string(buf, "[[http_listener]]\n"
                        "listen = \"127.0.0.1:0\"\n");
}

bool mta_put_configuration(const struct mta_options *options, struct buf *buf)
{
    if (options->program == MTA_TSAD) {
        put_tsad(options, buf);
        return !buf->overflow;
    }
    buf_printf(buf,
               "[node]\n"
               "hostname = \"mta.test\"\n"
               "state_dir = \"state\"\n"
               "shards = %u\n",
               options->shards);
    if (options->congestion[0] != 0) {
        buf_printf(buf, "congestion_control = \"%s\"\n", options->congestion);
    }
    buf_printf(buf,
               "[spool]\n"
               "path = \"spool\"\n"
               "segment_size = \"%" PRIu64 "MiB\"\n"
               "[log]\n"
               "path = \"log\"\n",
               options->segment_mib);
    put_names(options, buf);
    if (options->retry_s > 0) {
        buf_printf(buf, "retry_interval = \"%" PRIu64 "s\"\n", options->retry_s);
    }
    for (unsigned i = 0; options->spread_s > 0 && i < DOMAINS_LATER_GROUPS; i++) {
        buf_printf(buf, "[queues.queue.\"*.g%02u.later.test\"]\nretry_interval = \"%" PRIu64
                   "s\"\n", i, options->spread_s * (i + 1) / DOMAINS_LATER_GROUPS);
    }
    if (options->rules > 0) {
        buf_put_string(buf, "[shaping]\nfiles = [\"rules.toml\"]\n");
    }
    buf_printf(buf,
               "[shaping.\"default\"]\n"
               "enable_tls = \"Disabled\"\n"
               "connection_limit = %u\n"
               "%s",
               options->connections, options->site != NULL ? options->site : "");
    put_hosts(options, buf);
    buf_put_string(buf, "[[smtp_listener]]\n"
                        "listen = \"127.0.0.1:0\"\n"
                        "[[http_listener]]\n"
                        "listen = \"127.0.0.1:0\"\n");
    buf_put_string(buf, options->more != NULL ? options->more : "");
    return !buf->overflow;
}

/* --- the directory ---------------------------------------------------------------------------- */

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *level)
{
    (void)status;
    (void)kind;
    (void)level;
    return remove(path);
}

static bool write_file(const struct mta_options *options, const char *name, const struct buf *text)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s/%s", options->dir, name);
    FILE *file = fopen(path, "we");
    if (file == NULL || text->overflow) {
        return false;
    }
    bool written = fwrite(text->data, 1, text->size, file) == text->size;
    return fclose(file) == 0 && written;
}

static bool write_rules(const struct mta_options *options)
{
    struct buf text;
    size_t bytes = (size_t)options->rules * RULES_TOML_BYTES;
    uint8_t *memory = malloc(bytes + 1);
    if (memory == NULL) {
        return false;
    }
    buf_init(&text, memory, bytes);
    rules_put_toml(&text, options->rules);
    bool written = write_file(options, "rules.toml", &text);
    free(memory);
    return written;
}

static bool write_configuration(const struct mta_options *options)
{
    struct buf text;
    size_t bytes = CONFIGURATION_BYTES + options->sites * SITE_BYTES;
    uint8_t *memory = malloc(bytes);
    if (memory == NULL) {
        return false;
    }
    buf_init(&text, memory, bytes);
    bool written = mta_put_configuration(options, &text) &&
                   write_file(options, "ringpost.toml", &text);
    free(memory);
    return written;
}

static bool make_directory(const struct mta_options *options)
{
    if (options->keep) {
        return true;
    }
    (void)nftw(options->dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    if (mkdir(options->dir, 0777) != 0) {
        return false;
    }
    return write_configuration(options) && (options->rules == 0 || write_rules(options));
}

/* --- its lines -------------------------------------------------------------------------------- */

/* The last line that begins with `event` in the log's last part; false when there is none. */
static bool find_line(const struct mta *mta, const char *event, char *line, size_t capacity)
{
    FILE *file = fopen(mta->log_path, "re");
    char *text = malloc(LOG_TAIL_MAX);
    bool found = false;
    if (file != NULL && text != NULL) {
        if (fseek(file, -LOG_TAIL_MAX, SEEK_END) != 0 || ftell(file) < mta->log_from) {
            (void)fseek(file, mta->log_from, SEEK_SET);
        }
        while (fgets(text, LOG_TAIL_MAX, file) != NULL) {
            size_t size = strlen(text);
            if (strncmp(text, event, strlen(event)) == 0 && text[size - 1] == '\n' &&
                size < capacity) {
                memcpy(line, text, size);
                line[size - 1] = 0;
                found = true;
            }
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    free(text);
    return found;
}

double line_number(const char *line, const char *key)
{
    size_t size = strlen(key);
    for (const char *at = strchr(line, ' '); at != NULL; at = strchr(at + 1, ' ')) {
        if (strncmp(at + 1, key, size) == 0 && at[1 + size] == '=') {
            char *end = NULL;
            double value = strtod(at + 2 + size, &end);
            return end != at + 2 + size ? value : NAN;
        }
    }
    return NAN;
}

/* Of the first listener behind `key`, as in " smtp=ADDR:PORT[,…]". */
static uint16_t ready_port(const char *line, const char *key)
{
    const char *found = strstr(line, key);
    if (found == NULL) {
        return 0;
    }
    struct slice text = slice_from_string(found + strlen(key));
    size_t end = MIN_OF(slice_find(text, ' '), slice_find(text, ','));
    struct endpoint endpoint;
    return endpoint_parse(slice_first(text, end), 0, &endpoint) ? endpoint.port : 0;
}

/* --- life ------------------------------------------------------------------------------------- */

struct launch {
    const struct mta_options *options;
    const struct mta *mta;
};

static const char *program_name(enum mta_program program)
{
    switch (program) {
    case MTA_RINGPOSTD:
        return "ringpostd";
    case MTA_TSAD:
        return "ringpost-tsad";
    }
    CHECK(false);
}

/* The program; with a delay the one that obeys rules (shard/ring_faults.h), and its rule. */
static bool find_program(const struct mta_options *options, char path[PATH_MAX])
{
    char name[64];
    (void)snprintf(name, sizeof(name), "/%s%s", options->flush_delay == NULL ? "" : "../tests/",
                   options->flush_delay == NULL ? program_name(options->program)
                                                : "ringpostd-faults");
    if (realpath(options->bin, path) == NULL || strlen(path) + strlen(name) >= PATH_MAX) {
        return false;
    }
    memcpy(path + strlen(path), name, strlen(name) + 1);
    if (options->flush_delay == NULL) {
        return true;
    }
    char rule[128];
    int size = snprintf(rule, sizeof(rule), "write *segment-* 1+ late=%s", options->flush_delay);
    return size < (int)sizeof(rule) && setenv("RINGPOST_FAULTS", rule, 1) == 0;
}

/* In the child. */
static int mta_exec(void *context)
{
    const struct launch *launch = context;
    char path[PATH_MAX];
    char program[32];
    char option[] = "-c";
    char file[] = "ringpost.toml";
    char *const arguments[] = {program, option, file, NULL};
    (void)snprintf(program, sizeof(program), "%s", program_name(launch->options->program));
    int log = open(launch->mta->log_path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND, 0666);
    if (log < 0 || !find_program(launch->options, path) || dup2(log, STDERR_FILENO) < 0 ||
        dup2(log, STDOUT_FILENO) < 0 || chdir(launch->options->dir) != 0) {
        return 127;
    }
    execv(path, arguments);
    fprintf(stderr, "event=failed what=%s why=%s\n", path, strerror(errno));
    return 127;
}

static void reason_of_log(const struct mta *mta, const char *what, struct buf *reason)
{
    char line[MTA_LINE_MAX] = "";
    if (!find_line(mta, "event=", line, sizeof(line)) &&
        !find_line(mta, "", line, sizeof(line))) {
        line[0] = 0;
    }
    buf_printf(reason, "%s %s (%s): %.200s", program_name(mta->program), what, mta->log_path, line);
}

/* Its line event=ready, when that comes. */
static void wait_ready(struct mta *mta, uint64_t began_ns)
{
    while (clock_now_ns() - began_ns < READY_MS * NS_PER_MS && !child_ended(&mta->child)) {
        char line[MTA_LINE_MAX];
        if (find_line(mta, "event=ready", line, sizeof(line))) {
            mta->ready_ns = clock_now_ns() - began_ns;
            mta->http_port = ready_port(line, " http=");
            mta->port = mta->program == MTA_TSAD ? mta->http_port : ready_port(line, " smtp=");
            mta->queued = line_number(line, "queued");
            return;
        }
        clock_sleep_ms(1);
    }
}

bool mta_start(struct mta *mta, const struct mta_options *options, struct buf *reason)
{
    *mta = (struct mta){.program = options->program};
    struct launch launch = {.options = options, .mta = mta};
    bool named = snprintf(mta->log_path, sizeof(mta->log_path), "%s/stderr", options->dir) <
                 (int)sizeof(mta->log_path);
    if (!named || !make_directory(options)) {
        buf_printf(reason, "%s: %s", options->dir, strerror(errno));
        return false;
    }
    (void)unlink(mta->log_path); /* a line of the one before is not to be taken for its own */
    uint64_t began_ns = clock_now_ns();
    if (child_start(&mta->child, mta_exec, &launch) != 0) {
        buf_printf(reason, "%s: %s", options->dir, strerror(errno));
        return false;
    }
    wait_ready(mta, began_ns);
    if (mta->port == 0) {
        child_kill(&mta->child);
        reason_of_log(mta, "did not become ready", reason);
    }
    return mta->port != 0;
}

void mta_kill(struct mta *mta)
{
    child_kill(&mta->child);
    mta->port = 0;
}

bool mta_ended(struct mta *mta, struct buf *reason_out)
{
    if (!child_ended(&mta->child)) {
        return false;
    }
    reason_of_log(mta, WIFSIGNALED(mta->child.status) ? "was ended by a signal" : "ended by itself",
                  reason_out);
    return true;
}

bool mta_memory(struct mta *mta, char line[MTA_LINE_MAX], struct buf *reason)
{
    struct stat status;
    char last[MTA_LINE_MAX];
    if (mta_ended(mta, reason)) {
        return false;
    }
    if (stat(mta->log_path, &status) == 0) {
        mta->log_from = (long)status.st_size; /* not the report before */
    }
    (void)kill(mta->child.pid, SIGUSR1);
    for (unsigned waited = 0; waited < REPORT_MS && !child_ended(&mta->child); waited++) {
        if (find_line(mta, "event=report_end", last, sizeof(last))) {
            break;
        }
        clock_sleep_ms(1);
    }
    if (!find_line(mta, "event=memory", line, MTA_LINE_MAX)) {
        reason_of_log(mta, "made no report", reason);
        return false;
    }
    return true;
}

bool mta_stop(struct mta *mta, struct buf *reason)
{
    if (mta_ended(mta, reason)) {
        return false;
    }
    (void)kill(mta->child.pid, SIGTERM);
    for (unsigned waited = 0; waited < STOP_MS && !child_ended(&mta->child); waited += 5) {
        clock_sleep_ms(5);
    }
    bool stopped = child_ended(&mta->child);
    child_kill(&mta->child);
    if (!stopped || !child_wait(&mta->child) ||
        !find_line(mta, "event=stopped", mta->stopped, sizeof(mta->stopped))) {
        reason_of_log(mta, "did not stop well", reason);
        return false;
    }
    if (!find_line(mta, "event=mallocs", mta->mallocs, sizeof(mta->mallocs))) {
        mta->mallocs[0] = 0;
    }
    return true;
}

void mta_figures(const struct mta *mta, double messages, struct run *run)
{
    const char *line = mta->stopped;
    run->cpu_mta_s = child_cpu_s(&mta->child);
    run->mta_cpu_us_per_message = run->cpu_mta_s * 1e6 / messages;
    run->rss_peak_bytes = (double)mta->child.usage.ru_maxrss * 1024;
    run->enters_per_message = line_number(line, "enters") / messages;
    run->mallocs = line_number(mta->mallocs, "shards");
    run->mallocs_per_message = run->mallocs / messages;
    run->commits = line_number(line, "commits");
    run->commit_messages_p50 = line_number(line, "commit_messages_p50");
    run->commit_messages_max = line_number(line, "commit_messages_max");
    run->commit_ms_p50 = line_number(line, "commit_us_p50") / 1000;
    run->commit_ms_p99 = line_number(line, "commit_us_p99") / 1000;
    run->sync = strstr(line, " sync=commit") != NULL ? "commit" : "none";
}
