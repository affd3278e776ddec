#include "smtp/named_values.h"

#include "core/check.h"
#include "core/little.h"

void named_value_put(struct buf *buf, struct slice name, struct slice value)
{
    CHECK(name.size <= NAMED_VALUE_NAME_MAX && value.size <= UINT16_MAX);
    buf_put_byte(buf, (uint8_t)name.size);
    buf_put(buf, name);
    uint8_t *at = buf_reserve(buf, 2);
    if (at != NULL) {
        little_put_u16(at, (uint16_t)value.size);
    }
    buf_put(buf, value);
}

bool named_value_next(struct slice *list, struct named_value *value_out)
{
    struct slice rest = *list;
    if (rest.size < NAMED_VALUE_OVERHEAD) {
        return false;
    }
    size_t name_bytes = rest.data[0];
    rest = slice_skip(rest, 1);
    if (rest.size < name_bytes + 2) {
        return false;
    }
    value_out->name = slice_first(rest, name_bytes);
    rest = slice_skip(rest, name_bytes);
    size_t value_bytes = little_u16(rest.data);
    rest = slice_skip(rest, 2);
    if (rest.size < value_bytes) {
        return false;
    }
    value_out->value = slice_first(rest, value_bytes);
    *list = slice_skip(rest, value_bytes);
    return true;
}
