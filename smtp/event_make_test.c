/* Records of messages and outcomes: every field, and each once, whatever room the feed has. */
#include "smtp/event_make.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "core/classifier.h"
#include "shard/spool/outcome.h"
#include "smtp/envelope.h"
#include "smtp/metadata.h"
#include "smtp/named_values.h"
#include "smtp/reference.h"
#include "smtp/report_event.h"
#include "tests/sim/shards.h"

#define LOG_BYTES (4 * MIB)

struct stage {
    struct sim *sim;
    struct sim_shards shards;
    struct heap heap;
    struct event_feed feed;
    struct event_maker maker;
    struct event_facts facts;
    uint8_t head[1024];
    bool hold;                 /* the log keeps what comes */
    struct event_batch *held[8];
    unsigned held_count;
    char *log;
    size_t log_bytes;
    unsigned readies;
    enum reference_state reference; /* of reports */
};

static struct stage stage;

static void log_take(struct event_batch *batch)
{
    assert_true(stage.log_bytes + batch->size < LOG_BYTES);
    memcpy(stage.log + stage.log_bytes, batch->data, batch->size);
    stage.log_bytes += batch->size;
    stage.log[stage.log_bytes] = '\0';
    event_batch_give(&stage.shards.shards[1], batch);
}

static void log_arrive(struct shard *receiver, struct mail *mail)
{
    struct event_batch *batch = CONTAINER_OF(mail, struct event_batch, mail);
    (void)receiver;
    if (stage.hold) {
        stage.held[stage.held_count++] = batch;
    } else {
        log_take(batch);
    }
}

static void feed_ready(struct event_feed *feed)
{
    (void)feed;
    stage.readies++;
}

static void make_facts(void)
{
    struct event_facts *facts = &stage.facts;
    struct buf buf;
    buf_init(&buf, stage.head, sizeof(stage.head));
    envelope_put_sender(&buf, SLICE("a@c.test"), NULL);
    envelope_put_recipient(&buf, 0, SLICE("r0@t.test"), NULL);
    envelope_put_recipient(&buf, 1, SLICE("r1@u.test"), NULL);
    envelope_put_recipient(&buf, 2, SLICE("r2@t.test"), NULL);
    facts->envelope = buf_slice(&buf);
    const struct metadata metadata = {.protocol = SLICE("ESMTP"), .hello = SLICE("client.test")};
    size_t start = buf.size;
    metadata_put(&buf, &metadata);
    facts->metadata = slice_make(buf.data + start, buf.size - start);
    facts->size = 100;
    facts->id = (struct id){.bytes = {1, 2, 3, [14] = 0xFF, [15] = 0xFF}};
    facts->created_ns = 1700000000 * NS_PER_S;
}

static int set_up(void **state)
{
    (void)state;
    stage = (struct stage){.sim = sim_open(&(struct sim_options){.seed = 1})};
    stage.log = calloc(1, LOG_BYTES);
    sim_shards_boot(&stage.shards, sim_node_open(stage.sim, NULL), 2, 16, 4096);
    heap_init(&stage.heap);
    const struct event_feed_options options = {
        .to = 1, .arrive = log_arrive, .batches = 2, .heap = &stage.heap, .ready = feed_ready};
    event_feed_init(&stage.feed, &stage.shards.shards[0], &options);
    stage.maker = (struct event_maker){.feed = &stage.feed, .spool = 0xABCD};
    make_facts();
    return stage.log == NULL;
}

static void release_held(void)
{
    stage.hold = false;
    for (unsigned i = 0; i < stage.held_count; i++) {
        log_take(stage.held[i]);
    }
    stage.held_count = 0;
}

static void run(void)
{
    assert_true(sim_run_for(stage.sim, NS_PER_S));
}

static int tear_down(void **state)
{
    (void)state;
    release_held();
    run();
    bool idle = event_feed_idle(&stage.feed);
    sim_shards_stop(&stage.shards);
    bool failed = sim_failed(stage.sim);
    heap_fini(&stage.heap);
    sim_close(stage.sim);
    free(stage.log);
    return failed || !idle;
}

struct payload {
    uint8_t bytes[2048];
    struct buf buf;
    struct outcome_writer writer;
};

static void payload_begin(struct payload *payload, uint64_t sequence, uint16_t count)
{
    const struct outcome outcome = {.event_sequence = sequence,
                                    .wall_ns = 1700000009 * NS_PER_S,
                                    .delivery_ms = 42,
                                    .site = SLICE("unspecified->x@smtp_client"),
                                    .recipient_count = count};
    buf_init(&payload->buf, payload->bytes, sizeof(payload->bytes));
    outcome_put(&payload->writer, &payload->buf, &outcome);
}

static void payload_put(struct payload *payload, uint16_t index, enum disposition disposition,
                        uint16_t code, bool uncertain)
{
    const struct outcome_recipient recipient = {.index = index,
                                                .disposition = (uint8_t)disposition,
                                                .uncertain = uncertain,
                                                .attempts = 3,
                                                .code = code,
                                                .command = SLICE("."),
                                                .response = SLICE("the word of the peer")};
    outcome_put_recipient(&payload->writer, &recipient);
}

/* The n-th line of the log; it ends with a NUL until the next call. */
static const char *line(unsigned number)
{
    static char text[8192];
    const char *at = stage.log;
    while (number-- > 0) {
        at = strchr(at, '\n');
        assert_non_null(at);
        at++;
    }
    snprintf(text, sizeof(text), "%.*s", (int)strcspn(at, "\n"), at);
    return text;
}

static void expect_in(unsigned number, const char *part)
{
    if (strstr(line(number), part) == NULL) {
        fail_msg("line %u has no %s: %s", number, part, line(number));
    }
}

static void a_reception_is_one_record_for_each_recipient(void **state)
{
    (void)state;
    uint32_t next = 0;
    assert_true(event_make_receptions(&stage.maker, &stage.facts, 7, &next));
    assert_int_equal(next, 3);
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 3);
    expect_in(0, "\"type\":\"Reception\"");
    expect_in(0, "\"recipient\":\"r0@t.test\"");
    expect_in(0, "\"sender\":\"a@c.test\"");
    expect_in(0, "\"id\":\"01020300000000000000000000000000\"");
    expect_in(0, "\"event_id\":\"000000000000abcd0000000000000007\"");
    expect_in(1, "\"recipient\":\"r1@u.test\"");
    expect_in(1, "\"queue\":\"u.test\"");
    expect_in(1, "\"id\":\"01020300000000000000000000000001\"");
    expect_in(2, "\"event_id\":\"000000000000abcd0000000000000009\"");
}

/* The payload of an EVENT for two recipients of a mail. */
static struct slice report_payload(uint8_t *bytes, size_t size, enum report_kind kind,
                                   uint32_t count)
{
    const struct reference reference = {.state = stage.reference,
                                        .id = {.bytes = {0xAB}},
                                        .domain = SLICE("far.test"),
                                        .trace = SLICE("{\"x\":1}")};
    uint8_t kept[128];
    struct buf keep;
    const struct report_entry entries[] = {
        {550, {5, 1, 1}, SLICE("x0@far.test"), SLICE("no such user")},
        {552, {5, 2, 2}, SLICE("x1@far.test"), SLICE("full")},
    };
    uint8_t envelope[128];
    uint8_t metadata[256];
    struct buf out;
    struct buf env;
    struct buf meta;
    buf_init(&keep, kept, sizeof(kept));
    if (stage.reference != REFERENCE_NONE) {
        reference_keep(&keep, &reference);
    }
    const struct metadata how = {.protocol = SLICE("ESMTP"),
                                 .reference = buf_slice(&keep),
                                 .hello = SLICE("mx.reporter.test"),
                                 .peer = {.address = {[10] = 0xFF, 0xFF, 192, 0, 2, 9}},
                                 .session = {.bytes = {7}}};
    buf_init(&env, envelope, sizeof(envelope));
    envelope_put_sender(&env, SLICE("mailer@reporter.test"), NULL);
    envelope_put_recipient(&env, 2, SLICE("bounce@b.test"), NULL);
    envelope_put_recipient(&env, 0, SLICE("other@b.test"), NULL);
    buf_init(&meta, metadata, sizeof(metadata));
    metadata_put(&meta, &how);
    buf_init(&out, bytes, size);
    const struct report_event event = {.wall_ns = 1700000003 * NS_PER_S,
                                       .kind = kind,
                                       .id = stage.facts.id,
                                       .size = 4321,
                                       .envelope = buf_slice(&env),
                                       .metadata = buf_slice(&meta)};
    assert_true(report_event_begin(&out, &event));
    if (kind == REPORT_FEEDBACK) {
        buf_put(&out, SLICE("{\"feedback_type\":\"abuse\"}"));
    } else {
        assert_true(report_said_begin(&out, SLICE("mx.far.test")));
        assert_true(report_said_put(&out, &entries[0]) && report_said_put(&out, &entries[1]));
    }
    report_event_end(&out, 7, count);
    return buf_slice(&out);
}

static void a_failure_is_one_record_for_each_recipient_it_tells_of(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    uint32_t next = 0;
    struct slice payload = report_payload(bytes, sizeof(bytes), REPORT_DELIVERY, 4);
    assert_true(event_make_reports(&stage.maker, payload, &next));
    assert_int_equal(next, 4);
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 4);
    expect_in(0, "\"type\":\"OOB\",\"id\":\"01020300000000000000000000000002\"");
    expect_in(0, "\"sender\":\"bounce@b.test\",\"recipient\":\"x0@far.test\","
                 "\"queue\":\"b.test\",\"site\":\"\",\"size\":0");
    expect_in(0, "\"code\":550,\"enhanced_code\":{\"class\":5,\"subject\":1,\"detail\":1},"
                 "\"content\":\"no such user\",\"command\":null");
    expect_in(0, "\"peer_address\":{\"name\":\"mx.far.test\",\"addr\":\"192.0.2.9\"}");
    expect_in(0, "\"timestamp\":1700000003,");
    expect_in(0, "\"num_attempts\":0,\"delivery_protocol\":null,\"reception_protocol\":\"ESMTP\","
                 "\"bounce_classification\":\"Uncategorized\"");
    expect_in(0, "\"feedback_report\":null,\"reference\":{\"state\":\"none\"},");
    expect_in(0, "\"session_id\":\"07000000-");
    expect_in(0, "0000000000000007\"}");
    expect_in(1, "\"recipient\":\"x1@far.test\"");
    expect_in(1, "0000000000000008\"}");
    expect_in(2, "\"sender\":\"other@b.test\",\"recipient\":\"x0@far.test\"");
    expect_in(3, "000000000000000a\"}");
}

static void a_complaint_is_one_record_with_its_object(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    uint32_t next = 1;
    struct slice payload = report_payload(bytes, sizeof(bytes), REPORT_FEEDBACK, 2);
    assert_true(event_make_reports(&stage.maker, payload, &next));
    assert_int_equal(next, 2);
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 1);
    expect_in(0, "\"type\":\"Feedback\",\"id\":\"01020300000000000000000000000000\"");
    expect_in(0, "\"sender\":\"mailer@reporter.test\",\"recipient\":\"other@b.test\"");
    expect_in(0, "\"size\":4321");
    expect_in(0, "{\"name\":\"mx.reporter.test\",\"addr\":\"192.0.2.9\"}");
    expect_in(0, "\"feedback_report\":{\"feedback_type\":\"abuse\"}");
    expect_in(0, "0000000000000008\"}");
}

/* One record for a reference, whoever else the report and its recipients name. */
static void d10_one_record_of_a_report_is_worth_its_reference(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    uint32_t next = 0;
    stage.reference = REFERENCE_VALID;
    struct slice payload = report_payload(bytes, sizeof(bytes), REPORT_DELIVERY, 4);
    assert_true(event_make_reports(&stage.maker, payload, &next));
    next = 3; /* the same again, where it had found no room */
    assert_true(event_make_reports(&stage.maker, payload, &next));
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 5);
    expect_in(0, "\"reference\":{\"state\":\"valid\",\"id\":\"ab000000000000000000000000000000\","
                 "\"domain\":\"far.test\",\"supplemental_trace\":{\"x\":1}}");
    for (unsigned i = 1; i < 5; i++) {
        expect_in(i, "\"reference\":{\"state\":\"repeated\"");
    }
}

static void d10_what_is_not_valid_says_so(void **state)
{
    static const struct {
        enum reference_state state;
        const char *told;
    } rows[] = {
        {REFERENCE_NONE, "\"reference\":{\"state\":\"none\"}"},
        {REFERENCE_FORGED, "\"reference\":{\"state\":\"forged\"}"},
        {REFERENCE_EXPIRED, "\"reference\":{\"state\":\"expired\"}"},
    };
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        uint8_t bytes[1024];
        uint32_t next = 0;
        stage.reference = rows[i].state;
        struct slice payload = report_payload(bytes, sizeof(bytes), REPORT_FEEDBACK, 2);
        assert_true(event_make_reports(&stage.maker, payload, &next));
        event_feed_flush(&stage.feed);
        run();
        expect_in(2 * i, rows[i].told);
        expect_in(2 * i + 1, rows[i].told);
    }
}

static void records_of_a_report_go_on_where_they_found_no_room(void **state)
{
    (void)state;
    uint8_t bytes[1024];
    uint32_t next = 0;
    unsigned rounds = 0;
    struct slice payload = report_payload(bytes, sizeof(bytes), REPORT_DELIVERY, 4);
    stage.hold = true;
    while (event_make_reports(&stage.maker, payload, &next)) {
        rounds++;
        next = 0;
    }
    assert_true(rounds > 0);
    uint64_t before = stage.feed.events;
    release_held();
    run();
    assert_true(event_make_reports(&stage.maker, payload, &next));
    assert_int_equal(next, 4);
    assert_int_equal(stage.feed.events, 4 * (rounds + 1));
    assert_true(before < stage.feed.events);
}

static void a_rebind_is_one_record_for_each_recipient_and_says_from_where(void **state)
{
    (void)state;
    uint8_t before[256];
    uint8_t after[512];
    struct buf was;
    struct buf now;
    uint32_t next = 1;
    const struct metadata metadata = {.protocol = SLICE("ESMTP"), .tenant = SLICE("acme")};
    const struct metadata_change change = {.sets_campaign = true, .campaign = SLICE("spring")};
    buf_init(&was, before, sizeof(before));
    metadata_put(&was, &metadata);
    buf_init(&now, after, sizeof(after));
    metadata_put_changed(&now, buf_slice(&was), &change);
    metadata_put_rebind(&now, buf_slice(&was), 1700000005 * NS_PER_S, SLICE("a\nreason"));
    stage.facts.metadata = buf_slice(&now);
    assert_true(event_make_rebinds(&stage.maker, &stage.facts, 7, &next));
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 2);
    expect_in(0, "\"type\":\"AdminRebind\"");
    expect_in(0, "\"recipient\":\"r1@u.test\"");
    expect_in(0, "\"queue\":\"spring:acme@u.test\"");
    expect_in(0, "Rebound from acme@u.test to spring:acme@u.test: a\\nreason");
    expect_in(0, "\"timestamp\":1700000005,");
    expect_in(0, "\"event_id\":\"000000000000abcd0000000000000008\"");
    expect_in(1, "\"recipient\":\"r2@t.test\"");
    expect_in(1, "Rebound from acme@t.test to spring:acme@t.test: ");
}

static void an_outcome_is_one_record_for_each_of_its_recipients(void **state)
{
    (void)state;
    struct payload payload;
    payload_begin(&payload, 20, 2);
    payload_put(&payload, 0, DISPOSITION_DELIVERED, 250, false);
    payload_put(&payload, 2, DISPOSITION_DEFERRED, 451, true);
    uint32_t next = 0;
    assert_true(event_make_outcomes(&stage.maker, &stage.facts, buf_slice(&payload.buf), &next));
    run();
    assert_int_equal(stage.feed.events, 2);
    expect_in(0, "\"type\":\"Delivery\"");
    expect_in(0, "\"recipient\":\"r0@t.test\"");
    expect_in(0, "\"delivery_ms\":42");
    assert_null(strstr(line(0), "uncertain"));
    expect_in(1, "\"type\":\"TransientFailure\"");
    expect_in(1, "\"recipient\":\"r2@t.test\"");
    expect_in(1, "\"uncertain\":true");
    expect_in(1, "the word of the peer");
    expect_in(1, "\"event_id\":\"000000000000abcd0000000000000015\"");
}

static struct conf *conf_of(const char *rules)
{
    uint8_t text[1024];
    struct conf_messages messages = {0};
    const struct conf_input input = {.sets = &rules, .set_count = 1, .hostname = SLICE("a.test")};
    buf_init(&messages.text, text, sizeof(text));
    struct conf *conf = conf_load(&input, &messages);
    assert_non_null(conf);
    return conf;
}

static void make_with(const char *rules, const struct payload *payload)
{
    uint32_t next = 0;
    struct event_maker maker = stage.maker;
    struct conf *conf = conf_of(rules);
    maker.conf = conf;
    maker.scratch = patterns_scratch_open(conf->classifier->patterns);
    assert_true(event_make_outcomes(&maker, &stage.facts, buf_slice(&payload->buf), &next));
    event_feed_flush(&stage.feed);
    run();
    patterns_scratch_close(maker.scratch);
    conf_free(conf);
}

/* The same outcome again: the same record by the same rules, another word by others. */
static void an_outcome_is_classified_by_the_rules_in_force_when_its_record_is_made(void **state)
{
    (void)state;
    static const char rules[] = "bounce_classifier.rules.Peer=[\"^451 .*word of the peer$\"]";
    struct payload payload;
    payload_begin(&payload, 20, 2);
    payload_put(&payload, 0, DISPOSITION_DELIVERED, 250, false);
    payload_put(&payload, 2, DISPOSITION_DEFERRED, 451, false);
    make_with(rules, &payload);
    make_with(rules, &payload);
    make_with("bounce_classifier.rules.Other=[\"451\"]", &payload);
    make_with("bounce_classifier.rules.None=[\"452\"]", &payload);
    assert_null(strstr(line(0), "bounce_classification"));
    expect_in(1, "\"bounce_classification\":\"Peer\"");
    char first[8192];
    snprintf(first, sizeof(first), "%s", line(1));
    assert_string_equal(line(3), first);
    expect_in(5, "\"bounce_classification\":\"Other\"");
    expect_in(5, "\"event_id\":\"000000000000abcd0000000000000015\"");
    expect_in(7, "\"bounce_classification\":\"Uncategorized\"");
}

/* A batch is full in the middle of an outcome: what is put again later is the rest, no more. */
static void what_is_refused_goes_on_where_it_was(void **state)
{
    (void)state;
    stage.hold = true;
    uint32_t next = 0;
    unsigned whole = 0;
    while (event_make_receptions(&stage.maker, &stage.facts, 3 * whole, &next)) {
        whole++;
        next = 0;
    }
    uint64_t before = stage.feed.events;
    assert_int_equal(before, 3 * whole + next);
    assert_false(event_make_receptions(&stage.maker, &stage.facts, 3 * whole, &next));
    assert_int_equal(stage.feed.events, before);
    run();
    release_held();
    run();
    assert_int_equal(stage.readies, 1);
    assert_true(event_make_receptions(&stage.maker, &stage.facts, 3 * whole, &next));
    run();
    assert_int_equal(stage.feed.events, 3 * (whole + 1));
    const char *at = stage.log;
    for (unsigned i = 0; i < 3 * (whole + 1); i++) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "\"event_id\":\"000000000000abcd%016x\"", i);
        const char *found = strstr(at, wanted);
        const char *end = strchr(at, '\n');
        assert_non_null(end);
        if (found == NULL || found > end) {
            fail_msg("record %u is missing, or another stands in its place", i);
        }
        at = end + 1;
    }
    assert_int_equal(*at, '\0');
}

static void a_part_of_the_feed_is_left_to_others(void **state)
{
    (void)state;
    struct event_maker polite = stage.maker;
    uint32_t next = 0;
    stage.hold = true;
    polite.keep = 1;
    while (event_make_receptions(&polite, &stage.facts, 0, &next)) {
        next = 0;
    }
    assert_true(event_feed_room(&stage.feed, 1));
    next = 0;
    assert_true(event_make_receptions(&stage.maker, &stage.facts, 0, &next));
}

static void an_outcome_without_its_message_is_told_all_the_same(void **state)
{
    (void)state;
    struct payload payload;
    uint32_t next = 0;
    payload_begin(&payload, 20, 2);
    payload_put(&payload, 0, DISPOSITION_DELIVERED, 250, false);
    payload_put(&payload, 2, DISPOSITION_BOUNCED, 550, false);
    assert_true(event_make_outcomes(&stage.maker, NULL, buf_slice(&payload.buf), &next));
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 2);
    expect_in(0, "\"type\":\"Delivery\"");
    expect_in(0, "\"id\":\"\"");
    expect_in(0, "\"recipient\":\"\"");
    expect_in(0, "\"queue_age_ms\":0");
    expect_in(0, "\"event_id\":\"000000000000abcd0000000000000014\"");
    expect_in(1, "\"type\":\"Bounce\"");
    expect_in(1, "\"event_id\":\"000000000000abcd0000000000000015\"");
}

/* Made now or again: what [log] lists stands in all of them, and what it mutes is passed over. */
static void records_tell_what_is_listed_and_muted_types_are_passed_over(void **state)
{
    (void)state;
    static const struct slice listed[] = {{(const uint8_t *)"*", 1}};
    struct conf conf = {.log = {.meta = {listed, 1},
                                .headers = {listed, 1},
                                .muted = 1u << EVENT_BOUNCE}};
    uint8_t list[64];
    struct buf buf;
    struct payload payload;
    uint32_t next = 0;
    buf_init(&buf, list, sizeof(list));
    named_value_put(&buf, SLICE("Subject"), SLICE("hello"));
    const struct metadata metadata = {
        .protocol = SLICE("ESMTP"), .campaign = SLICE("spring"), .headers = buf_slice(&buf)};
    uint8_t section[256];
    buf_init(&buf, section, sizeof(section));
    metadata_put(&buf, &metadata);
    stage.facts.metadata = buf_slice(&buf);
    stage.maker.conf = &conf;
    assert_true(event_make_receptions(&stage.maker, &stage.facts, 10, &next));
    payload_begin(&payload, 20, 3);
    payload_put(&payload, 0, DISPOSITION_DELIVERED, 250, false);
    payload_put(&payload, 1, DISPOSITION_BOUNCED, 550, false);
    payload_put(&payload, 2, DISPOSITION_DEFERRED, 450, false);
    next = 0;
    assert_true(event_make_outcomes(&stage.maker, &stage.facts, buf_slice(&payload.buf), &next));
    assert_int_equal(next, 3);
    event_feed_flush(&stage.feed);
    run();
    assert_int_equal(stage.feed.events, 5);
    for (unsigned i = 0; i < 5; i++) {
        expect_in(i, "\"meta\":{\"reception_protocol\":\"ESMTP\",\"campaign\":\"spring\"},"
                     "\"headers\":{\"Subject\":\"hello\"}");
    }
    expect_in(3, "\"event_id\":\"000000000000abcd0000000000000014\"");
    expect_in(4, "\"event_id\":\"000000000000abcd0000000000000016\"");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_reception_is_one_record_for_each_recipient),
        TEST(a_failure_is_one_record_for_each_recipient_it_tells_of),
        TEST(a_complaint_is_one_record_with_its_object),
        TEST(d10_one_record_of_a_report_is_worth_its_reference),
        TEST(d10_what_is_not_valid_says_so),
        TEST(records_of_a_report_go_on_where_they_found_no_room),
        TEST(a_rebind_is_one_record_for_each_recipient_and_says_from_where),
        TEST(an_outcome_is_one_record_for_each_of_its_recipients),
        TEST(an_outcome_is_classified_by_the_rules_in_force_when_its_record_is_made),
        TEST(what_is_refused_goes_on_where_it_was),
        TEST(a_part_of_the_feed_is_left_to_others),
        TEST(an_outcome_without_its_message_is_told_all_the_same),
        TEST(records_tell_what_is_listed_and_muted_types_are_passed_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
