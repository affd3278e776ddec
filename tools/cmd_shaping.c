#include "tools/cmd_shaping.h"

#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "shard/conf_file.h"
#include "tools/exit_codes.h"

#define SETS_MAX       16
#define SET_BYTES      512
#define FILES_BYTES    (64 * KIB)
#define MESSAGES_BYTES (256 * KIB)

/* Arguments as what they come to: sets of a configuration. */
struct shaping_run {
    const char *sets[SETS_MAX];
    size_t set_count;
    char loads[SETS_MAX][SET_BYTES];
    char files[FILES_BYTES];
};

/* A name of a file in quotes of TOML. */
static void put_name(struct buf *out, const char *name)
{
    buf_put_byte(out, '"');
    for (; *name != '\0'; name++) {
        if (*name == '"' || *name == '\\') {
            buf_put_byte(out, '\\');
        }
        buf_put_byte(out, (uint8_t)*name);
    }
    buf_put_byte(out, '"');
}

static bool add_load(struct shaping_run *run, const char *text)
{
    if (run->set_count + 1 == SETS_MAX) {
        return false;
    }
    char *set = run->loads[run->set_count];
    int size = snprintf(set, SET_BYTES, "shaping.load.%s", text);
    run->sets[run->set_count++] = set;
    return size > 0 && (size_t)size < SET_BYTES;
}

/* False: it makes no sense, and has been said. */
static bool read_arguments(struct shaping_run *run, int count, char **arguments)
{
    static const struct option options[] = {{"load", required_argument, NULL, 'l'}, {0}};
    struct buf files;
    int option;
    bool good = count > 1 && strcmp(arguments[1], "check") == 0;
    optind = 2;
    while (good && (option = getopt_long(count, arguments, "", options, NULL)) != -1) {
        good = option == 'l' && add_load(run, optarg);
    }
    if (!good || optind >= count) {
        fprintf(stderr, "ringpost shaping: say check and files: "
                        "ringpost shaping check shaping.toml mine.toml\n");
        return false;
    }
    buf_init(&files, (uint8_t *)run->files, sizeof(run->files) - 1);
    buf_put_string(&files, "shaping.files=[");
    for (int i = optind; i < count; i++) {
        put_name(&files, arguments[i]);
        buf_put_byte(&files, ',');
    }
    buf_put_string(&files, "]");
    run->files[files.size] = '\0';
    run->sets[run->set_count++] = run->files;
    if (files.overflow) {
        fprintf(stderr, "ringpost shaping: these are too many files\n");
    }
    return !files.overflow;
}

int cmd_shaping(int count, char **arguments)
{
    struct shaping_run run = {0};
    uint8_t bytes[MESSAGES_BYTES];
    struct conf_messages messages = {0};
    if (!read_arguments(&run, count, arguments)) {
        return EXIT_USAGE;
    }
    buf_init(&messages.text, bytes, sizeof(bytes));
    struct conf *conf = conf_file_load(CONF_MTA, NULL, run.sets, run.set_count, &messages);
    bool good = conf != NULL;
    conf_free(conf);
    fprintf(stderr, "%.*s", (int)messages.text.size, (const char *)bytes);
    if (!good) {
        fprintf(stderr, "%u errors\n", messages.errors);
        return EXIT_CONFIGURATION;
    }
    printf("OK\n");
    return EXIT_FINE;
}
