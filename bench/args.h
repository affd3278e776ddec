/*
 * Command lines of verbs as tables: "--name value", "--name=value". A row is all there is to know
 * of an option: args_parse checks its limits, its default is what `value` holds before. Mains only.
 */
#ifndef RINGPOST_BENCH_ARGS_H
#define RINGPOST_BENCH_ARGS_H

#include "core/buf.h"

enum arg_kind {
    ARG_FLAG,    /* bool */
    ARG_U64,     /* uint64_t; "200000" or "200,000" */
    ARG_TEXT,    /* const char *, borrowed */
    ARG_PERCENT, /* uint64_t, per mille: "10", "10%", "0.5%" */
};

struct arg {
    const char *name; /* "--size" */
    enum arg_kind kind;
    void *value;
    const char *help; /* "BYTES of each message" */
    uint64_t min;     /* of ARG_U64 */
    uint64_t max;
};

static inline struct arg arg_flag(const char *name, bool *value, const char *help)
{
    return (struct arg){name, ARG_FLAG, value, help, 0, 0};
}

static inline struct arg arg_u64(const char *name, uint64_t *value, uint64_t min, uint64_t max,
                                 const char *help)
{
    return (struct arg){name, ARG_U64, value, help, min, max};
}

static inline struct arg arg_text(const char *name, const char **value, const char *help)
{
    return (struct arg){name, ARG_TEXT, value, help, 0, 0};
}

static inline struct arg arg_percent(const char *name, uint64_t *value, const char *help)
{
    return (struct arg){name, ARG_PERCENT, value, help, 0, 0};
}

/*
 * False with one line in `reason_out`: an unknown option, a value that is missing, wrong or beyond
 * its limits.
 */
MUST_USE bool args_parse(const struct arg *table, size_t table_count, int argc, char **argv,
                         struct buf *reason_out);
/* A line an option on stdout, with what `value` holds now, unless that is nothing. */
void args_help(const struct arg *table, size_t table_count);
/* "--help" is among them. */
bool args_want_help(int argc, char **argv);

/* A whole file, to be freed; false with a reason, one longer than `bytes_max` included. */
MUST_USE bool args_read_file(const char *path, size_t bytes_max, char **text_out,
                             size_t *size_out, struct buf *reason_out);

#endif
