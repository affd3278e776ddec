/* The verbs of ringpost-bench: each takes the words after its name and returns an exit code. */
#ifndef RINGPOST_BENCH_VERBS_H
#define RINGPOST_BENCH_VERBS_H

#define EXIT_FINE   0
#define EXIT_FAILED 1
#define EXIT_USAGE  2

int verb_source(int argc, char **argv);
int verb_sink(int argc, char **argv);
int verb_floor(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_rules(int argc, char **argv);

#endif
