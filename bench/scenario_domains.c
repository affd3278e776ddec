/*
 * Domains: mail to many domains that share a few sites, and as much to one domain, in turns. Both
 * servers know the same names (static, an MX for each site) and may have as many connections in
 * all: a site of many has its part of them.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/domains.h"
#include "bench/round.h"

#define RATIO_LEAST      0.9 /* promised of the median */
#define WARM_UP_MESSAGES 20000u

struct domains_round {
    struct run one;
    struct run many;
};

struct domains_result {
    const struct scenario *scenario;
    struct buf names; /* owned: of the many */
    unsigned round_count;
    struct domains_round rounds[REPORT_ROUNDS_MAX];
};

/* --- rounds ----------------------------------------------------------------------------------- */

static bool domains_turn(const struct domains_result *result, bool many, uint64_t messages,
                         struct run *run_out, struct buf *reason)
{
    const struct scenario *scenario = result->scenario;
    uint64_t sites = many ? MIN_OF(scenario->sites, scenario->domains) : 1;
    struct round_options options = {
        .bin = scenario->bin,
        .messages = messages,
        .domains = many ? buf_slice(&result->names) : SLICE("one.s0.test"),
        .sites = (unsigned)scenario->sites,
        .connections = (unsigned)((scenario->connections + sites - 1) / sites),
    };
    return round_run(scenario, &options, run_out, reason);
}

/* The two take turns in being first. */
static bool domains_round(const struct domains_result *result, unsigned number, uint64_t messages,
                          struct domains_round *round, struct buf *reason)
{
    bool many_first = number % 2 == 1;
    return domains_turn(result, many_first, messages, many_first ? &round->many : &round->one,
                        reason) &&
           domains_turn(result, !many_first, messages, many_first ? &round->one : &round->many,
                        reason);
}

static double round_ratio(const void *round)
{
    const struct domains_round *both = round;
    return both->many.rate / both->one.rate;
}

static bool domains_rounds(struct domains_result *result, struct buf *reason)
{
    const struct scenario *scenario = result->scenario;
    struct domains_round warm_up;
    if (!domains_round(result, 0, MIN_OF(scenario->messages, WARM_UP_MESSAGES), &warm_up,
                       reason)) {
        return false;
    }
    for (unsigned i = 0; i < scenario->rounds; i++) {
        struct domains_round *round = &result->rounds[i];
        if (!domains_round(result, i, scenario->messages, round, reason)) {
            return false;
        }
        result->round_count++;
        fprintf(stderr, "round %u: one %.0f/s, many %.0f/s, ratio %.3f\n", i + 1, round->one.rate,
                round->many.rate, round_ratio(round));
    }
    return true;
}

/* --- the result ------------------------------------------------------------------------------- */

static double ratio_median(const struct domains_result *result)
{
    return median_of_rounds(result->rounds, sizeof(result->rounds[0]), result->round_count,
                            round_ratio);
}

static void domains_json(const void *context, struct buf *buf)
{
    const struct domains_result *result = context;
    const struct scenario *scenario = result->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "messages", (double)scenario->messages, 0);
    report_put_number(&json, "size", (double)scenario->size, 0);
    report_put_number(&json, "domains", (double)scenario->domains, 0);
    report_put_number(&json, "sites", (double)scenario->sites, 0);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < result->round_count; i++) {
        const struct domains_round *round = &result->rounds[i];
        json_object(&json);
        json_key(&json, "one");
        report_put_run(&json, &round->one);
        json_key(&json, "many");
        report_put_run(&json, &round->many);
        report_put_number(&json, "ratio", round_ratio(round), 4);
        json_object_end(&json);
    }
    json_array_end(&json);
    report_put_number(&json, "ratio_median", ratio_median(result), 4);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void put_run(struct buf *buf, const struct run *run)
{
    report_put_cell(buf, run->rate, 9, 0);
    report_put_cell(buf, run->mta_cpu_us_per_message, 8, 1);
    report_put_cell(buf, run->enters_per_message, 8, 2);
}

static void domains_table(const void *context, struct buf *buf)
{
    const struct domains_result *result = context;
    const struct scenario *scenario = result->scenario;
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes to one domain, and to %" PRIu64
               " domains on %" PRIu64 " sites; %" PRIu64 " connections\n\n"
               "       ---------- one ----------  --------- many ----------\n"
               "round    rate/s   CPU us   enters    rate/s   CPU us   enters  ratio\n",
               scenario->messages, scenario->size, scenario->domains, scenario->sites,
               scenario->connections);
    for (unsigned i = 0; i < result->round_count; i++) {
        const struct domains_round *round = &result->rounds[i];
        buf_printf(buf, "%5u", i + 1);
        put_run(buf, &round->one);
        put_run(buf, &round->many);
        report_put_cell(buf, round_ratio(round), 6, 3);
        buf_put_string(buf, "\n");
    }
    double median = ratio_median(result);
    buf_printf(buf, "many / one: median %.3f; promised: at least %.1f: %s\n", median, RATIO_LEAST,
               median >= RATIO_LEAST ? "held" : "NOT HELD");
}

/* --- the run ---------------------------------------------------------------------------------- */

static bool domains_run(struct domains_result *result, struct buf *reason)
{
    const struct scenario *scenario = result->scenario;
    size_t size = scenario->domains * DOMAINS_SITE_BYTES;
    uint8_t *text = malloc(size);
    struct scenario_result published = {result, domains_json, domains_table};
    if (text == NULL) {
        buf_put_string(reason, "no memory for the domains");
        return false;
    }
    buf_init(&result->names, text, size);
    domains_put_sites(&result->names, scenario->domains, scenario->sites);
    bool good = domains_rounds(result, reason) && scenario_publish(scenario, &published, reason);
    free(text);
    return good;
}

bool run_domains(struct scenario *scenario, struct buf *reason)
{
    struct domains_result *result = calloc(1, sizeof(*result));
    bool good = result != NULL;
    if (good) {
        result->scenario = scenario;
        good = domains_run(result, reason);
    }
    free(result);
    return good;
}
