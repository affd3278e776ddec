/*
 * Texts and quantities as people read them on a terminal. Whatever bytes a text of a server holds,
 * what is written here is UTF-8 without control characters, line separators or bidirectional
 * overrides: these are escaped as in JSON. Pure but for what takes a FILE; widths are those of the
 * C library's locale, which readable_init sets.
 */
#ifndef RINGPOST_TOOLS_READABLE_H
#define RINGPOST_TOOLS_READABLE_H

#include <stdio.h>

#include "core/buf.h"

#define READABLE_BYTES 32 /* of any quantity, with its NUL */

/* Once, before anything else: characters are UTF-8 from here on, whatever the environment says. */
void readable_init(void);

/* Escaped but for quotes, on one line. At most JSON_STRING_GROWTH times its bytes, and two. */
void readable_put(struct buf *buf, struct slice text);
void readable_print(FILE *out, struct slice text);
/* The same, but that line ends and tabs are themselves; ends with a line end. */
void readable_lines(FILE *out, struct slice text);
/* JSON as it is, but that no control character comes through; ends with a line end. */
void readable_json(FILE *out, struct slice json);

/* These return `out`. */

/* "1,234,567" */
const char *readable_count(char out[READABLE_BYTES], uint64_t count);
/* The two largest units: "250ms", "12s", "3m 12s", "2d 4h". */
const char *readable_duration(char out[READABLE_BYTES], uint64_t ms);
/* "512", "1.5 KiB", "3.0 GiB" */
const char *readable_size(char out[READABLE_BYTES], uint64_t bytes);
/* "12.3", "1,234": at most four digits that count. */
const char *readable_rate(char out[READABLE_BYTES], double per_second);

/* Columns that escaped text takes on a terminal. */
unsigned readable_width(struct slice text);
/* How many of its bytes fit into so many columns, whole characters. */
size_t readable_fit(struct slice text, unsigned columns);

#endif
