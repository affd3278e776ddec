/* ringpost-bench: a source, a sink, a floor, and the runs that put them around the server. */
#include <stdio.h>
#include <string.h>

#include "bench/verbs.h"
#include "core/base.h"

static const struct {
    const char *name;
    int (*run)(int argc, char **argv);
    const char *help;
} verbs[] = {
    {"source", verb_source, "sends made messages to a server"},
    {"sink", verb_sink, "takes mail, checks it, misbehaves when told"},
    {"floor", verb_floor, "the least a durable relay must do"},
    {"rules", verb_rules, "records through rules of automation, on one thread"},
    {"run", verb_run, "relay, latency and more: sink, server and source together"},
};

static void usage(FILE *file)
{
    fprintf(file, "usage: ringpost-bench VERB [--option value]…\n\n");
    for (size_t i = 0; i < COUNT_OF(verbs); i++) {
        fprintf(file, "  %-12s %s\n", verbs[i].name, verbs[i].help);
    }
    fprintf(file, "\nringpost-bench VERB --help lists the options of a verb.\n");
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("ringpost-bench %s\n", RINGPOST_VERSION);
        return EXIT_FINE;
    }
    if (argc == 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        usage(stdout);
        return EXIT_FINE;
    }
    for (size_t i = 0; argc > 1 && i < COUNT_OF(verbs); i++) {
        if (strcmp(argv[1], verbs[i].name) == 0) {
            return verbs[i].run(argc - 2, argv + 2);
        }
    }
    usage(stderr);
    return EXIT_USAGE;
}
