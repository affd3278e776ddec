/*
 * Fields of an answer for people, a line each: a word and what it is, on standard output. What is
 * not known has no line. Texts are escaped (tools/readable.h).
 */
#ifndef RINGPOST_TOOLS_FIELDS_H
#define RINGPOST_TOOLS_FIELDS_H

#include "core/slice.h"

/* Begins a line; whoever calls writes the rest of it. */
void fields_key(const char *key);
void fields_text(const char *key, struct slice text);
void fields_count(const char *key, uint64_t count);
/* A time of day (RFC 3339), and how far it is from now; `now_ns` on the wall clock. */
void fields_time(const char *key, struct slice time, uint64_t now_ns);

#endif
