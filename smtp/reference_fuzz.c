/*
 * Any bytes as a header section that a report returns, and as what the spool keeps of a reference:
 * no read past the end, what is valid lies where it was read, and what is kept comes back the same.
 */
#include "smtp/reference.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define WALL_NS (1796126400 * NS_PER_S)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_kept(const struct reference *reference)
{
    uint8_t bytes[REFERENCE_KEPT_BYTES_MAX];
    struct buf buf;
    struct reference back;
    buf_init(&buf, bytes, sizeof(bytes));
    reference_keep(&buf, reference);
    CHECK(!buf.overflow && reference_kept(buf_slice(&buf), &back));
    CHECK(back.state == reference->state && id_equal(&back.id, &reference->id));
    CHECK(slice_equal(back.domain, reference->domain) &&
          slice_equal(back.trace, reference->trace));
}

static bool lies_in(struct slice part, const uint8_t *data, size_t size)
{
    return part.size == 0 || (part.data >= data && part.data + part.size <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct reference_key key = {.bytes = "the key of the corpus"};
    uint8_t bytes[REFERENCE_JSON_BYTES_MAX];
    uint8_t *copy = malloc(size + 1); /* its end is an end */
    struct buf scratch;
    struct reference reference;
    CHECK(copy != NULL);
    memcpy(copy, data, size);
    buf_init(&scratch, bytes, sizeof(bytes));
    reference_find(slice_make(copy, size), &key, WALL_NS, &scratch, &reference);
    CHECK(lies_in(reference.domain, bytes, sizeof(bytes)));
    CHECK(lies_in(reference.trace, bytes, sizeof(bytes)));
    CHECK((reference.trace.size > 0) == (reference.state == REFERENCE_VALID));
    check_kept(&reference);
    if (reference_kept(slice_make(copy, size), &reference)) {
        CHECK(lies_in(reference.domain, copy, size) && lies_in(reference.trace, copy, size));
    }
    free(copy);
    return 0;
}
