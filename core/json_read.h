/*
 * Reads one JSON document at a time and picks values out of it by path: a C interface over
 * simdjson, whose C++ stays in json_read.cpp. For the tools, the bench and tests; it allocates.
 *
 * A path is a JSON pointer (RFC 6901): "/response/code", "/headers/0"; "" is the whole document.
 */
#ifndef RINGPOST_CORE_JSON_READ_H
#define RINGPOST_CORE_JSON_READ_H

#include "core/slice.h"

#ifdef __cplusplus
extern "C" {
#endif

struct json_reader;

enum json_kind {
    JSON_ABSENT, /* nothing stands at the path */
    JSON_NULL,
    JSON_BOOL,
    JSON_INTEGER, /* fits int64_t or uint64_t */
    JSON_DOUBLE,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT,
};

/* Never null. */
struct json_reader *json_reader_open(void);
void json_reader_close(struct json_reader *reader);

/* False when `text` is not one JSON document; the reader then holds none. `text` is copied. */
MUST_USE bool json_read(struct json_reader *reader, struct slice text);

/* The rest ask about the document of the last successful json_read. */

enum json_kind json_read_kind(const struct json_reader *reader, const char *path);
/* Members or elements of the object or array there; 0 when there is none. */
size_t json_read_count(const struct json_reader *reader, const char *path);

/* False, and the out parameter untouched, when there is no such value or it is of another kind. */
MUST_USE bool json_read_string(const struct json_reader *reader, const char *path,
                               struct slice *value_out); /* until the next json_read */
MUST_USE bool json_read_i64(const struct json_reader *reader, const char *path,
                            int64_t *value_out);
MUST_USE bool json_read_u64(const struct json_reader *reader, const char *path,
                            uint64_t *value_out);
MUST_USE bool json_read_bool(const struct json_reader *reader, const char *path, bool *value_out);
/* An integer is taken too. */
MUST_USE bool json_read_double(const struct json_reader *reader, const char *path,
                               double *value_out);

#ifdef __cplusplus
}
#endif

#endif
