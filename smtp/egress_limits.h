/*
 * The limits of one ready queue: connection_limit and the additional ones, which are counts of
 * slots; max_connection_rate; max_message_rate and the additional ones; source_selection_rate and
 * the additional ones. Their cells are asked for
 * when the ready queue is born, and all of them or none are at work. What is additional is shared
 * by name over the node; a rate counts recipients. Part of delivery, not for other modules.
 */
#ifndef RINGPOST_SMTP_EGRESS_LIMITS_H
#define RINGPOST_SMTP_EGRESS_LIMITS_H

#include "core/conf.h"
#include "shard/queue/cell_set.h"
#include "shard/queue/rates.h"
#include "shard/queue/slots.h"
#include "smtp/limit_view.h"

#define EGRESS_SLOTS_MAX (1 + CONF_NAMED_MAX)
#define EGRESS_RATES_MAX (1 + CONF_NAMED_MAX)
#define EGRESS_CELLS_MAX (EGRESS_SLOTS_MAX + 2 * EGRESS_RATES_MAX + 1)

struct egress_limits {
    struct cell_set set;
    const struct path_options *path; /* its owner's; null: retired */
    bool working;                    /* between begin and end */
    unsigned slot_count;             /* the first cells of the set */
    unsigned message_count;          /* of rates of messages: those after them */
    unsigned select_count;           /* of selection: those after them; of connections: the last */
    struct rates messages;
    struct rates selects;
    struct rates connects;
    struct slot_user slots[EGRESS_SLOTS_MAX];
    /* The user's: a slot is kept for it; may one of its connections end that it does not use? */
    void (*granted)(struct egress_limits *limits);
    bool (*asked)(struct egress_limits *limits);
    struct cell_request requests[EGRESS_CELLS_MAX];
    struct rate_line message_lines[EGRESS_RATES_MAX];
    struct rate_line select_lines[EGRESS_RATES_MAX];
    struct rate_line connect_line;
};

/*
 * `name` is the ready queue's, and `lead` what of its route limits hold for. The path's block tells
 * two of them with one name apart: a path with a high connection_limit would fill what the other's
 * low one allows, and that would never be served. The rates of a site are one, whatever else
 * differs. Nothing is asked yet: cell_set_ask.
 */
void egress_limits_init(struct egress_limits *limits, struct slice name, uint64_t lead,
                        const struct path_options *path);
/* Has a path rates of selection? */
static inline bool egress_limits_selects(const struct path_options *path)
{
    return rate_is_set(&path->source_selection_rate) ||
           path->additional_source_selection_rates.count > 0;
}
/* No tokens are kept for what is to come. */
void egress_limits_rest_rates(struct egress_limits *limits);
/* The same limits stand in another snapshot. */
void egress_limits_follow(struct egress_limits *limits, const struct path_options *path);
/* Nothing of the path is needed any more: reserved tokens go back, slots stay. */
void egress_limits_retire(struct egress_limits *limits);
/* The set is whole: the limits are at work. */
void egress_limits_begin(struct egress_limits *limits);
/* Before the cells go, with egress_limits_mail_out no more: nothing is reserved, wanted or limited
 * by rates any more. */
void egress_limits_end(struct egress_limits *limits);

/* Takes a slot of each cell, or none, and then waits for the full one: `granted` follows. Of what
 * it would send: its class, and its weight, at least 1. */
MUST_USE bool egress_limits_take(struct egress_limits *limits, enum slot_class class,
                                 uint32_t weight);
/* Each to whoever waits for it. */
void egress_limits_give(struct egress_limits *limits);
/* The cargo that came with a slot, and the slots of the other cells with it; null: none did. */
MUST_USE struct slot_cargo *egress_limits_take_cargo(struct egress_limits *limits);
/* It has been taken, or goes home with the slots. */
void egress_limits_unload(struct egress_limits *limits, struct slot_cargo *cargo, bool taken);
/* What one connection has of each cell goes with it to another shard; false: nobody there waits for
 * one to the same site. */
MUST_USE bool egress_limits_pass(struct egress_limits *limits, struct slot_cargo *cargo);
/* It has come home and was not taken: so have its slots. */
void egress_limits_passed_back(struct egress_limits *limits);
/* No slot is wanted. */
void egress_limits_rest(struct egress_limits *limits);
/* Are there connections that it does not use? Then `asked` comes when others wait for a slot. */
void egress_limits_spare(struct egress_limits *limits, bool spare);
/* Should one of our connections end for others, or go to another shard, if they wait for the same
 * site? `weight` as above; 0: nothing could be sent. */
enum egress_yield { EGRESS_KEEP, EGRESS_HAND_OVER, EGRESS_CLOSE };
MUST_USE enum egress_yield egress_limits_yield(struct egress_limits *limits,
                                               enum slot_class class, uint32_t weight);
/* Cells of it may not be given back yet. */
bool egress_limits_mail_out(const struct egress_limits *limits);

/* Number `i` of those that a path has, below EGRESS_CELLS_MAX, without a cell. False: there is
 * none. */
MUST_USE bool egress_limits_of(const struct path_options *path, unsigned i,
                               struct limit_view *view_out);
/* The same with its cell. False: there is none, or they are not at work. */
MUST_USE bool egress_limits_at(const struct egress_limits *limits, unsigned i,
                               struct limit_view *view_out);

#endif
