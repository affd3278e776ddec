/*
 * Rules of traffic shaping that act by themselves: what a reply says, and what then is done for how
 * long. In KumoMTA's form, one table of an `automation` array each:
 *
 *   regex           one pattern (core/patterns.h) or a list: any of them
 *   action          one or a list: all of them. "Suspend", "SuspendTenant", "SuspendCampaign",
 *                   "Bounce", "BounceTenant", "BounceCampaign", {SetConfig={name=…, value=…}},
 *                   {SetDomainConfig={name=…, value=…}}, the name that of an egress path option
 *   trigger         "Immediate" (default), or {Threshold="10/hr"}
 *   duration        of what is done, counted from the event; required
 *   match_internal  true: looks at replies that we made ourselves, too; default false
 *
 * Rules live in the heap of the configuration they came in. Reading is for core/conf*.c and
 * core/shaping*.c; rules and sets are readable by any thread.
 */
#ifndef RINGPOST_CORE_SHAPING_RULE_H
#define RINGPOST_CORE_SHAPING_RULE_H

#include "core/gcra.h"
#include "core/heap.h"
#include "core/patterns.h"

#define SHAPING_RULE_PATTERNS_MAX 64u  /* of one rule */
#define SHAPING_RULE_ACTIONS_MAX  16u

enum shaping_action_kind {
    SHAPING_SUSPEND,
    SHAPING_SUSPEND_TENANT,
    SHAPING_SUSPEND_CAMPAIGN,
    SHAPING_BOUNCE,
    SHAPING_BOUNCE_TENANT,
    SHAPING_BOUNCE_CAMPAIGN,
    SHAPING_SET_CONFIG,
    SHAPING_SET_DOMAIN_CONFIG,
    SHAPING_ACTIONS,
};

struct shaping_action {
    enum shaping_action_kind kind;
    struct slice name;  /* of the option; of the last two kinds only */
    struct slice value; /* as TOML text: "\"1/minute\"", "3" */
};

struct shaping_pattern {
    struct slice text;
    uint32_t line; /* where it stands */
    uint32_t column;
};

struct shaping_rule {
    const struct shaping_pattern *patterns;
    uint32_t pattern_count;
    const struct shaping_action *actions;
    uint32_t action_count;
    bool match_internal;
    struct rate threshold; /* not set: immediate. Its burst means nothing here */
    uint64_t duration_ns;
    uint64_t hash; /* of all above but places: the same in every version, on every node */
    const char *file;
    uint32_t line;
};

struct shaping_rules {
    const struct shaping_rule *rules;
    uint32_t count;
};

/* "Suspend", "SetConfig" … */
const char *shaping_action_name(enum shaping_action_kind kind);
/* Exactly such a name. */
MUST_USE bool shaping_action_parse(struct slice name, enum shaping_action_kind *kind_out);

/* --- all rules of a shaping ------------------------------------------------------------------- */

/* Those of one block of the merged files, in file order. */
struct shaping_rule_group {
    struct slice name; /* "default", a provider's, a domain */
    bool rollup;       /* what SetConfig sets counts for all domains of the site: true but for
                          domain blocks with mx_rollup = false */
    struct shaping_rules rules;
};

struct shaping_rule_set {
    struct heap heap;          /* of this struct and its tables */
    struct patterns *patterns; /* owned: of all rules, one after another */
    const struct shaping_rule_group *groups; /* borrowed */
    uint32_t group_count;
    const uint32_t *first_rule;    /* of each group, and one more: rule_count */
    uint32_t rule_count;
    const struct shaping_rule **rules;
    const uint32_t *first_pattern; /* of each rule, and one more: how many there are */
};

/* Why a rule's pattern is not taken; null rule: about no one of them. */
typedef void shaping_rule_refuse(void *context, const struct shaping_rule *rule, uint32_t pattern,
                                 struct slice why);

/* Null, and `refuse` was called. Worker or boot thread: some hundred rules take a part of a
 * second. `groups` and their rules outlive the set. */
MUST_USE struct shaping_rule_set *shaping_rule_set_compile(const struct shaping_rule_group *groups,
                                                           uint32_t count,
                                                           shaping_rule_refuse *refuse,
                                                           void *context);
/* Null is nothing to free. After all scratches of its patterns. */
void shaping_rule_set_free(struct shaping_rule_set *set);

/* --- reading ---------------------------------------------------------------------------------- */

struct conf_load;
struct conf_value;

/*
 * The rules of one `automation` array, added behind those that are there. Errors, each with its
 * file and line: what is missing, unknown or out of range, a pattern that is too large, an option
 * that egress paths do not have or a value that it does not take. What is wrong is left out. That
 * patterns are well formed shows when they are compiled.
 */
void conf_apply_automation(struct conf_load *load, const struct conf_value *array,
                           struct shaping_rules *rules);
/* shaping_rule_set_compile, with errors told by file and line. */
MUST_USE struct shaping_rule_set *
conf_compile_automation(struct conf_load *load, const struct shaping_rule_group *groups,
                        uint32_t count);

#endif
