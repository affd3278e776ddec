/*
 * Automation on a node: rules of traffic shaping act on what servers answer. One per node, on the
 * TSA shard, which every call is made on.
 *
 *   mail shards: advice_tap.h ──► records ──► tsa/automation.h ──► effects ──► smtp/admin.h ──► all
 *                                                  │  └──► overrider.h ──────────────────► shards
 *                                                  └──► tsa/automation_store.h: the disk
 *
 * Suspensions and bounces stand in the table of orders beside those of operators, marked with their
 * effect, and end by themselves. What begins or ends goes to the shards at once; that one lasts
 * longer than it did, within a second. Effects come back over a restart before mail moves.
 *
 * Whatever changes is a line in the log: event=automation change=begun id=… action=… rule=….
 * An effect that lasts longer, again and again, has one line a second at most.
 */
#ifndef RINGPOST_SMTP_ADVISOR_H
#define RINGPOST_SMTP_ADVISOR_H

#include "core/histogram.h"
#include "core/logline.h"
#include "smtp/admin.h"
#include "smtp/advice_tap.h"
#include "smtp/overrider.h"
#include "tsa/automation.h"
#include "tsa/automation_store.h"

#define ADVISOR_EFFECTS_MAX  ADMIN_ENTRIES_MAX
#define ADVISOR_COUNTERS_MAX 16384u

/* Replies whose effects have begun, and not all shards have obeyed yet. */
struct advisor_fresh {
    unsigned count;
    unsigned sent; /* of these are on their way */
    struct {
        uint64_t ns; /* monotonic */
        bool remote;
    } replies[ADVISOR_EFFECTS_MAX];
};

/* How an effect gets to the shards: as an order of admin, as an override of an option. */
enum advisor_way { ADVISOR_ORDER, ADVISOR_OVERRIDE, ADVISOR_WAYS };

/* Embedded in whoever cancels. */
struct advisor_cancel {
    struct list link;
    void (*done)(struct advisor_cancel *cancel); /* from the loop: no shard has it any more */
    enum advisor_way way;                        /* the advisor's own, like the next one */
    uint64_t change;
};

struct advisor {
    struct shard *shard;                   /* borrowed, like the next ones */
    struct admin *admin;
    const char *dir;                       /* node.state_dir */
    const char *database;                  /* of the store, instead of that in it; null: none */
    struct log_sink log;
    void (*loaded)(struct advisor *advisor);
    /* All shards have these overrides, until the next call; null: there are none. */
    void (*shaped)(struct advisor *advisor, const struct shaping_overrides *overrides);
    struct heap *heap;                     /* boot */
    struct automation automation;
    struct automation_store store;
    struct admin_rules rules;
    struct overrider overrider;
    struct timer timer;                    /* ends effects, tells extensions */
    bool changed[ADVISOR_WAYS];            /* the shards are to be told, at the end of this call */
    bool restoring;
    bool full;                             /* an effect found no room, and that was said */
    bool stopping;
    uint64_t reply_ns;                     /* of the record that is judged; 0: it is no news */
    unsigned extended_count;
    uint64_t extended[ADVISOR_EFFECTS_MAX]; /* effects that last longer, not told yet */
    struct advisor_fresh fresh[ADVISOR_WAYS];
    uint64_t slot_ids[ADVISOR_EFFECTS_MAX]; /* whose the slots of admin are */
    struct list cancels;
    struct histogram reaction;             /* nanoseconds from a reply until all shards obey */
    struct histogram remote;               /* … from a reply that another server got */
};

/* Boot: shard, admin, dir, log, loaded, shaped and heap are set by the caller. */
void advisor_init(struct advisor *advisor, struct boot_pages *pages, unsigned shards);
void advisor_shard_set(struct advisor *advisor, unsigned index, struct delivery *delivery);
/* Before admin_load: ends in `loaded`, from the loop. */
void advisor_load(struct advisor *advisor);
/* By these rules from now on, which are borrowed until the next call; null: none. */
void advisor_use(struct advisor *advisor, const struct shaping_rule_set *rules);

/* mail_arrive of struct advice_batch. */
void advisor_arrive(struct shard *shard, struct mail *mail);

/*
 * What another daemon has in force goes into the engine by tsa/subscriber.h: before a change, when
 * its event was (wall clock; 0: it is no news); and when all that has come is there.
 */
void advisor_taking(struct advisor *advisor, uint64_t event_ns);
void advisor_taken(struct advisor *advisor);

/* False: there is no such effect. Else done follows. */
MUST_USE bool advisor_cancel(struct advisor *advisor, uint64_t id, struct advisor_cancel *cancel);
/* Null: there is none with this hash in force. */
const struct shaping_rule *advisor_rule(const struct advisor *advisor, uint64_t hash);

/* The last changes are written; cancels are done with. */
void advisor_stop(struct advisor *advisor);
bool advisor_idle(const struct advisor *advisor);
void advisor_fini(struct advisor *advisor);

#endif
