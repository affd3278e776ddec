/* Any bytes become a JSON string that our reader gives back, U+FFFD where they are not UTF-8. */
#include "core/json.h"

#include <stdlib.h>

#include "core/check.h"
#include "core/json_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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
    json_reader_close(reader);
    free(bytes);
    return 0;
}
