#include "shard/process_main.h"

#include <argp.h>
#include <stdio.h>
#include <stdlib.h>

#include "core/check.h"
#include "shard/conf_file.h"
#include "shard/process.h"

#define SETS_MAX     256
#define MESSAGES_MAX (256 * KIB)

struct reading {
    const char *file;
    const char *sets[SETS_MAX];
    size_t set_count;
    bool check_only;
};

enum { OPTION_CHECK = 256, OPTION_SET };

static const struct argp_option options[] = {
    {"config", 'c', "FILE", 0, "main configuration file (without one: built-in defaults)", 0},
    {"set", OPTION_SET, "SECTION.KEY=VALUE", 0, "set one value after all files; repeatable", 0},
    {"check", OPTION_CHECK, NULL, 0, "validate everything, touch nothing, and exit", 0},
    {0},
};

static error_t parse_option(int key, char *argument, struct argp_state *state)
{
    struct reading *reading = state->input;
    switch (key) {
    case 'c':
        reading->file = argument;
        return 0;
    case OPTION_CHECK:
        reading->check_only = true;
        return 0;
    case OPTION_SET:
        if (reading->set_count == SETS_MAX) {
            argp_error(state, "more than %d --set", SETS_MAX);
        }
        reading->sets[reading->set_count++] = argument;
        return 0;
    case ARGP_KEY_ARG:
        argp_error(state, "no such argument: %s", argument);
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static struct conf *load_conf(const struct reading *reading, enum conf_program program)
{
    struct conf_messages messages = {0};
    char *text = malloc(MESSAGES_MAX);
    CHECK(text != NULL);
    buf_init(&messages.text, text, MESSAGES_MAX);
    struct conf *conf =
        conf_file_load(program, reading->file, reading->sets, reading->set_count, &messages);
    fwrite(messages.text.data, 1, messages.text.size, stderr);
    free(text);
    return conf;
}

int process_main(const struct process_program *program, int argc, char **argv)
{
    const struct argp argp = {
        .options = options,
        .parser = parse_option,
        .doc = program->doc,
    };
    struct reading reading = {0};
    char version[64];
    snprintf(version, sizeof(version), "%s %s", program->name, RINGPOST_VERSION);
    argp_program_version = version;
    argp_err_exit_status = PROCESS_EXIT_USAGE;
    argp_parse(&argp, argc, argv, 0, NULL, &reading);
    const struct process_command command = {
        .file = reading.file,
        .sets = reading.sets,
        .set_count = reading.set_count,
        .conf = load_conf(&reading, program->reads),
    };
    if (command.conf == NULL) {
        return PROCESS_EXIT_CONFIG;
    }
    int status = EXIT_SUCCESS;
    if (reading.check_only) {
        puts("configuration is good");
    } else {
        status = program->run(&command);
    }
    conf_free(command.conf);
    return status;
}

void process_block_signals(sigset_t *signals_out)
{
    sigemptyset(signals_out);
    sigaddset(signals_out, SIGTERM);
    sigaddset(signals_out, SIGINT);
    sigaddset(signals_out, SIGHUP);
    sigaddset(signals_out, SIGUSR1);
    sigprocmask(SIG_BLOCK, signals_out, NULL);
    signal(SIGPIPE, SIG_IGN);
}
