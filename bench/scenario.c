#include "bench/scenario.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "bench/injector.h"
#include "bench/netns.h"
#include "bench/record_source.h"
#include "bench/round.h"
#include "bench/rules.h"
#include "bench/sink.h"
#include "bench/source.h"
#include "bench/verbs.h"
#include "core/check.h"
#include "core/conf_text.h"
#include "core/patterns.h"

#define ZERO_BYTES    (1 * MIB)
#define QUEUES_MAX    1000000u
#define RATE_MAX      1000000u
#define RATE_DEFAULT  1000u
#define BURST_DEFAULT 100u
#define FEW_MAX       10000u
#define PER_REQUEST_DEFAULT 1000u
#define RECORDS_MAX   10000u
#define PUBLISHERS_DEFAULT 4u
#define RULES_DEFAULT 200u
#define CONFIRMED_DEFAULT 50u
#define STEPS_DEFAULT 5u
#define DOMAINS_DEFAULT 500u
#define SITES_DEFAULT 10u
#define SITES_MAX     50u
#define DEFERRING_SITES_DEFAULT 500u
#define DEFERRING_SITES_MAX     900u

static const struct {
    long magic;
    const char *name;
    bool memory;
} file_systems[] = {
    {0xef53, "ext4", false},       {0x58465342, "xfs", false},
    {0x9123683e, "btrfs", false},  {0x794c7630, "overlay", false},
    {0x2fc12fc1, "zfs", false},    {0xf2f52010, "f2fs", false},
    {0x01021994, "tmpfs", true},   {0x858458f6, "ramfs", true},
};

static void scenario_init(struct scenario *scenario, const struct scenario_verb *verb)
{
    *scenario = (struct scenario){
        .messages = verb->messages,
        .size = verb->size,
        .connections = verb->kind == KIND_PUBLISH ? PUBLISHERS_DEFAULT : 50,
        .shards = 1,
        .segment_mib = 128, /* the server's default */
        .rounds = verb->rounds,
        .queues = 100,
        .steps = STEPS_DEFAULT,
        .relay_messages = 100000,
        .idle = 9000,
        .few = 100,
        .rate = verb->kind == KIND_RATES ? RATE_DEFAULT : 0,
        .burst = BURST_DEFAULT,
        .domains = DOMAINS_DEFAULT,
        .sites = verb->kind == KIND_REACTION ? DEFERRING_SITES_DEFAULT : SITES_DEFAULT,
        .per_request = PER_REQUEST_DEFAULT,
        .rules = RULES_DEFAULT,
        .confirmed = CONFIRMED_DEFAULT,
        .limit = 4,
        .latency_ms = 5,
        .seconds = verb->seconds,
        .minutes = 60,
        .defer_per_mille = verb->kind == KIND_DEFERRALS ? 200 : 50,
        .mode_name = "pipelined",
        .dir = "build/bench",
        .congestion = "",
        .segment_fd = -1,
        .head = {.bench = verb->name, .cc = SCENARIO_CONGESTION},
    };
}

/* --- options ---------------------------------------------------------------------------------- */

#define KIND_ROUNDS                                                                                \
    (KIND_FLOOR | KIND_RELAY | KIND_LATENCY | KIND_FILLED | KIND_SHARE | KIND_TABLE |              \
     KIND_INJECT | KIND_DOMAINS | KIND_PUBLISH | KIND_DEFERRALS)
#define KIND_FILLED (KIND_RESTART | KIND_BACKLOG)
#define KIND_COUNTED                                                                               \
    (KIND_FLOOR | KIND_RELAY | KIND_FILLED | KIND_SHARE | KIND_TABLE | KIND_INJECT |               \
     KIND_DOMAINS | KIND_DEFERRALS)
#define KIND_RATED  (KIND_LATENCY | KIND_SOAK | KIND_REACTION)
#define KIND_SERVER                                                                                \
    (KIND_RELAY | KIND_LATENCY | KIND_FILLED | KIND_SOAK | KIND_SHARE | KIND_IDLE |                \
     KIND_INJECT | KIND_DOMAINS | KIND_REACTION | KIND_DEFERRALS)
#define KIND_SINGLE (KIND_FLOOR | KIND_SERVER | KIND_RATES) /* one size and mode */
#define KIND_LOADED (KIND_SINGLE | KIND_TABLE)
#define KIND_ALL    (KIND_LOADED | KIND_PUBLISH)
#define OPTIONS_MAX 20

struct option_row {
    unsigned kinds;
    struct arg arg;
};

/* Those of one kind. */
struct option_list {
    enum scenario_kind kind;
    size_t count;
    struct arg args[OPTIONS_MAX];
};

static void options_put(struct option_list *list, const struct option_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if ((rows[i].kinds & list->kind) != 0) {
            CHECK(list->count < OPTIONS_MAX);
            list->args[list->count++] = rows[i].arg;
        }
    }
}

static void options_of_automation(struct scenario *scenario, struct option_list *list)
{
    const struct option_row rows[] = {
        {KIND_PUBLISH, arg_u64("--messages", &scenario->messages, 1, TALLY_NUMBERS_MAX,
                               "N records, rounded to whole requests")},
        {KIND_PUBLISH, arg_u64("--records-per-request", &scenario->per_request, 1, RECORDS_MAX,
                               "N of each batch")},
        {KIND_REACTION, arg_u64("--rules", &scenario->rules, 0, PATTERNS_MAX - 1,
                                "N of automation beside the one that acts")},
        {KIND_REACTION, arg_u64("--sites", &scenario->sites, 1, DEFERRING_SITES_MAX,
                                "S that answer 421, each once")},
        {KIND_DEFERRALS, arg_u64("--rules", &scenario->rules, 1, PATTERNS_MAX,
                                 "N of automation, held to none")},
        {KIND_PUBLISH, arg_u64("--rules", &scenario->rules, RULES_CONFIRM_EACH, PATTERNS_MAX,
                               "N of automation")},
        {KIND_PUBLISH, arg_percent("--confirmed", &scenario->confirmed,
                                   "SHARE of records that match a rule")},
        {KIND_PUBLISH, arg_u64("--connections", &scenario->connections, 1,
                               RECORD_SOURCE_CONNECTIONS_MAX, "C that publish")},
    };
    options_put(list, rows, COUNT_OF(rows));
}

static void options_of_all(struct scenario *scenario, struct option_list *list)
{
    const struct option_row rows[] = {
        {KIND_COUNTED, arg_u64("--messages", &scenario->messages, 1, TALLY_NUMBERS_MAX, "N")},
        {KIND_IDLE, arg_u64("--messages", &scenario->messages, 1, TALLY_NUMBERS_MAX,
                            "N that warm the server up")},
        {KIND_RATED, arg_u64("--messages", &scenario->messages, 1, TALLY_NUMBERS_MAX,
                             "N of the relay that sets the rate")},
        {KIND_INJECT, arg_u64("--recipients-per-request", &scenario->per_request, 1,
                              INJECTOR_REQUEST_MAX, "N of the --messages that go over HTTP")},
        {KIND_SINGLE, arg_u64("--size", &scenario->size, BODY_SIZE_MIN, FLOOR_SIZE_MAX,
                           "BYTES of each message")},
        {KIND_LOADED & ~KIND_SHARE & ~KIND_IDLE, arg_u64("--connections", &scenario->connections, 1,
                                         SINK_CONNECTIONS_MAX / 4, "C on each side")},
        {KIND_IDLE, arg_u64("--connections", &scenario->idle, 10, SOURCE_CONNECTIONS_MAX,
                            "C that say nothing")},
        {KIND_SHARE, arg_u64("--connections", &scenario->connections, 1,
                             SINK_CONNECTIONS_MAX / 4, "C of the source")},
        {KIND_SINGLE, arg_text("--mode", &scenario->mode_name, SOURCE_MODES)},
        {KIND_SERVER, arg_u64("--shards", &scenario->shards, 1, 256, "N of the server")},
        {KIND_ROUNDS, arg_u64("--rounds", &scenario->rounds, 1, REPORT_ROUNDS_MAX, "N")},
        {KIND_FILLED | KIND_SOAK, arg_u64("--queues", &scenario->queues, 1, QUEUES_MAX,
                                           "Q domains of the mail that stays")},
        {KIND_RESTART, arg_u64("--steps", &scenario->steps, 1, SCENARIO_STEPS_MAX,
                               "S in which the queue grows, a start after each")},
        {KIND_BACKLOG, arg_u64("--relay", &scenario->relay_messages, 1, TALLY_NUMBERS_MAX / 1000,
                               "N of each relay to another domain")},
        {KIND_DOMAINS, arg_u64("--domains", &scenario->domains, 1, QUEUES_MAX, "N of the many")},
        {KIND_DOMAINS, arg_u64("--sites", &scenario->sites, 1, SITES_MAX, "S that they share")},
        {KIND_SHARE, arg_u64("--few", &scenario->few, 1, FEW_MAX,
                             "N that come when --messages stand in front of them")},
        {KIND_SHARE, arg_u64("--limit", &scenario->limit, 1, SINK_CONNECTIONS_MAX / 4,
                             "L connections to the site")},
        {KIND_SHARE, arg_u64("--latency", &scenario->latency_ms, 0, 60000,
                             "MS that the site takes for each message")},
        {KIND_RATED, arg_u64("--rate", &scenario->rate, 0, RATE_MAX,
                             "R messages a second; 0: half of what a short relay gives")},
        {KIND_RATES, arg_u64("--rate", &scenario->rate, 1, RATE_MAX, "R messages a second")},
        {KIND_INJECT, arg_u64("--rate", &scenario->rate, 0, RATE_MAX,
                              "R requests of one recipient a second, no rounds")},
        {KIND_INJECT, arg_u64("--seconds", &scenario->seconds, 1, 86400, "S of --rate")},
        {KIND_RATES, arg_u64("--burst", &scenario->burst, 1, RATE_MAX, "B at once")},
        {KIND_RATES, arg_u64("--seconds", &scenario->seconds, 1, 3600, "S to count")},
        {KIND_SOAK, arg_u64("--minutes", &scenario->minutes, 1, 7 * 24 * 60, "D to run")},
        {KIND_RATED, arg_u64("--seconds", &scenario->seconds, 0, 86400, "S; soak: no --minutes")},
        {KIND_SOAK | KIND_DEFERRALS, arg_percent("--defer", &scenario->defer_per_mille,
                                "P% of recipients always answered 450")},
        {KIND_ALL, arg_u64("--segment-mib", &scenario->segment_mib, 1, 1024, "N of the spool")},
        {KIND_ALL, arg_text("--dir", &scenario->dir, "DIR on a disk")},
        {KIND_ALL & ~KIND_FLOOR, arg_text("--bin", &scenario->bin, "DIR of the server; else ours")},
        {KIND_TABLE | KIND_DEFERRALS, arg_text("--nomalloc", &scenario->nomalloc,
                              "DIR of a ringpostd that counts allocations (preset nomalloc)")},
        {KIND_RELAY, arg_text("--baseline", &scenario->baseline, "DIR of one that takes turns")},
        {KIND_RELAY | KIND_LATENCY, arg_text("--flush-delay", &scenario->flush_delay,
                                             "T by which each write to the spool is late, as 2ms;"
                                             " relay: beside the plain disk")},
        {KIND_ALL, arg_flag("--json", &scenario->json, "the result as JSON")},
    };
    options_put(list, rows, COUNT_OF(rows));
}

/* --- beginning -------------------------------------------------------------------------------- */

/* `path` and its parents. */
static bool make_directories(const char *path)
{
    char part[PATH_MAX];
    size_t size = strlen(path);
    if (size == 0 || size >= sizeof(part)) {
        return false;
    }
    memcpy(part, path, size + 1);
    for (size_t i = 1; i <= size; i++) {
        if (part[i] != '/' && part[i] != 0) {
            continue;
        }
        part[i] = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST) {
            return false;
        }
        part[i] = i < size ? '/' : 0;
    }
    return true;
}

static bool check_directory(struct scenario *scenario, struct buf *reason)
{
    struct statfs status;
    if (!make_directories(scenario->dir) || statfs(scenario->dir, &status) != 0) {
        buf_printf(reason, "--dir %s: %s", scenario->dir, strerror(errno));
        return false;
    }
    scenario->head.fs = "other";
    for (size_t i = 0; i < COUNT_OF(file_systems); i++) {
        if (file_systems[i].magic == (long)status.f_type) {
            scenario->head.fs = file_systems[i].name;
            if (file_systems[i].memory) {
                buf_printf(reason, "--dir %s is %s: figures of a disk need a disk", scenario->dir,
                           scenario->head.fs);
                return false;
            }
        }
    }
    return true;
}

/* The directory of this program. */
static bool find_bin(struct scenario *scenario, struct buf *reason)
{
    if (scenario->bin != NULL) {
        return true;
    }
    ssize_t size =
        readlink("/proc/self/exe", scenario->bin_path, sizeof(scenario->bin_path) - 1);
    while (size > 0 && scenario->bin_path[size] != '/') {
        size--;
    }
    if (size <= 0) {
        buf_put_string(reason, "cannot find the directory of this program: --bin DIR");
        return false;
    }
    scenario->bin_path[size] = 0;
    scenario->bin = scenario->bin_path;
    return true;
}

/* With a delay the baseline is, if it is not another build, the same one without. */
static bool check_delay(struct scenario *scenario, struct buf *reason)
{
    uint64_t delay_ns = 0;
    if (scenario->flush_delay == NULL) {
        return true;
    }
    if (!conf_text_duration(slice_from_string(scenario->flush_delay), &delay_ns) ||
        delay_ns == 0 || strchr(scenario->flush_delay, ' ') != NULL) {
        buf_printf(reason, "--flush-delay %s: is no duration like 2ms", scenario->flush_delay);
        return false;
    }
    scenario->baseline = scenario->baseline == NULL ? scenario->bin : scenario->baseline;
    return true;
}

/* Checks the values, makes `dir`, refuses memory file systems, enters the namespace. */
static bool scenario_begin(struct scenario *scenario, struct buf *reason)
{
    if (!source_mode_parse(scenario->mode_name, &scenario->mode, reason) ||
        !check_directory(scenario, reason) || !find_bin(scenario, reason) ||
        !check_delay(scenario, reason)) {
        return false;
    }
    bool set = false;
    if (!netns_enter(SCENARIO_CONGESTION, &set)) {
        fprintf(stderr, "no network namespace of our own; going on in this one\n");
    }
    scenario->congestion = set ? "" : SCENARIO_CONGESTION;
    return true;
}

static bool write_zeros(int fd, uint64_t size)
{
    uint8_t *zeros = calloc(1, ZERO_BYTES);
    bool good = zeros != NULL;
    for (uint64_t at = 0; good && at < size; at += ZERO_BYTES) {
        good = pwrite(fd, zeros, ZERO_BYTES, (off_t)at) == (ssize_t)ZERO_BYTES;
    }
    free(zeros);
    return good && fsync(fd) == 0;
}

bool scenario_segment(struct scenario *scenario, struct buf *reason)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/floor.segment", scenario->dir) >= (int)sizeof(path)) {
        buf_put_string(reason, "--dir: too long");
        return false;
    }
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    bool zeroed = fd >= 0 && write_zeros(fd, scenario->segment_mib * MIB);
    if (zeroed) {
        scenario->segment_fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    }
    if (scenario->segment_fd < 0) {
        buf_printf(reason, "%s: %s", path, strerror(errno));
    }
    if (fd >= 0) {
        close(fd);
    }
    return scenario->segment_fd >= 0;
}

bool scenario_rate(struct scenario *scenario, struct buf *reason)
{
    struct run run;
    struct round_options options = {.bin = scenario->bin,
                                    .messages = scenario->messages,
                                    .flush_delay = scenario->flush_delay};
    if (scenario->rate > 0) {
        return true;
    }
    if (!round_run(scenario, &options, &run, reason)) {
        return false;
    }
    scenario->rate = MAX_OF((uint64_t)(run.rate / 2), 1);
    fprintf(stderr, "relay %.0f/s, so %s at %" PRIu64 "/s\n", run.rate, scenario->head.bench,
            scenario->rate);
    return true;
}

/* --- the end ---------------------------------------------------------------------------------- */

static bool write_file(const char *path, const struct buf *text)
{
    FILE *file = fopen(path, "we");
    if (file == NULL) {
        return false;
    }
    bool written = fwrite(text->data, 1, text->size, file) == text->size;
    return fclose(file) == 0 && written;
}

void scenario_put_filling(struct json *json, const struct scenario *scenario, double seconds)
{
    report_put_head(json, &scenario->head);
    report_put_number(json, "messages", (double)scenario->messages, 0);
    report_put_number(json, "size", (double)scenario->size, 0);
    report_put_number(json, "queues", (double)scenario->queues, 0);
    report_put_number(json, "fill_seconds", seconds, 3);
}

bool scenario_publish(const struct scenario *scenario, const struct scenario_result *result,
                      struct buf *reason)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s.json", scenario->dir, scenario->head.bench);
    uint8_t *text = malloc(REPORT_BYTES_MAX);
    if (text == NULL || size >= (int)sizeof(path)) {
        buf_put_string(reason, "no memory for the result, or --dir is too long");
        free(text);
        return false;
    }
    struct buf buf;
    buf_init(&buf, text, REPORT_BYTES_MAX);
    result->put_json(result->result, &buf);
    bool good = !buf.overflow && write_file(path, &buf);
    if (!good) {
        buf_printf(reason, "%s: %s", path, strerror(errno));
    }
    if (!scenario->json) {
        buf_reset(&buf);
        result->put_table(result->result, &buf);
    }
    good = fwrite(text, 1, buf.size, stdout) == buf.size && !buf.overflow && good;
    free(text);
    return good;
}

FILE *scenario_table(const struct scenario *scenario, const char *columns, struct buf *reason)
{
    char path[PATH_MAX];
    int size = snprintf(path, sizeof(path), "%s/%s.tsv", scenario->dir, scenario->head.bench);
    FILE *table = size < (int)sizeof(path) ? fopen(path, "we") : NULL;
    if (table == NULL) {
        buf_printf(reason, "%s/%s.tsv: %s", scenario->dir, scenario->head.bench, strerror(errno));
        return NULL;
    }
    fprintf(table, "%s\n", columns);
    return table;
}

void scenario_draw(const struct scenario *scenario, const struct plot *plot,
                   struct scenario_picture *picture_out)
{
    struct buf why;
    buf_init(&why, picture_out->missing, sizeof(picture_out->missing) - 1);
    bool drawn = plot_draw(plot, scenario->dir, scenario->head.bench, &why);
    picture_out->missing[drawn ? 0 : why.size] = 0;
}

void scenario_put_files(struct buf *buf, const struct scenario *scenario,
                        const struct scenario_picture *picture)
{
    const char *dir = scenario->dir;
    const char *name = scenario->head.bench;
    buf_printf(buf, "samples  %s/%s.tsv\n", dir, name);
    if (picture->missing[0] == 0) {
        buf_printf(buf, "plot     %s/%s.svg, %s.png\n", dir, name, name);
    } else {
        buf_printf(buf, "%s\n", picture->missing);
    }
}

static void report_json(const void *result, struct buf *buf)
{
    report_put_json(result, buf);
}

static void report_table(const void *result, struct buf *buf)
{
    report_put_table(result, buf);
}

bool scenario_publish_report(const struct scenario *scenario, const struct report *report,
                             struct buf *reason)
{
    struct scenario_result result = {report, report_json, report_table};
    return scenario_publish(scenario, &result, reason);
}

int scenario_main(const struct scenario_verb *verb, const char *prefix, int argc, char **argv)
{
    struct scenario scenario;
    struct option_list options = {.kind = verb->kind};
    scenario_init(&scenario, verb);
    options_of_automation(&scenario, &options);
    options_of_all(&scenario, &options);
    if (args_want_help(argc, argv)) {
        printf("ringpost-bench %s%s: %s\n\n", prefix, verb->name, verb->about);
        args_help(options.args, options.count);
        return EXIT_FINE;
    }
    char why[1024];
    struct buf reason;
    buf_init(&reason, why, sizeof(why));
    bool usage = args_parse(options.args, options.count, argc, argv, &reason) &&
                 scenario_begin(&scenario, &reason);
    scenario.head.args = (const char *const *)argv;
    scenario.head.arg_count = (unsigned)argc;
    if (usage && verb->run(&scenario, &reason)) {
        return EXIT_FINE;
    }
    fprintf(stderr, "ringpost-bench %s%s: %.*s\n", prefix, verb->name, (int)reason.size, why);
    return usage ? EXIT_FAILED : EXIT_USAGE;
}
