/*
 * `metadata` of a recipient of an injection: from the object to a list (smtp/named_values.h) whose
 * values are JSON, for the metadata of its message. Pure.
 */
#ifndef RINGPOST_SMTP_INJECT_META_H
#define RINGPOST_SMTP_INJECT_META_H

#include "core/buf.h"
#include "core/json_value.h"

#define INJECT_META_BYTES_MAX      1024 /* of the list */
#define INJECT_META_NAME_BYTES_MAX 64
#define INJECT_META_DEPTH_MAX      16   /* objects and arrays in a value */

/* Null; or, in words, why it does not fit: `buf` has INJECT_META_BYTES_MAX of room. */
const char *inject_meta_put(struct buf *buf, const struct json_value *object);
/* Both have the same names and values, in the same order; null is the same as an empty object.
 * What fits is compared. */
MUST_USE bool inject_meta_equal(const struct json_value *one, const struct json_value *other);

#endif
