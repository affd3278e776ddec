#include "smtp/report_read.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#define SCRATCH_BYTES (2 * KIB)

static void assert_text(struct slice slice, const char *expected)
{
    if (!slice_equal(slice, slice_from_string(expected))) {
        fail_msg("'%.*s' is not '%s'", (int)slice.size, (const char *)slice.data, expected);
    }
}

struct report_row {
    const char *text;
    enum report_kind kind;
    const char *fields;
    const char *original;
};

static void check_rows(const struct report_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        uint8_t memory[SCRATCH_BYTES];
        struct buf scratch;
        struct report report;
        buf_init(&scratch, memory, sizeof(memory));
        bool found = report_read(slice_from_string(rows[i].text), true, &scratch, &report);
        if (found != (rows[i].kind != REPORT_NONE) || (found && report.kind != rows[i].kind)) {
            fail_msg("%s: %d", rows[i].text, report.kind);
        }
        if (found) {
            assert_text(report.fields, rows[i].fields);
            assert_text(report.original, rows[i].original);
        }
    }
}

#define HEAD      "From: a@b\r\nContent-Type: multipart/report; "
#define DSN_HEAD  HEAD "report-type=delivery-status; boundary=b\r\n\r\n"
#define ARF_HEAD  HEAD "boundary=\"b\"; report-type=\"Feedback-Report\"\r\n\r\n"
#define TEXT      "--b\r\nContent-Type: text/plain\r\n\r\nIt failed.\r\n"
#define STATUS    "--b\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n\r\n"
#define FEEDBACK  "--b\r\nContent-Type: message/feedback-report\r\n\r\nVersion: 1\r\n\r\n"
#define ORIGINAL  "--b\r\nContent-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nbody\r\n"
#define END       "--b--\r\n"

static void reports_are_told_from_other_mail(void **state)
{
    (void)state;
    static const struct report_row rows[] = {
        {DSN_HEAD TEXT STATUS ORIGINAL END, REPORT_DELIVERY, "Action: failed\r\n",
         "Subject: x\r\n\r\nbody"},
        {ARF_HEAD TEXT FEEDBACK ORIGINAL END, REPORT_FEEDBACK, "Version: 1\r\n",
         "Subject: x\r\n\r\nbody"},
        {HEAD "boundary=b\r\n\r\n" TEXT STATUS END, REPORT_DELIVERY, "Action: failed\r\n", ""},
        {HEAD "boundary=b\r\n\r\n" TEXT FEEDBACK END, REPORT_FEEDBACK, "Version: 1\r\n", ""},
        {DSN_HEAD FEEDBACK STATUS STATUS END, REPORT_DELIVERY, "Action: failed\r\n", ""},
        {DSN_HEAD STATUS
         "--b\r\nContent-Type: text/rfc822-headers; charset=utf-8\r\n\r\nSubject: y\r\n"
         ORIGINAL END,
         REPORT_DELIVERY, "Action: failed\r\n", "Subject: y"},
        {DSN_HEAD TEXT FEEDBACK END, REPORT_NONE, NULL, NULL},
        {DSN_HEAD TEXT ORIGINAL END, REPORT_NONE, NULL, NULL},
        {HEAD "report-type=disposition-notification; boundary=b\r\n\r\n" TEXT STATUS END,
         REPORT_NONE, NULL, NULL},
        {HEAD "report-type=delivery-status; report-type=x; boundary=b\r\n\r\n" STATUS END,
         REPORT_NONE, NULL, NULL},
        {"Content-Type: multipart/mixed; boundary=b\r\n\r\n" STATUS END, REPORT_NONE, NULL, NULL},
        {"Subject: multipart/report\r\n\r\n" STATUS END, REPORT_NONE, NULL, NULL},
        {"", REPORT_NONE, NULL, NULL},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void d01_without_a_sound_boundary_there_is_no_report(void **state)
{
    (void)state;
#define X70 "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
#define TYPED HEAD "report-type=delivery-status"
    static const struct report_row rows[] = {
        {TYPED "\r\n\r\n" STATUS END, REPORT_NONE, NULL, NULL},
        {TYPED "; boundary=\"\"\r\n\r\n--\r\nContent-Type: message/delivery-status\r\n\r\nA: b\r\n",
         REPORT_NONE, NULL, NULL},
        {TYPED "; boundary=x" X70 "\r\n\r\n--x" X70
         "\r\nContent-Type: message/delivery-status\r\n\r\nAction: failed\r\n",
         REPORT_NONE, NULL, NULL},
        {TYPED "; boundary=c\r\n\r\n" STATUS END, REPORT_NONE, NULL, NULL},
        {TYPED "; boundary=b\r\n\r\n" END STATUS END, REPORT_NONE, NULL, NULL},
        {TYPED "; boundary=\"\\b\"\r\n\r\n" STATUS END, REPORT_NONE, NULL, NULL},
        /* The boundary of a part inside begins with the one of the report. */
        {TYPED "; boundary=b\r\n\r\n--b\r\nContent-Type: multipart/mixed; boundary=bb\r\n\r\n--bb"
         "\r\nContent-Type: message/delivery-status\r\n\r\nno\r\n--bb--\r\n" STATUS END,
         REPORT_DELIVERY, "Action: failed\r\n", ""},
    };
    check_rows(rows, COUNT_OF(rows));
}

static void d03_the_fields_are_read_in_every_encoding_and_type(void **state)
{
    (void)state;
#define PART(type, encoding)                                                                       \
    "--b\r\nContent-Type: " type "\r\nContent-Transfer-Encoding: " encoding "\r\n\r\n"
    static const struct report_row rows[] = {
        {DSN_HEAD PART("message/delivery-status", "base64") "QWN0aW9uOiBmYWlsZWQNCg==\r\n" END,
         REPORT_DELIVERY, "Action: failed\r\n", ""},
        {DSN_HEAD PART("message/delivery-status", "quoted-printable")
         "Action: f=61iled\r\n\r\n" END,
         REPORT_DELIVERY, "Action: failed\n", ""},
        {DSN_HEAD PART("message/global-delivery-status", "8bit") "A: \xC3\xA9\r\n\r\n"
         PART("message/global-headers", "base64") "U3ViamVjdDogw6k=\r\n" END,
         REPORT_DELIVERY, "A: \xC3\xA9\r\n", "Subject: \xC3\xA9"},
        {DSN_HEAD PART("message/delivery-status", "x-unknown") "Action: failed\r\n" END,
         REPORT_NONE, NULL, NULL},
        {DSN_HEAD STATUS PART("message/rfc822", "x-unknown") "Subject: x\r\n" END,
         REPORT_DELIVERY, "Action: failed\r\n", ""},
    };
    check_rows(rows, COUNT_OF(rows));
}

/* What is in a part is not looked at; what is too much is read past, once. */
static void d02_depth_and_number_of_parts_cost_nothing(void **state)
{
    (void)state;
    const struct slice fillings[] = {
        SLICE("--b\r\n"),
        SLICE("Content-Type: message/rfc822\r\n\r\n"),
        SLICE("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"),
        SLICE("--b\r\nContent-Type: message/partial; id=x; number=1\r\n\r\n"),
        SLICE("--b\r\nContent-Type: message/external-body; access-type=url\r\n\r\n"),
    };
    uint8_t *memory = malloc(2 * MIB);
    assert_non_null(memory);
    for (size_t i = 0; i < COUNT_OF(fillings); i++) {
        for (unsigned first = 0; first < 2; first++) {
            struct buf buf;
            struct buf scratch;
            struct report report;
            buf_init(&buf, memory, 2 * MIB);
            buf_put(&buf, SLICE(DSN_HEAD));
            if (first == 1) {
                buf_put(&buf, SLICE(STATUS "--b\r\n"));
            }
            while (buf_room(&buf) > 100) {
                buf_put(&buf, fillings[i]);
            }
            buf_put(&buf, SLICE("\r\n" END));
            buf_init(&scratch, NULL, 0);
            assert_int_equal(report_read(buf_slice(&buf), true, &scratch, &report), first == 1);
        }
    }
    free(memory);
}

static void of_a_large_report_the_fields_have_to_be_whole(void **state)
{
    (void)state;
    uint8_t *memory = malloc(REPORT_BYTES_MAX + 1000);
    struct buf buf;
    struct buf scratch;
    struct report report;
    assert_non_null(memory);
    for (unsigned before = 0; before < 2; before++) {
        buf_init(&buf, memory, REPORT_BYTES_MAX + 1000);
        buf_init(&scratch, NULL, 0);
        buf_put(&buf, before == 0 ? SLICE(DSN_HEAD STATUS ORIGINAL)
                                  : SLICE(DSN_HEAD "--b\r\nContent-Type: message/delivery-status"
                                                   "\r\n\r\nAction: failed\r\n"));
        while (buf.size < REPORT_BYTES_MAX) {
            buf_put(&buf, SLICE("X: y\r\n"));
        }
        buf_put(&buf, SLICE("\r\n" END));
        assert_false(buf.overflow);
        assert_int_equal(report_read(buf_slice(&buf), true, &scratch, &report), before == 0);
        assert_true(before == 1 || report.original.size > REPORT_BYTES_MAX / 2);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_are_told_from_other_mail),
        cmocka_unit_test(d01_without_a_sound_boundary_there_is_no_report),
        cmocka_unit_test(d02_depth_and_number_of_parts_cost_nothing),
        cmocka_unit_test(d03_the_fields_are_read_in_every_encoding_and_type),
        cmocka_unit_test(of_a_large_report_the_fields_have_to_be_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
