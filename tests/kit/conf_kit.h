/* Configurations from text in memory, for tests. */
#ifndef RINGPOST_TESTS_KIT_CONF_KIT_H
#define RINGPOST_TESTS_KIT_CONF_KIT_H

#include "core/shaping.h"

/* A conf_read; `context` is name, text, name, text …, null. */
bool conf_kit_read(void *context, const char *path, struct slice *bytes_out,
                   struct buf *reason_out);

/*
 * Loads files[0] with the other files there to be read, as above. Without `files` there is no
 * file. What was said stands in `said`, as far as there is room, and ends with
 * NUL. Null exactly when there was an error; else the caller frees it.
 */
struct conf *conf_kit_load(const char *const *files, const char *const *sets, size_t set_count,
                           char *said, size_t capacity);

/* What is in force for a domain, without DNS; good until the eighth call from here. */
const struct path_options *conf_kit_path(const struct conf *conf, struct slice domain,
                                         struct slice source);

#endif
