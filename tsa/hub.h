/*
 * Who hears what automation does: every change goes into one log of bounded size, and each
 * subscriber has a place in it. Who reads slowly holds nobody up and takes no memory; when the log
 * has gone past the place of a subscriber it is lost, has to end, and begins anew with a snapshot.
 * No sockets here: a subscriber is told that there is something, and takes it when it can.
 *
 *   HUB_EVENTS       KumoMTA's /subscribe_event_v1: {"ReadyQSuspension":{…}},
 *                    {"SchedQSuspension":{…}}, {"SchedQBounce":{…}} (tsa/effect_text.h); first what
 *                    is in force, then what comes. It knows no end but `expires`
 *   HUB_SUSPENSIONS  the same without bounces, as {"ReadyQ":{…}} and {"SchedQ":{…}}
 *   HUB_CHANGES      ours, each with "epoch" behind its number:
 *
 *     {"seq":N,"snapshot":false,"change":"begun","id":N,"event_ms":N,
 *      "event":{"ReadyQSuspension":{…}}}
 *     {"seq":N,"snapshot":false,"change":"begun","id":N,"event_ms":N,"site":"…","config":{…}}
 *     {"seq":0,"snapshot":true,"change":"begun","id":N,"event_ms":N,"event":{…}}
 *     {"seq":N,"snapshot":true,"complete":true}
 *
 * `event_ms` is when the last record came about that caused it; `site` is that of a setting for all
 * domains of a site.
 *
 * `change` is "begun", "extended" or "cancelled"; what ends in its time is not told. Numbers grow
 * by one from change to change. Who has seen N asks for what comes behind N, in the same epoch or
 * without naming one, and gets no snapshot when the log still has all of it. A snapshot is taken
 * while changes go on: those that come meanwhile follow behind it, so that what is said last
 * counts; what is missing in it, when it is complete, is over. Its parts have no number, for who
 * has half of one has nothing to go on from.
 *
 * An epoch is one life of the process. Its numbers begin far above those of the one before, so that
 * a number alone is never taken for one of another life.
 *
 * Bounds: the log, in changes and in bytes; nothing for each subscriber but its struct. One thread.
 */
#ifndef RINGPOST_TSA_HUB_H
#define RINGPOST_TSA_HUB_H

#include "core/heap.h"
#include "core/id.h"
#include "core/list.h"
#include "tsa/automation.h"
#include "tsa/effect_text.h"

/* Of one message. */
#define HUB_MESSAGE_BYTES_MAX (EFFECT_TEXT_BYTES_MAX + 320u)

enum hub_form { HUB_EVENTS, HUB_SUSPENSIONS, HUB_CHANGES };

struct hub_subscriber;
/* There is something for it to take. Called within a change, so not to call back. */
typedef void hub_told(struct hub_subscriber *subscriber);

struct hub_subscriber {
    struct list link;      /* in the hub's `waiting` or `busy` */
    enum hub_form form;
    hub_told *told;
    uint64_t next;         /* number of the change that it takes next */
    bool snapshot;         /* … behind this: */
    bool complete;         /* all of it has been said but its end */
    uint32_t cursor;       /* in the table of effects */
    uint32_t cursor_next;  /* behind the message that hub_next has shown */
};

struct hub_options {
    uint32_t changes_max;  /* of the log, a power of two */
    uint32_t bytes_max;    /* of the log; at least 2 * HUB_MESSAGE_BYTES_MAX */
    struct id epoch;       /* random */
    uint64_t first;        /* > 0: wall clock in microseconds */
};

struct hub_change;

struct hub {
    const struct automation *automation; /* borrowed */
    struct hub_options options;
    struct hub_change *changes; /* by number, of the last changes_max */
    uint8_t *bytes;
    uint32_t at;             /* in `bytes`: behind the last change */
    uint64_t oldest;         /* number of the oldest change in the log */
    uint64_t next;           /* … of the one that comes next */
    struct list waiting;     /* subscribers that have all there is */
    struct list busy;
    uint32_t subscribers;
    uint64_t lost;           /* subscribers that were too slow */
    uint8_t message[HUB_MESSAGE_BYTES_MAX]; /* of a snapshot, and of HUB_SUSPENSIONS */
};

/* Boot: memory from `heap`. */
void hub_init(struct hub *hub, struct heap *heap, const struct automation *automation,
              const struct hub_options *options);
/* An automation_tell; the context is the hub. */
void hub_tell(void *context, enum automation_change change,
              const struct automation_effect *effect, const struct shaping_rule *rule);

/* form and told are set. Of HUB_CHANGES, `after` > 0 is the number that was seen last, and `epoch`
 * empty or as it was told. */
void hub_subscribe(struct hub *hub, struct hub_subscriber *subscriber, uint64_t after,
                   struct slice epoch);
void hub_unsubscribe(struct hub *hub, struct hub_subscriber *subscriber);

enum hub_next {
    HUB_MESSAGE, /* hub_said, when it has been said; or the same again later */
    HUB_NOTHING, /* `told` follows when there is something */
    HUB_LOST,    /* it was too slow: hub_unsubscribe */
};
/* The message is good until the next call for whatever subscriber, or the next change. */
MUST_USE enum hub_next hub_next(struct hub *hub, struct hub_subscriber *subscriber,
                                struct slice *message_out);
void hub_said(struct hub *hub, struct hub_subscriber *subscriber);

#endif
