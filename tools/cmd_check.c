#include "tools/cmd_check.h"

#include <getopt.h>
#include <stdio.h>

#include "core/json.h"
#include "shard/conf_file.h"
#include "tools/exit_codes.h"

#define SETS_MAX       64
#define MESSAGES_BYTES (64 * KIB)

static void print_json(const struct conf_messages *messages, bool good)
{
    uint8_t bytes[MESSAGES_BYTES * 2 + 1024];
    struct slice rest = buf_slice(&messages->text);
    struct buf buf;
    struct json json;
    buf_init(&buf, bytes, sizeof(bytes));
    json_init(&json, &buf);
    json_object(&json);
    json_key(&json, "good");
    json_bool(&json, good);
    json_key(&json, "errors");
    json_u64(&json, messages->errors);
    json_key(&json, "notes");
    json_u64(&json, messages->notes);
    json_key(&json, "messages");
    json_array(&json);
    while (rest.size > 0) {
        size_t size = slice_find(rest, '\n');
        json_string(&json, slice_first(rest, size));
        rest = slice_skip(rest, size < rest.size ? size + 1 : size);
    }
    json_array_end(&json);
    json_object_end(&json);
    printf("%.*s\n", (int)buf.size, (const char *)buf.data);
}

int cmd_check(int count, char **arguments)
{
    static const struct option options[] = {{"config", required_argument, NULL, 'c'},
                                            {"set", required_argument, NULL, 's'},
                                            {"json", no_argument, NULL, 'j'},
                                            {0}};
    uint8_t bytes[MESSAGES_BYTES];
    const char *sets[SETS_MAX];
    const char *file = NULL;
    size_t set_count = 0;
    bool as_json = false;
    int option;
    while ((option = getopt_long(count, arguments, "c:", options, NULL)) != -1) {
        if (option == 'c') {
            file = optarg;
        } else if (option == 's' && set_count < SETS_MAX) {
            sets[set_count++] = optarg;
        } else if (option == 'j') {
            as_json = true;
        } else {
            return EXIT_USAGE;
        }
    }
    if (optind < count) {
        fprintf(stderr, "ringpost check: %s is one argument too many\n", arguments[optind]);
        return EXIT_USAGE;
    }
    struct conf_messages messages = {0};
    buf_init(&messages.text, bytes, sizeof(bytes));
    struct conf *conf = conf_file_load(CONF_MTA, file, sets, set_count, &messages);
    bool good = conf != NULL;
    conf_free(conf);
    if (as_json) {
        print_json(&messages, good);
    } else {
        fprintf(stderr, "%.*s", (int)messages.text.size, (const char *)bytes);
        if (good) {
            printf("%s: fine\n", file == NULL ? "built-in configuration" : file);
        } else {
            fprintf(stderr, "%u errors\n", messages.errors);
        }
    }
    return good ? EXIT_FINE : EXIT_CONFIGURATION;
}
