/* The operator's command: a verb and its options. */
#include <stdio.h>
#include <string.h>

#include "core/base.h"
#include "tools/cmd_check.h"
#include "tools/cmd_events.h"
#include "tools/cmd_spool.h"
#include "tools/exit_codes.h"

typedef int verb_run(int count, char **arguments);

struct verb {
    const char *name;
    verb_run *run; /* null: not built yet */
    const char *usage;
};

static int cmd_help(int count, char **arguments);

static int cmd_version(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    printf("ringpost %s\n", RINGPOST_VERSION);
    return EXIT_FINE;
}

static const struct verb verbs[] = {
    {"events", cmd_events,
     "[-c FILE | --log-dir DIR] [--json] [--type T] [--since TIME|DURATION] [--follow]"},
    {"check", cmd_check, "[-c FILE] [--set section.key=VALUE]... [--json]"},
    {"spool", cmd_spool,
     "check|dump|list|measure [-c FILE | --spool DIR] [--json] ..."},
    {"version", cmd_version, ""},
    {"help", cmd_help, ""},
    {"top", NULL, NULL},
    {"queues", NULL, NULL},
    {"explain", NULL, NULL},
    {"trace", NULL, NULL},
    {"suspend", NULL, NULL},
    {"resume", NULL, NULL},
    {"bounce", NULL, NULL},
    {"rebind", NULL, NULL},
    {"flush", NULL, NULL},
    {"inspect", NULL, NULL},
    {"reload", NULL, NULL},
    {"path", NULL, NULL},
    {"shaping", NULL, NULL},
};

static void print_usage(FILE *out)
{
    fprintf(out, "usage: ringpost VERB ...\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (verbs[i].run != NULL) {
            fprintf(out, "  ringpost %s %s\n", verbs[i].name, verbs[i].usage);
        }
    }
    fprintf(out, "More: man ringpost, or packaging/man/ringpost.1 of the sources.\n");
}

static int cmd_help(int count, char **arguments)
{
    (void)count;
    (void)arguments;
    print_usage(stdout);
    return EXIT_FINE;
}

int main(int count, char **arguments)
{
    if (count < 2) {
        print_usage(stderr);
        return EXIT_USAGE;
    }
    const char *name = arguments[1];
    if (strcmp(name, "--version") == 0 || strcmp(name, "--help") == 0) {
        name += 2;
    }
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        if (strcmp(name, verbs[i].name) != 0) {
            continue;
        }
        if (verbs[i].run == NULL) {
            fprintf(stderr, "ringpost %s: not built yet in this version\n", name);
            return EXIT_FAILED;
        }
        if (count == 3 && strcmp(arguments[2], "--help") == 0) {
            printf("usage: ringpost %s %s\n", verbs[i].name, verbs[i].usage);
            return EXIT_FINE;
        }
        return verbs[i].run(count - 1, arguments + 1);
    }
    fprintf(stderr, "ringpost: no verb \"%s\"\n", name);
    print_usage(stderr);
    return EXIT_USAGE;
}
