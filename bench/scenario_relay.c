/* Relay and latency: rounds of sink, server and source. */
#include "bench/scenario.h"

#include <stdio.h>
#include <stdlib.h>

#include "bench/round.h"

#define WARM_UP_MESSAGES 20000u

/* --- relay ----------------------------------------------------------------------------------- */

static bool relay_this(struct scenario *scenario, struct run *run, struct buf *reason)
{
    struct round_options options = {.bin = scenario->bin,
                                    .messages = scenario->messages,
                                    .flush_delay = scenario->flush_delay};
    return round_run(scenario, &options, run, reason);
}

static bool relay_baseline(struct scenario *scenario, struct run *run, struct buf *reason)
{
    struct round_options options = {.bin = scenario->baseline, .messages = scenario->messages};
    return round_run(scenario, &options, run, reason);
}

/* Floor, then this build and the other in turns. */
static bool relay_round(struct scenario *scenario, unsigned number, struct report_round *round,
                        struct buf *reason)
{
    bool old_first = scenario->baseline != NULL && number % 2 == 1;
    round->with_floor = true;
    round->with_relay = true;
    round->with_baseline = scenario->baseline != NULL;
    return floor_run(scenario, false, &round->floor, reason) &&
           (!old_first || relay_baseline(scenario, &round->baseline, reason)) &&
           relay_this(scenario, &round->relay, reason) &&
           (scenario->baseline == NULL || old_first ||
            relay_baseline(scenario, &round->baseline, reason));
}

static bool relay_warm_up(const struct scenario *scenario, struct buf *reason)
{
    struct scenario small = *scenario;
    struct report_round round = {0};
    small.messages = MIN_OF(scenario->messages, WARM_UP_MESSAGES);
    return relay_round(&small, 0, &round, reason);
}

static void relay_progress(unsigned number, const struct report_round *round)
{
    fprintf(stderr, "round %u: floor %.0f/s, relay %.0f/s, ratio %.3f", number, round->floor.rate,
            round->relay.rate, round->relay.rate / round->floor.rate);
    if (round->with_baseline) {
        fprintf(stderr, "; baseline %.0f/s, new / old %.3f", round->baseline.rate,
                round->relay.rate / round->baseline.rate);
    }
    fprintf(stderr, "\n");
}

static bool relay_rounds(struct scenario *scenario, struct report *report, struct buf *reason)
{
    if (scenario->flush_delay != NULL) {
        fprintf(stderr, "relay: each write to the spool is %s late; baseline: as the disk is\n",
                scenario->flush_delay);
    }
    if (!scenario_segment(scenario, reason) || !relay_warm_up(scenario, reason)) {
        return false;
    }
    for (unsigned i = 0; i < scenario->rounds; i++) {
        struct report_round *round = &report->rounds[i];
        if (!relay_round(scenario, i + 1, round, reason)) {
            return false;
        }
        report->round_count++;
        relay_progress(i + 1, round);
    }
    return true;
}

/* --- latency ---------------------------------------------------------------------------------- */

static bool latency_rounds(struct scenario *scenario, struct report *report, struct buf *reason)
{
    if (!scenario_rate(scenario, reason)) {
        return false;
    }
    struct round_options options = {
        .bin = scenario->bin,
        .messages = MAX_OF(MIN_OF(scenario->rate * scenario->seconds, TALLY_NUMBERS_MAX), 1),
        .rate = scenario->rate,
        .flush_delay = scenario->flush_delay,
    };
    for (unsigned i = 0; i < scenario->rounds; i++) {
        struct report_round *round = &report->rounds[i];
        round->with_relay = true;
        if (!round_run(scenario, &options, &round->relay, reason)) {
            return false;
        }
        report->round_count++;
    }
    return true;
}

/* --- both ------------------------------------------------------------------------------------- */

static bool run_rounds(struct scenario *scenario, struct buf *reason,
                       bool (*rounds)(struct scenario *, struct report *, struct buf *))
{
    struct report *report = calloc(1, sizeof(*report));
    bool good = report != NULL && rounds(scenario, report, reason);
    if (good) {
        report->head = scenario->head;
        good = scenario_publish_report(scenario, report, reason);
    }
    free(report);
    return good;
}

bool run_relay(struct scenario *scenario, struct buf *reason)
{
    return run_rounds(scenario, reason, relay_rounds);
}

bool run_latency(struct scenario *scenario, struct buf *reason)
{
    return run_rounds(scenario, reason, latency_rounds);
}
