/*
 * What `ringpost top` shows, and how: rates from counters that are read once a second, the queues
 * of the last listing, and what the operator has chosen. Pure; answers are borrowed until the next
 * one of their kind. tools/top_frame.h writes it down.
 */
#ifndef RINGPOST_TOOLS_TOP_MODEL_H
#define RINGPOST_TOOLS_TOP_MODEL_H

#include "core/json_value.h"
#include "tools/queue_rows.h"

#define TOP_HISTORY      300u /* rates kept: five minutes */
#define TOP_FILTER_BYTES 64u
#define TOP_NEWS_BYTES   256u
#define TOP_THREADS_MAX  256u
#define TOP_THREAD_BYTES 16u /* of a name */

enum top_rate { TOP_IN, TOP_OUT, TOP_DEFERRED, TOP_BOUNCED, TOP_RATES };
enum top_order { TOP_BY_COUNT, TOP_BY_DUE, TOP_BY_TIME, TOP_BY_NAME, TOP_ORDERS };
/* Quantities of /metrics.json that stand for themselves. */
enum top_gauge {
    TOP_CLIENTS,
    TOP_SERVERS,
    TOP_SHARDS,
    TOP_MEMORY_USED,
    TOP_MEMORY_LIMIT,
    TOP_QUEUED,
    TOP_READY,
    TOP_SPOOL_FREE,
    TOP_GAUGES
};

/* A thread of the server that carries mail. */
struct top_thread {
    char name[TOP_THREAD_BYTES];
    uint64_t counters[TOP_RATES]; /* of the last reading */
    double rates[TOP_RATES];
    uint64_t clients;
    uint64_t busy_percent; /* of its last second */
};

struct top_model {
    /* Of counters: values of the last reading, and rates, the newest last. */
    bool counted;
    uint64_t counted_ns; /* monotonic */
    uint64_t counters[TOP_RATES];
    double history[TOP_RATES][TOP_HISTORY];
    unsigned history_count;
    bool known[TOP_GAUGES]; /* the server tells it */
    uint64_t gauges[TOP_GAUGES];
    struct top_thread threads[TOP_THREADS_MAX];
    unsigned thread_count;

    const struct json_value *listing; /* borrowed; null: none yet */
    uint64_t listing_ns;              /* when it was made, by the server's clock */
    bool listing_ready;               /* it is of ready queues */
    char listing_news[TOP_NEWS_BYTES]; /* why there is no newer one; "": there is */
    uint16_t rows[QUEUE_ROWS_MAX];    /* those that are shown, in their order */
    unsigned row_count;

    /* What the operator has chosen. */
    bool ready;
    bool by_thread;   /* threads are shown, not queues */
    enum top_order order;
    unsigned top_row; /* the first on the screen */
    bool typing;      /* a filter */
    char filter[TOP_FILTER_BYTES];
    char news[TOP_NEWS_BYTES]; /* why there is nothing new; "": there is */
    uint64_t lost_ns;          /* since then; monotonic */
};

void top_model_init(struct top_model *model);
/* An answer of /metrics.json, read at `now_ns`, monotonic. */
void top_model_take_metrics(struct top_model *model, const struct json_value *answer,
                            uint64_t now_ns);
/* An answer of /api/admin/queues/v1. */
void top_model_take_queues(struct top_model *model, const struct json_value *answer);
/* No listing came, but metrics do. */
void top_model_no_queues(struct top_model *model, const char *why);
/* Nothing came; what is known stays, and the next reading begins the rates anew. */
void top_model_lost(struct top_model *model, const char *why, uint64_t now_ns);

/* A key of the keyboard, `rows` of the table being on the screen. False: it ends. */
enum top_key {
    TOP_KEY_NONE,
    TOP_KEY_UP,
    TOP_KEY_DOWN,
    TOP_KEY_PAGE_UP,
    TOP_KEY_PAGE_DOWN,
    TOP_KEY_FIRST,
    TOP_KEY_LAST,
    TOP_KEY_ERASE,
    TOP_KEY_ENTER,
    TOP_KEY_ESCAPE,
    TOP_KEY_TEXT, /* a byte of text */
};
MUST_USE bool top_model_key(struct top_model *model, enum top_key key, uint8_t byte,
                            unsigned rows);

const struct json_value *top_model_queue(const struct top_model *model, unsigned row);
const char *top_model_order_name(enum top_order order);

#endif
