#include "tools/cmd_events.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/conf_text.h"
#include "core/event.h"
#include "core/json.h"
#include "core/json_read.h"
#include "shard/conf_file.h"
#include "tools/clock.h"
#include "tools/exit_codes.h"
#include "tools/log_reader.h"
#include "tools/readable.h"

#define FOLLOW_NS     (200 * 1000 * 1000)
#define CELL_BYTES    (EVENT_TEXT_BYTES_MAX * JSON_STRING_GROWTH + 2)
#define MESSAGE_BYTES (64 * KIB)

struct events_run {
    bool as_json;
    bool follow;
    bool typed;
    bool since_given;
    enum event_type type;
    uint64_t since_ms;
    const char *file;
    const char *directory;
    struct json_reader *reader;
};

/* "10m" (ago), "2026-11-22", "2026-11-22T16:30:00", with or without Z; always UTC. */
static bool parse_since(const char *text, uint64_t *ms_out)
{
    static const char *const forms[] = {"%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%M:%S",
                                        "%Y-%m-%d %H:%M:%S", "%Y-%m-%d"};
    uint64_t ns;
    if (conf_text_duration(slice_from_string(text), &ns)) {
        uint64_t now_ms = clock_wall_ns() / NS_PER_MS;
        *ms_out = now_ms > ns / NS_PER_MS ? now_ms - ns / NS_PER_MS : 0;
        return true;
    }
    for (size_t i = 0; i < COUNT_OF(forms); i++) {
        struct tm fields = {0};
        const char *end = strptime(text, forms[i], &fields);
        if (end != NULL && *end == 0) {
            *ms_out = (uint64_t)timegm(&fields) * 1000;
            return true;
        }
    }
    return false;
}

/* A field for a terminal, at least so many columns wide. */
static void print_cell(const struct events_run *run, const char *path, unsigned width)
{
    uint8_t bytes[CELL_BYTES];
    struct slice text = SLICE_NONE;
    struct buf buf;
    if (!json_read_string(run->reader, path, &text)) {
        text = SLICE("-");
    }
    text = slice_first(text, MIN_OF(text.size, (size_t)EVENT_TEXT_BYTES_MAX));
    buf_init(&buf, bytes, sizeof(bytes));
    readable_put(&buf, text);
    unsigned columns = readable_width(buf_slice(&buf));
    printf("%.*s%*s", (int)buf.size, (const char *)bytes,
           (int)(MAX_OF(width, columns) - columns + 1), "");
}

static void print_row(const struct events_run *run)
{
    uint64_t code = 0;
    if (!json_read_u64(run->reader, "/response/code", &code)) {
        code = 0;
    }
    print_cell(run, "/event_time", 24);
    print_cell(run, "/type", 16);
    print_cell(run, "/recipient", 32);
    printf("%3llu ", (unsigned long long)code);
    print_cell(run, "/queue", 24);
    print_cell(run, "/response/content", 0);
    printf("\n");
}

static bool wanted(const struct events_run *run)
{
    struct slice type = SLICE_NONE;
    uint64_t ms = 0;
    if (run->typed &&
        (!json_read_string(run->reader, "/type", &type) ||
         !slice_equal(type, slice_from_string(event_type_name(run->type))))) {
        return false;
    }
    return !run->since_given ||
           (json_read_u64(run->reader, "/timestamp_ms", &ms) && ms >= run->since_ms);
}

static bool print_line(void *context, struct slice line)
{
    const struct events_run *run = context;
    bool parsed = !run->as_json || run->typed || run->since_given;
    if (parsed && !json_read(run->reader, line)) {
        fprintf(stderr, "ringpost: a line of the log is no JSON, left out\n");
        return true;
    }
    if (parsed && !wanted(run)) {
        return true;
    }
    if (run->as_json) {
        fwrite(line.data, 1, line.size, stdout);
        fputc('\n', stdout);
    } else {
        print_row(run);
    }
    return ferror(stdout) == 0;
}

/* Of an option that was given and makes no sense; the others getopt has told of. */
static void complain(int option)
{
    if (option == 't') {
        fprintf(stderr, "ringpost events: %s is no type of event:", optarg);
        for (unsigned i = 0; i < EVENT_TYPES; i++) {
            fprintf(stderr, "%s %s", i > 0 ? "," : "", event_type_name((enum event_type)i));
        }
        fputc('\n', stderr);
    } else if (option == 's') {
        fprintf(stderr, "ringpost events: %s is no time and no duration, such as 10m or "
                        "2026-11-22\n", optarg);
    }
}

static int parse_options(struct events_run *run, int count, char **arguments)
{
    static const struct option options[] = {
        {"config", required_argument, NULL, 'c'}, {"log-dir", required_argument, NULL, 'd'},
        {"json", no_argument, NULL, 'j'},         {"type", required_argument, NULL, 't'},
        {"since", required_argument, NULL, 's'},  {"follow", no_argument, NULL, 'f'},
        {0}};
    int option;
    while ((option = getopt_long(count, arguments, "c:", options, NULL)) != -1) {
        if (option == 'c') {
            run->file = optarg;
        } else if (option == 'd') {
            run->directory = optarg;
        } else if (option == 'j') {
            run->as_json = true;
        } else if (option == 'f') {
            run->follow = true;
        } else if (option == 't' && event_type_parse(slice_from_string(optarg), &run->type)) {
            run->typed = true;
        } else if (option == 's' && parse_since(optarg, &run->since_ms)) {
            run->since_given = true;
        } else {
            complain(option);
            return EXIT_USAGE;
        }
    }
    if (optind < count) {
        fprintf(stderr, "ringpost events: %s is one argument too many\n", arguments[optind]);
        return EXIT_USAGE;
    }
    return EXIT_FINE;
}

static int run_events(struct events_run *run)
{
    struct log_reader *log = log_reader_open(run->directory);
    const struct timespec pause = {.tv_nsec = FOLLOW_NS};
    int result = log_reader_run(log, print_line, run);
    while (run->follow && fflush(stdout) == 0) {
        nanosleep(&pause, NULL);
        (void)log_reader_run(log, print_line, run);
    }
    log_reader_close(log);
    return result < 0 || fflush(stdout) != 0 || ferror(stdout) != 0 ? EXIT_FAILED : EXIT_FINE;
}

int cmd_events(int count, char **arguments)
{
    uint8_t bytes[MESSAGE_BYTES];
    struct events_run run = {0};
    struct conf_messages messages = {0};
    struct conf *conf = NULL;
    int code = parse_options(&run, count, arguments);
    if (code != EXIT_FINE) {
        return code;
    }
    if (run.directory == NULL) {
        buf_init(&messages.text, bytes, sizeof(bytes));
        conf = conf_file_load(CONF_MTA, run.file, NULL, 0, &messages);
        if (conf == NULL) {
            fprintf(stderr, "%.*s", (int)messages.text.size, (const char *)bytes);
            return EXIT_CONFIGURATION;
        }
        run.directory = conf->log.path;
    }
    run.reader = json_reader_open();
    code = run_events(&run);
    json_reader_close(run.reader);
    conf_free(conf);
    return code;
}
