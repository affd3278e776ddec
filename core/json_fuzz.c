/*
 * Any bytes become a JSON string that our reader gives back, U+FFFD where they are not UTF-8; and
 * any bytes are read as a document or refused: the strict reader takes nothing that the other does
 * not, finds every member by its key, and says why not when it does not.
 */
#include "core/json.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/json_read.h"
#include "core/json_value.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_member(const struct json_value *object, const struct json_member *member)
{
    struct slice key = json_value_text(&member->key);
    CHECK(slice_is_utf8(key));
    CHECK(slice_find(key, 0) == key.size);
    CHECK(json_value_member(object, key) == &member->value);
}

static void check_values(const struct json_value *root, const struct arena *arena)
{
    /* Every value but the root stands in the arena as an element or a member of another. */
    const struct json_value *open[JSON_DEPTH_MAX + 1] = {root};
    uint32_t next[JSON_DEPTH_MAX + 1] = {0};
    size_t depth = 0;
    CHECK(!arena->overflow);
    for (;;) {
        const struct json_value *value = open[depth];
        bool is_container = value->kind == JSON_ARRAY || value->kind == JSON_OBJECT;
        if (!is_container || next[depth] == value->size) {
            if (depth-- == 0) {
                return;
            }
            continue;
        }
        uint32_t index = next[depth]++;
        CHECK(depth < JSON_DEPTH_MAX);
        if (value->kind == JSON_OBJECT) {
            check_member(value, &value->members[index]);
        }
        open[++depth] = value->kind == JSON_OBJECT ? &value->members[index].value
                                                   : &value->elements[index];
        next[depth] = 0;
    }
}

static void read_as_document(struct json_reader *reader, struct slice text)
{
    size_t capacity = text.size * 64 + 256;
    void *memory = malloc(capacity);
    struct json_problem problem;
    struct arena arena;
    CHECK(memory != NULL);
    arena_init(&arena, memory, capacity);
    const struct json_value *root = json_value_read(reader, text, &arena, &problem);
    CHECK((root != NULL) == (problem.fault == JSON_OK));
    if (root != NULL) {
        check_values(root, &arena);
        CHECK(json_read(reader, text));
    }
    free(memory);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = slice_make(data, size);
    size_t capacity = size * JSON_STRING_GROWTH + 2;
    uint8_t *bytes = malloc(capacity);
    struct json_reader *reader = json_reader_open();
    struct slice back;
    struct buf buf;
    CHECK(bytes != NULL);
    buf_init(&buf, bytes, capacity);
    json_put_string(&buf, text);
    CHECK(!buf.overflow);
    for (size_t i = 0; i < buf.size; i++) {
        CHECK(bytes[i] >= 0x20 && bytes[i] != 0x7F);
    }
    CHECK(slice_is_utf8(buf_slice(&buf)));
    CHECK(json_read(reader, buf_slice(&buf)));
    CHECK(json_read_string(reader, "", &back));
    CHECK(!slice_is_utf8(text) || slice_equal(back, text));
    if (!json_read(reader, text)) {
        CHECK(json_read_kind(reader, "") == JSON_ABSENT);
    }
    read_as_document(reader, text);
    json_reader_close(reader);
    free(bytes);
    return 0;
}
