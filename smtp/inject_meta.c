#include "smtp/inject_meta.h"

#include "core/check.h"
#include "core/json.h"
#include "core/json_read.h"
#include "smtp/named_values.h"
#include "smtp/template_text.h"

/* The objects and arrays that are begun, and how far each is. */
struct walk {
    struct json json;
    unsigned depth;
    struct {
        const struct json_value *value;
        uint32_t next;
    } level[INJECT_META_DEPTH_MAX];
};

static void put_scalar(struct json *json, const struct json_value *value)
{
    uint8_t memory[TEMPLATE_SCALAR_BYTES_MAX];
    struct slice text;
    switch ((enum json_kind)value->kind) {
    case JSON_BOOL:
        json_bool(json, value->boolean);
        return;
    case JSON_INTEGER:
        json_i64(json, value->integer);
        return;
    case JSON_DOUBLE:
        if (!template_text_of(TEMPLATE_JINJA, value, memory, &text)) {
            CHECK(false); /* a number has a text */
        }
        json_raw(json, text);
        return;
    case JSON_STRING:
        json_string(json, json_value_text(value));
        return;
    case JSON_ABSENT:
    case JSON_NULL:
    case JSON_ARRAY:
    case JSON_OBJECT:
        break;
    }
    json_null(json);
}

/* A value, or the beginning of one that has others. False: too deep. */
static bool put_begin(struct walk *walk, const struct json_value *value)
{
    if (value->kind != JSON_ARRAY && value->kind != JSON_OBJECT) {
        put_scalar(&walk->json, value);
        return true;
    }
    if (walk->depth == INJECT_META_DEPTH_MAX) {
        return false;
    }
    if (value->kind == JSON_ARRAY) {
        json_array(&walk->json);
    } else {
        json_object(&walk->json);
    }
    walk->level[walk->depth].value = value;
    walk->level[walk->depth].next = 0;
    walk->depth++;
    return true;
}

/* The next one of the innermost array or object, or its end. */
static bool put_next(struct walk *walk)
{
    const struct json_value *inner = walk->level[walk->depth - 1].value;
    uint32_t at = walk->level[walk->depth - 1].next++;
    if (at < inner->size && inner->kind == JSON_OBJECT) {
        json_key_text(&walk->json, json_value_text(&inner->members[at].key));
        return put_begin(walk, &inner->members[at].value);
    }
    if (at < inner->size) {
        return put_begin(walk, &inner->elements[at]);
    }
    if (inner->kind == JSON_OBJECT) {
        json_object_end(&walk->json);
    } else {
        json_array_end(&walk->json);
    }
    walk->depth--;
    return true;
}

static bool put_value(struct buf *buf, const struct json_value *value)
{
    struct walk walk = {.depth = 0};
    json_init(&walk.json, buf);
    bool good = put_begin(&walk, value);
    while (good && walk.depth > 0 && !buf->overflow) {
        good = put_next(&walk);
    }
    return good;
}

const char *inject_meta_put(struct buf *buf, const struct json_value *object)
{
    for (uint32_t i = 0; i < object->size; i++) {
        struct slice name = json_value_text(&object->members[i].key);
        uint8_t memory[INJECT_META_BYTES_MAX];
        struct buf value;
        buf_init(&value, memory, sizeof(memory));
        if (name.size == 0 || name.size > INJECT_META_NAME_BYTES_MAX) {
            return "a name is empty or longer than 64 bytes";
        }
        if (!put_value(&value, &object->members[i].value)) {
            return "too deep";
        }
        named_value_put(buf, name, buf_slice(&value));
        if (value.overflow || buf->overflow) {
            return "more than 1,024 bytes";
        }
    }
    return NULL;
}

bool inject_meta_equal(const struct json_value *one, const struct json_value *other)
{
    uint8_t memory[2][INJECT_META_BYTES_MAX];
    struct buf lists[2];
    const struct json_value *const objects[2] = {one, other};
    if (one == other) {
        return true;
    }
    for (unsigned i = 0; i < 2; i++) {
        buf_init(&lists[i], memory[i], sizeof(memory[i]));
        if (objects[i] != NULL && inject_meta_put(&lists[i], objects[i]) != NULL) {
            return false;
        }
    }
    return slice_equal(buf_slice(&lists[0]), buf_slice(&lists[1]));
}
