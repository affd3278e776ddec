/* Any bytes as what an EVENT says: no read past the end; what is understood comes back the same. */
#include "smtp/report_event.h"

#include <stdlib.h>

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_said(const struct report_event *event, struct buf *again)
{
    struct slice said = event->said;
    struct slice reporter;
    struct report_entry entry;
    size_t before = again->size;
    if (!report_said_open(&said, &reporter)) {
        return;
    }
    CHECK(report_said_begin(again, reporter));
    int more = report_said_next(&said, &entry);
    for (; more > 0; more = report_said_next(&said, &entry)) {
        CHECK(report_said_put(again, &entry));
    }
    struct slice put = slice_skip(buf_slice(again), before);
    CHECK(more < 0 || slice_equal(put, event->said));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct report_event event;
    struct report_event back;
    struct buf again;
    if (!report_event_get(slice_make(data, size), &event)) {
        return 0;
    }
    uint8_t *memory = malloc(2 * size);
    CHECK(memory != NULL);
    buf_init(&again, memory, 2 * size);
    CHECK(report_event_begin(&again, &event));
    buf_put(&again, event.said);
    report_event_end(&again, event.sequence, event.count);
    CHECK(report_event_get(buf_slice(&again), &back));
    CHECK(slice_equal(back.envelope, event.envelope) && slice_equal(back.said, event.said));
    CHECK(back.sequence == event.sequence && back.wall_ns == event.wall_ns);
    CHECK(id_equal(&back.id, &event.id) && back.kind == event.kind && back.size == event.size);
    check_said(&event, &again);
    free(memory);
    return 0;
}
