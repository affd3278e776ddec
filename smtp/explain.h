/*
 * Why is this mail not moving? The answer for one queue, for all queues of a domain, or for one
 * recipient, over all shards, as JSON: GET /api/admin/explain/v1. The words and figures are those
 * of the report of SIGUSR1 (smtp/queue_view.h). And what is in the queues: GET
 * /api/admin/inspect-{message,sched-q,ready-q}/v1 (smtp/inspect.h). One per node, on the TSA shard;
 * mail shards look in slices.
 *
 *   asker ─ explain_ask ─► every mail shard: queues, rows ─► merged ─► done: the answer
 *
 *   {"kind": "scheduled" | "ready" | "domain" | "recipient", "name", "queues", "count", "due",
 *    "state", "reason", "since", "until", "detail", "queue", "site", "next_attempt", "attempts",
 *    "last_response", "time_by_reason_ms": {}, "limits": [{"name", "kind", "limit", "used",
 *    "retry_in_ms", "origin"}], "options": {name: {"value", "origin"}}}
 *   {"id", "message": {"sender", "recipient", "meta": {}, "due", "num_attempts", "scheduling": {},
 *    "queue", "state", "created", "size", "data", "data_cut"}}
 *   {"queue_name", "messages": [as above], "cut_short", "num_scheduled", "now"}
 *   {"queue_name", "connections": [{"session_id", "peer", "state", "transactions"}], "cut_short",
 *    "num_ready", "state", "reason", "now"}
 *
 * A queue has a part on every shard that took mail for it. Counts are sums; state, reason, since,
 * until, detail, queue, site, last_response and times are those of the part that has waited the
 * longest, the others being no better off. `until` is when it may go on by what is known;
 * `next_attempt` the first instant at which deferred mail is due, `attempts` the most of any
 * recipient; `last_response` what the site answered last that was not for delivery. Where nothing
 * else is told, `detail` is about recipients that wait for their own schedule. Times of day are
 * RFC 3339; what is not known is null. `options` are those in force for that part, of its queue
 * and its path, a value being as the configuration has it; where a name is an option of both, the
 * path's is "shaping.NAME". An origin is FILE:LINE, --set or default.
 */
#ifndef RINGPOST_SMTP_EXPLAIN_H
#define RINGPOST_SMTP_EXPLAIN_H

#include "shard/boot.h"
#include "smtp/inspect.h"
#include "smtp/queue_view.h"
#include "smtp/shard_walk.h"

#define EXPLAIN_BYTES_MAX    (512 * KIB) /* of an answer */
#define EXPLAIN_LIMITS_MAX   24u
#define EXPLAIN_REQUESTS_MAX 64u         /* that wait */

enum explain_what {
    EXPLAIN_QUEUE,
    EXPLAIN_DOMAIN,
    EXPLAIN_ID,      /* of a recipient */
    INSPECT_MESSAGE, /* the same */
    INSPECT_QUEUE,   /* a scheduled one */
    INSPECT_READY,
};
enum explain_status {
    EXPLAIN_DONE,
    EXPLAIN_UNKNOWN,
    EXPLAIN_NOT_READ, /* not all that may have this id could be read */
    EXPLAIN_STOPPING,
};

/* Embedded in whoever asks. What it borrows stands until done. */
struct explain_request {
    struct list link;
    enum explain_what what;
    struct slice name;  /* of a scheduled queue, else of a ready one; of a domain, in any case */
    struct id id;       /* instead of a name */
    uint32_t limit;     /* of what is shown; 1 … INSPECT_LIMIT_MAX */
    bool wants_body;
    struct buf answer;  /* over memory of EXPLAIN_BYTES_MAX, or INSPECT_BYTES_MAX */
    void (*done)(struct explain_request *request); /* from the loop */
    enum explain_status status;
};

struct explain_text {
    uint16_t bytes;
    uint8_t text[QUEUE_NAME_BYTES_MAX];
};

struct explain_limit {
    const struct cell *cell; /* the same on all shards; only compared; null: nobody uses it */
    const char *kind;
    struct explain_text name;
    bool rate;
    bool of_queue;           /* of a scheduled queue or its tenant; else of a path */
    uint8_t limit_bytes;
    uint8_t limit[RATE_TEXT_MAX];
    uint64_t used;
    uint64_t retry_in_ms;
};

/* What one shard has of it, or all of them. */
struct explain_found {
    uint32_t queues;
    bool ready;             /* it is a ready queue */
    uint64_t recipients;
    uint64_t due;
    uint32_t next_due_s;    /* 0: nothing is deferred */
    uint32_t scheduled;     /* recipients that wait for their own schedule, never tried yet … */
    uint32_t scheduled_s;   /* … and when the first of them is due */
    uint16_t attempts;
    uint64_t order;         /* of the one that the next ones are of */
    enum hold_reason reason;
    uint64_t since_ns;      /* wall clock, as the next one */
    uint64_t until_ns;      /* 0: not known */
    uint64_t times_ms[HOLD_REASONS_COUNT];
    struct explain_text name;
    struct explain_text detail;
    struct explain_text site;
    bool shaped;            /* … and the next three are known, of one who sends it */
    uint64_t view_digest;   /* shaping_view_digest */
    struct shaping_selection selection;
    struct explain_text source;
    struct explain_text response;
    unsigned limit_count;
    struct explain_limit limits[EXPLAIN_LIMITS_MAX];
};

enum explain_stage {
    EXPLAIN_QUEUES,
    EXPLAIN_SITES,
    EXPLAIN_ROWS,
    EXPLAIN_MESSAGES, /* by smtp/inspect.h */
    EXPLAIN_OVER,
};

struct explain;

/* The TSA shard's; a mail shard's from arrival until it is sent home. */
struct explain_part {
    struct shard_walk walk;
    struct explain *explain;
    const struct explain_request *request;
    enum explain_stage stage;
    struct explain_found found;
    struct queue_view longest;  /* in a turn: what of `found` it is that is told of */
    bool longest_is_new;        /* … and it is not yet told of */
    struct inspection inspection;
};

struct explain {
    struct shard *shard;        /* borrowed */
    unsigned shards;            /* of mail */
    const struct conf *(*conf)(struct explain *explain); /* in force; set by the caller */
    const struct shaping_sites *(*sites)(struct explain *explain); /* likewise */
    const struct shaping_overrides *overrides; /* in force; borrowed; null: there are none */
    struct explain_part *parts; /* one for each of them */
    struct explain_request *current;
    struct list waiting;
    unsigned waiting_count;
    unsigned out;               /* parts that are not home */
    bool stopping;
    struct deferred step;
};

/* Boot. */
void explain_init(struct explain *explain, struct shard *shard, struct boot_pages *pages,
                  unsigned shards);
void explain_shard_set(struct explain *explain, unsigned index, struct delivery *delivery,
                       struct boot_pages *pages);
/* False: too many are waiting, and it is not taken. */
MUST_USE bool explain_ask(struct explain *explain, struct explain_request *request);
void explain_stop(struct explain *explain);
/* Nothing is asked for or on its way. */
bool explain_idle(const struct explain *explain);
/* After that: no deferred work of it is left with the shard. */
void explain_fini(struct explain *explain);

/* For its parts (explain_walk.c, explain_json.c). */
void explain_part_init(struct explain_part *part, struct explain *explain,
                       struct delivery *delivery, struct boot_pages *pages);
void explain_part_send(struct explain_part *part);
void explain_part_home(struct explain_part *part);
void explain_found_add(struct explain_found *sum, const struct explain_found *found);
void explain_put_json(struct explain_request *request, const struct explain_found *found,
                      const struct conf *conf, const struct shaping_view *view);
/* What the parts show; `sum` is what all of them have found. False: nothing, and it is one message
 * that was asked for. */
MUST_USE bool explain_put_shown(struct explain *explain, struct explain_request *request,
                       const struct explain_found *sum);

#endif
