#include "core/json_read.h"

#include <string_view>

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
