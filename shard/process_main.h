/*
 * What the mains of the daemons have in common: the command line (-c FILE, --check, --version and
 * --set SECTION.KEY=VALUE), the configuration, exit codes. Main thread, before any other is made.
 */
#ifndef RINGPOST_SHARD_PROCESS_MAIN_H
#define RINGPOST_SHARD_PROCESS_MAIN_H

#include <signal.h>

#include "core/conf.h"

/* What the user asked for, read and found good; borrowed, all of it, until run returns. */
struct process_command {
    const char *file; /* null: none */
    const char *const *sets;
    size_t set_count;
    struct conf *conf;
};

struct process_program {
    const char *name;
    const char *doc; /* of --help */
    enum conf_program reads;
    /* Returns the exit code of the process. */
    int (*run)(const struct process_command *command);
};

/*
 * Returns the exit code: that of run; EXIT_SUCCESS after --check of a configuration that is good;
 * PROCESS_EXIT_CONFIG, and it was told why. Ends the process after --help, --version and what it
 * cannot read.
 */
MUST_USE int process_main(const struct process_program *program, int argc, char **argv);
/*
 * The signals that a main waits for, blocked: only sigtimedwait sees them. One that a daemon does
 * nothing about does not end it either.
 */
void process_block_signals(sigset_t *signals_out);

#endif
