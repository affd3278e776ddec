/*
 * Members of a JSON object in the forms that answers and reports have: a key and its value at once.
 * Pure; overflow is the buffer's, sticky.
 */
#ifndef RINGPOST_CORE_JSON_MEMBER_H
#define RINGPOST_CORE_JSON_MEMBER_H

#include "core/endpoint.h"
#include "core/id.h"
#include "core/json.h"

void json_member_u64(struct json *json, const char *key, uint64_t value);
/* Null when it is empty. */
void json_member_text(struct json *json, const char *key, struct slice text);
void json_member_word(struct json *json, const char *key, const char *word);
/* "2026-11-22T16:49:10.123Z"; null when it is 0. */
void json_member_time(struct json *json, const char *key, uint64_t wall_ns);
/* 32 hexadecimal digits. */
void json_member_id(struct json *json, const char *key, const struct id *id);
/* "192.0.2.1:25" */
void json_member_endpoint(struct json *json, const char *key, const struct endpoint *endpoint);

#endif
