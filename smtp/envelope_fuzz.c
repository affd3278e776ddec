/* Any bytes: never read out of bounds; what can be read and written again can be read the same. */
#include "smtp/envelope.h"

#include "core/check.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice sender;
    struct envelope_cursor cursor;
    if (!envelope_open(slice_make(data, size), &sender, &cursor)) {
        return 0;
    }
    uint8_t *memory = malloc(size);
    CHECK(memory != NULL);
    struct buf buf;
    buf_init(&buf, memory, size);
    envelope_put_sender(&buf, sender, &cursor.dsn);
    struct envelope_recipient recipient;
    int result = 0;
    while ((result = envelope_next(&cursor, &recipient)) == 1) {
        CHECK(recipient.address.size > 0);
        CHECK(recipient.address.data + recipient.address.size <= data + size);
        envelope_put_recipient(&buf, recipient.index, recipient.address, &recipient.dsn);
    }
    CHECK(!buf.overflow && (result == -1) == (buf.size < size));
    struct envelope_cursor again;
    struct slice sender_again;
    CHECK(envelope_open(buf_slice(&buf), &sender_again, &again));
    CHECK(slice_equal_nocase(sender, sender_again));
    CHECK(envelope_open(slice_make(data, size), &sender, &cursor));
    while (envelope_next(&cursor, &recipient) == 1) {
        struct envelope_recipient other;
        CHECK(envelope_next(&again, &other) == 1 && other.index == recipient.index);
        CHECK(slice_equal_nocase(other.address, recipient.address));
    }
    CHECK(again.rest.size == 0);
    free(memory);
    return 0;
}
