/*
 * Events of what stands in the spool: Receptions from a MESSAGE, AdminRebinds from one that was
 * rebound, OOBs and Feedbacks from an EVENT, all others from an OUTCOME and the message it belongs
 * to. The one code for what is
 * stored now and for what is read again later, so that a record derived twice is the same to the
 * byte, event_id included, as long as the rules of classification are the same: an outcome is
 * classified when its record is made, by those in force.
 */
#ifndef RINGPOST_SMTP_EVENT_MAKE_H
#define RINGPOST_SMTP_EVENT_MAKE_H

#include "core/conf.h"
#include "shard/event_batch.h"

/* What events need of a message. Borrowed. */
struct event_facts {
    struct id id;
    uint64_t created_ns;
    uint64_t size;          /* message_sent_bytes */
    struct slice envelope;  /* smtp/envelope.h */
    struct slice metadata;  /* smtp/metadata.h */
};

struct event_maker {
    struct event_feed *feed; /* borrowed */
    unsigned keep;           /* batches of the feed that are left to others */
    struct id node;
    /* Borrowed: names of queues, what [log] lists, classification; null: without routing domains,
       and none of these. */
    const struct conf *conf;
    struct patterns_scratch *scratch; /* borrowed: of its classifier; null: without rules */
    uint64_t spool;          /* UUID: first half of every event id */
    uint16_t lane;
};

/*
 * `next`: how many of the source's events are put already; it is advanced. False: the feed has no
 * room; feed->ready will be called, and what is left is to be put then.
 */

/* One Reception for each recipient; `sequence` is that of the first. */
MUST_USE bool event_make_receptions(const struct event_maker *maker,
                                    const struct event_facts *facts, uint64_t sequence,
                                    uint32_t *next);
/* One AdminRebind for each recipient of a MESSAGE with SPOOL_MESSAGE_REBOUND; the same. */
MUST_USE bool event_make_rebinds(const struct event_maker *maker, const struct event_facts *facts,
                                 uint64_t sequence, uint32_t *next);
/*
 * One record for each recipient of an OUTCOME. Null facts: its message is lost; the records are
 * written all the same, and say nothing that stood in it: id, sender, recipient and queue are
 * empty, the size is 0, and it was created when the outcome came about.
 */
MUST_USE bool event_make_outcomes(const struct event_maker *maker, const struct event_facts *facts,
                                  struct slice payload, uint32_t *next);
/* Those of an EVENT (smtp/report_event.h). */
MUST_USE bool event_make_reports(const struct event_maker *maker, struct slice payload,
                                 uint32_t *next);

/* Are records of this type not to be written? */
bool event_is_muted(const struct event_maker *maker, enum event_type type);
/* Sets the classification of an event that is made elsewhere. */
void event_classify(const struct event_maker *maker, struct event *event);

#endif
