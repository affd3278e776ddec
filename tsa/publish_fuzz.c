/*
 * Any bytes as a batch of records: each line is taken, skipped or refused with a reason, the same
 * way however the batch is cut into steps; what is taken keeps its bounds.
 */
#include "tsa/publish.h"

#include <string.h>

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_record(void *context, struct automation_record *record)
{
    uint64_t *taken = context;
    ++*taken;
    CHECK(record->response.size >= 2 && record->response.size <= PUBLISH_RESPONSE_BYTES_MAX);
    CHECK(slice_find(record->response, '\n') == record->response.size);
    CHECK(slice_find(record->response, '\r') == record->response.size);
    CHECK(record->domain.size <= PUBLISH_DOMAIN_BYTES_MAX);
    CHECK(record->source.size > 0);
    CHECK(slice_is_utf8(record->site) && slice_is_utf8(record->source));
    CHECK(record->group_count == 0);
}

static uint64_t run(struct publish *publish, struct slice text, uint32_t step,
                    struct publish_batch *batch)
{
    uint64_t taken = 0;
    publish_batch_begin(batch, text);
    while (publish_batch_step(batch, publish, step, check_record, &taken)) {
    }
    CHECK(taken <= batch->accepted);
    CHECK(batch->told == MIN_OF(batch->rejected, PUBLISH_REJECTED_MAX));
    return taken;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct heap heap;
    struct publish publish;
    struct publish_batch whole;
    struct publish_batch steps;
    uint8_t memory[PUBLISH_ANSWER_BYTES_MAX];
    struct buf answer;
    heap_init(&heap);
    publish_init(&publish, &heap);
    uint64_t taken = run(&publish, slice_make(data, size), UINT32_MAX, &whole);
    CHECK(run(&publish, slice_make(data, size), 1, &steps) == taken);
    CHECK(steps.accepted == whole.accepted && steps.rejected == whole.rejected);
    buf_init(&answer, memory, sizeof(memory));
    publish_batch_put_json(&whole, &answer);
    CHECK(!answer.overflow);
    publish_fini(&publish);
    heap_fini(&heap);
    return 0;
}
