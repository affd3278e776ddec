/* Any bytes as an outcome: no read past the end; what is understood is written back the same. */
#include "shard/spool/outcome.h"

#include <string.h>

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t memory[OUTCOME_BYTES_MAX];
    struct outcome outcome;
    struct outcome_cursor cursor;
    if (!outcome_open(slice_make(data, size), &outcome, &cursor)) {
        return 0;
    }
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    struct outcome_writer writer;
    outcome_put(&writer, &buf, &outcome);
    struct outcome_recipient recipient;
    unsigned count = 0;
    int more = outcome_next(&cursor, &recipient);
    for (; more > 0; more = outcome_next(&cursor, &recipient)) {
        outcome_put_recipient(&writer, &recipient);
        count++;
    }
    CHECK(count <= outcome.recipient_count);
    if (more < 0 || buf.overflow) {
        return 0;
    }
    struct outcome again;
    CHECK(count == outcome.recipient_count);
    CHECK(outcome_open(buf_slice(&buf), &again, &cursor));
    CHECK(again.recipient_count == outcome.recipient_count);
    CHECK(slice_equal(again.site, outcome.site));
    for (unsigned i = 0; i < count; i++) {
        CHECK(outcome_next(&cursor, &recipient) == 1);
    }
    CHECK(outcome_next(&cursor, &recipient) == 0);
    return 0;
}
