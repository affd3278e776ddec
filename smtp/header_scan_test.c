#include "smtp/header_scan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static const struct conf_label labels[CONF_LABELS] = {
    [CONF_LABEL_TENANT] = {{(const uint8_t *)"x-tenant", 8}, true},
    [CONF_LABEL_CAMPAIGN] = {{(const uint8_t *)"x-campaign", 10}, false},
    [CONF_LABEL_CLASS] = {{(const uint8_t *)"x-ringpost-class", 16}, true},
    [CONF_LABEL_SCHEDULE] = {{(const uint8_t *)"x-schedule", 10}, true},
};

/* The piece in memory of its own, so that a look behind it is seen. */
static void take(struct header_scan *scan, struct slice bytes)
{
    uint8_t *copy = malloc(bytes.size == 0 ? 1 : bytes.size);
    memcpy(copy, bytes.data, bytes.size);
    if (!scan->ended) {
        header_scan_take(scan, slice_make(copy, bytes.size));
    }
    free(copy);
}

static void put_without_cuts(struct buf *out, struct slice text, const struct header_scan *scan)
{
    uint32_t at = 0;
    for (uint32_t i = 0; i < scan->cut_count; i++) {
        assert_true(scan->cuts[i].offset >= at);
        buf_put(out, slice_make(text.data + at, scan->cuts[i].offset - at));
        at = scan->cuts[i].offset + scan->cuts[i].bytes;
        assert_true(at <= text.size);
    }
    buf_put(out, slice_skip(text, at));
}

struct message {
    const char *text;
    const char *tenant;
    const char *campaign;
    const char *class;
    const char *sent; /* what is left; null: all of it */
    unsigned received;
};

static const struct message messages[] = {
    {"Subject: a\r\n\r\nX-Tenant: body\r\n", "", "", "", NULL, 0},
    {"X-Tenant: acme\r\nSubject: a\r\n\r\nb\r\n", "acme", "", "", "Subject: a\r\n\r\nb\r\n", 0},
    {"Subject: a\r\nX-TENANT:acme\r\nX-Campaign:  sale of the year \t\r\n\r\nb", "acme",
     "sale of the year", "", "Subject: a\r\nX-Campaign:  sale of the year \t\r\n\r\nb", 0},
    {"X-Ringpost-Class: urgent\r\n\r\n", "", "", "urgent", "\r\n", 0},
    {"x-ringpost-class \t: Bulk\r\n\r\n", "", "", "Bulk", "\r\n", 0},
    /* folded: all of its lines go */
    {"A: b\r\nX-Tenant:\r\n acme\r\nC: d\r\n\r\n", "acme", "", "", "A: b\r\nC: d\r\n\r\n", 0},
    {"X-Campaign: a\r\n\tb\r\n  c\r\n\r\n", "", "a b  c", "", NULL, 0},
    {"X-Tenant: a\r\n \r\n b\r\n\r\nx", "a  b", "", "", "\r\nx", 0},
    {"A: b\r\n X-Tenant: no\r\n\r\n", "", "", "", NULL, 0},
    /* several: the first counts, all go */
    {"X-Tenant: one\r\nA: b\r\nX-Tenant: two\r\n three\r\n\r\nx", "one", "", "",
     "A: b\r\n\r\nx", 0},
    {"X-Tenant: one\r\nX-Tenant: two\r\n\r\nx", "one", "", "", "\r\nx", 0},
    {"X-Tenant:\r\nX-Tenant: two\r\n\r\nx", "", "", "", "\r\nx", 0},
    /* others that begin alike */
    {"X-Tenant-Id: a\r\nX-Ten: b\r\nX-: c\r\nX: d\r\nX-Tenantx\r\n\r\n", "", "", "", NULL, 0},
    {"X-Tenant x: a\r\n\r\n", "", "", "", NULL, 0},
    {": a\r\n\r\n", "", "", "", NULL, 0},
    {"X-Tenant\r\n\r\n", "", "", "", NULL, 0},
    /* no empty line: it is all header section */
    {"X-Tenant: acme\r\n", "acme", "", "", "", 0},
    {"A: b\r\nX-Tenant: acme", "acme", "", "", "A: b\r\n", 0},
    {"A: b\r\nX-Tenant: ac\r\n me", "ac me", "", "", "A: b\r\n", 0},
    {"X-Tenant", "", "", "", NULL, 0},
    {"", "", "", "", NULL, 0},
    {"\r\nX-Tenant: acme\r\n", "", "", "", NULL, 0},
    {"Received: a\r\nX-Tenant: t\r\nreceived :b\r\n c\r\nReceivedx: d\r\n\r\nReceived: e\r\n", "t",
     "", "", "Received: a\r\nreceived :b\r\n c\r\nReceivedx: d\r\n\r\nReceived: e\r\n", 2},
};

static void expect(const struct header_scan *scan, const struct message *message, unsigned split)
{
    static uint8_t memory[4096];
    struct buf sent;
    struct slice text = slice_from_string(message->text);
    const char *left = message->sent == NULL ? message->text : message->sent;
    buf_init(&sent, memory, sizeof(memory));
    put_without_cuts(&sent, text, scan);
    const struct {
        const char *wanted;
        struct slice found;
    } checks[] = {
        {message->tenant, header_scan_value(scan, CONF_LABEL_TENANT)},
        {message->campaign, header_scan_value(scan, CONF_LABEL_CAMPAIGN)},
        {message->class, header_scan_value(scan, CONF_LABEL_CLASS)},
        {left, buf_slice(&sent)},
    };
    for (unsigned i = 0; i < COUNT_OF(checks); i++) {
        if (!slice_equal(checks[i].found, slice_from_string(checks[i].wanted))) {
            fail_msg("\"%s\" split at %u, %u: \"%.*s\"", message->text, split, i,
                     (int)checks[i].found.size, (const char *)checks[i].found.data);
        }
    }
    assert_int_equal(scan->received_count, message->received);
    assert_false(scan->too_many_cuts);
}

static void fields_are_found_and_cut_out_at_every_split(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(messages); i++) {
        struct slice text = slice_from_string(messages[i].text);
        struct header_scan scan;
        for (unsigned split = 0; split <= text.size; split++) {
            for (unsigned second = split; second <= text.size; second++) {
                header_scan_init(&scan, labels);
                take(&scan, slice_first(text, split));
                take(&scan, slice_make(text.data + split, second - split));
                take(&scan, slice_skip(text, second));
                header_scan_end(&scan);
                expect(&scan, &messages[i], split);
            }
        }
        header_scan_init(&scan, labels);
        for (unsigned at = 0; at < text.size; at++) {
            take(&scan, slice_make(text.data + at, 1));
        }
        header_scan_end(&scan);
        expect(&scan, &messages[i], UINT32_MAX);
    }
}

static void without_labels_only_received_counts(void **state)
{
    (void)state;
    struct header_scan scan;
    header_scan_init(&scan, NULL);
    header_scan_take(&scan, SLICE("Received: a\r\nX-Tenant: b\r\n\r\n"));
    header_scan_end(&scan);
    assert_int_equal(scan.received_count, 1);
    assert_int_equal(scan.cut_count, 0);
    assert_int_equal(scan.bytes, 28);
    assert_true(scan.ended);
}

static void a_value_and_the_cuts_have_their_limits(void **state)
{
    (void)state;
    struct header_scan scan;
    static char text[4096];
    for (int size = HEADER_SCHEDULE_BYTES_MAX; size <= HEADER_SCHEDULE_BYTES_MAX + 1; size++) {
        int total = snprintf(text, sizeof(text), "X-Schedule: %0*d\r\nX-Campaign: a\r\n\r\n",
                             size, 1);
        header_scan_init(&scan, labels);
        header_scan_take(&scan, slice_make(text, (size_t)total));
        bool too_long = size > HEADER_SCHEDULE_BYTES_MAX;
        struct slice value = header_scan_value(&scan, CONF_LABEL_SCHEDULE);
        assert_int_equal(scan.values[CONF_LABEL_SCHEDULE].too_long, too_long);
        assert_int_equal(value.size, HEADER_SCHEDULE_BYTES_MAX);
        assert_int_equal(value.data[value.size - 1], too_long ? '0' : '1');
        assert_true(slice_equal(header_scan_value(&scan, CONF_LABEL_CAMPAIGN), SLICE("a")));
    }
    for (int size = CONF_TENANT_BYTES_MAX - 1; size <= CONF_TENANT_BYTES_MAX + 1; size++) {
        int total = snprintf(text, sizeof(text), "X-Tenant: %0*d  \r\n\r\n", size, 1);
        header_scan_init(&scan, labels);
        header_scan_take(&scan, slice_make(text, (size_t)total));
        assert_int_equal(scan.values[CONF_LABEL_TENANT].too_long, size > CONF_TENANT_BYTES_MAX);
        assert_int_equal(scan.values[CONF_LABEL_TENANT].bytes,
                         MIN_OF(size, CONF_TENANT_BYTES_MAX));
        assert_int_equal(scan.cuts[0].bytes, total - 2);
    }
    for (unsigned count = HEADER_CUTS_MAX - 1; count <= HEADER_CUTS_MAX + 1; count++) {
        header_scan_init(&scan, labels);
        for (unsigned i = 0; i < count; i++) {
            header_scan_take(&scan, SLICE("X-Tenant: a\r\n"));
        }
        header_scan_take(&scan, SLICE("\r\n"));
        assert_int_equal(scan.too_many_cuts, count > HEADER_CUTS_MAX);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_and_cut_out_at_every_split),
        cmocka_unit_test(without_labels_only_received_counts),
        cmocka_unit_test(a_value_and_the_cuts_have_their_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
