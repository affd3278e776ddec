#include "smtp/metadata.h"

#include <string.h>

#include "core/little.h"

#define ENDPOINT_BYTES     18
#define REBIND_FIXED_BYTES 10

static void put_field(struct buf *buf, enum metadata_key key, struct slice value)
{
    value = slice_first(value, MIN_OF(value.size, (size_t)UINT16_MAX));
    uint8_t *at = buf_reserve(buf, 3 + value.size);
    if (at == NULL) {
        return;
    }
    at[0] = (uint8_t)key;
    little_put_u16(at + 1, (uint16_t)value.size);
    if (value.size > 0) {
        memcpy(at + 3, value.data, value.size);
    }
}

static void put_endpoint(struct buf *buf, enum metadata_key key, const struct endpoint *endpoint)
{
    uint8_t bytes[ENDPOINT_BYTES];
    memcpy(bytes, endpoint->address, 16);
    little_put_u16(bytes + 16, endpoint->port);
    put_field(buf, key, slice_make(bytes, sizeof(bytes)));
}

static void put_id(struct buf *buf, enum metadata_key key, const struct id *id)
{
    put_field(buf, key, slice_make(id->bytes, sizeof(id->bytes)));
}

void metadata_put(struct buf *buf, const struct metadata *metadata)
{
    const uint8_t urgent = metadata->urgent ? 1 : 0;
    put_field(buf, METADATA_PROTOCOL, metadata->protocol);
    put_endpoint(buf, METADATA_PEER, &metadata->peer);
    put_endpoint(buf, METADATA_LOCAL, &metadata->local);
    put_field(buf, METADATA_HELLO, metadata->hello);
    put_id(buf, METADATA_SESSION, &metadata->session);
    put_field(buf, METADATA_CLASS, slice_make(&urgent, 1));
    if (metadata->tenant.size > 0) {
        put_field(buf, METADATA_TENANT, metadata->tenant);
    }
    if (metadata->campaign.size > 0) {
        put_field(buf, METADATA_CAMPAIGN, metadata->campaign);
    }
    if (metadata->has_request) {
        put_id(buf, METADATA_REQUEST, &metadata->request);
    }
    if (metadata->origin.port != 0) {
        put_endpoint(buf, METADATA_ORIGIN, &metadata->origin);
    }
    if (metadata->extra.size > 0) {
        put_field(buf, METADATA_EXTRA, metadata->extra);
    }
    if (metadata->headers.size > 0) {
        put_field(buf, METADATA_HEADERS, metadata->headers);
    }
    if (metadata->schedule.size > 0) {
        put_field(buf, METADATA_SCHEDULE, metadata->schedule);
    }
    if (metadata->reference.size > 0) {
        put_field(buf, METADATA_REFERENCE, metadata->reference);
    }
}

static bool parse_id(struct slice value, struct id *id)
{
    if (value.size != sizeof(id->bytes)) {
        return false;
    }
    memcpy(id->bytes, value.data, value.size);
    return true;
}

static bool is_changed(const struct metadata_change *change, uint8_t key)
{
    return (key == METADATA_TENANT && change->sets_tenant) ||
           (key == METADATA_CAMPAIGN && change->sets_campaign) ||
           (key == METADATA_CLASS && change->sets_class) || key == METADATA_REBIND;
}

void metadata_put_changed(struct buf *buf, struct slice before,
                          const struct metadata_change *change)
{
    const uint8_t urgent = change->urgent ? 1 : 0;
    while (before.size >= 3) {
        size_t size = MIN_OF(3 + (size_t)little_u16(before.data + 1), before.size);
        if (!is_changed(change, before.data[0])) {
            buf_put(buf, slice_first(before, size));
        }
        before = slice_skip(before, size);
    }
    if (change->sets_class) {
        put_field(buf, METADATA_CLASS, slice_make(&urgent, 1));
    }
    if (change->sets_tenant && change->tenant.size > 0) {
        put_field(buf, METADATA_TENANT, change->tenant);
    }
    if (change->sets_campaign && change->campaign.size > 0) {
        put_field(buf, METADATA_CAMPAIGN, change->campaign);
    }
}

void metadata_put_rebind(struct buf *buf, struct slice before, uint64_t wall_ns,
                         struct slice reason)
{
    uint8_t bytes[METADATA_REBIND_BYTES_MAX];
    struct buf value;
    struct metadata was;
    if (!metadata_parse(before, &was)) {
        return; /* its events tell nothing of it either */
    }
    const struct slice campaign = slice_first(was.campaign, MIN_OF(was.campaign.size, 255u));
    const struct slice tenant = slice_first(was.tenant, MIN_OF(was.tenant.size, 255u));
    little_put_u64(bytes, wall_ns);
    bytes[8] = (uint8_t)campaign.size;
    bytes[9] = (uint8_t)tenant.size;
    buf_init(&value, bytes, sizeof(bytes));
    value.size = REBIND_FIXED_BYTES;
    buf_put(&value, campaign);
    buf_put(&value, tenant);
    buf_put(&value, slice_first(reason, MIN_OF(reason.size, 512u)));
    put_field(buf, METADATA_REBIND, buf_slice(&value));
}

static bool parse_rebind(struct slice value, struct metadata_rebind *rebind)
{
    if (value.size < REBIND_FIXED_BYTES) {
        return false;
    }
    size_t campaign = value.data[8];
    size_t tenant = value.data[9];
    rebind->wall_ns = little_u64(value.data);
    value = slice_skip(value, REBIND_FIXED_BYTES);
    if (value.size < campaign + tenant) {
        return false;
    }
    rebind->campaign = slice_first(value, campaign);
    rebind->tenant = slice_first(slice_skip(value, campaign), tenant);
    rebind->reason = slice_skip(value, campaign + tenant);
    return true;
}

static bool parse_endpoint(struct slice value, struct endpoint *endpoint)
{
    if (value.size != ENDPOINT_BYTES) {
        return false;
    }
    memcpy(endpoint->address, value.data, 16);
    endpoint->port = little_u16(value.data + 16);
    return true;
}

static bool parse_field(uint8_t key, struct slice value, struct metadata *metadata)
{
    switch (key) {
    case METADATA_PROTOCOL:
        metadata->protocol = value;
        return true;
    case METADATA_PEER:
        return parse_endpoint(value, &metadata->peer);
    case METADATA_LOCAL:
        return parse_endpoint(value, &metadata->local);
    case METADATA_HELLO:
        metadata->hello = value;
        return true;
    case METADATA_SESSION:
        return parse_id(value, &metadata->session);
    case METADATA_CLASS:
        if (value.size != 1 || value.data[0] > 1) {
            return false;
        }
        metadata->urgent = value.data[0] == 1;
        return true;
    case METADATA_TENANT:
        metadata->tenant = value;
        return true;
    case METADATA_CAMPAIGN:
        metadata->campaign = value;
        return true;
    case METADATA_REQUEST:
        metadata->has_request = true;
        return parse_id(value, &metadata->request);
    case METADATA_ORIGIN:
        return parse_endpoint(value, &metadata->origin);
    case METADATA_EXTRA:
        metadata->extra = value;
        return true;
    case METADATA_HEADERS:
        metadata->headers = value;
        return true;
    case METADATA_REBIND:
        return parse_rebind(value, &metadata->rebind);
    case METADATA_SCHEDULE:
        metadata->schedule = value;
        return true;
    case METADATA_REFERENCE:
        metadata->reference = value;
        return true;
    default:
        return true; /* of a later version */
    }
}

bool metadata_parse(struct slice section, struct metadata *metadata_out)
{
    *metadata_out = (struct metadata){0};
    while (section.size > 0) {
        if (section.size < 3) {
            return false;
        }
        uint8_t key = section.data[0];
        size_t size = little_u16(section.data + 1);
        section = slice_skip(section, 3);
        if (section.size < size || !parse_field(key, slice_first(section, size), metadata_out)) {
            return false;
        }
        section = slice_skip(section, size);
    }
    return true;
}
