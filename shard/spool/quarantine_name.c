#include "shard/spool/quarantine_name.h"

static const char *const words[QUARANTINE_REASONS] = {
    [QUARANTINE_RECORD] = "record",
    [QUARANTINE_GROUP] = "group",
    [QUARANTINE_MESSAGE] = "message",
};

const char *quarantine_word(enum quarantine_reason reason)
{
    return words[reason];
}

void quarantine_name_put(struct buf *buf, const struct quarantine_name *name)
{
    buf_printf(buf, "lane-%03u-segment-%06u-offset-%010llu-bytes-%llu-%s", name->lane,
               name->segment, (unsigned long long)name->offset, (unsigned long long)name->bytes,
               words[name->reason]);
}

/* "key-", digits, and a "-" behind them. */
static bool take_number(struct slice *text, struct slice key, uint64_t max, uint64_t *number_out)
{
    if (!slice_starts_with(*text, key)) {
        return false;
    }
    struct slice rest = slice_skip(*text, key.size);
    size_t size = slice_find(rest, '-');
    if (size == rest.size || !slice_parse_u64(slice_first(rest, size), number_out)) {
        return false;
    }
    *text = slice_skip(rest, size + 1);
    return *number_out <= max;
}

bool quarantine_name_parse(struct slice text, struct quarantine_name *name_out)
{
    uint64_t lane;
    uint64_t segment;
    if (!take_number(&text, SLICE("lane-"), UINT16_MAX, &lane) ||
        !take_number(&text, SLICE("segment-"), UINT32_MAX, &segment) ||
        !take_number(&text, SLICE("offset-"), UINT64_MAX, &name_out->offset) ||
        !take_number(&text, SLICE("bytes-"), UINT64_MAX, &name_out->bytes)) {
        return false;
    }
    name_out->lane = (unsigned)lane;
    name_out->segment = (uint32_t)segment;
    for (unsigned i = 0; i < QUARANTINE_REASONS; i++) {
        if (slice_equal(text, slice_from_string(words[i]))) {
            name_out->reason = (enum quarantine_reason)i;
            return true;
        }
    }
    return false;
}
