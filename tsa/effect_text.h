/*
 * What automation has in force (tsa/automation.h), as others want to read it: in the forms of
 * KumoMTA's tsa-daemon, which its servers know. Pure; overflow is the buffer's, sticky.
 *
 *   an entry    {"rule_hash","site_name","reason","source","expires"} of a ready queue,
 *               {"rule_hash","tenant","domain","campaign","reason","expires"} of scheduled queues;
 *               of bounces the domain comes first. What an effect has none of is left out
 *   a setting   the same of SetConfig and SetDomainConfig: {"rule_hash","domain","source","name",
 *               "value" as TOML text,"mx_rollup","reason","expires"}
 *   a file      all settings as a file of traffic shaping
 */
#ifndef RINGPOST_TSA_EFFECT_TEXT_H
#define RINGPOST_TSA_EFFECT_TEXT_H

#include "core/json.h"
#include "tsa/automation.h"

/* Of one entry or setting. */
#define EFFECT_TEXT_BYTES_MAX (JSON_STRING_GROWTH * AUTOMATION_TEXT_BYTES_MAX + 512u)

enum effect_form {
    EFFECT_READY_SUSPENSION,
    EFFECT_SCHED_SUSPENSION,
    EFFECT_SCHED_BOUNCE,
    EFFECT_SETTING,
};

enum effect_form effect_form(const struct automation_effect *effect);
/* The entry or the setting. */
void effect_put_json(struct json *json, const struct automation_effect *effect);

/* Those of one automation at one time. Memory of the list: a pointer for each effect there may
 * be. */
struct effect_list {
    const struct automation_effect **effects; /* borrowed until the automation changes */
    uint32_t count;
    size_t text_bytes; /* of all their texts */
};

/* Those of these forms (a bit for each enum effect_form) that are not over, in the order of their
 * ids: oldest first. */
void effect_list_take(struct effect_list *list, const struct automation *automation,
                      unsigned forms, uint64_t now_ns);
/* What the functions below put of it, at most. */
size_t effect_list_bytes(const struct effect_list *list);

/* {"ready_q":[…],"sched_q":[…]} of suspensions. */
void effect_list_put_suspensions(const struct effect_list *list, struct buf *buf);
/* […] of bounces. */
void effect_list_put_bounces(const struct effect_list *list, struct buf *buf);
/*
 * A TOML file of settings, each under its reason and end; the list is put in their order. Where two
 * set the same option of a domain and source the newer one counts. A block has mx_rollup = true
 * when one of its settings does: what is set for all domains of a site is to reach them. What is of
 * no domain with a dot, or of no source that a configuration may have, is told of and left out.
 */
void effect_list_put_file(struct effect_list *list, struct buf *buf);

#endif
