#include "tools/verb_options.h"

#include <getopt.h>
#include <string.h>

#include "core/check.h"
#include "core/conf_text.h"
#include "core/id.h"

static const struct row {
    const char *name;
    const char *argument;
    const char *help;
} rows[] = {
#define VERB_OPTION_ROW(id, name, argument, help) [OPTION_##id] = {name, argument, help},
    VERB_OPTIONS(VERB_OPTION_ROW)
#undef VERB_OPTION_ROW
};

static void make_long_options(struct option long_options[VERB_OPTIONS_COUNT + 1],
                              uint32_t allowed)
{
    unsigned count = 0;
    for (unsigned i = 0; i < VERB_OPTIONS_COUNT; i++) {
        if ((allowed & 1u << i) != 0) {
            long_options[count++] = (struct option){
                .name = rows[i].name,
                .has_arg = rows[i].argument != NULL ? required_argument : no_argument,
                .val = (int)i,
            };
        }
    }
    long_options[count] = (struct option){0};
}

/* Null: nothing is wrong with it. */
static const char *problem_of(enum verb_option option, const char *text)
{
    struct slice value = slice_from_string(text);
    struct id id;
    uint64_t ns;
    if (rows[option].argument != NULL && value.size == 0) {
        return "is empty";
    }
    if (option == OPTION_ID && !id_parse(value, &id)) {
        return "wants 32 hexadecimal digits";
    }
    if (option == OPTION_DURATION && (!conf_text_duration(value, &ns) || ns == 0)) {
        return "wants a time like 5m or \"2 hours\"";
    }
    if (!slice_is_utf8(value)) {
        return "is not UTF-8";
    }
    return NULL;
}

static bool take(struct verb_options *options, enum verb_option option, const char *text)
{
    const char *problem = problem_of(option, text);
    if (problem == NULL && option == OPTION_QUEUE) {
        if (options->queue_count == VERB_QUEUES_MAX) {
            problem = "is given too often";
        } else {
            options->queues[options->queue_count++] = text;
        }
    } else if (problem == NULL && options->values[option] != NULL) {
        problem = "is given twice";
    }
    if (problem != NULL) {
        fprintf(stderr, "ringpost %s: --%s %s\n", options->verb, rows[option].name, problem);
        return false;
    }
    options->values[option] = text;
    return true;
}

static bool take_positional(struct verb_options *options, bool positional, int count,
                            char **arguments)
{
    if (optind < count && positional) {
        options->positional = arguments[optind++];
        positional = false;
    }
    if (optind < count) {
        fprintf(stderr, "ringpost %s: %s is one argument too many\n", options->verb,
                arguments[optind]);
        return false;
    }
    if (options->positional != NULL && !slice_is_utf8(slice_from_string(options->positional))) {
        fprintf(stderr, "ringpost %s: the argument is not UTF-8\n", options->verb);
        return false;
    }
    return true;
}

bool verb_options_read(struct verb_options *options, uint32_t allowed, bool positional, int count,
                       char **arguments)
{
    struct option long_options[VERB_OPTIONS_COUNT + 1];
    int option;
    *options = (struct verb_options){.verb = arguments[0]};
    make_long_options(long_options, allowed);
    optind = 0; /* from the start, and forgets what it has read before */
    while ((option = getopt_long(count, arguments, "", long_options, NULL)) != -1) {
        if (option == '?') {
            fprintf(stderr, "ringpost %s --help says what there is\n", options->verb);
            return false;
        }
        CHECK(option >= 0 && option < (int)VERB_OPTIONS_COUNT);
        if (!take(options, (enum verb_option)option, optarg != NULL ? optarg : "")) {
            return false;
        }
    }
    return take_positional(options, positional, count, arguments);
}

void verb_options_help(FILE *out, uint32_t allowed)
{
    for (unsigned i = 0; i < VERB_OPTIONS_COUNT; i++) {
        char name[40];
        if ((allowed & 1u << i) != 0) {
            snprintf(name, sizeof(name), "--%s%s%s", rows[i].name,
                     rows[i].argument != NULL ? " " : "",
                     rows[i].argument != NULL ? rows[i].argument : "");
            fprintf(out, "  %-24s %s\n", name, rows[i].help);
        }
    }
}

unsigned verb_options_count(const struct verb_options *options, uint32_t of)
{
    unsigned count = 0;
    for (unsigned i = 0; i < VERB_OPTIONS_COUNT; i++) {
        count += (of & 1u << i) != 0 && options->values[i] != NULL;
    }
    return count;
}

bool verb_options_limit(const struct verb_options *options, unsigned max, unsigned otherwise,
                        unsigned *limit_out)
{
    const char *text = options->values[OPTION_LIMIT];
    uint64_t limit = otherwise;
    if (text != NULL &&
        (!slice_parse_u64(slice_from_string(text), &limit) || limit < 1 || limit > max)) {
        fprintf(stderr, "ringpost %s: --limit is a number from 1 to %u\n", options->verb, max);
        return false;
    }
    *limit_out = (unsigned)limit;
    return true;
}
