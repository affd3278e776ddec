#include "tools/answer.h"

#include "core/date.h"

const struct json_value *answer_member(const struct json_value *object, const char *name)
{
    return object == NULL ? NULL : json_value_member(object, slice_from_string(name));
}

struct slice answer_text(const struct json_value *object, const char *name)
{
    const struct json_value *value = answer_member(object, name);
    return value != NULL && value->kind == JSON_STRING ? json_value_text(value) : SLICE_NONE;
}

uint64_t answer_u64(const struct json_value *object, const char *name)
{
    const struct json_value *value = answer_member(object, name);
    return value != NULL && value->kind == JSON_INTEGER && value->integer > 0
               ? (uint64_t)value->integer
               : 0;
}

bool answer_bool(const struct json_value *object, const char *name)
{
    const struct json_value *value = answer_member(object, name);
    return value != NULL && value->kind == JSON_BOOL && value->boolean;
}

uint64_t answer_time(const struct json_value *object, const char *name)
{
    uint64_t ns = 0;
    return date_parse_rfc3339(answer_text(object, name), &ns) ? ns : 0;
}

uint32_t answer_count(const struct json_value *value)
{
    return value != NULL && (value->kind == JSON_ARRAY || value->kind == JSON_OBJECT) ? value->size
                                                                                      : 0;
}

uint64_t answer_ago_ms(uint64_t now_ns, uint64_t since_ns)
{
    return (now_ns - MIN_OF(now_ns, since_ns)) / NS_PER_MS;
}
