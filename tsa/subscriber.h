/*
 * What daemons of automation (ringpost-tsad) have in force, heard over WebSockets at
 * /subscribe_event_v2: [tsa] subscribe. One per node, on the TSA shard.
 *
 *   a URL: http_caller ─► websocket ─► change_text ─► merge ─► the engine's table of effects,
 *   where what rules of our own cause stands as well; whoever has the engine obeys it in one way
 *
 * A connection begins with a snapshot, or goes on behind the number that was heard last. A gap in
 * the numbers, another epoch and nonsense end it, and the next one begins with a snapshot. Who
 * hears nothing for SUBSCRIBER_SILENCE_NS, not even a ping, connects again. Pauses double from
 * SUBSCRIBER_PAUSE_MIN_NS to SUBSCRIBER_PAUSE_MAX_NS, of which a random half. What a URL had said
 * stands until its time while it is away.
 *
 * Lines in the log, when something changes: event=subscribe url=… state=connected, failing error=…
 */
#ifndef RINGPOST_TSA_SUBSCRIBER_H
#define RINGPOST_TSA_SUBSCRIBER_H

#include "core/conf.h"
#include "core/logline.h"
#include "shard/boot.h"
#include "shard/io/http_caller.h"
#include "shard/io/websocket.h"
#include "tsa/change_text.h"
#include "tsa/merge.h"

#define SUBSCRIBER_PAUSE_MIN_NS (100 * NS_PER_MS)
#define SUBSCRIBER_PAUSE_MAX_NS (30 * NS_PER_S)
#define SUBSCRIBER_TIMEOUT_NS   (30 * NS_PER_S) /* until it is a WebSocket */
#define SUBSCRIBER_SILENCE_NS   (60 * NS_PER_S) /* three pings of a daemon */
#define SUBSCRIBER_HEAD_BYTES   2048u

struct subscriber;

struct subscriber_counts {
    uint64_t changes;   /* that came and made sense */
    uint64_t snapshots; /* complete */
    uint64_t gaps;      /* connections that ended for a gap in the numbers */
    uint64_t refused;   /* changes that could not be taken: a bad option, no room */
    uint64_t failures;  /* connections that were not made, or ended */
};

struct subscriber_url {
    struct subscriber *subscriber;
    const struct url *url;  /* borrowed: the configuration's */
    unsigned source;        /* of the merge */
    struct http_caller caller;
    struct websocket websocket;
    struct timer timer;     /* a pause, or how long there may be silence */
    bool stopped;
    bool open;
    bool in_snapshot;
    bool well;              /* something sensible has come over this connection; said */
    bool failing;           /* said */
    unsigned failures;      /* in a row */
    uint64_t number;        /* the last one heard, to go on behind it; 0: a snapshot is wanted */
    struct id epoch;        /* of that number */
    struct buf output;      /* a control frame on its way */
    struct subscriber_counts counts;
    uint8_t key[WEBSOCKET_KEY_BYTES];
    uint8_t output_bytes[WEBSOCKET_CONTROL_MAX + WEBSOCKET_OVERHEAD];
    char head[SUBSCRIBER_HEAD_BYTES];
    uint8_t message[CHANGE_TEXT_BYTES_MAX];
};

struct subscriber {
    struct shard *shard;       /* borrowed, like the next ones */
    struct resolver *resolver;
    const struct conf_tsa *conf;
    struct automation *automation;
    struct log_sink sink;
    struct heap *heap;         /* boot */
    /* A change is about to go into the engine: when its event was (wall clock), 0 for what is no
     * news; and all that has come is in it. */
    void (*taking)(struct subscriber *subscriber, uint64_t event_ns);
    void (*taken)(struct subscriber *subscriber);
    struct change_text text;
    struct merge merge;
    struct subscriber_url *urls;
    unsigned count;
    bool touched;              /* the engine; `taken` is owed */
};

/* Boot: shard to taken are set. Without URLs it does nothing, ever. */
void subscriber_init(struct subscriber *subscriber, struct boot_pages *pages);
/* In the loop, when the engine has back what was kept: it connects. */
void subscriber_start(struct subscriber *subscriber);
void subscriber_stop(struct subscriber *subscriber);
bool subscriber_idle(const struct subscriber *subscriber);
/* Also of a process that has ended. */
void subscriber_fini(struct subscriber *subscriber);

#endif
