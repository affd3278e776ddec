/*
 * A short list of named values, as it stands in the metadata of a message: (u8 size, name, u16
 * size, value) each, little-endian. Pure.
 */
#ifndef RINGPOST_SMTP_NAMED_VALUES_H
#define RINGPOST_SMTP_NAMED_VALUES_H

#include "core/buf.h"

#define NAMED_VALUE_OVERHEAD 3
#define NAMED_VALUE_NAME_MAX 255

struct named_value {
    struct slice name;
    struct slice value;
};

/* The name has at most NAMED_VALUE_NAME_MAX bytes, the value at most UINT16_MAX. */
void named_value_put(struct buf *buf, struct slice name, struct slice value);
/* The first one of the list, which goes on behind it; borrowed. False at its end, and where the
 * rest makes no sense. */
MUST_USE bool named_value_next(struct slice *list, struct named_value *value_out);

#endif
