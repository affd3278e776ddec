/*
 * The way of events from a shard to the event log: lines of JSON in batches of 64 KiB that travel
 * by mailbox and come home empty. One feed per shard, with a fixed number of batches made at boot.
 *
 * The feed holds nothing back: when every batch is under way it takes no more, and its owner reads
 * what it could not put from the spool later, when a batch has come home and `ready` was called.
 * Rejections stand in no spool: they are dropped then, and counted.
 *
 * Every batch carries a mark: a position of the lane's log before which all events are in this
 * batch or in earlier ones. What the log has made durable comes back as the highest of these marks.
 */
#ifndef RINGPOST_SHARD_EVENT_BATCH_H
#define RINGPOST_SHARD_EVENT_BATCH_H

#include "core/heap.h"
#include "core/event.h"
#include "shard/shard.h"
#include "shard/spool/location.h"

#define EVENT_BATCH_BYTES (64 * KIB)
/* An open batch waits this long for more before it is sent. */
#define EVENT_BATCH_WAIT_MS 20

struct event_feed;

struct event_batch {
    struct mail mail;
    mail_arrive *arrive;       /* at the log; on the way home the feed's own stands in mail */
    struct event_feed *feed;   /* borrowed: home */
    void *sink;                /* options.sink, for the receiver */
    struct event_batch *next;  /* list of whoever holds it */
    struct spool_position mark;
    uint32_t size;
    uint32_t lines;
    uint8_t data[EVENT_BATCH_BYTES];
};

/* From the log to a feed: what of its batches is durable. One per feed, the log's own. */
struct event_ack {
    struct mail mail;
    mail_arrive *home;          /* at the log */
    struct event_feed *feed;    /* borrowed; null before its first batch */
    void *log;                  /* the log's own */
    struct spool_position mark; /* of the last durable batch */
    uint64_t batches;           /* durable, ever */
    bool lost;                  /* the log has given up: nothing comes any more */
};

typedef void event_feed_call(struct event_feed *feed);
typedef struct spool_position event_feed_mark(struct event_feed *feed);

struct event_feed_options {
    unsigned to;             /* index of the shard that keeps the log */
    mail_arrive *arrive;     /* runs there */
    void *sink;              /* borrowed: the log */
    unsigned batches;        /* ≥ 2 */
    struct heap *heap;       /* boot: the batches are taken from it and live as long */
    /* On the shard; each may be null. */
    event_feed_call *ready;   /* there is room again after a refusal or event_feed_wait */
    event_feed_mark *mark;    /* of a batch that is about to leave */
    event_feed_call *durable; /* feed->durable, or feed->lost, has changed */
};

struct event_feed {
    struct shard *shard; /* borrowed */
    unsigned to;
    unsigned batches;
    unsigned away;             /* batches under way or at the log */
    struct event_batch *open;  /* being filled; null when none is */
    struct event_batch *free;
    event_feed_call *ready;
    event_feed_mark *mark;
    event_feed_call *durable_changed;
    bool waited;               /* ready is owed */
    bool lost;                 /* the log stops and cannot write: what is put goes nowhere */
    struct spool_position durable; /* events of groups before it are durable in the log */
    struct timer timer;        /* sends the open batch */
    uint64_t events;           /* put */
    uint64_t dropped;          /* rejections that found no room */
    uint64_t sent;             /* batches */
    uint64_t settled;          /* batches that are durable */
};

void event_feed_init(struct event_feed *feed, struct shard *shard,
                     const struct event_feed_options *options);

/*
 * Room for `count` more records of any size, for certain (a batch is counted for each)? Asked
 * before work that makes events.
 */
bool event_feed_room(const struct event_feed *feed, unsigned count);
/* False: no room, and `ready` will be called. */
MUST_USE bool event_feed_put(struct event_feed *feed, const struct event *event);
/* `ready` is to be called when the next batch comes home. */
void event_feed_wait(struct event_feed *feed);
/* A rejection: dropped and counted when there is no room. */
void event_feed_offer(struct event_feed *feed, const struct event *event);
/* Sends the open batch now: before a stop. */
void event_feed_flush(struct event_feed *feed);
/* Bytes of the batches in use. */
uint64_t event_feed_memory(const struct event_feed *feed);
/* Every batch is home and nothing is open: all events are with the log. */
bool event_feed_idle(const struct event_feed *feed);
/* Every batch that ever left is durable, and nothing is open. */
bool event_feed_settled(const struct event_feed *feed);

/* On the receiving shard: sends a batch home after its bytes have been taken. */
void event_batch_give(struct shard *receiver, struct event_batch *batch);
/* On the log's shard: tells ack->feed; ack->home gets it back. */
void event_ack_send(struct shard *log, struct event_ack *ack);

#endif
