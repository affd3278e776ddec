/*
 * Publish: how many records a second ringpost-tsad takes over HTTP, in batches, with rules: from
 * the first request to the last answer. Records are those that ringpostd writes of deferrals, of
 * many sites; so many per mille of them match a rule that has to be confirmed, and the rest none.
 * What a record costs the daemon in CPU is counted beside it, from its start on.
 */
#include "bench/scenario.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/mta.h"
#include "bench/observe.h"
#include "bench/record_source.h"
#include "bench/rules.h"
#include "core/event.h"

#define BATCHES      16u   /* different ones */
#define RECORD_BYTES 1024u /* at most */
#define SITES        500u
#define STALL_MS     60000u

struct publish_round {
    double records;
    double seconds;
    double cpu_us;       /* of the daemon, for each record */
    double rss_bytes;
    double matches;
    struct percentiles latency_ms; /* of requests */
};

/* In memory that both processes share. */
struct publish_shared {
    const struct scenario *scenario;
    uint16_t port;
    struct record_source_result result;
};

struct publish {
    const struct scenario *scenario;
    struct publish_shared *shared;
    unsigned round_count;
    struct publish_round rounds[REPORT_ROUNDS_MAX];
};

/* --- records ---------------------------------------------------------------------------------- */

/* Its texts, while it is written. */
struct record_texts {
    struct buf recipient;
    struct buf queue;
    struct buf host;
    struct buf site;
    struct buf reply;
    uint8_t memory[5][RULES_TEXT_BYTES_MAX];
};

static struct slice text_of(struct buf *buf, uint8_t *memory, const char *before, uint64_t number,
                            const char *after)
{
    buf_init(buf, memory, RULES_TEXT_BYTES_MAX);
    buf_printf(buf, "%s%04" PRIu64 "%s", before, number, after);
    return buf_slice(buf);
}

/* "421 4.7.0 " is not of the content. */
static struct slice reply_content(struct record_texts *texts)
{
    return slice_skip(buf_slice(&texts->reply), 10);
}

static void put_record(struct buf *out, const struct scenario *scenario, uint64_t number,
                       uint64_t wall_ns)
{
    struct record_texts texts;
    uint64_t site = number % SITES;
    bool match = number * 7 % 1000 < scenario->confirmed;
    struct event event = {
        .type = EVENT_TRANSIENT_FAILURE,
        .code = match ? 421 : 450,
        .enhanced = {4, match ? 7 : 2, match ? 0 : 1},
        .attempts = 2,
        .delivery_ms = 310,
        .size = 14233,
        .wall_ns = wall_ns,
        .created_ns = wall_ns - 600 * NS_PER_S,
        .id.bytes = {1, 2, 3, 4, (uint8_t)(number >> 24), (uint8_t)(number >> 16),
                     (uint8_t)(number >> 8), (uint8_t)number},
        .spool = 1,
        .sequence = number,
        .protocol = SLICE("ESMTP"),
        .sender = SLICE("bounces+4711@news.sender.example"),
        .pool = SLICE("pool1"),
        .source_name = SLICE("ip1"),
        .command = SLICE("RCPT"),
    };
    event.recipient = text_of(&texts.recipient, texts.memory[0], "user", number, "@example.test");
    event.queue = text_of(&texts.queue, texts.memory[1], "letter", number % 10,
                          ":shop@example.test");
    event.peer_name = text_of(&texts.host, texts.memory[2], "mx", site, ".example.test");
    event.site = text_of(&texts.site, texts.memory[3], "ip1->mx", site,
                         ".example.test@smtp_client");
    buf_init(&texts.reply, texts.memory[4], RULES_TEXT_BYTES_MAX);
    if (match) {
        uint64_t matching = (scenario->rules + RULES_CONFIRM_EACH - 1) / RULES_CONFIRM_EACH;
        rules_put_match(&texts.reply, number % MAX_OF(matching, 1) * RULES_CONFIRM_EACH);
    } else {
        rules_put_miss(&texts.reply, number);
    }
    event.content = reply_content(&texts);
    event_put_json(out, &event);
}

/* --- the process of the source ---------------------------------------------------------------- */

static bool batches_make(const struct scenario *scenario, uint64_t wall_ns,
                         struct slice batches_out[BATCHES])
{
    size_t bytes = (size_t)scenario->per_request * RECORD_BYTES;
    uint8_t *memory = malloc(BATCHES * bytes);
    for (unsigned i = 0; memory != NULL && i < BATCHES; i++) {
        struct buf batch;
        buf_init(&batch, memory + i * bytes, bytes);
        for (uint64_t j = 0; j < scenario->per_request; j++) {
            put_record(&batch, scenario, i * scenario->per_request + j, wall_ns);
        }
        batches_out[i] = buf_slice(&batch);
    }
    return memory != NULL;
}

static int source_process(void *context)
{
    struct publish_shared *shared = context;
    const struct scenario *scenario = shared->scenario;
    struct bench_shard bench;
    struct slice batches[BATCHES];
    struct record_source *source = calloc(1, sizeof(*source));
    struct record_source_options options = {
        .connect = loopback_endpoint(shared->port),
        .socket = {.congestion = scenario->congestion},
        .connections = (unsigned)scenario->connections,
        .batches = batches,
        .batch_count = BATCHES,
        .batch_records = scenario->per_request,
        .requests = MAX_OF(scenario->messages / scenario->per_request, 1),
    };
    if (source == NULL || !bench_shard_open_or_say(&bench) ||
        !batches_make(scenario, bench.shard.wall_ns, batches)) {
        return 1;
    }
    record_source_start(source, &bench.shard, &options, &shared->result);
    while (!record_source_done(source)) {
        shard_turn(&bench.shard, false);
        record_source_look(source, STALL_MS * NS_PER_MS);
    }
    return shared->result.trouble[0] == 0 ? 0 : 1;
}

/* --- rounds ----------------------------------------------------------------------------------- */

static bool publish_go(struct publish *publish, struct mta *tsad, struct publish_round *round,
                       struct buf *reason)
{
    struct publish_shared *shared = publish->shared;
    const struct record_source_result *result = &shared->result;
    struct child child = {0};
    struct process_use before;
    struct process_use after;
    *shared = (struct publish_shared){.scenario = publish->scenario, .port = tsad->http_port};
    if (!process_use_read(tsad->child.pid, &before) ||
        child_start(&child, source_process, shared) != 0) {
        buf_put_string(reason, "cannot start the source of records");
        return false;
    }
    if (!child_wait(&child)) {
        buf_printf(reason, "the source of records: %s", result->trouble);
        return false;
    }
    if (!process_use_read(tsad->child.pid, &after)) {
        buf_put_string(reason, "ringpost-tsad cannot be looked at");
        return false;
    }
    round->records = (double)result->accepted;
    round->seconds = (double)(result->last_ns - result->first_ns) / 1e9;
    round->cpu_us = (double)(after.cpu_ns - before.cpu_ns) / 1e3 / round->records;
    round->rss_bytes = (double)after.rss_bytes;
    round->latency_ms = percentiles_ms(&result->latency);
    return true;
}

static bool publish_round(struct publish *publish, struct publish_round *round, struct buf *reason)
{
    const struct scenario *scenario = publish->scenario;
    struct mta tsad;
    char dir[sizeof(tsad.log_path)];
    if (snprintf(dir, sizeof(dir), "%s/publish", scenario->dir) >= (int)sizeof(dir)) {
        buf_put_string(reason, "--dir: too long");
        return false;
    }
    const struct mta_options options = {
        .program = MTA_TSAD, .bin = scenario->bin, .dir = dir, .rules = scenario->rules};
    if (!mta_start(&tsad, &options, reason)) {
        return false;
    }
    if (!publish_go(publish, &tsad, round, reason)) {
        mta_kill(&tsad);
        return false;
    }
    if (!mta_stop(&tsad, reason)) {
        return false;
    }
    round->matches = line_number(tsad.stopped, "matches");
    if (line_number(tsad.stopped, "records_judged") != round->records) {
        buf_printf(reason, "ringpost-tsad did not judge %.0f records: %s", round->records,
                   tsad.stopped);
        return false;
    }
    return true;
}

/* --- the result ------------------------------------------------------------------------------- */

static double rate_of(const void *round)
{
    const struct publish_round *one = round;
    return one->records / one->seconds;
}

static double cpu_of(const void *round)
{
    return ((const struct publish_round *)round)->cpu_us;
}

static void publish_json(const void *result, struct buf *buf)
{
    const struct publish *publish = result;
    const struct scenario *scenario = publish->scenario;
    struct json json;
    json_init(&json, buf);
    json_object(&json);
    report_put_head(&json, &scenario->head);
    report_put_number(&json, "records_per_request", (double)scenario->per_request, 0);
    report_put_number(&json, "rules", (double)scenario->rules, 0);
    json_key(&json, "rounds");
    json_array(&json);
    for (unsigned i = 0; i < publish->round_count; i++) {
        const struct publish_round *round = &publish->rounds[i];
        json_object(&json);
        report_put_number(&json, "records", round->records, 0);
        report_put_number(&json, "matches", round->matches, 0);
        report_put_number(&json, "seconds", round->seconds, 4);
        report_put_number(&json, "rate", rate_of(round), 1);
        report_put_number(&json, "tsad_cpu_us_per_record", round->cpu_us, 3);
        report_put_number(&json, "request_ms_p50", round->latency_ms.p50, 3);
        report_put_number(&json, "request_ms_p99", round->latency_ms.p99, 3);
        report_put_number(&json, "rss_bytes", round->rss_bytes, 0);
        json_object_end(&json);
    }
    json_array_end(&json);
    report_put_number(&json, "rate_median",
                      median_of_rounds(publish->rounds, sizeof(publish->rounds[0]),
                                       publish->round_count, rate_of), 1);
    report_put_number(&json, "tsad_cpu_us_per_record_median",
                      median_of_rounds(publish->rounds, sizeof(publish->rounds[0]),
                                       publish->round_count, cpu_of), 3);
    json_object_end(&json);
    buf_put_string(buf, "\n");
}

static void publish_table(const void *result, struct buf *buf)
{
    const struct publish *publish = result;
    const struct scenario *scenario = publish->scenario;
    buf_printf(buf, "ringpost-tsad, %" PRIu64 " rules, %" PRIu64 " records a request, %" PRIu64
               " connections\n\n"
               "round    records    matches  records/s  CPU us  request ms p50     p99  RSS MiB\n",
               scenario->rules, scenario->per_request, scenario->connections);
    for (unsigned i = 0; i < publish->round_count; i++) {
        const struct publish_round *round = &publish->rounds[i];
        buf_printf(buf, "%5u", i + 1);
        report_put_cell(buf, round->records, 10, 0);
        report_put_cell(buf, round->matches, 10, 0);
        report_put_cell(buf, rate_of(round), 10, 0);
        report_put_cell(buf, round->cpu_us, 7, 2);
        report_put_cell(buf, round->latency_ms.p50, 15, 2);
        report_put_cell(buf, round->latency_ms.p99, 7, 2);
        report_put_cell(buf, round->rss_bytes / MIB_D, 8, 0);
        buf_put_string(buf, "\n");
    }
    buf_printf(buf, "median: %.0f records/s, %.2f us of CPU of ringpost-tsad each\n",
               median_of_rounds(publish->rounds, sizeof(publish->rounds[0]), publish->round_count,
                                rate_of),
               median_of_rounds(publish->rounds, sizeof(publish->rounds[0]), publish->round_count,
                                cpu_of));
}

bool run_publish(struct scenario *scenario, struct buf *reason)
{
    struct publish *publish = calloc(1, sizeof(*publish));
    bool good = publish != NULL;
    if (good) {
        publish->scenario = scenario;
        publish->shared = shared_memory_take(sizeof(*publish->shared));
        good = publish->shared != NULL;
    }
    for (unsigned i = 0; good && i < scenario->rounds; i++) {
        good = publish_round(publish, &publish->rounds[i], reason);
        if (good) {
            publish->round_count++;
            fprintf(stderr, "round %u: %.0f records/s, %.2f us of CPU each\n", i + 1,
                    rate_of(&publish->rounds[i]), publish->rounds[i].cpu_us);
        }
    }
    if (good) {
        struct scenario_result result = {publish, publish_json, publish_table};
        good = scenario_publish(scenario, &result, reason);
    }
    free(publish);
    return good;
}
