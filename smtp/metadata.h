/*
 * The metadata section of a MESSAGE record: how it came to us, kept for events and for routing, so
 * that neither depends on configuration that has changed since. A list of (u8 key, u16 size,
 * bytes), little-endian; unknown keys are skipped. Pure.
 */
#ifndef RINGPOST_SMTP_METADATA_H
#define RINGPOST_SMTP_METADATA_H

#include "core/buf.h"
#include "core/endpoint.h"
#include "core/id.h"

enum metadata_key {
    METADATA_PROTOCOL = 1,  /* "ESMTP", "HTTP" … */
    METADATA_PEER = 2,      /* 18 bytes: address, port little-endian */
    METADATA_LOCAL = 3,     /* the listener's end, the same form */
    METADATA_HELLO = 4,     /* what the client called itself */
    METADATA_SESSION = 5,   /* 16 bytes: session id */
    METADATA_CLASS = 6,     /* 1 byte: 0 bulk, 1 urgent */
    METADATA_TENANT = 7,    /* only when there is one */
    METADATA_CAMPAIGN = 8,  /* the same */
    METADATA_REQUEST = 9,   /* 16 bytes, only when there is one */
    METADATA_ORIGIN = 10,   /* 18 bytes, only when there is one */
    METADATA_EXTRA = 11,    /* smtp/named_values.h, only when there are any: values are JSON */
    METADATA_HEADERS = 12,  /* the same: values are text */
    METADATA_REBIND = 13,   /* only of one that was rebound last: struct metadata_rebind */
    METADATA_SCHEDULE = 14, /* only when there is one: smtp/schedule.h */
    METADATA_REFERENCE = 15, /* of a report, only when there is one: smtp/reference.h */
};

/*
 * How a message that is rebound came to its queue: u64 wall ns, u8 size of the campaign and u8 of
 * the tenant that it had before, these two, then the reason.
 */
#define METADATA_REBIND_BYTES_MAX (10u + 2u * UINT8_MAX + 512u)
struct metadata_rebind {
    uint64_t wall_ns;
    struct slice campaign; /* of before; at most 255 bytes, like the next one */
    struct slice tenant;
    struct slice reason;   /* cut at 512 */
};

struct metadata {
    struct slice protocol;
    struct endpoint peer;
    struct endpoint local;
    struct slice hello;
    struct id session;
    bool urgent;
    struct slice tenant;
    struct slice campaign;
    bool has_request;
    struct id request; /* that injected it, and had an Idempotency-Key */
    struct endpoint origin; /* who was connected and spoke for the peer; port 0: nobody */
    struct slice extra;     /* what its injection said of the recipients */
    struct slice headers;   /* fields that events tell ([log] headers) */
    struct metadata_rebind rebind; /* wall_ns 0: there was none */
    struct slice schedule;  /* when it may be sent, by what it says itself */
    struct slice reference; /* of a report: what shows that it is about mail of ours */
};

/* What another queue wants to be said. */
struct metadata_change {
    bool sets_tenant;
    bool sets_campaign;
    bool sets_class;
    bool urgent;
    struct slice tenant;   /* empty: it has none from now on */
    struct slice campaign; /* the same */
};

/* `before`, which is sound, with this changed, and without a rebind; unknown keys stay. */
void metadata_put_changed(struct buf *buf, struct slice before,
                          const struct metadata_change *change);
/* Behind that: that it was rebound, and by which words of before. */
void metadata_put_rebind(struct buf *buf, struct slice before, uint64_t wall_ns,
                         struct slice reason);
void metadata_put(struct buf *buf, const struct metadata *metadata);
/* False when the bytes are damaged. Slices are borrowed from the section. */
MUST_USE bool metadata_parse(struct slice section, struct metadata *metadata_out);

#endif
