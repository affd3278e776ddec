/*
 * Members of a server's answer: what is missing, null or of another kind is nothing, since answers
 * of other versions have other members. Pure.
 */
#ifndef RINGPOST_TOOLS_ANSWER_H
#define RINGPOST_TOOLS_ANSWER_H

#include "core/json_value.h"

struct slice answer_text(const struct json_value *object, const char *name);
uint64_t answer_u64(const struct json_value *object, const char *name);
bool answer_bool(const struct json_value *object, const char *name);
/* A time of day in nanoseconds; 0: not known. */
uint64_t answer_time(const struct json_value *object, const char *name);
/* Elements of an array, or members of an object; 0 with anything else, null included. */
uint32_t answer_count(const struct json_value *value);
const struct json_value *answer_member(const struct json_value *object, const char *name);

/* How long ago `since` was; 0 when it is to come. In milliseconds. */
uint64_t answer_ago_ms(uint64_t now_ns, uint64_t since_ns);

#endif
