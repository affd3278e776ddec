#include "shard/spool/manifest.h"

#include "core/check.h"

#define FIRST_KEY "ringpost-spool "

void manifest_init(struct manifest *manifest, uint64_t uuid)
{
    *manifest = (struct manifest){.uuid = uuid};
}

bool manifest_grow(struct manifest *manifest, unsigned count)
{
    CHECK(count <= MANIFEST_LANES_MAX);
    if (count > manifest->lane_count &&
        count - manifest->lane_count > MANIFEST_LANE_IDS - (unsigned)manifest->next_lane) {
        return false;
    }
    while (manifest->lane_count < count) {
        manifest->lanes[manifest->lane_count++] = manifest->next_lane++;
    }
    return true;
}

bool manifest_has(const struct manifest *manifest, unsigned lane)
{
    for (unsigned i = 0; i < manifest->lane_count; i++) {
        if (manifest->lanes[i] == lane) {
            return true;
        }
    }
    return false;
}

void manifest_put(struct buf *buf, const struct manifest *manifest)
{
    buf_printf(buf, FIRST_KEY "%d\nuuid=%016llx\nepoch=%u\nnext_lane=%u\nlanes=",
               MANIFEST_VERSION, (unsigned long long)manifest->uuid,
               manifest->epoch, manifest->next_lane);
    for (unsigned i = 0; i < manifest->lane_count; i++) {
        buf_printf(buf, i == 0 ? "%u" : ",%u", manifest->lanes[i]);
    }
    buf_put(buf, SLICE("\n"));
}

/* The rest of the first line that begins with `key`, without its end. */
static struct slice manifest_value(struct slice text, struct slice key)
{
    while (text.size > 0) {
        size_t end = slice_find(text, '\n');
        struct slice line = slice_first(text, end);
        if (slice_starts_with(line, key)) {
            return slice_skip(line, key.size);
        }
        text = slice_skip(text, MIN_OF(end + 1, text.size));
    }
    return SLICE_NONE;
}

static bool manifest_uuid(struct slice value, uint64_t *uuid_out)
{
    uint64_t uuid = 0;
    for (size_t i = 0; i < value.size; i++) {
        uint8_t byte = value.data[i];
        bool digit = byte >= '0' && byte <= '9';
        if (!digit && !(byte >= 'a' && byte <= 'f')) {
            return false;
        }
        uuid = uuid << 4 | (uint64_t)(digit ? byte - '0' : byte - 'a' + 10);
    }
    *uuid_out = uuid;
    return value.size == 16 && uuid != 0;
}

/* Ids between commas, each once, each below `next_lane`. */
static bool manifest_lanes(struct slice value, struct manifest *manifest)
{
    do {
        size_t end = slice_find(value, ',');
        uint64_t lane;
        if (!slice_parse_u64(slice_first(value, end), &lane) || lane >= manifest->next_lane ||
            manifest->lane_count == MANIFEST_LANES_MAX ||
            manifest_has(manifest, (unsigned)lane)) {
            return false;
        }
        manifest->lanes[manifest->lane_count++] = (uint16_t)lane;
        if (end == value.size - 1) {
            return false;
        }
        value = slice_skip(value, MIN_OF(end + 1, value.size));
    } while (value.size > 0);
    return true;
}

static bool manifest_old_lanes(struct slice value, struct manifest *manifest)
{
    uint64_t count;
    return slice_parse_u64(value, &count) && count > 0 && count <= MANIFEST_LANES_MAX &&
           manifest_grow(manifest, (unsigned)count);
}

enum manifest_status manifest_get(struct slice text, struct manifest *manifest_out,
                                  uint64_t *version_out)
{
    uint64_t uuid;
    if (!slice_parse_u64(manifest_value(text, SLICE(FIRST_KEY)), version_out)) {
        return MANIFEST_DAMAGED;
    }
    if (*version_out == 0 || *version_out > MANIFEST_VERSION) {
        return MANIFEST_OTHER_VERSION;
    }
    if (!manifest_uuid(manifest_value(text, SLICE("uuid=")), &uuid)) {
        return MANIFEST_DAMAGED;
    }
    manifest_init(manifest_out, uuid);
    struct slice lanes = manifest_value(text, SLICE("lanes="));
    if (*version_out == 1) {
        return manifest_old_lanes(lanes, manifest_out) ? MANIFEST_GOOD : MANIFEST_DAMAGED;
    }
    uint64_t epoch;
    uint64_t next_lane;
    if (!slice_ends_with(text, SLICE("\n")) ||
        !slice_parse_u64(manifest_value(text, SLICE("epoch=")), &epoch) || epoch > UINT32_MAX ||
        !slice_parse_u64(manifest_value(text, SLICE("next_lane=")), &next_lane) ||
        next_lane > MANIFEST_LANE_IDS) {
        return MANIFEST_DAMAGED;
    }
    manifest_out->epoch = (uint32_t)epoch;
    manifest_out->next_lane = (uint16_t)next_lane;
    return manifest_lanes(lanes, manifest_out) ? MANIFEST_GOOD : MANIFEST_DAMAGED;
}
