#include "tools/cmd_spool.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/check.h"
#include "shard/conf_file.h"
#include "tools/clock.h"
#include "tools/exit_codes.h"
#include "tools/readable.h"

#define TERMINAL_NS    (200 * NS_PER_MS)
#define LINE_NS        (10 * NS_PER_S)
#define MESSAGES_BYTES (64 * KIB)
#define SECONDS        1
#define SECONDS_MAX    3600

/* --- output ----------------------------------------------------------------------------------- */

void spool_run_progress(struct spool_run *run, uint64_t bytes)
{
    bool terminal = isatty(STDERR_FILENO) == 1;
    uint64_t now = clock_steady_ns();
    char done[READABLE_BYTES];
    char total[READABLE_BYTES];
    run->read_bytes += bytes;
    if (now - run->told_ns < (terminal ? TERMINAL_NS : LINE_NS)) {
        return;
    }
    run->told_ns = now;
    fprintf(stderr, "%sread %s of %s%s", terminal ? "\r" : "",
            readable_size(done, run->read_bytes), readable_size(total, run->total_bytes),
            terminal ? "   " : "\n");
}

void spool_run_json(struct spool_run *run, struct json *json, const char *type)
{
    buf_init(&run->text, run->bytes, sizeof(run->bytes));
    json_init(json, &run->text);
    json_object(json);
    json_key(json, "type");
    json_string(json, slice_from_string(type));
}

void spool_run_json_end(struct spool_run *run, struct json *json)
{
    json_object_end(json);
    CHECK(!run->text.overflow);
    fwrite(run->text.data, 1, run->text.size, stdout);
    fputc('\n', stdout);
}

void spool_json_text(struct json *json, const char *key, struct slice text)
{
    json_key(json, key);
    json_string(json, text);
}

void spool_json_number(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_u64(json, value);
}

void spool_json_id(struct json *json, const struct id *id)
{
    uint8_t bytes[ID_TEXT_BYTES];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    id_put(&buf, id);
    spool_json_text(json, "id", buf_slice(&buf));
}

/* --- damage ----------------------------------------------------------------------------------- */

void spool_run_damage(struct spool_run *run, unsigned lane, uint32_t segment, uint64_t offset,
                      const char *what)
{
    struct json json;
    run->damages++;
    if (!run->as_json) {
        printf("lane %u segment %u offset %llu: damaged, %s\n", lane, segment,
               (unsigned long long)offset, what);
        return;
    }
    spool_run_json(run, &json, "damage");
    spool_json_number(&json, "lane", lane);
    spool_json_number(&json, "segment", segment);
    spool_json_number(&json, "offset", offset);
    spool_json_text(&json, "what", slice_from_string(what));
    spool_run_json_end(run, &json);
}

static void adopted_damage(struct spool_run *run, const struct spool_lane *lane)
{
    char what[128];
    for (uint32_t i = 0; i < lane->count; i++) {
        const struct spool_file *file = &lane->files[i];
        if (file->gone) {
            snprintf(what, sizeof(what),
                     "lane-%03u/%s is not there or holds another segment: its messages are lost",
                     file->lane, file->name);
            spool_run_damage(run, lane->lane, file->number, 0, what);
        }
    }
}

void spool_run_begin_damage(struct spool_run *run, const struct spool_lane *lane,
                            const struct spool_begin *begin)
{
    char what[96];
    for (unsigned i = 0; i < SPOOL_CHECKPOINTS; i++) {
        const struct spool_checkpoint *one = &begin->checkpoints[i];
        if (one->damaged || one->newer) {
            snprintf(what, sizeof(what), one->newer ? "checkpoint-%u is of a newer version"
                                                    : "checkpoint-%u cannot be used", i);
            spool_run_damage(run, lane->lane, 0, one->damage_offset, what);
        }
    }
    if (begin->outdated) {
        spool_run_damage(run, lane->lane, begin->begin.group.segment, 0,
                         "the newest checkpoint is gone: finished messages may come again");
    }
    adopted_damage(run, lane);
}

void spool_run_item_damage(struct spool_run *run, unsigned lane, const struct log_item *item)
{
    char what[96];
    if (item->step == LOG_NEWER) {
        snprintf(what, sizeof(what), "written by a newer version (%s %u)",
                 item->version > 0 ? "format" : "kind of record",
                 item->version > 0 ? item->version : item->record.kind);
    } else if (item->records == 0) {
        snprintf(what, sizeof(what), "groups before this are lost");
    } else {
        snprintf(what, sizeof(what), "records are lost: %llu", (unsigned long long)item->records);
    }
    spool_run_damage(run, lane, item->segment, item->offset, what);
}

/* --- lanes ------------------------------------------------------------------------------------ */

static bool run_lane(struct spool_run *run, unsigned number,
                     void (*work)(struct spool_run *run, struct spool_lane *lane))
{
    struct spool_lane lane;
    bool good = spool_lane_open(&lane, &run->reader, number);
    if (good) {
        for (uint32_t i = lane.first; i < lane.count; i++) {
            run->total_bytes += lane.files[i].size;
        }
        work(run, &lane);
    } else {
        fprintf(stderr, "ringpost: %s\n", run->reader.reason);
    }
    spool_lane_close(&lane);
    return good;
}

bool spool_run_lanes(struct spool_run *run,
                     void (*work)(struct spool_run *run, struct spool_lane *lane))
{
    bool good = true;
    run->told_ns = clock_steady_ns();
    for (unsigned i = 0; i < run->reader.manifest.lane_count; i++) {
        unsigned lane = run->reader.manifest.lanes[i];
        if (!run->one_lane || run->lane == lane) {
            good = run_lane(run, lane, work) && good;
        }
    }
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\r                                        \r");
    }
    return good;
}

/* --- the command line ------------------------------------------------------------------------- */

struct part {
    const char *name;
    int (*work)(struct spool_run *run);
    const char *options; /* its letters of those below */
    bool stopped;        /* works on a stopped spool */
};

static const struct part parts[] = {
    {"check", spool_check, "cpjl", true},
    {"dump", spool_dump, "cpjlsm", true},
    {"list", spool_list, "cpjld", true},
    {"measure", spool_measure, "cpjt", false},
};

static const struct option options[] = {
    {"config", required_argument, NULL, 'c'},  {"spool", required_argument, NULL, 'p'},
    {"json", no_argument, NULL, 'j'},          {"lane", required_argument, NULL, 'l'},
    {"segment", required_argument, NULL, 's'}, {"message", required_argument, NULL, 'm'},
    {"domain", required_argument, NULL, 'd'},  {"seconds", required_argument, NULL, 't'},
    {0}};

static bool number(const char *text, uint64_t *value_out)
{
    if (slice_parse_u64(slice_from_string(text), value_out) && *value_out < UINT32_MAX) {
        return true;
    }
    fprintf(stderr, "ringpost spool: %s is no number\n", text);
    return false;
}

/* False, said on stderr: it makes no sense. */
static bool take_option(struct spool_run *run, int option, const char **file)
{
    switch (option) {
    case 'c':
        *file = optarg;
        return true;
    case 'p':
        run->path = optarg;
        return true;
    case 'j':
        run->as_json = true;
        return true;
    case 'd':
        run->domain = optarg;
        return true;
    case 'l':
        run->one_lane = true;
        return number(optarg, &run->lane);
    case 's':
        run->one_segment = true;
        return number(optarg, &run->segment);
    case 't':
        return number(optarg, &run->seconds) && run->seconds > 0 && run->seconds <= SECONDS_MAX;
    case 'm':
        run->one_message = id_parse(slice_from_string(optarg), &run->message);
        if (!run->one_message) {
            fprintf(stderr, "ringpost spool: %s is no id: 32 hexadecimal digits\n", optarg);
        }
        return run->one_message;
    default:
        return false;
    }
}

static bool take_options(struct spool_run *run, const struct part *part, int count,
                         char **arguments, const char **file)
{
    int option;
    optind = 1;
    while ((option = getopt_long(count, arguments, "c:", options, NULL)) != -1) {
        if (option != '?' && strchr(part->options, option) == NULL) {
            fprintf(stderr, "ringpost spool %s: %s is none of its options\n", part->name,
                    arguments[optind - 1]);
            return false;
        }
        if (!take_option(run, option, file)) {
            return false;
        }
    }
    if (optind < count) {
        fprintf(stderr, "ringpost spool %s: %s is one argument too many\n", part->name,
                arguments[optind]);
        return false;
    }
    return true;
}

static int run_part(struct spool_run *run, const struct part *part)
{
    int code = EXIT_FAILED;
    if (!part->stopped) {
        return part->work(run);
    }
    if (!spool_reader_open(&run->reader, run->path)) {
        fprintf(stderr, "ringpost: %s\n", run->reader.reason);
    } else if (run->one_lane && !manifest_has(&run->reader.manifest, (unsigned)run->lane)) {
        fprintf(stderr, "ringpost: spool: %s has no lane %u\n", run->path, (unsigned)run->lane);
    } else {
        code = part->work(run);
    }
    spool_reader_close(&run->reader);
    return fflush(stdout) != 0 || ferror(stdout) != 0 ? EXIT_FAILED : code;
}

static int run_configured(struct spool_run *run, const struct part *part, const char *file)
{
    uint8_t *bytes = malloc(MESSAGES_BYTES);
    struct conf_messages messages = {0};
    struct conf *conf = NULL;
    int code = EXIT_CONFIGURATION;
    CHECK(bytes != NULL);
    buf_init(&messages.text, bytes, MESSAGES_BYTES);
    if (run->path == NULL) {
        conf = conf_file_load(CONF_MTA, file, NULL, 0, &messages);
        run->path = conf == NULL ? NULL : conf->spool.path;
    }
    if (run->path == NULL) {
        fprintf(stderr, "%.*s", (int)messages.text.size, (const char *)bytes);
    } else {
        code = run_part(run, part);
    }
    conf_free(conf);
    free(bytes);
    return code;
}

int cmd_spool(int count, char **arguments)
{
    const struct part *part = NULL;
    for (size_t i = 0; i < COUNT_OF(parts) && count > 1; i++) {
        if (strcmp(arguments[1], parts[i].name) == 0) {
            part = &parts[i];
        }
    }
    if (part == NULL) {
        fprintf(stderr, "usage: ringpost spool check | dump | list | measure ...\n");
        return EXIT_USAGE;
    }
    struct spool_run *run = calloc(1, sizeof(*run));
    const char *file = NULL;
    CHECK(run != NULL);
    run->seconds = SECONDS;
    int code = EXIT_USAGE;
    if (take_options(run, part, count - 1, arguments + 1, &file)) {
        code = run_configured(run, part, file);
    }
    free(run);
    return code;
}
