/* Exit codes of every program of ours. */
#ifndef RINGPOST_TOOLS_EXIT_CODES_H
#define RINGPOST_TOOLS_EXIT_CODES_H

enum {
    EXIT_FINE = 0,
    EXIT_FAILED = 1, /* the thing asked for failed */
    EXIT_USAGE = 2,
    EXIT_CONFIGURATION = 3,
};

#endif
