/*
 * The record tap: events of what is durable, on their way to the event log. A Reception is made
 * when its MESSAGE is stored, an AdminRebind when that is written again, an OOB or a Feedback when
 * its EVENT is, every other record when its OUTCOME is; a Rejection stands in no spool and may be
 * dropped.
 *
 *   LIVE     events are made from memory as things are stored
 *   BEHIND   the feed had no room: nothing is held; the log is read again from the first event that
 *            was refused (event_replay.h), as it is after a crash from the spool's cursor
 *
 * When little is left to read, events are made from memory again for all that is stored from then
 * on, while the rest is still being read. Every batch says up to where the log is covered; what the
 * event log has made durable moves the spool's cursor. Mail is never held up by the event log,
 * unless that is further behind than max_backlog (event_tap_behind_too_far).
 *
 * Before all that a start with fewer shards tells what lanes to be adopted have left to be told
 * (event_tap_tell), by the same code, under their numbers.
 */
#ifndef RINGPOST_SMTP_EVENT_TAP_H
#define RINGPOST_SMTP_EVENT_TAP_H

#include "core/logline.h"
#include "smtp/conf_lease.h"
#include "smtp/event_replay.h"

enum event_tap_state { EVENT_TAP_LIVE, EVENT_TAP_BEHIND };

struct event_tap_options {
    struct messages *messages; /* borrowed */
    struct event_feed *feed;   /* borrowed; its ready, mark and durable are the tap's: below */
    struct id node;
    unsigned lanes;            /* of the node: max_backlog is shared by them */
    struct conf_amount backlog_max;
    const struct conf *conf;   /* borrowed: names of queues */
    const char *spool_path;    /* borrowed: for a share of its file system */
    struct log_sink sink;
    struct boot_pages *pages;
};

struct event_tap {
    struct event_tap_options options;
    struct shard *shard;       /* borrowed */
    struct spool *spool;       /* borrowed; null before event_tap_start */
    struct event_maker maker;  /* of what is stored now */
    struct event_maker again;  /* of what is read again */
    struct event_replay replay;
    enum event_tap_state state;
    uint64_t stored;           /* the last group of this life with a source */
    struct spool_position live_from; /* LIVE: groups from here on are made from memory */
    uint64_t refusals;         /* times that the tap fell behind */
    uint64_t backlog_max;      /* bytes of this lane; 0: not known yet */
    bool too_far;
    bool stopping;
    struct timer tick;
    unsigned ticks;
    struct work_job space;
    const struct spool_tail *tails; /* event_tap_tell: what is left of it; null: not under way */
    unsigned tail_count;
    struct spool *adopter;
    uint64_t told;             /* how far it was at the last tick */
    unsigned idle_ticks;       /* since then nothing has moved */
    void (*tell_done)(struct event_tap *tap, bool told);
};

/* Something stored whose events are to be written. Borrowed for the call. */
struct event_source {
    const struct message *message;
    const struct event_facts *rebound; /* instead of it, of a message that is written again */
    struct spool_location record; /* where it stands */
    uint64_t sequence;            /* of the first recipient; but for an OUTCOME */
    struct slice payload;         /* an OUTCOME's; empty: Reception of all recipients; without a
                                     message an EVENT's */
};

/* Boot. 0 or -ENOMEM. */
MUST_USE int event_tap_init(struct event_tap *tap, struct shard *shard,
                            const struct event_tap_options *options);
void event_tap_fini(struct event_tap *tap);
/* Names of queues and classifications are by this configuration from now on. */
void event_tap_set_conf(struct event_tap *tap, const struct conf_lease *lease);
/*
 * Before spool_begin: events of lanes to be adopted (F-27). `done`, from the loop: they are durable
 * in the event log; or not `told`: it takes nothing any more, and the lanes have to stay.
 */
void event_tap_tell(struct event_tap *tap, struct spool *spool, uint64_t uuid,
                    void (*done)(struct event_tap *tap, bool told));
/* After spool_begin, before anything is put: goes on at the spool's cursor. */
void event_tap_start(struct event_tap *tap, struct spool *spool, uint64_t uuid);

/* In `done` of a stored MESSAGE or OUTCOME. */
void event_tap_put(struct event_tap *tap, const struct event_source *source);
/* The event log is behind by more than max_backlog: no new mail. */
bool event_tap_behind_too_far(const struct event_tap *tap);

/* What the feed calls. */
void event_tap_ready(struct event_tap *tap);
struct spool_position event_tap_mark(const struct event_tap *tap);
void event_tap_durable(struct event_tap *tap);

/* The event log has all that is stored, durably, and the cursor says so. */
bool event_tap_settled(struct event_tap *tap);
/* Reads nothing again any more: the cursor stays where it is, the next start goes on there. */
void event_tap_stop(struct event_tap *tap);
/* After event_tap_stop: nothing of it is with the ring, the spool or a worker. */
bool event_tap_idle(const struct event_tap *tap);

/* A refusal. `reply` with its codes, one line. */
struct rejection {
    struct endpoint peer;
    struct endpoint local;
    struct endpoint origin; /* who speaks for the peer; port 0: nobody does */
    struct id session;
    struct slice hello;
    struct slice sender;
    struct slice recipient;
    struct slice command;
    struct slice reply;
};
void event_tap_reject(struct event_tap *tap, const struct rejection *rejection);

#endif
