/*
 * A whole MTA: its mail shards, the TSA shard, and how they start and stop together. It makes no
 * threads: the daemon gives each shard a thread that calls node_turn until node_finished, the
 * simulator calls all of them from one. What crosses shards here crosses by mail.
 *
 *   start   TSA shard: spool house, HTTP, what was used of limits, what rules have done, what
 *           operators ordered → each mail shard: replay, rows placed, events of lanes to be adopted
 *           told → TSA shard: lanes that were adopted change hands → each mail shard: the spool
 *           begins → in turn: listeners → NODE_READY
 *   stop    each mail shard: listeners and idle dialogues close, what has begun ends; the event
 *           log gets all of it, durably; then the spool → TSA shard: HTTP, event log, limits, spool
 *           house → NODE_STOPPED
 */
#ifndef RINGPOST_SMTP_NODE_H
#define RINGPOST_SMTP_NODE_H

#include <stdatomic.h>

#include "core/conf.h"
#include "core/heap.h"
#include "core/logline.h"
#include "shard/io/resolver.h"
#include "shard/queue/cell_store.h"
#include "shard/spool/sweep.h"
#include "smtp/admin.h"
#include "smtp/advice_tap.h"
#include "smtp/advisor.h"
#include "smtp/delivery.h"
#include "smtp/explain.h"
#include "smtp/http_admin.h"
#include "smtp/http_automation.h"
#include "smtp/http_events.h"
#include "smtp/http_metrics.h"
#include "smtp/http_trace.h"
#include "smtp/inject.h"
#include "smtp/inject_book.h"
#include "smtp/notify.h"
#include "smtp/node_http.h"
#include "smtp/queue_state.h"
#include "smtp/recovery.h"
#include "smtp/reload.h"
#include "smtp/queue_report.h"
#include "smtp/rebind.h"
#include "smtp/rewrite.h"
#include "smtp/rollup.h"
#include "smtp/server.h"
#include "smtp/site_finder.h"
#include "smtp/trace.h"
#include "tsa/event_log.h"
#include "tsa/publisher.h"
#include "tsa/subscriber.h"

#define NODE_REASON_BYTES_MAX 512

enum node_state { NODE_STARTING, NODE_READY, NODE_STOPPING, NODE_STOPPED, NODE_FAILED };

enum mta_stage {
    MTA_WAITING,  /* for the spool house */
    MTA_REPLAYING,
    MTA_PLACING,  /* all is read; rows go to their queues */
    MTA_TELLING,  /* they are there; events of lanes to be adopted go to the event log */
    MTA_ADOPTING, /* the checkpoint that has the rows of those lanes is being written */
    MTA_PLACED,   /* they are there; lanes of shards that are gone are ours, durably */
    MTA_REPLAYED, /* the spool works; waits for its turn to listen */
    MTA_SERVING,
    MTA_DRAINING, /* a stop has begun */
    MTA_LOGGING,  /* all is stored; the event log is to have it */
    MTA_LOGGED,   /* the last reads of the spool come home */
    MTA_CLOSING,  /* the spool commits what is open */
    MTA_FLUSHING, /* the last batches come home */
    MTA_STOPPED,
};

struct node;

/* A mail shard. */
struct mta {
    struct shard shard;
    struct node *node;           /* borrowed */
    enum mta_stage stage;
    struct mail order;           /* between the TSA shard and this one, one way at a time */
    struct deferred step;        /* looks how far a stop has come, once a turn */
    struct timer listen_timer;   /* tries again to listen */
    uint64_t listen_until_ns;    /* for the last time */
    struct boot_pages pages;
    struct heap heap;            /* batches of the event feed */
    struct block_pool *blocks;
    struct id_source ids;
    struct event_feed feed;
    struct event_tap events;
    struct messages messages;
    struct queues queues;
    struct intake intake;
    struct notifier notifier;
    struct server server;
    struct site_book site_book;
    struct delivery delivery;
    struct trace_tap trace;
    struct advice_tap advice;
    struct recovery recovery;
    struct queue_state state;
    struct spool_state spool_state;
    uint16_t foreign[MANIFEST_LANES_MAX]; /* lanes to be adopted */
    struct rewrite rewrite;
    struct spool *spool;
    struct http_server http;     /* what belongs to this shard; others send it */
    struct inject inject;        /* requests of `http` to inject */
    _Atomic uint32_t spool_status; /* enum spool_status, as of the last turn */
    bool cut;                    /* connections are being cut */
    bool hurried;                /* a second signal has come while the event log was waited for */
    uint64_t drain_until_ns;
    uint64_t log_until_ns;
    int error;                   /* of start: -errno, its line in `reason` */
    struct buf reason;
    char reason_text[NODE_REASON_BYTES_MAX];
};

/* The shard without mail. */
struct control {
    struct shard shard;
    struct node *node;           /* borrowed */
    struct deferred step;        /* begins the start, ends the stop */
    bool begun;
    bool house_open;
    struct spool_house house;
    struct spool_sweep sweep;
    struct heap heap;
    struct boot_pages pages;
    struct event_log *log;
    struct resolver resolver;
    struct site_finder sites;
    struct rollup rollup;
    struct cell_registry cells;
    struct cell_store limits;
    bool limits_stopped;
    struct admin admin;
    struct advisor advisor;
    struct publisher publisher;
    struct subscriber subscriber;
    struct inject_book keys;
    struct explain explain;
    struct queue_census census;
    struct trace trace;
    struct reload reload;
    struct rebind rebind;
    struct queue_report *report; /* whose parts are not all home; null: none */
    struct node_http http;       /* all listeners */
    struct http_admin http_admin;
    struct http_automation http_automation;
    struct http_trace *http_trace; /* one for each tracer there may be */
    struct metrics_source metrics;
    struct http_metrics http_metrics;
    struct http_events http_events;
    unsigned waiting;            /* mail shards that have not answered the current order */
    unsigned listening;          /* mail shards that listen */
    bool finished;
};

struct node_options {
    const struct conf *conf;     /* of the start; borrowed until node_close, like the next ones */
    const char *conf_file;       /* where a reload finds another one, as in struct conf_input */
    const char *const *conf_sets;
    size_t conf_set_count;
    struct log_sink log;
    struct id id;                /* node.id */
    struct reference_key key;    /* of references in what it sends */
    unsigned shards;             /* mail shards, ≥ 1 */
    uint64_t memory_bytes;       /* limit of the whole node */
    uint32_t files_kept;         /* as in struct spool_options */
    void *world;                 /* the simulator's node; null on the real seam */
};

struct node {
    struct node_options options;
    unsigned shards;             /* mail shards; the TSA shard has this index */
    struct work *work;
    struct shard *peers[SHARDS_MAX];
    struct mta *mtas;            /* `shards` of them */
    struct control *control;
    struct server_hosts *hosts;
    struct server_load *loads;   /* of the mail shards */
    struct cell *slots;          /* of the listeners */
    struct cell *inject_rates;   /* of the HTTP listeners */
    struct queues_limit *queued_limit; /* memory.max_queued */
    struct boot_pages pages;
    struct endpoint bound[SERVER_LISTENERS_MAX];
    struct endpoint http_bound[HTTP_LISTENERS_MAX]; /* valid when the state is NODE_READY */
    struct http_server *https[SHARDS_MAX]; /* of the mail shards */
    uint64_t queued;             /* recipients found at start */
    _Atomic uint32_t state;      /* enum node_state */
    _Atomic uint32_t stop_level; /* 0: run; 1: stop; 2: stop at once */
    _Atomic bool reload_wanted;  /* node_reload has been called */
    _Atomic(struct queue_report *) report; /* asked for, and not begun; null: none is */
    char reason[NODE_REASON_BYTES_MAX]; /* of NODE_FAILED, one line */
};

/* What each mail shard uses of its memory before the first client: receive buffers, the spool's. */
uint64_t node_memory_fixed(const struct conf *conf);
/* Boot thread. 0, or a negative errno and one line in node->reason. */
MUST_USE int node_open(struct node *node, const struct node_options *options);
/* After every shard has finished. */
void node_close(struct node *node);

/* Number of threads to run: mail shards and the TSA shard. */
unsigned node_thread_count(const struct node *node);
/* One turn of thread `index`; sleeps at its end unless `poll`. */
void node_turn(struct node *node, unsigned index, bool poll);
bool node_finished(const struct node *node, unsigned index);

/* Any thread. Level 1 asks for a clean stop, 2 for one within two seconds. */
void node_stop(struct node *node, unsigned level);
/* Any thread: the configuration is read again, when the node is ready (smtp/reload.h). */
void node_reload(struct node *node);
/* Any thread: asks for a report, made for as many shards as the node has, when the one before is
 * done. It will be done while the node has not stopped; of a node that stops it has little. */
void node_report(struct node *node, struct queue_report *report);
enum node_state node_state(const struct node *node);

/* --- between node.c and node_boot.c ----------------------------------------------------------- */

/* Memory for one commit group. */
uint32_t node_group_bytes(const struct conf *conf);
/* What comes back to node.c when a shard has something to say of its start or stop. */
void node_wire_mail(struct mta *mta);
void node_wire_control(struct control *control);

/* --- for node_http: TSA shard ----------------------------------------------------------------- */

/* The node cannot start. */
void node_fail(struct node *node, struct slice reason);
void node_put_listen_error(struct buf *buf, struct slice where, int error);

uint64_t node_counter(const struct node *node, enum counter counter);

#endif
