/*
 * The advice tap: what servers have answered, at once and volatile, from a mail shard to the rules
 * of automation (smtp/advisor.h). One per mail shard, all calls on it.
 *
 * A reply is scanned here, by all patterns in one pass; only one that some pattern matches, of a
 * rule that is asked about its path, travels. Without rules that is one branch for each outcome.
 * Records go in batches made at boot: those of a turn together, one batch under way at a time
 * unless it is full. While all are away records are dropped, and counted: mail never waits for
 * rules.
 */
#ifndef RINGPOST_SMTP_ADVICE_TAP_H
#define RINGPOST_SMTP_ADVICE_TAP_H

#include "core/list.h"
#include "core/patterns.h"
#include "core/shaping.h"
#include "shard/boot.h"
#include "shard/shard.h"
#include "smtp/conf_lease.h"
#include "tsa/automation.h"

#define ADVICE_BATCHES     4u
#define ADVICE_RECORDS_MAX 64u          /* of a batch */
#define ADVICE_BATCH_BYTES (24u * KIB)  /* texts of a batch */
#define ADVICE_GROUPS_MAX  32u          /* of a record */

struct advisor;
struct advice_tap;

struct advice {
    struct automation_record record; /* its texts and groups stand in the batch */
    uint64_t reply_ns;               /* monotonic: when the server had answered */
};

/* Travels to the TSA shard and comes home. */
struct advice_batch {
    struct mail mail;
    struct list link;                     /* free, on the mail shard */
    struct advice_tap *tap;               /* borrowed: home */
    const struct shaping_rule_set *rules; /* by which it was made: not to be followed */
    uint32_t count;
    uint32_t group_count;
    struct buf text;
    struct advice advice[ADVICE_RECORDS_MAX];
    uint32_t groups[ADVICE_RECORDS_MAX * 4];
    uint8_t bytes[ADVICE_BATCH_BYTES];
};

struct advice_tap {
    struct shard *shard;                  /* borrowed, like the next */
    struct advisor *advisor;              /* on shard number `to` */
    unsigned to;
    const struct shaping_rule_set *rules; /* of the configuration in force; null: none */
    struct patterns_scratch *scratch;     /* of its patterns; its maker's */
    struct advice_batch *open;
    struct list free;
    unsigned away;                        /* batches */
    struct deferred flush;
};

/* The rules that act by a configuration; null: there are none. */
static inline const struct shaping_rule_set *advice_rules(const struct conf *conf)
{
    return conf->tsa.off ? NULL : conf->shaping->rules;
}

/* Boot. */
void advice_tap_init(struct advice_tap *tap, struct shard *shard, unsigned to,
                     struct advisor *advisor, struct boot_pages *pages);
/* Rules are by this configuration from now on. */
void advice_tap_set_conf(struct advice_tap *tap, const struct conf_lease *lease);

/* Is anybody to be told of outcomes? */
static inline bool advice_tap_is_on(const struct advice_tap *tap)
{
    return tap->rules != NULL;
}
/* Does some pattern match? Then advice_tap_meets says so for groups, until the next reply. */
bool advice_tap_scan(struct advice_tap *tap, struct slice response);
/* … of a rule in these groups. */
bool advice_tap_meets(struct advice_tap *tap, const uint32_t *groups, uint32_t count);
/* Texts and groups are copied. */
void advice_tap_put(struct advice_tap *tap, const struct advice *advice);

/* Everything is home. */
bool advice_tap_idle(const struct advice_tap *tap);
void advice_tap_fini(struct advice_tap *tap);

/* For the advisor, on its shard: it has taken what stood there. */
void advice_batch_give(struct shard *receiver, struct advice_batch *batch);

#endif
