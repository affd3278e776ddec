/*
 * Lines for developers and operators on stderr: one line, `event=name key=value …`. A value that
 * holds spaces, quotes, '=' or anything but printable ASCII is put in quotes and escaped, so that
 * no peer can forge a line or send codes to a terminal. Pure formatting; a struct log_sink emits.
 */
#ifndef RINGPOST_CORE_LOGLINE_H
#define RINGPOST_CORE_LOGLINE_H

#include "core/buf.h"
#include "core/endpoint.h"

#define LOGLINE_BYTES_MAX 2048

/* Who writes lines out. `put` gets a whole line with its line end and must not block. */
struct log_sink {
    void (*put)(void *context, struct slice line);
    void *context;
};

struct logline {
    struct buf buf;
    uint8_t bytes[LOGLINE_BYTES_MAX];
};

/* "event=name" */
void logline_begin(struct logline *line, const char *event);
void logline_text(struct logline *line, const char *key, struct slice value);
void logline_string(struct logline *line, const char *key, const char *value);
void logline_u64(struct logline *line, const char *key, uint64_t value);
void logline_i64(struct logline *line, const char *key, int64_t value);
/* As date_put_rfc3339 writes it. */
void logline_time(struct logline *line, const char *key, uint64_t wall_ns);
void logline_endpoint(struct logline *line, const char *key, const struct endpoint *value);
/* Hands the line over. What did not fit is left out whole; the line end always stands. */
void logline_end(struct logline *line, const struct log_sink *sink);

#endif
