/*
 * Reaction: a server at half load, and sites that begin to answer that mail is deferred for a
 * while: how long it takes from such a reply until no thread sends to that site any more. The
 * server's own histogram says it (ringpost_rule_reaction_seconds).
 *
 * Most mail goes to one site that takes it, the rest to many that answer 421 always; the first
 * reply of each suspends it, so that there is one reaction for each.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cast.h"

#define PROMISED_MS       5.0 /* p99 */
#define HEALTHY_SHARE     9u  /* of ten messages */
#define SITE_DOMAIN_BYTES 32u
#define SCRIPT            "rcpt *.s0.test pass\n"                                                  \
                          "rcpt *.test 421 4.7.0 [TSS04] Messages from 192.0.2.1 temporarily "     \
                          "deferred due to user complaints\n"
#define RULE              "[[shaping.default.automation]]\n"                                       \
                          "regex = '\\[TSS04\\]'\naction = \"Suspend\"\nduration = \"1 hour\"\n"

struct reaction {
    const struct scenario *scenario;
    double reactions;
    double p50_ms;
    double p99_ms;
    double max_ms;
    double accepted;
    double delivered;
    double seconds;
    double cpu_mta_s;
};

/* One domain of the site that takes mail, and one of each that does not. */
static void put_domains(const struct scenario *scenario, struct buf *buf)
{
    buf_printf(buf, "a.s0.test:%" PRIu64 "\n", HEALTHY_SHARE * scenario->sites);
    for (uint64_t i = 1; i <= scenario->sites; i++) {
        buf_printf(buf, "a.s%" PRIu64 ".test\n", i);
    }
}

static bool reaction_go(const struct scenario *scenario, struct cast *cast, struct buf *reason)
{
    struct mta_options mta = {
        .sites = (unsigned)scenario->sites + 1, .rules = scenario->rules, .more = RULE};
    return cast_start_sink(cast, reason) &&
           cast_start_mta(cast, scenario->bin, "reaction", mta, reason) &&
           cast_start_source(cast, reason) && cast_wait_sent(cast, reason);
}

static bool figures(struct reaction *reaction, const struct cast *cast,
                    const struct cast_counts *counts, struct buf *reason)
{
    const char *line = cast->mta.stopped;
    reaction->reactions = line_number(line, "reactions");
    reaction->p50_ms = line_number(line, "reaction_us_p50") / 1000;
    reaction->p99_ms = line_number(line, "reaction_us_p99") / 1000;
    reaction->max_ms = line_number(line, "reaction_us_max") / 1000;
    reaction->accepted = (double)counts->source.accepted;
    reaction->delivered = (double)counts->sink.messages;
    reaction->seconds = (double)(counts->source.last_ns - counts->source.first_ns) / 1e9;
    reaction->cpu_mta_s = child_cpu_s(&cast->mta.child);
    if (!(reaction->reactions >= 1)) {
        buf_printf(reason, "no rule reacted: %.200s", line);
        return false;
    }
    return true;
}

static bool reaction_cast(struct reaction *reaction, struct slice domains, struct buf *reason)
{
    const struct scenario *scenario = reaction->scenario;
    struct cast cast;
    struct cast_counts counts;
    struct cast_options options = {
        .scenario = scenario,
        .messages = MAX_OF(scenario->rate * scenario->seconds, 1),
        .rate = scenario->rate,
        .domains = domains,
        .script = SLICE(SCRIPT),
    };
    if (!cast_open(&cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&cast, reaction_go(scenario, &cast, reason), reason) &&
                cast_look(&cast, &counts) && figures(reaction, &cast, &counts, reason);
    cast_close(&cast);
    return good;
}

/* --- the result ------------------------------------------------------------------------------- */

static void reaction_json(const void *result, struct buf *buf)
{
    const struct reaction *reaction = result;
    const struct scenario *scenario = reaction->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "rate", (double)scenario->rate, 0);
    report_put_number(&json, "shards", (double)scenario->shards, 0);
    report_put_number(&json, "rules", (double)scenario->rules + 1, 0);
    report_put_number(&json, "sites", (double)scenario->sites, 0);
    report_put_number(&json, "accepted", reaction->accepted, 0);
    report_put_number(&json, "delivered", reaction->delivered, 0);
    report_put_number(&json, "seconds", reaction->seconds, 3);
    report_put_number(&json, "mta_cpu_s", reaction->cpu_mta_s, 2);
    report_put_number(&json, "reactions", reaction->reactions, 0);
    report_put_number(&json, "reaction_ms_p50", reaction->p50_ms, 3);
    report_put_number(&json, "reaction_ms_p99", reaction->p99_ms, 3);
    report_put_number(&json, "reaction_ms_max", reaction->max_ms, 3);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void reaction_table(const void *result, struct buf *buf)
{
    const struct reaction *reaction = result;
    const struct scenario *scenario = reaction->scenario;
    buf_printf(buf, "%" PRIu64 " messages/s for %.0f s, %" PRIu64 " shard%s, %" PRIu64 " rules; a "
               "tenth to %" PRIu64 " sites that answer 421\n\n"
               "%.0f reactions, from the reply until all threads obey: p50 %.2f ms, p99 %.2f ms, "
               "max %.2f ms\n"
               "promised: p99 of at most %.0f ms: %s\n",
               scenario->rate, reaction->seconds, scenario->shards,
               scenario->shards == 1 ? "" : "s", scenario->rules + 1, scenario->sites,
               reaction->reactions, reaction->p50_ms, reaction->p99_ms, reaction->max_ms,
               PROMISED_MS, reaction->p99_ms <= PROMISED_MS ? "held" : "NOT HELD");
}

bool run_reaction(struct scenario *scenario, struct buf *reason)
{
    struct reaction reaction = {.scenario = scenario};
    struct scenario_result result = {&reaction, reaction_json, reaction_table};
    size_t bytes = (scenario->sites + 1) * SITE_DOMAIN_BYTES;
    uint8_t *memory = malloc(bytes);
    struct buf domains;
    if (memory == NULL) {
        buf_put_string(reason, "no memory for the domains");
        return false;
    }
    buf_init(&domains, memory, bytes);
    put_domains(scenario, &domains);
    bool good = scenario_rate(scenario, reason) &&
                reaction_cast(&reaction, buf_slice(&domains), reason) &&
                scenario_publish(scenario, &result, reason);
    free(memory);
    return good;
}
