/*
 * Deferrals: mail of which a share is answered 450, by a server with rules of automation and by one
 * without, in turns: what it costs to look at each such reply. No rule matches, as with most
 * replies; with rules that do mail would stand still. Each message is tried once.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cast.h"
#include "bench/domains.h"
#include "bench/observe.h"

#define RATIO_LEAST      0.95 /* promised of the median */
#define WARM_UP_MESSAGES 20000u
#define RETRY_S          21600u
#define LATER_DOMAINS    100u
#define END_MS_MAX       60000u
#define END_LOOK_MS      2
/* What the second of two counting runs does more is what counts: a start may allocate, too. */
#define COUNTED_FIRST    2000u
#define COUNTED_MORE     8000u

struct deferrals_round {
    struct run without;
    struct run with;
};

struct deferrals {
    const struct scenario *scenario;
    struct buf domains; /* owned */
    double mallocs;     /* of a message, with rules; NAN: not counted */
    unsigned round_count;
    struct deferrals_round rounds[REPORT_ROUNDS_MAX];
};

/* --- one server ------------------------------------------------------------------------------- */

/* The weight of each domain is per mille of all, times the number of those that are deferred. */
static void put_domains(const struct scenario *scenario, struct buf *buf)
{
    uint64_t deferred = scenario->defer_per_mille;
    buf_printf(buf, "sink.test:%" PRIu64 "\n", (1000 - deferred) * LATER_DOMAINS);
    domains_put_later(buf, LATER_DOMAINS, deferred);
}

/* Until all that was accepted has been delivered or refused. */
static bool wait_settled(struct cast *cast, struct cast_counts *counts_out, struct buf *reason)
{
    for (unsigned waited = 0; waited < END_MS_MAX; waited += END_LOOK_MS) {
        if (mta_ended(&cast->mta, reason)) {
            return false;
        }
        if (cast_look(cast, counts_out) &&
            counts_out->sink.messages + counts_out->sink.refused >= counts_out->source.accepted) {
            return true;
        }
        clock_sleep_ms(END_LOOK_MS);
    }
    buf_put_string(reason, "not every message came to its end");
    return false;
}

/* What is not in the counts. */
struct turn {
    uint64_t settled_ns;     /* when all had come to its end */
    struct process_use ready; /* of the server, before the first message: rules are compiled */
};

static bool deferrals_go(struct cast *cast, const char *bin, uint64_t rules, struct turn *turn,
                         struct buf *reason)
{
    struct mta_options mta = {.retry_s = RETRY_S, .rules = rules};
    struct cast_counts counts;
    bool good = cast_start_sink(cast, reason) &&
                cast_start_mta(cast, bin, "deferrals", mta, reason) &&
                process_use_read(cast->mta.child.pid, &turn->ready) &&
                cast_start_source(cast, reason) && cast_wait_sent(cast, reason) &&
                wait_settled(cast, &counts, reason);
    turn->settled_ns = clock_now_ns();
    return good;
}

static void turn_figures(const struct cast *cast, const struct cast_counts *counts,
                         const struct turn *turn, struct run *run)
{
    run_init(run);
    run->messages = (double)cast->options.messages;
    run->seconds = (double)(turn->settled_ns - counts->source.first_ns) / 1e9;
    run->rate = run->messages / run->seconds;
    run->cpu_source_s = child_cpu_s(&cast->source);
    run->cpu_sink_s = child_cpu_s(&cast->sink);
    mta_figures(&cast->mta, run->messages, run);
    run->cpu_mta_s -= (double)turn->ready.cpu_ns / 1e9;
    run->mta_cpu_us_per_message = run->cpu_mta_s * 1e6 / run->messages;
}

static bool deferrals_turn(const struct deferrals *deferrals, const char *bin, uint64_t rules,
                           uint64_t messages, struct run *run_out, struct buf *reason)
{
    struct cast cast;
    struct cast_counts counts;
    struct turn turn = {0};
    struct cast_options options = {
        .scenario = deferrals->scenario,
        .messages = messages,
        .domains = buf_slice(&deferrals->domains),
        .script = SLICE(DOMAINS_LATER_RULE),
    };
    if (!cast_open(&cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&cast, deferrals_go(&cast, bin, rules, &turn, reason), reason) &&
                cast_look(&cast, &counts);
    if (good) {
        turn_figures(&cast, &counts, &turn, run_out);
    }
    cast_close(&cast);
    return good;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static bool deferrals_round(const struct deferrals *deferrals, unsigned number, uint64_t messages,
                            struct deferrals_round *round, struct buf *reason)
{
    const struct scenario *scenario = deferrals->scenario;
    for (unsigned i = 0; i < 2; i++) {
        bool with = (number + i) % 2 == 1;
        if (!deferrals_turn(deferrals, scenario->bin, with ? scenario->rules : 0, messages,
                            with ? &round->with : &round->without, reason)) {
            return false;
        }
    }
    return true;
}

static double round_ratio(const void *round)
{
    const struct deferrals_round *both = round;
    return both->with.rate / both->without.rate;
}

static double round_cpu_ratio(const void *round)
{
    const struct deferrals_round *both = round;
    return both->with.mta_cpu_us_per_message / both->without.mta_cpu_us_per_message;
}

static double median(const struct deferrals *deferrals, round_value *value)
{
    return median_of_rounds(deferrals->rounds, sizeof(deferrals->rounds[0]),
                            deferrals->round_count, value);
}

static bool count_mallocs(struct deferrals *deferrals, struct buf *reason)
{
    const struct scenario *scenario = deferrals->scenario;
    struct run first;
    struct run second;
    deferrals->mallocs = NAN;
    if (scenario->nomalloc == NULL) {
        return true;
    }
    if (!deferrals_turn(deferrals, scenario->nomalloc, scenario->rules, COUNTED_FIRST, &first,
                        reason) ||
        !deferrals_turn(deferrals, scenario->nomalloc, scenario->rules,
                        COUNTED_FIRST + COUNTED_MORE, &second, reason)) {
        return false;
    }
    deferrals->mallocs = (second.mallocs - first.mallocs) / COUNTED_MORE;
    if (!isfinite(deferrals->mallocs)) {
        buf_printf(reason, "--nomalloc %s: that build does not count", scenario->nomalloc);
        return false;
    }
    return true;
}

static bool deferrals_rounds(struct deferrals *deferrals, struct buf *reason)
{
    const struct scenario *scenario = deferrals->scenario;
    struct deferrals_round warm_up;
    if (!deferrals_round(deferrals, 0, MIN_OF(scenario->messages, WARM_UP_MESSAGES), &warm_up,
                         reason)) {
        return false;
    }
    for (unsigned i = 0; i < scenario->rounds; i++) {
        struct deferrals_round *round = &deferrals->rounds[i];
        if (!deferrals_round(deferrals, i, scenario->messages, round, reason)) {
            return false;
        }
        deferrals->round_count++;
        fprintf(stderr, "round %u: %.0f/s without rules, %.0f/s with, ratio %.3f\n", i + 1,
                round->without.rate, round->with.rate, round_ratio(round));
    }
    return count_mallocs(deferrals, reason);
}

/* --- the result ------------------------------------------------------------------------------- */

static void deferrals_json(const void *result, struct buf *buf)
{
    const struct deferrals *deferrals = result;
    const struct scenario *scenario = deferrals->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "messages", (double)scenario->messages, 0);
    report_put_number(&json, "size", (double)scenario->size, 0);
    report_put_number(&json, "rules", (double)scenario->rules, 0);
    report_put_number(&json, "deferred_share", (double)scenario->defer_per_mille / 1000, 3);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < deferrals->round_count; i++) {
        const struct deferrals_round *round = &deferrals->rounds[i];
        json_object(&json);
        json_key(&json, "without");
        report_put_run(&json, &round->without);
        json_key(&json, "with");
        report_put_run(&json, &round->with);
        report_put_number(&json, "ratio", round_ratio(round), 4);
        json_object_end(&json);
    }
    json_array_end(&json);
    report_put_number(&json, "ratio_median", median(deferrals, round_ratio), 4);
    report_put_number(&json, "cpu_ratio_median", median(deferrals, round_cpu_ratio), 4);
    report_put_number(&json, "mallocs_per_message", deferrals->mallocs, 4);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void put_run(struct buf *buf, const struct run *run)
{
    report_put_cell(buf, run->rate, 9, 0);
    report_put_cell(buf, run->mta_cpu_us_per_message, 8, 1);
}

static void deferrals_table(const void *result, struct buf *buf)
{
    const struct deferrals *deferrals = result;
    const struct scenario *scenario = deferrals->scenario;
    double ratio = median(deferrals, round_ratio);
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes, %.1f %% of them answered 450; %"
               PRIu64 " rules, or none\n\n"
               "       -- no rules ----  ---- rules -----\n"
               "round    rate/s   CPU us    rate/s   CPU us  ratio\n",
               scenario->messages, scenario->size, (double)scenario->defer_per_mille / 10,
               scenario->rules);
    for (unsigned i = 0; i < deferrals->round_count; i++) {
        const struct deferrals_round *round = &deferrals->rounds[i];
        buf_printf(buf, "%5u", i + 1);
        put_run(buf, &round->without);
        put_run(buf, &round->with);
        report_put_cell(buf, round_ratio(round), 6, 3);
        buf_put_string(buf, "\n");
    }
    buf_printf(buf, "with / without: median %.3f, of CPU %.3f; promised: at least %.2f: %s\n",
               ratio, median(deferrals, round_cpu_ratio), RATIO_LEAST,
               ratio >= RATIO_LEAST ? "held" : "NOT HELD");
    if (isfinite(deferrals->mallocs)) {
        buf_printf(buf, "allocations of a message, with rules: %.4f\n", deferrals->mallocs);
    }
}

bool run_deferrals(struct scenario *scenario, struct buf *reason)
{
    struct deferrals *deferrals = calloc(1, sizeof(*deferrals));
    size_t bytes = (LATER_DOMAINS + 1) * DOMAINS_LATER_BYTES;
    uint8_t *memory = malloc(bytes);
    bool good = deferrals != NULL && memory != NULL;
    if (good) {
        struct scenario_result result = {deferrals, deferrals_json, deferrals_table};
        deferrals->scenario = scenario;
        buf_init(&deferrals->domains, memory, bytes);
        put_domains(scenario, &deferrals->domains);
        good = deferrals_rounds(deferrals, reason) && scenario_publish(scenario, &result, reason);
    }
    free(memory);
    free(deferrals);
    return good;
}
