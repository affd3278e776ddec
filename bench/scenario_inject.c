/*
 * Inject: how fast mail is accepted over HTTP, in requests of many recipients who share a text with
 * two substitutions of their own, beside SMTP, in turns. Or, with a rate, what becomes of requests
 * of one recipient that come whether the server can take them or not: all that it does not take it
 * is to answer 503 with a Retry-After, and its memory is to stay where it is.
 *
 * Either way the sink takes the mail meanwhile, and checks that everything accepted came once.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/cast.h"
#include "bench/observe.h"
#include "bench/round.h"

#define WARM_UP_MESSAGES 20000u
#define SAMPLES_MAX      3600u
#define SAMPLE_MS_MIN    200u

/* --- rounds ----------------------------------------------------------------------------------- */

struct inject_round {
    struct run smtp;
    struct run http;
};

struct inject {
    struct scenario *scenario;
    unsigned round_count;
    struct inject_round rounds[REPORT_ROUNDS_MAX];
};

static double ratio_of(const struct inject_round *round)
{
    return round->http.accept_rate / round->smtp.accept_rate;
}

static bool inject_side(struct inject *inject, uint64_t messages, bool http,
                        struct inject_round *round, struct buf *reason)
{
    struct round_options options = {.bin = inject->scenario->bin,
                                    .messages = messages,
                                    .per_request = http ? inject->scenario->per_request : 0};
    return round_run(inject->scenario, &options, http ? &round->http : &round->smtp, reason);
}

/* SMTP, then HTTP, or the other way round. */
static bool inject_round(struct inject *inject, unsigned number, uint64_t messages,
                         struct inject_round *round, struct buf *reason)
{
    bool first = number % 2 == 1;
    return inject_side(inject, messages, first, round, reason) &&
           inject_side(inject, messages, !first, round, reason);
}

static bool inject_rounds(struct inject *inject, struct buf *reason)
{
    const struct scenario *scenario = inject->scenario;
    struct inject_round warm_up;
    if (!inject_round(inject, 0, MIN_OF(scenario->messages, WARM_UP_MESSAGES), &warm_up, reason)) {
        return false;
    }
    for (unsigned i = 0; i < scenario->rounds; i++) {
        struct inject_round *round = &inject->rounds[i];
        if (!inject_round(inject, i, scenario->messages, round, reason)) {
            return false;
        }
        inject->round_count++;
        fprintf(stderr, "round %u: SMTP %.0f/s, HTTP %.0f/s, ratio %.3f\n", i + 1,
                round->smtp.accept_rate, round->http.accept_rate, ratio_of(round));
    }
    return true;
}

/* By size. */
static unsigned ratios_of(const struct inject *inject, double ratios[REPORT_ROUNDS_MAX])
{
    for (unsigned i = 0; i < inject->round_count; i++) {
        ratios[i] = ratio_of(&inject->rounds[i]);
    }
    values_sort(ratios, inject->round_count);
    return inject->round_count;
}

static void rounds_json(const void *result, struct buf *buf)
{
    const struct inject *inject = result;
    double ratios[REPORT_ROUNDS_MAX];
    unsigned count = ratios_of(inject, ratios);
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &inject->scenario->head);
    report_put_number(&json, "messages", (double)inject->scenario->messages, 0);
    report_put_number(&json, "size", (double)inject->scenario->size, 0);
    report_put_number(&json, "recipients_per_request", (double)inject->scenario->per_request, 0);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < count; i++) {
        json_object(&json);
        json_key(&json, "smtp");
        report_put_run(&json, &inject->rounds[i].smtp);
        json_key(&json, "http");
        report_put_run(&json, &inject->rounds[i].http);
        report_put_number(&json, "ratio", ratio_of(&inject->rounds[i]), 4);
        json_object_end(&json);
    }
    json_array_end(&json);
    report_put_number(&json, "ratio_median", median_of(ratios, count), 4);
    report_put_number(&json, "ratio_min", ratios[0], 4);
    report_put_number(&json, "ratio_max", ratios[count - 1], 4);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void put_side(struct buf *buf, unsigned round, const char *what, const struct run *run)
{
    buf_printf(buf, "%5u  %-4s", round, what);
    report_put_cell(buf, run->accept_rate, 11, 0);
    report_put_cell(buf, run->rate, 11, 0);
    report_put_cell(buf, run->mta_cpu_us_per_message, 8, 1);
    report_put_cell(buf, run->cpu_source_s * 1e6 / run->messages, 9, 1);
    report_put_cell(buf, run->rss_peak_bytes / MIB_D, 9, 0);
}

static void rounds_table(const void *result, struct buf *buf)
{
    const struct inject *inject = result;
    const struct scenario *scenario = inject->scenario;
    double ratios[REPORT_ROUNDS_MAX];
    unsigned count = ratios_of(inject, ratios);
    buf_printf(buf, "%" PRIu64 " messages of %" PRIu64 " bytes over %" PRIu64 " connections; over "
               "HTTP %" PRIu64 " a request, one text\nwith two substitutions of each recipient\n\n"
               "round  by    accepted/s delivered/s   CPU us client us  RSS MiB  ratio\n",
               scenario->messages, scenario->size, scenario->connections, scenario->per_request);
    for (unsigned i = 0; i < count; i++) {
        put_side(buf, i + 1, "SMTP", &inject->rounds[i].smtp);
        buf_put_string(buf, "\n");
        put_side(buf, i + 1, "HTTP", &inject->rounds[i].http);
        report_put_cell(buf, ratio_of(&inject->rounds[i]), 6, 3);
        buf_put_string(buf, "\n");
    }
    buf_printf(buf, "accepted over HTTP / by SMTP: median %.3f, min %.3f, max %.3f\n",
               median_of(ratios, count), ratios[0], ratios[count - 1]);
}

static bool run_inject_rounds(struct scenario *scenario, struct buf *reason)
{
    struct inject *inject = calloc(1, sizeof(*inject));
    bool good = inject != NULL;
    if (good) {
        inject->scenario = scenario;
        good = inject_rounds(inject, reason);
    }
    if (good) {
        struct scenario_result result = {inject, rounds_json, rounds_table};
        good = scenario_publish(scenario, &result, reason);
    }
    free(inject);
    return good;
}

/* --- open loop -------------------------------------------------------------------------------- */

struct inject_sample {
    double second;
    double answered;
    double shed;
    double rss_bytes;
};

struct offer {
    struct scenario *scenario;
    struct cast cast;
    struct cast_counts counts; /* at the end */
    unsigned sample_count;
    struct inject_sample samples[SAMPLES_MAX];
    double rss_max_bytes;
    struct scenario_picture picture;
};

static bool sample_take(struct offer *offer, double second)
{
    struct cast_counts counts;
    struct process_use use;
    struct inject_sample *sample = &offer->samples[offer->sample_count];
    if (!cast_look(&offer->cast, &counts) ||
        !process_use_read(offer->cast.mta.child.pid, &use)) {
        return false;
    }
    *sample = (struct inject_sample){.second = second,
                                     .answered = (double)counts.source.accepted,
                                     .shed = (double)counts.source.shed,
                                     .rss_bytes = (double)use.rss_bytes};
    offer->rss_max_bytes = MAX_OF(offer->rss_max_bytes, sample->rss_bytes);
    offer->sample_count++;
    return true;
}

/* Until the source has ended. */
static bool offer_watch(struct offer *offer, struct buf *reason)
{
    uint64_t interval_ms =
        MAX_OF(offer->scenario->seconds * 1000 / (SAMPLES_MAX / 2), SAMPLE_MS_MIN);
    uint64_t began_ns = clock_now_ns();
    while (!child_ended(&offer->cast.source)) {
        if (mta_ended(&offer->cast.mta, reason)) {
            return false;
        }
        if (offer->sample_count < SAMPLES_MAX &&
            !sample_take(offer, (double)(clock_now_ns() - began_ns) / 1e9)) {
            buf_put_string(reason, "the source, the sink or the server cannot be looked at");
            return false;
        }
        clock_sleep_ms((unsigned)interval_ms);
    }
    return cast_wait_sent(&offer->cast, reason);
}

static bool offer_go(struct offer *offer, struct buf *reason)
{
    struct cast *cast = &offer->cast;
    struct mta_options mta = {0};
    return cast_start_sink(cast, reason) &&
           cast_start_mta(cast, offer->scenario->bin, "inject", mta, reason) &&
           cast_start_source(cast, reason) && offer_watch(offer, reason) &&
           cast_look(cast, &offer->counts) &&
           cast_wait_received(cast, offer->counts.source.accepted, reason);
}

static bool offer_run(struct offer *offer, struct buf *reason)
{
    struct scenario *scenario = offer->scenario;
    struct cast_options options = {.scenario = scenario,
                                   .messages = scenario->rate * scenario->seconds,
                                   .rate = scenario->rate,
                                   .per_request = 1,
                                   .domains = SLICE("sink.test")};
    if (options.messages > TALLY_NUMBERS_MAX) {
        buf_printf(reason, "--rate x --seconds: more than %u requests", TALLY_NUMBERS_MAX);
        return false;
    }
    if (!cast_open(&offer->cast, &options, reason)) {
        return false;
    }
    bool good = cast_end(&offer->cast, offer_go(offer, reason), reason) &&
                cast_look(&offer->cast, &offer->counts);
    cast_close(&offer->cast);
    return good;
}

static void offer_json(const void *result, struct buf *buf)
{
    const struct offer *offer = result;
    const struct source_result *source = &offer->counts.source;
    struct percentiles latency = percentiles_ms(&source->latency);
    double due = (double)(offer->scenario->rate * offer->scenario->seconds);
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &offer->scenario->head);
    report_put_number(&json, "rate", (double)offer->scenario->rate, 0);
    report_put_number(&json, "seconds", (double)offer->scenario->seconds, 0);
    report_put_number(&json, "due", due, 0);
    report_put_number(&json, "answered_200", (double)source->accepted, 0);
    report_put_number(&json, "answered_503", (double)source->shed, 0);
    report_put_number(&json, "answered_other", (double)source->odd, 0);
    report_put_number(&json, "unsent", (double)source->unsent, 0);
    report_put_number(&json, "delivered", (double)offer->counts.sink.messages, 0);
    report_put_number(&json, "latency_ms_p50", latency.p50, 3);
    report_put_number(&json, "latency_ms_p99", latency.p99, 3);
    report_put_number(&json, "rss_first_bytes", offer->samples[0].rss_bytes, 0);
    report_put_number(&json, "rss_max_bytes", offer->rss_max_bytes, 0);
    report_put_number(&json, "rss_last_bytes", offer->samples[offer->sample_count - 1].rss_bytes,
                      0);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void offer_table(const void *result, struct buf *buf)
{
    const struct offer *offer = result;
    const struct source_result *source = &offer->counts.source;
    struct percentiles latency = percentiles_ms(&source->latency);
    buf_printf(buf, "%" PRIu64 " requests of one recipient a second for %" PRIu64 " s, over "
               "%" PRIu64 " connections\n\n"
               "due             %12" PRIu64 "\n"
               "answered 200    %12" PRIu64 "\n"
               "503, later      %12" PRIu64 "\n"
               "other answers   %12" PRIu64 "\n"
               "not sent        %12" PRIu64 "  no connection was free\n"
               "delivered       %12" PRIu64 "  each once\n"
               "due to answer   %12.2f ms p50, %.2f ms p99\n"
               "memory (RSS)    %12.1f MiB at first, %.1f at most, %.1f at last\n\n",
               offer->scenario->rate, offer->scenario->seconds, offer->scenario->connections,
               offer->scenario->rate * offer->scenario->seconds, source->accepted, source->shed,
               source->odd, source->unsent, offer->counts.sink.messages, latency.p50, latency.p99,
               offer->samples[0].rss_bytes / MIB_D, offer->rss_max_bytes / MIB_D,
               offer->samples[offer->sample_count - 1].rss_bytes / MIB_D);
    scenario_put_files(buf, offer->scenario, &offer->picture);
}

static bool put_samples(const struct offer *offer, struct buf *reason)
{
    FILE *file = scenario_table(offer->scenario, "second\tanswered\tshed\trss_bytes", reason);
    if (file == NULL) {
        return false;
    }
    for (unsigned i = 0; i < offer->sample_count; i++) {
        const struct inject_sample *sample = &offer->samples[i];
        fprintf(file, "%.3f\t%.0f\t%.0f\t%.0f\n", sample->second, sample->answered, sample->shed,
                sample->rss_bytes);
    }
    return fclose(file) == 0;
}

static void offer_plot(struct offer *offer)
{
    static const struct plot_panel panels[] = {
        {.title = "Requests answered", .y_label = "requests",
         .series = {{"answered", "200", 1}, {"shed", "503 with Retry-After", 1}}},
        {.title = "Memory of ringpostd", .y_label = "MiB",
         .series = {{"rss_bytes", "RSS", MIB_D}}},
    };
    char subtitle[256];
    (void)snprintf(subtitle, sizeof(subtitle),
                   "%" PRIu64 " requests a second over %" PRIu64
                   " connections, ringpost " RINGPOST_VERSION,
                   offer->scenario->rate, offer->scenario->connections);
    struct plot plot = {.title = "Ringpost: injection at a rate",
                        .subtitle = subtitle,
                        .x_column = "second",
                        .x_label = "seconds",
                        .x_per = 1,
                        .panels = panels,
                        .panel_count = COUNT_OF(panels)};
    scenario_draw(offer->scenario, &plot, &offer->picture);
}

static bool run_offer(struct scenario *scenario, struct buf *reason)
{
    struct offer *offer = calloc(1, sizeof(*offer));
    bool good = offer != NULL;
    if (good) {
        offer->scenario = scenario;
        good = offer_run(offer, reason) && put_samples(offer, reason);
    }
    if (good) {
        struct scenario_result result = {offer, offer_json, offer_table};
        offer_plot(offer);
        good = scenario_publish(scenario, &result, reason);
    }
    free(offer);
    return good;
}

bool run_inject(struct scenario *scenario, struct buf *reason)
{
    return scenario->rate > 0 ? run_offer(scenario, reason) : run_inject_rounds(scenario, reason);
}
