/*
 * What the main of a daemon does with its process, before and beside its threads: directories,
 * limits, the user it runs as, lines on stderr. It blocks. Boot thread.
 */
#ifndef RINGPOST_SHARD_PROCESS_H
#define RINGPOST_SHARD_PROCESS_H

#include "core/conf.h"
#include "core/logline.h"

/* Exit codes beside EXIT_SUCCESS and EXIT_FAILURE. */
#define PROCESS_EXIT_USAGE  2
#define PROCESS_EXIT_CONFIG 3

/* Each line in one write, so that lines of several threads never mix. */
extern const struct log_sink process_stderr;
/* One line with a reason, there. */
void process_say(const char *event, const char *reason);
/* "127.0.0.1:25,[::1]:25"; "none". */
void process_put_endpoints(struct logline *line, const char *key,
                           const struct endpoint *endpoints, size_t count);

/* With its parents. False, and errno. */
MUST_USE bool process_make_dirs(const char *path);
/* memory.limit, or 75 % of what the machine or the group has. */
uint64_t process_memory_limit(const struct conf *conf);
/*
 * From root to node.user and node.group, before anything is made: all files belong to them. What is
 * kept is the right to bind ports below 1024, for the listeners. Null, or what went wrong.
 */
MUST_USE const char *process_become_user(const struct conf *conf);
/* As many files as may be. */
void process_raise_file_limit(void);
uint64_t process_monotonic_ns(void);

#endif
