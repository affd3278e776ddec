#include "core/json_member.h"

#include "core/date.h"

void json_member_u64(struct json *json, const char *key, uint64_t value)
{
    json_key(json, key);
    json_u64(json, value);
}

void json_member_text(struct json *json, const char *key, struct slice text)
{
    json_key(json, key);
    if (text.size > 0) {
        json_string(json, text);
    } else {
        json_null(json);
    }
}

void json_member_word(struct json *json, const char *key, const char *word)
{
    json_member_text(json, key, slice_from_string(word));
}

void json_member_time(struct json *json, const char *key, uint64_t wall_ns)
{
    uint8_t memory[32];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    if (wall_ns > 0) {
        date_put_rfc3339(&buf, wall_ns);
    }
    json_member_text(json, key, buf_slice(&buf));
}

void json_member_id(struct json *json, const char *key, const struct id *id)
{
    uint8_t memory[ID_TEXT_BYTES];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    id_put(&buf, id);
    json_member_text(json, key, buf_slice(&buf));
}

void json_member_endpoint(struct json *json, const char *key, const struct endpoint *endpoint)
{
    uint8_t memory[ENDPOINT_TEXT_MAX];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    endpoint_put(&buf, endpoint);
    json_member_text(json, key, buf_slice(&buf));
}
