#include "tsa/outbox.h"

#include <assert.h>
#include <string.h>

#include "core/check.h"

static_assert((OUTBOX_RECORDS_MAX & (OUTBOX_RECORDS_MAX - 1)) == 0, "numbers wrap by a mask");

static struct outbox_record *slot(const struct outbox *outbox, uint64_t number)
{
    return &outbox->records[number & (OUTBOX_RECORDS_MAX - 1)];
}

void outbox_init(struct outbox *outbox, void *memory)
{
    *outbox = (struct outbox){
        .records = memory,
        .bytes = (uint8_t *)memory + OUTBOX_RECORDS_MAX * sizeof(struct outbox_record),
    };
}

static void drop_oldest(struct outbox *outbox)
{
    outbox->gone = slot(outbox, outbox->oldest)->begin + 1;
    outbox->oldest++;
}

/* Does the oldest record stand in these bytes? */
static bool is_in_the_way(const struct outbox *outbox, uint32_t begin, uint32_t end)
{
    if (outbox->oldest == outbox->next) {
        return false;
    }
    struct slice text = slot(outbox, outbox->oldest)->text;
    uint32_t at = (uint32_t)(text.data - outbox->bytes);
    return at < end && at + text.size > begin;
}

/* The bytes of a record lie together: at the end of the ring some are left out. */
static uint8_t *make_room(struct outbox *outbox, uint32_t size)
{
    if (size > OUTBOX_BYTES - outbox->at) {
        while (is_in_the_way(outbox, outbox->at, OUTBOX_BYTES)) {
            drop_oldest(outbox);
        }
        outbox->at = 0;
    }
    while (is_in_the_way(outbox, outbox->at, outbox->at + size)) {
        drop_oldest(outbox);
    }
    return outbox->bytes + outbox->at;
}

void outbox_put(struct outbox *outbox, const struct outbox_record *record)
{
    CHECK(record->text.size > 0 && record->text.size <= OUTBOX_BYTES / 4);
    uint32_t size = (uint32_t)record->text.size;
    if (outbox->next - outbox->oldest == OUTBOX_RECORDS_MAX) {
        drop_oldest(outbox);
    }
    uint8_t *bytes = make_room(outbox, size);
    memcpy(bytes, record->text.data, size);
    outbox->at += size;
    *slot(outbox, outbox->next) = *record;
    slot(outbox, outbox->next)->text = slice_make(bytes, size);
    outbox->next++;
}

const struct outbox_record *outbox_at(const struct outbox *outbox, uint64_t number)
{
    CHECK(number >= outbox->oldest && number < outbox->next);
    return slot(outbox, number);
}

uint64_t outbox_find(const struct outbox *outbox, uint64_t begin)
{
    uint64_t low = outbox->oldest;
    uint64_t high = outbox->next;
    CHECK(outbox->gone <= begin);
    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (slot(outbox, middle)->begin < begin) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}
