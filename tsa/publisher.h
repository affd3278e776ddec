/*
 * Tells daemons of automation (ringpost-tsad) what the event log is told: [tsa] publish. One per
 * node, on the TSA shard.
 *
 *   event_log ──► filter ──► outbox ──┬─► a URL: batches of NDJSON ──► POST /publish_log_v1
 *       └──► files ──► reader (after an outage or a start) ──┘
 *
 * Records leave from memory as soon as the log takes them: what they tell is durable in the spool
 * by then. Each URL has its own connection, its own place and one batch under way; who is slow or
 * down holds up nobody else, and mail waits for none of them. One that has fallen out of the
 * outbox goes on in the log's files, from its cursor, until it has caught up.
 *
 * Cursors say up to where the log has been told, and are kept in state_dir/publish.cursors, once a
 * second at most. So a process that is killed tells again what it told in its last seconds; nothing
 * is left out but what the log itself does not have any more, which is said (state=lost).
 *
 * A batch that is not taken is offered again after a pause that doubles from PUBLISHER_PAUSE_MIN_NS
 * to PUBLISHER_PAUSE_MAX_NS, of which a random half; Retry-After counts up to
 * PUBLISHER_RETRY_AFTER_MAX_NS. Records whose rules would have ended by now are left out, and
 * counted, where the rules are known.
 *
 * Lines in the log, when something changes: event=publish url=… state=failing error=…, well,
 * behind, caught_up, lost, rejected.
 */
#ifndef RINGPOST_TSA_PUBLISHER_H
#define RINGPOST_TSA_PUBLISHER_H

#include "core/conf.h"
#include "shard/boot.h"
#include "shard/io/http_caller.h"
#include "shard/state_file.h"
#include "tsa/event_reader.h"
#include "tsa/outbox.h"
#include "tsa/publish_filter.h"

#define PUBLISHER_BATCH_BYTES        (256 * KIB) /* of text; a record has at most 64 KiB */
#define PUBLISHER_PACK_BYTES         (4 * KIB)   /* smaller batches go as they are */
#define PUBLISHER_PAUSE_MIN_NS       (100 * NS_PER_MS)
#define PUBLISHER_PAUSE_MAX_NS       (30 * NS_PER_S)
#define PUBLISHER_RETRY_AFTER_MAX_NS (300 * NS_PER_S)
#define PUBLISHER_TIMEOUT_NS         (30 * NS_PER_S)
#define PUBLISHER_GRACE_NS           NS_PER_S    /* of a stop, for what is left */
#define PUBLISHER_FRAMES             64u
#define PUBLISHER_HEAD_BYTES         2048u
#define PUBLISHER_CURSOR_BYTES       (URL_BYTES_MAX + EVENT_OFFSET_TEXT_MAX + 2)

struct publisher;

struct publisher_counts {
    uint64_t published; /* records that were taken */
    uint64_t rejected;  /* … of these, and found to be none */
    uint64_t expired;   /* left out: their rules would have ended */
    uint64_t failures;  /* batches that were not taken */
    uint64_t lost;      /* times that the log did not have any more what was to be told */
};

struct publisher_url {
    struct publisher *publisher;
    const struct url *url;        /* borrowed: the configuration's */
    struct http_caller caller;
    struct event_reader reader;
    struct event_watch watch;
    struct deferred step;
    struct timer timer;           /* while it is set: a pause */
    struct work_job job;
    bool closed;
    bool behind;                  /* it reads files */
    bool busy;                    /* a batch is under way */
    bool repeated;                /* … for the second time, on a new connection */
    bool failing;                 /* said */
    bool rejecting;               /* said */
    unsigned failures;            /* in a row */
    uint64_t since_ns;            /* monotonic, of the oldest record not told; 0: there is none */
    uint64_t next;                /* in the outbox: the first one not told */
    uint64_t told;                /* in the log's text: all before it */
    struct event_offset cursor;   /* the same, durable in a file */
    uint64_t batch_next;          /* what of these follows when the batch is taken */
    uint64_t batch_told;
    struct event_offset batch_cursor;
    uint64_t batch_lines;
    struct buf batch;
    struct slice body;            /* the batch as it is sent */
    uint8_t *packed;
    size_t packed_capacity;
    struct publisher_counts counts;
    char head[PUBLISHER_HEAD_BYTES];
};

struct publisher_frame {
    uint64_t begin; /* in the log's text */
    uint64_t text_bytes;
    uint64_t at;
    char file[EVENT_FILE_NAME_BYTES + 1];
};

struct publisher {
    struct shard *shard;          /* borrowed, like the next ones */
    struct resolver *resolver;
    struct event_log *log;
    const struct conf_tsa *conf;
    const char *dir;              /* node.state_dir */
    struct log_sink sink;
    struct heap *heap;            /* boot */
    struct event_log_tap tap;
    struct publish_filter filter;
    struct outbox outbox;
    struct publisher_url *urls;
    unsigned count;
    uint64_t taken;               /* bytes of the log's text since the start */
    uint64_t stored;              /* … of these durable in the log */
    uint64_t stored_end;          /* where they end in their file */
    struct publisher_frame frames[PUBLISHER_FRAMES]; /* the newest, by number */
    uint64_t frame_count;
    struct state_file file;
    struct timer save_timer;
    struct timer grace_timer;
    bool loaded;
    bool file_busy;
    bool setting_aside;
    bool changed;                 /* cursors are to be written */
    bool stopping;
    char text[CONF_TSA_URLS_MAX * PUBLISHER_CURSOR_BYTES];
};

/* Boot: shard to heap are set. Without URLs it does nothing, ever. */
void publisher_init(struct publisher *publisher, struct boot_pages *pages);
/* By these rules from now on, which are borrowed until the next call; null: not known. */
void publisher_use(struct publisher *publisher, const struct shaping_rule_set *rules);
/* In the loop: cursors are read, and it begins. */
void publisher_load(struct publisher *publisher);
/* The log takes no more text. What is left is told within PUBLISHER_GRACE_NS, or after a start. */
void publisher_stop(struct publisher *publisher);
bool publisher_idle(const struct publisher *publisher);
void publisher_fini(struct publisher *publisher);

/* How long the oldest record that this URL was not told of waits, or has waited since a start. */
uint64_t publisher_lag_ns(const struct publisher_url *url);

/* --- between publisher.c and publisher_url.c -------------------------------------------------- */

/* `memory` has PUBLISHER_URL_MEMORY bytes. */
void publisher_url_init(struct publisher_url *url, uint8_t *memory);
/* From its cursor, in the log's files; or from what comes. */
void publisher_url_begin(struct publisher_url *url, bool behind);
/* There is more in the outbox. */
void publisher_url_news(struct publisher_url *url);
/* More of the log's text is durable: its cursor follows. */
void publisher_url_stored(struct publisher_url *url);
/* Ends when what is left is told; or at once. */
void publisher_url_stop(struct publisher_url *url, bool now);
bool publisher_url_idle(const struct publisher_url *url);
/* A cursor has moved. */
void publisher_changed(struct publisher *publisher);
/* One URL has ended. */
void publisher_url_ended(struct publisher *publisher);

#define PUBLISHER_PACKED_BYTES (PUBLISHER_BATCH_BYTES + 8 * KIB) /* at least ZSTD_COMPRESSBOUND */
#define PUBLISHER_URL_MEMORY                                                                       \
    (PUBLISHER_BATCH_BYTES + PUBLISHER_PACKED_BYTES + EVENT_READER_CHUNK_BYTES +                   \
     EVENT_LOG_FLUSH_BYTES)

#endif
