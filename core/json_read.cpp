#include "core/json_read.h"

#include <cmath>
#include <string_view>

#include "core/check.h"
#include "core/json_value.h"

#define SIMDJSON_EXCEPTIONS 0
#include <simdjson.h>

/* `document` is valid while `loaded`. */
struct json_reader {
    simdjson::dom::parser parser;
    simdjson::dom::element document;
    bool loaded = false;
};

namespace {

bool find(const json_reader *reader, const char *path, simdjson::dom::element *element_out)
{
    if (!reader->loaded) {
        return false;
    }
    std::string_view pointer(path);
    if (pointer.empty()) {
        *element_out = reader->document;
        return true;
    }
    return reader->document.at_pointer(pointer).get(*element_out) == simdjson::SUCCESS;
}

} // namespace

extern "C" struct json_reader *json_reader_open(void)
{
    return new json_reader;
}

extern "C" void json_reader_close(struct json_reader *reader)
{
    delete reader;
}

extern "C" bool json_read(struct json_reader *reader, struct slice text)
{
    const char *bytes = text.size == 0 ? "" : reinterpret_cast<const char *>(text.data);
    reader->loaded =
        reader->parser.parse(bytes, text.size, true).get(reader->document) == simdjson::SUCCESS;
    return reader->loaded;
}

extern "C" enum json_kind json_read_kind(const struct json_reader *reader, const char *path)
{
    simdjson::dom::element element;
    if (!find(reader, path, &element)) {
        return JSON_ABSENT;
    }
    switch (element.type()) {
    case simdjson::dom::element_type::ARRAY:
        return JSON_ARRAY;
    case simdjson::dom::element_type::OBJECT:
        return JSON_OBJECT;
    case simdjson::dom::element_type::INT64:
    case simdjson::dom::element_type::UINT64:
        return JSON_INTEGER;
    case simdjson::dom::element_type::DOUBLE:
        return JSON_DOUBLE;
    case simdjson::dom::element_type::STRING:
        return JSON_STRING;
    case simdjson::dom::element_type::BOOL:
        return JSON_BOOL;
    case simdjson::dom::element_type::NULL_VALUE:
        break;
    }
    return JSON_NULL;
}

extern "C" size_t json_read_count(const struct json_reader *reader, const char *path)
{
    simdjson::dom::element element;
    simdjson::dom::array array;
    simdjson::dom::object object;
    if (!find(reader, path, &element)) {
        return 0;
    }
    if (element.get(array) == simdjson::SUCCESS) {
        return array.size();
    }
    return element.get(object) == simdjson::SUCCESS ? object.size() : 0;
}

template <typename T> static bool read(const json_reader *reader, const char *path, T *value_out)
{
    simdjson::dom::element element;
    T value;
    if (!find(reader, path, &element) || element.get(value) != simdjson::SUCCESS) {
        return false;
    }
    *value_out = value;
    return true;
}

extern "C" bool json_read_string(const struct json_reader *reader, const char *path,
                                 struct slice *value_out)
{
    std::string_view text;
    if (!read(reader, path, &text)) {
        return false;
    }
    *value_out = slice_make(text.data(), text.size());
    return true;
}

extern "C" bool json_read_i64(const struct json_reader *reader, const char *path,
                              int64_t *value_out)
{
    return read(reader, path, value_out);
}

extern "C" bool json_read_u64(const struct json_reader *reader, const char *path,
                              uint64_t *value_out)
{
    return read(reader, path, value_out);
}

extern "C" bool json_read_bool(const struct json_reader *reader, const char *path, bool *value_out)
{
    return read(reader, path, value_out);
}

extern "C" bool json_read_double(const struct json_reader *reader, const char *path,
                                 double *value_out)
{
    return read(reader, path, value_out);
}

namespace {

/* An object or array that is being copied: where it stands in the document, and its copy. */
struct level {
    bool is_object;
    simdjson::dom::array::iterator element;
    simdjson::dom::array::iterator element_end;
    simdjson::dom::object::iterator member;
    simdjson::dom::object::iterator member_end;
    json_value *elements;
    json_member *members;
    uint32_t count; /* that there is memory for */
    uint32_t filled;
};

struct copier {
    arena *into;
    json_problem *problem;
    size_t depth = 0;
    level levels[JSON_DEPTH_MAX];
};

bool refuse(copier *copier, json_fault fault)
{
    copier->problem->fault = fault;
    return false;
}

/* The parser has seen to it that this is UTF-8 without surrogates. */
bool copy_string(copier *copier, std::string_view text, json_value *value_out)
{
    if (text.find('\0') != std::string_view::npos) {
        return refuse(copier, JSON_BAD_STRING);
    }
    slice bytes = slice_make(text.data(), text.size());
    *value_out = json_value_string(arena_copy(copier->into, bytes));
    return !copier->into->overflow || refuse(copier, JSON_TOO_LARGE);
}

bool open_array(copier *copier, simdjson::dom::array array, json_value *value_out)
{
    size_t count = array.size();
    void *memory = count > JSON_ELEMENTS_MAX
                       ? nullptr
                       : arena_take(copier->into, count, sizeof(json_value));
    if (memory == nullptr) {
        return refuse(copier, JSON_TOO_LARGE);
    }
    level *level = &copier->levels[copier->depth++];
    level->is_object = false;
    level->element = array.begin();
    level->element_end = array.end();
    level->elements = static_cast<json_value *>(memory);
    level->count = static_cast<uint32_t>(count);
    level->filled = 0;
    value_out->kind = JSON_ARRAY;
    value_out->size = static_cast<uint32_t>(count);
    value_out->elements = level->elements;
    return true;
}

bool open_object(copier *copier, simdjson::dom::object object, json_value *value_out)
{
    size_t count = object.size();
    void *memory = count > JSON_MEMBERS_MAX
                       ? nullptr
                       : arena_take(copier->into, 1, json_members_bytes(count));
    if (memory == nullptr) {
        return refuse(copier, JSON_TOO_LARGE);
    }
    level *level = &copier->levels[copier->depth++];
    level->is_object = true;
    level->member = object.begin();
    level->member_end = object.end();
    level->members = static_cast<json_member *>(memory);
    level->count = static_cast<uint32_t>(count);
    level->filled = 0;
    value_out->kind = JSON_OBJECT;
    value_out->size = static_cast<uint32_t>(count);
    value_out->members = level->members;
    return true;
}

bool open_container(copier *copier, simdjson::dom::element element, json_value *value_out)
{
    simdjson::dom::array array;
    simdjson::dom::object object;
    if (copier->depth == JSON_DEPTH_MAX) {
        return refuse(copier, JSON_TOO_DEEP);
    }
    if (element.get(array) == simdjson::SUCCESS) {
        return open_array(copier, array, value_out);
    }
    return element.get(object) == simdjson::SUCCESS && open_object(copier, object, value_out);
}

/* A scalar whole; of an object or array its size, and its members or elements come next. */
bool copy_value(copier *copier, simdjson::dom::element element, json_value *value_out)
{
    std::string_view text;
    *value_out = json_value{};
    switch (element.type()) {
    case simdjson::dom::element_type::ARRAY:
    case simdjson::dom::element_type::OBJECT:
        return open_container(copier, element, value_out);
    case simdjson::dom::element_type::INT64:
        value_out->kind = JSON_INTEGER;
        return element.get(value_out->integer) == simdjson::SUCCESS;
    case simdjson::dom::element_type::UINT64:
        return refuse(copier, JSON_BAD_NUMBER);
    case simdjson::dom::element_type::DOUBLE:
        value_out->kind = JSON_DOUBLE;
        return (element.get(value_out->number) == simdjson::SUCCESS &&
                std::isfinite(value_out->number)) ||
               refuse(copier, JSON_BAD_NUMBER);
    case simdjson::dom::element_type::STRING:
        return element.get(text) == simdjson::SUCCESS && copy_string(copier, text, value_out);
    case simdjson::dom::element_type::BOOL:
        value_out->kind = JSON_BOOL;
        return element.get(value_out->boolean) == simdjson::SUCCESS;
    case simdjson::dom::element_type::NULL_VALUE:
        break;
    }
    value_out->kind = JSON_NULL;
    return true;
}

bool close_level(copier *copier, level *level)
{
    copier->depth--;
    if (!level->is_object) {
        return true;
    }
    const json_member *twice = json_members_seal(level->members, level->filled);
    if (twice == nullptr) {
        return true;
    }
    copier->problem->key = json_value_text(&twice->key);
    return refuse(copier, JSON_KEY_TWICE);
}

/* The next step of the innermost open object or array. */
bool copy_step(copier *copier)
{
    level *level = &copier->levels[copier->depth - 1];
    if (level->is_object) {
        if (!(level->member != level->member_end)) {
            return close_level(copier, level);
        }
        CHECK(level->filled < level->count);
        json_member *member = &level->members[level->filled++];
        std::string_view key = level->member.key();
        simdjson::dom::element element = level->member.value();
        ++level->member;
        return copy_string(copier, key, &member->key) &&
               copy_value(copier, element, &member->value);
    }
    if (!(level->element != level->element_end)) {
        return close_level(copier, level);
    }
    CHECK(level->filled < level->count);
    simdjson::dom::element element = *level->element;
    ++level->element;
    return copy_value(copier, element, &level->elements[level->filled++]);
}

json_fault fault_of(simdjson::error_code error)
{
    switch (error) {
    case simdjson::SUCCESS:
        return JSON_OK;
    case simdjson::CAPACITY:
    case simdjson::MEMALLOC:
        return JSON_TOO_LARGE;
    case simdjson::DEPTH_ERROR:
        return JSON_TOO_DEEP;
    case simdjson::STRING_ERROR:
    case simdjson::UTF8_ERROR:
    case simdjson::UNESCAPED_CHARS:
        return JSON_BAD_STRING;
    case simdjson::NUMBER_ERROR:
        return JSON_BAD_NUMBER;
    default: /* the library has many more, all of syntax */
        return JSON_MALFORMED;
    }
}

/* The parser's own depth counts the document as a level, too. */
json_fault parse_strictly(json_reader *reader, slice text)
{
    constexpr size_t depth = JSON_DEPTH_MAX + 1;
    const char *bytes = text.size == 0 ? "" : reinterpret_cast<const char *>(text.data);
    if (slice_starts_with(text, slice_make("\xEF\xBB\xBF", 3))) {
        return JSON_MALFORMED;
    }
    if (reader->parser.max_depth() != depth || reader->parser.capacity() < text.size) {
        simdjson::error_code error = reader->parser.allocate(text.size, depth);
        if (error != simdjson::SUCCESS) {
            return fault_of(error);
        }
    }
    return fault_of(reader->parser.parse(bytes, text.size, true).get(reader->document));
}

} // namespace

extern "C" const struct json_value *json_value_read(struct json_reader *reader, struct slice text,
                                                    struct arena *arena,
                                                    struct json_problem *problem_out)
{
    copier copier;
    copier.into = arena;
    copier.problem = problem_out;
    *problem_out = json_problem{};
    problem_out->fault = parse_strictly(reader, text);
    reader->loaded = problem_out->fault == JSON_OK;
    if (!reader->loaded) {
        return nullptr;
    }
    void *memory = arena_take(arena, 1, sizeof(json_value));
    if (memory == nullptr) {
        problem_out->fault = JSON_TOO_LARGE;
        return nullptr;
    }
    json_value *root = static_cast<json_value *>(memory);
    bool good = copy_value(&copier, reader->document, root);
    while (good && copier.depth > 0) {
        good = copy_step(&copier);
    }
    return good ? root : nullptr;
}
