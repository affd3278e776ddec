/*
 * The limits of one ready queue: connection_limit and the additional ones, which are counts of
 * slots; max_connection_rate; max_message_rate and the additional ones. Their cells are asked for
 * when the ready queue is born, and all of them or none are at work. What is additional is shared
 * by name over the node; a rate counts recipients. Part of delivery, not for other modules.
 */
#ifndef RINGPOST_SMTP_EGRESS_LIMITS_H
#define RINGPOST_SMTP_EGRESS_LIMITS_H

#include "core/conf.h"
#include "shard/queue/cell_set.h"
#include "shard/queue/rates.h"
#include "smtp/limit_view.h"

#define EGRESS_SLOTS_MAX (1 + CONF_NAMED_MAX)
#define EGRESS_RATES_MAX (1 + CONF_NAMED_MAX)
#define EGRESS_CELLS_MAX (EGRESS_SLOTS_MAX + EGRESS_RATES_MAX + 1)

struct egress_limits {
    struct cell_set set;
    const struct path_options *path; /* borrowed from the snapshot */
    unsigned slot_count;             /* the first cells of the set */
    unsigned rate_count;             /* of messages: those after them; of connections: the last */
    struct rates messages;
    struct rates connects;
    enum cell_want wants[EGRESS_SLOTS_MAX]; /* what the cells were told */
    struct cell_request requests[EGRESS_CELLS_MAX];
    struct rate_line message_lines[EGRESS_RATES_MAX];
    struct rate_line connect_line;
};

/*
 * `name` is the ready queue's. `identity` tells two of them with one name apart: a path with a high
 * connection_limit would fill what the other's low one allows, and that would never be served. The
 * rates of a site are one, whatever else differs. Nothing is asked yet: cell_set_ask.
 */
void egress_limits_init(struct egress_limits *limits, struct slice name, uint64_t identity,
                        const struct path_options *path);
/* The set is whole: the rates are at work. */
void egress_limits_begin(struct egress_limits *limits);
/* Before the cells go: nothing is reserved, wanted or limited by rates any more. */
void egress_limits_end(struct egress_limits *limits);

/* Takes a slot of each cell, or none, and says in the full one how badly one is wanted. */
MUST_USE bool egress_limits_take(struct egress_limits *limits, uint32_t connections);
void egress_limits_give(struct egress_limits *limits);
/* No slot is wanted. */
void egress_limits_content(struct egress_limits *limits);
/* Does anybody else want a slot of a cell of ours? */
bool egress_limits_wanted(const struct egress_limits *limits);
/*
 * Should one of our connections end for others: an idle one for whoever wants it, or one above our
 * share for whoever has less than its own?
 */
bool egress_limits_must_yield(const struct egress_limits *limits, uint32_t connections, bool idle);

/* Number `i` of them, below EGRESS_CELLS_MAX. False: there is none, or they are not at work. */
MUST_USE bool egress_limits_at(const struct egress_limits *limits, unsigned i,
                               struct limit_view *view_out);

#endif
