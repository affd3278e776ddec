/*
 * Reports that come as mail and are logged, while the node is killed and cut off from power: each
 * one that was answered with 250 is in the event log whole, under the same ids whatever happened,
 * and who is to get it as mail gets it.
 *
 * SEED=n COUNT=m build/dev/tests/world_reports_test repeats or extends the campaign.
 */
#include "tests/world/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "core/json_read.h"

#define REPORTERS   3
#define REPORTS_MAX 60
#define FAILURES    3 /* that a report tells of */
#define PATIENCE_NS (45 * NS_PER_S)

enum fate { REPORT_UNSENT, REPORT_SENT, REPORT_TAKEN, REPORT_REFUSED };

struct told_report {
    enum fate fate;
    struct slice lines[FAILURES]; /* of its records, as first met */
    uint64_t sequences[FAILURES];
};

struct reporter {
    struct reports *reports;
    unsigned index;
    struct sim_peer *peer;
    unsigned number; /* in hand */
    unsigned next;
    unsigned replies;
    bool ended;
};

struct reports {
    struct world world;
    struct reporter reporters[REPORTERS];
    struct told_report told[REPORTS_MAX];
    unsigned records;
    unsigned copies;
    unsigned taken;
};

/* --- who reports ------------------------------------------------------------------------------ */

static void reporter_start(void *context);

static void say_report(struct reporter *reporter)
{
    char text[2048];
    unsigned number = reporter->number;
    int size = snprintf(text, sizeof(text),
                        "MAIL FROM:<>\r\nRCPT TO:<bounce-%u@oob.test>\r\nDATA\r\n", number);
    size += snprintf(text + size, sizeof(text) - (size_t)size,
                     "Content-Type: multipart/report; report-type=delivery-status; boundary=b\r\n"
                     "\r\n--b\r\n\r\nIt failed.\r\n--b\r\n"
                     "Content-Type: message/delivery-status\r\n\r\n"
                     "Reporting-MTA: dns; mx.far.test\r\n");
    for (unsigned i = 0; i < FAILURES; i++) {
        size += snprintf(text + size, sizeof(text) - (size_t)size,
                         "\r\nFinal-Recipient: rfc822; x%u.%u@far.test\r\nAction: failed\r\n"
                         "Status: 5.1.1\r\nDiagnostic-Code: smtp; 550 5.1.1 unknown\r\n",
                         i, number);
    }
    size += snprintf(text + size, sizeof(text) - (size_t)size, "--b--\r\n.\r\n");
    CHECK(size > 0 && (size_t)size < sizeof(text));
    sim_peer_send(reporter->peer, slice_make(text, (size_t)size));
    reporter->replies = 0;
    reporter->reports->told[number].fate = REPORT_SENT;
}

static void reporter_next(struct reporter *reporter)
{
    if (reporter->next >= REPORTS_MAX || reporter->ended) {
        sim_peer_close(reporter->peer);
        reporter->peer = NULL;
        return;
    }
    reporter->number = reporter->next;
    reporter->next += REPORTERS;
    say_report(reporter);
}

static void reporter_gone(struct reporter *reporter)
{
    sim_peer_close(reporter->peer);
    reporter->peer = NULL;
    sim_after(reporter->reports->world.sim, 50 * NS_PER_MS, reporter_start, reporter);
}

/* Banner, EHLO, then four replies to each report, of which the last one matters. */
static void reporter_line(struct reporter *reporter, struct slice line)
{
    struct told_report *told = &reporter->reports->told[reporter->number];
    if (line.size < 4 || line.data[3] == '-') {
        return;
    }
    reporter->replies++;
    if (reporter->number == REPORTS_MAX) {
        if (reporter->replies == 1) {
            sim_peer_send(reporter->peer, SLICE("EHLO reporter.test\r\n"));
        } else {
            reporter_next(reporter);
        }
        return;
    }
    if (reporter->replies == 4) {
        bool taken = slice_starts_with(line, SLICE("250 2.0.0 OK ids=")) &&
                     slice_ends_with(line, SLICE(" count=1"));
        told->fate = taken ? REPORT_TAKEN : REPORT_REFUSED;
        reporter->reports->taken += taken;
        reporter_next(reporter);
    }
}

static void reporter_event(struct sim_peer *peer, void *context)
{
    struct reporter *reporter = context;
    while (reporter->peer == peer) {
        struct slice input = sim_peer_input(peer);
        size_t size = slice_find(input, '\n') + 1;
        uint8_t copy[1024];
        if (size > input.size) {
            break;
        }
        CHECK(size < sizeof(copy));
        memcpy(copy, input.data, size);
        sim_peer_consume(peer, size);
        reporter_line(reporter, slice_make(copy, size - MIN_OF(size, (size_t)2)));
    }
    if (reporter->peer == peer && sim_peer_state(peer) >= SIM_PEER_EOF) {
        reporter_gone(reporter);
    }
}

static void reporter_start(void *context)
{
    struct reporter *reporter = context;
    struct world *world = &reporter->reports->world;
    struct endpoint from = sim_endpoint(400 + reporter->index, 0);
    struct endpoint to = sim_node_endpoint(world->process, 25);
    if (reporter->peer != NULL || reporter->ended) {
        return;
    }
    reporter->number = REPORTS_MAX; /* none yet */
    reporter->replies = 0;
    reporter->peer = sim_peer_connect(world->sim, &from, &to, reporter_event, reporter);
}

static void reporters_end(struct reports *reports)
{
    for (unsigned i = 0; i < REPORTERS; i++) {
        reports->reporters[i].ended = true;
    }
}

static bool reporters_are_done(void *context)
{
    const struct reports *reports = context;
    bool done = true;
    for (unsigned i = 0; i < REPORTERS; i++) {
        done = done && reports->reporters[i].peer == NULL;
    }
    return done;
}

/* --- the event log ---------------------------------------------------------------------------- */

static void record_judge(struct reports *reports, struct slice line, const char *text)
{
    struct sim *sim = reports->world.sim;
    unsigned number = 0;
    unsigned failure = 0;
    uint64_t sequence = 0;
    const char *id = strstr(text, "\"event_id\":\"");
    const char *sender = strstr(text, "\"sender\":\"bounce-");
    const char *recipient = strstr(text, "\"recipient\":\"x");
    if (id == NULL || sender == NULL || recipient == NULL ||
        sscanf(id + 12 + 19, "%13" SCNx64, &sequence) != 1 ||
        sscanf(sender + 17, "%u", &number) != 1 || number >= REPORTS_MAX ||
        sscanf(recipient + 14, "%u.%*u@", &failure) != 1 || failure >= FAILURES) {
        sim_fail(sim, "an odd record: %.300s", text);
        return;
    }
    struct told_report *told = &reports->told[number];
    reports->records++;
    if (told->lines[failure].size == 0) {
        uint8_t *copy = malloc(line.size);
        CHECK(copy != NULL);
        memcpy(copy, line.data, line.size);
        told->lines[failure] = slice_make(copy, line.size);
        told->sequences[failure] = sequence;
    } else if (!slice_equal(told->lines[failure], line)) {
        sim_fail(sim, "report %u is told once more, in other words: %.300s", number, text);
    } else {
        reports->copies++;
    }
}

static void line_take(void *context, unsigned file, struct slice line)
{
    char text[8192];
    (void)file;
    (void)snprintf(text, sizeof(text), "%.*s", (int)line.size, (const char *)line.data);
    if (strstr(text, "\"type\":\"OOB\"") != NULL) {
        record_judge(context, line, text);
    }
}

static void reports_judge(struct reports *reports)
{
    world_log_read(&reports->world, line_take, reports);
    for (unsigned i = 0; i < REPORTS_MAX; i++) {
        struct told_report *told = &reports->told[i];
        unsigned there = 0;
        for (unsigned k = 0; k < FAILURES; k++) {
            there += told->lines[k].size > 0;
            if (told->lines[k].size > 0 && told->sequences[k] != told->sequences[0] + k) {
                sim_fail(reports->world.sim, "report %u has ids apart", i);
            }
            free((void *)(uintptr_t)told->lines[k].data);
        }
        if ((there != 0 && there != FAILURES) || (told->fate == REPORT_TAKEN && there == 0) ||
            (there > 0 && (told->fate == REPORT_UNSENT || told->fate == REPORT_REFUSED))) {
            sim_fail(reports->world.sim, "report %u, fate %u, has %u records", i, told->fate,
                     there);
        }
    }
}

/* --- campaigns -------------------------------------------------------------------------------- */

struct reports_campaign {
    unsigned records; /* out */
    unsigned copies;
    unsigned taken;
    unsigned replayed;
};

static void reports_body(struct sim *sim, void *context)
{
    struct reports_campaign *campaign = context;
    static struct reports reports;
    struct world *world = &reports.world;
    reports = (struct reports){0};
    world_init(world, sim);
    world->shards = 1 + (unsigned)sim_below(sim, 2);
    world_set(world, "domains.\"oob.test\".log_oob=LogThenDrop");
    world_log_vary(world);
    world_open(world);
    bool good = world_start(world);
    for (unsigned i = 0; i < REPORTERS; i++) {
        reports.reporters[i] = (struct reporter){.reports = &reports, .index = i, .next = i};
        reporter_start(&reports.reporters[i]);
    }
    world_mail(world, 2, 20, 5 * NS_PER_MS);
    for (uint64_t i = sim_below(sim, 5); i > 0 && good; i--) {
        uint64_t scale_ns = 100 * NS_PER_US << sim_below(sim, 12);
        if (!sim_run_for(sim, 1 + sim_below(sim, scale_ns))) {
            break;
        }
        world_crash(world, sim_chance(sim, 500));
        good = world_start(world);
    }
    if (good && sim_run_for(sim, NS_PER_S)) {
        reporters_end(&reports);
        (void)sim_run_until(sim, reporters_are_done, &reports, PATIENCE_NS);
        world_finish(world);
        reports_judge(&reports);
    }
    campaign->records += reports.records;
    campaign->copies += reports.copies;
    campaign->taken += reports.taken;
    campaign->replayed += (unsigned)world->tally.events_replayed;
    world_close(world);
}

static void f01_reports_that_were_answered_are_told_whole_through_any_crash(void **state)
{
    (void)state;
    struct reports_campaign totals = {0};
    struct sim_campaign campaign = {
        .name = "reports", .count = 30, .body = reports_body, .context = &totals};
    assert_int_equal(sim_campaign_run(&campaign), 0);
    printf("taken %u, records %u, copies %u, events from the spool %u\n", totals.taken,
           totals.records, totals.copies, totals.replayed);
    if (getenv("SEED") == NULL) {
        assert_true(totals.copies > 0 && totals.replayed > 0);
        assert_true(totals.taken > 0);
        assert_true(totals.records - totals.copies >= FAILURES * totals.taken);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f01_reports_that_were_answered_are_told_whole_through_any_crash),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
