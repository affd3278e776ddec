#include "core/conf_nodes.h"

#include "core/json_value.h"

/* What a value takes at most of what a byte of text may stand for. */
#define ARENA_BYTES_A_BYTE 32u
#define ARENA_BYTES_MIN    4096u

const struct conf_nodes conf_toml_nodes = {
    .kind = toml_kind,
    .count = toml_count,
    .walk = toml_walk,
    .is_table_array = toml_is_table_array,
    .string = toml_string,
    .integer = toml_integer,
    .real = toml_float,
    .flag = toml_bool,
};

/* --- JSON ------------------------------------------------------------------------------------- */

/* Its nodes are values: toml_node is a name for what only these functions look into. */
static const struct json_value *value_of(const struct toml_node *node)
{
    return (const struct json_value *)(const void *)node;
}

static const struct toml_node *node_of(const struct json_value *value)
{
    return (const struct toml_node *)(const void *)value;
}

static enum toml_kind json_node_kind(const struct toml_node *node)
{
    switch ((enum json_kind)value_of(node)->kind) {
    case JSON_OBJECT:
        return TOML_TABLE;
    case JSON_ARRAY:
        return TOML_ARRAY;
    case JSON_STRING:
        return TOML_STRING;
    case JSON_INTEGER:
        return TOML_INTEGER;
    case JSON_DOUBLE:
        return TOML_FLOAT;
    case JSON_BOOL:
        return TOML_BOOL;
    case JSON_NULL:
    case JSON_ABSENT:
        break;
    }
    return TOML_TIME; /* of an array: nothing that anybody takes */
}

static size_t json_node_count(const struct toml_node *node)
{
    enum toml_kind kind = json_node_kind(node);
    return kind == TOML_TABLE || kind == TOML_ARRAY ? value_of(node)->size : 0;
}

static void json_node_walk(const struct toml_node *node, toml_visit *visit, void *context)
{
    const struct json_value *value = value_of(node);
    for (uint32_t i = 0; i < json_node_count(node); i++) {
        struct toml_entry entry = {.column = i + 1};
        if (value->kind == JSON_ARRAY) {
            entry.node = node_of(&value->elements[i]);
        } else {
            entry.key = json_value_text(&value->members[i].key);
            entry.node = node_of(&value->members[i].value);
        }
        if (value->kind == JSON_ARRAY || value_of(entry.node)->kind != JSON_NULL) {
            visit(context, &entry);
        }
    }
}

static bool json_node_is_table_array(const struct toml_node *node)
{
    const struct json_value *value = value_of(node);
    bool all = value->kind == JSON_ARRAY && value->size > 0;
    for (uint32_t i = 0; all && i < value->size; i++) {
        all = value->elements[i].kind == JSON_OBJECT;
    }
    return all;
}

static struct slice json_node_string(const struct toml_node *node)
{
    return json_value_text(value_of(node));
}

static int64_t json_node_integer(const struct toml_node *node)
{
    return value_of(node)->integer;
}

static double json_node_real(const struct toml_node *node)
{
    return value_of(node)->number;
}

static bool json_node_flag(const struct toml_node *node)
{
    return value_of(node)->boolean;
}

const struct conf_nodes conf_json_nodes = {
    .kind = json_node_kind,
    .count = json_node_count,
    .walk = json_node_walk,
    .is_table_array = json_node_is_table_array,
    .string = json_node_string,
    .integer = json_node_integer,
    .real = json_node_real,
    .flag = json_node_flag,
};

const struct toml_node *conf_json_parse(struct conf_load *load, struct slice bytes,
                                        struct buf *why)
{
    struct arena arena;
    struct json_problem problem = {0};
    size_t capacity = bytes.size * ARENA_BYTES_A_BYTE + ARENA_BYTES_MIN;
    if (bytes.size > CONF_JSON_BYTES_MAX) {
        buf_printf(why, "more than %u bytes of JSON", CONF_JSON_BYTES_MAX);
        return NULL;
    }
    arena_init(&arena, heap_take(&load->scratch, capacity), capacity);
    struct json_reader *reader = json_reader_open();
    const struct json_value *value = json_value_read(reader, bytes, &arena, &problem);
    json_reader_close(reader);
    if (value == NULL) {
        buf_put_string(why, json_fault_text(problem.fault));
    } else if (value->kind != JSON_OBJECT) {
        buf_put_string(why, "the document is no object");
        value = NULL;
    }
    return value == NULL ? NULL : node_of(value);
}
