/*
 * The automation of traffic shaping: records of deliveries in, effects out. Which rules a record
 * may meet is said by whoever has the shaping (core/shaping_rule.h: groups); one scan of its reply
 * finds those that match, a trigger (tsa/window.h) counts for each rule and site apart, and each
 * action becomes an effect that ends by itself, so long after the event as its rule says.
 *
 * Effects, as KumoMTA has them:
 *   Suspend          the ready queue of the record's site and source
 *   SuspendTenant    scheduled queues of the domain and tenant; without a tenant nothing
 *   SuspendCampaign  the same of the campaign, too; without a campaign those of the tenant
 *   Bounce, BounceTenant, BounceCampaign  scheduled queues of the domain, and so on
 *   SetConfig        an option for the domain and source, with all domains of its site unless the
 *                    rule stands in a block with mx_rollup = false
 *   SetDomainConfig  the same for the domain alone
 *
 * Bounds: effects and counters in tables of fixed size. With all effects live a new one is refused
 * and told; a new counter takes the place of the one that has counted least recently. Both are
 * counted. Pure: no clock but the records' and the caller's. One thread.
 *
 * Both tables are kept by whoever wants to (shard/state_db.h): a row is a slot, and slots that
 * have changed are asked for.
 */
#ifndef RINGPOST_TSA_AUTOMATION_H
#define RINGPOST_TSA_AUTOMATION_H

#include "core/heap.h"
#include "core/htab.h"
#include "core/list.h"
#include "core/shaping_rule.h"
#include "tsa/once.h"
#include "tsa/window.h"

#define AUTOMATION_RULES_MAX        64u   /* that act on one record; the rest are counted */
#define AUTOMATION_TEXT_BYTES_MAX   1024u /* all texts of one effect */
#define AUTOMATION_REASON_BYTES_MAX 256u  /* of the reply that is kept of it */
#define AUTOMATION_ROW_BYTES_MAX    1280u

struct automation_record {
    uint64_t wall_ns;        /* of the event; later than now: now */
    struct slice response;   /* "CODE E.N.H text" on one line: event_put_reply */
    struct slice site;       /* "SOURCE->NAME@smtp_client"; empty before routing */
    struct slice source;
    struct slice domain;     /* of the recipient, the first if there are several */
    struct slice tenant;     /* empty: none */
    struct slice campaign;
    const uint32_t *groups;  /* of the rule set: default, providers, site block, domain block */
    uint32_t group_count;
    bool has_reference;      /* it is of a report about mail of ours … */
    struct id reference;     /* … which is this: it counts once (tsa/once.h) */
};

/* What is in force. Texts that mean nothing to its kind are empty. */
struct automation_effect {
    uint64_t id;         /* never another's, over restarts too */
    enum shaping_action_kind kind; /* SuspendCampaign without a campaign: SuspendTenant */
    bool rollup;         /* SetConfig: with all domains of the site */
    bool remote;         /* others have it in force (automation_impose), and no rule of ours */
    uint64_t rule_hash;
    uint64_t event_ns;   /* the last that caused it */
    uint64_t expires_ns; /* wall clock */
    struct slice site;
    struct slice source;
    struct slice domain;
    struct slice tenant;
    struct slice campaign;
    struct slice name;   /* of the option */
    struct slice value;  /* as TOML text */
    struct slice reason; /* the reply, cut */
};

enum automation_change {
    AUTOMATION_BEGUN,
    AUTOMATION_EXTENDED, /* it ends later than it did */
    AUTOMATION_REFUSED,  /* there is no room; its id is 0 */
    AUTOMATION_CANCELLED,
    AUTOMATION_EXPIRED,
};

/* Called within the functions below; `rule` is null where none is at hand. Not to call back. */
typedef void automation_tell(void *context, enum automation_change change,
                             const struct automation_effect *effect,
                             const struct shaping_rule *rule);

struct automation_stats {
    uint64_t records;
    uint64_t matches;          /* of a rule with a record */
    uint64_t internal;         /* records that are replies of our own */
    uint64_t expired;          /* matches whose effect would have ended by now */
    uint64_t triggered;
    uint64_t unscoped;         /* actions without a tenant or a site to act on */
    uint64_t reports;          /* that counted */
    uint64_t reports_passed;   /* that did not: told before, too old, or of before the start */
    uint64_t over_rules;       /* records that more rules matched than act */
    uint64_t refused;          /* effects without room */
    uint64_t counters_dropped;
    uint64_t changes[AUTOMATION_EXPIRED + 1];
};

struct automation_slot;
struct automation_counter;

struct automation {
    struct automation_slot *slots;       /* effects */
    struct automation_counter *counters;
    uint32_t effects_max;
    uint32_t counters_max;
    struct list free_slots;
    struct list recent;                  /* counters, that which counted last first */
    uint32_t counters_used;
    struct htab effects_by_key;
    struct htab counters_by_key;
    struct once once;                    /* reports that have counted */
    uint64_t *dirty[2];                  /* a bit for each slot: enum automation_table */
    uint64_t next_id;
    uint64_t next_expiry_ns;             /* none ends before that */
    const struct shaping_rule_set *rules; /* borrowed; null: none */
    struct patterns_scratch *scratch;     /* borrowed */
    automation_tell *tell;
    void *context;
    struct automation_stats stats;
};

/* Boot: all memory there will ever be, in `heap`. `first_id` > 0: ids go on from there.
 * `seed` is random: of both tables, whose keys peers choose. Rows do not depend on it. */
void automation_init(struct automation *automation, struct heap *heap, uint32_t effects_max,
                     uint32_t counters_max, uint64_t first_id, uint64_t seed);
void automation_listen(struct automation *automation, automation_tell *tell, void *context);
/* It starts: reports of mail from before do not count. */
void automation_begin(struct automation *automation, uint64_t wall_ns);
/* From now on; null: none. `scratch` is of their patterns. Effects of rules that are no more end in
 * their time. */
void automation_use(struct automation *automation, const struct shaping_rule_set *rules,
                    struct patterns_scratch *scratch);

void automation_judge(struct automation *automation, const struct automation_record *record,
                      uint64_t now_ns);
/* "451 4.4.1 Ringpost internal: …": made by us, or by a KumoMTA that hands us its records. */
bool automation_is_internal(struct slice response);
/*
 * What others have in force: it begins, or ends later; of the effect that it is here, its slot.
 * Null: there is no room. A rule of ours that causes the same makes it ours.
 */
const struct automation_effect *automation_impose(struct automation *automation,
                                                  const struct automation_effect *effect,
                                                  uint32_t *slot_out);
/* The same effect, whenever it ends and whoever has it; null: it is not in force. */
const struct automation_effect *automation_find(const struct automation *automation,
                                                const struct automation_effect *effect,
                                                uint32_t *slot_out);
/* Ends what is over. Cheap when nothing is. */
void automation_expire(struct automation *automation, uint64_t now_ns);
/* False: there is none with this id. A rule that matches again begins a new one. */
MUST_USE bool automation_cancel(struct automation *automation, uint64_t id);
/* All that are in force, in no order; begin with *cursor = 0. Null: the end; else *cursor is
 * behind its slot. */
const struct automation_effect *automation_next(const struct automation *automation,
                                                uint32_t *cursor);

/* "begun", "extended" … */
const char *automation_change_name(enum automation_change change);
/* A line of JSON with its line end, for an audit log and for lists. `rule` may be null. */
void automation_put_json(struct buf *buf, const char *change,
                         const struct automation_effect *effect, const struct shaping_rule *rule);

/* --- rows ------------------------------------------------------------------------------------- */

enum automation_table { AUTOMATION_EFFECTS, AUTOMATION_COUNTERS };

/* The next slot from *slot on that has changed since this was asked last; false: none. */
MUST_USE bool automation_changed(struct automation *automation, enum automation_table table,
                                 uint32_t *slot);
/* It was not kept after all; or all of them. */
void automation_change(struct automation *automation, enum automation_table table, uint32_t slot);
void automation_change_all(struct automation *automation);
/* At most AUTOMATION_ROW_BYTES_MAX, with a checksum; nothing: the slot is empty. */
void automation_put_row(const struct automation *automation, enum automation_table table,
                        uint32_t slot, struct buf *buf);
/*
 * Before the first record, rows in the order of their slots: what one says becomes an effect (told
 * as begun) or a counter, in its slot or one before it. Then all slots are to be written again, in
 * this order: what stands twice when that is cut off is taken once. False: it is damaged, or over,
 * or there is no room. Ids go on behind it.
 */
MUST_USE bool automation_restore(struct automation *automation, enum automation_table table,
                                 struct slice row, uint64_t now_ns);

#endif
