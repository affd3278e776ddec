#include "smtp/params.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>

static void mail_parameters_that_are_offered(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t size;
        enum mail_body body;
        bool smtputf8;
    } rows[] = {
        {"", 0, MAIL_BODY_7BIT, false},
        {" SIZE=0", 0, MAIL_BODY_7BIT, false},
        {" size=12345", 12345, MAIL_BODY_7BIT, false},
        {" SIZE=9223372036854775808", 9223372036854775808u, MAIL_BODY_7BIT, false},
        {" BODY=7BIT", 0, MAIL_BODY_7BIT, false},
        {" body=8bitmime", 0, MAIL_BODY_8BITMIME, false},
        {" SMTPUTF8", 0, MAIL_BODY_7BIT, true},
        {"  SMTPUTF8  BODY=8BITMIME SIZE=7", 7, MAIL_BODY_8BITMIME, true},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mail_params params;
        assert_int_equal(params_parse_mail(slice_from_string(rows[i].text), true, &params),
                         PARAMS_OK);
        assert_int_equal(params.size, rows[i].size);
        assert_int_equal(params.body, rows[i].body);
        assert_int_equal(params.smtputf8, rows[i].smtputf8);
    }
}

static void s18_s19_faults_of_mail_parameters(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum params_fault fault;
    } rows[] = {
        {" SIZE=abc", PARAMS_SYNTAX},
        {" SIZE=-1", PARAMS_SYNTAX},
        {" SIZE=", PARAMS_SYNTAX},
        {" SIZE", PARAMS_SYNTAX},
        {" SIZE=18446744073709551617", PARAMS_SYNTAX},
        {" SIZE=000000000000000000001", PARAMS_SYNTAX},
        {" SIZE=1 SIZE=1", PARAMS_SYNTAX},
        {" SIZE=1=1", PARAMS_SYNTAX},
        {" BODY=FOO", PARAMS_SYNTAX},
        {" BODY", PARAMS_SYNTAX},
        {" BODY=7BIT BODY=7BIT", PARAMS_SYNTAX},
        {" BODY=BINARYMIME", PARAMS_NOT_OFFERED},
        {" SMTPUTF8=1", PARAMS_SYNTAX},
        {" SMTPUTF8 SMTPUTF8", PARAMS_SYNTAX},
        {" RET=X", PARAMS_SYNTAX},
        {" RET", PARAMS_SYNTAX},
        {" RET=FULL RET=FULL", PARAMS_SYNTAX},
        {" ENVID=x ENVID=x", PARAMS_SYNTAX},
        {" ENVID=", PARAMS_SYNTAX},
        {" ENVID=a+0D+0A", PARAMS_SYNTAX},
        {" ENVID=a+2b", PARAMS_SYNTAX},
        {" NOTIFY=NEVER", PARAMS_NOT_OFFERED},
        {" AUTH=<>", PARAMS_NOT_OFFERED},
        {" REQUIRETLS", PARAMS_NOT_OFFERED},
        {" X-Y=1", PARAMS_NOT_OFFERED},
        {" -Y=1", PARAMS_SYNTAX},
        {" =1", PARAMS_SYNTAX},
        {" X\tY", PARAMS_SYNTAX},
        {" X=\x7F", PARAMS_SYNTAX},
        {"SIZE=1", PARAMS_SYNTAX},
        {"x", PARAMS_SYNTAX},
        {" ", PARAMS_SYNTAX},
        {" X=1 SIZE=abc", PARAMS_NOT_OFFERED},
        {" SIZE=abc X=1", PARAMS_SYNTAX},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mail_params params;
        enum params_fault fault =
            params_parse_mail(slice_from_string(rows[i].text), true, &params);
        if (fault != rows[i].fault) {
            fail_msg("%s: fault is %d", rows[i].text, fault);
        }
    }
}

static void after_helo_nothing_is_offered(void **state)
{
    (void)state;
    struct mail_params params;
    assert_int_equal(params_parse_mail(SLICE(""), false, &params), PARAMS_OK);
    assert_int_equal(params_parse_mail(SLICE(" SIZE=1"), false, &params), PARAMS_NOT_OFFERED);
    assert_int_equal(params_parse_mail(SLICE(" =1"), false, &params), PARAMS_SYNTAX);
    struct envelope_dsn dsn;
    assert_int_equal(params_parse_rcpt(SLICE(""), false, &dsn), PARAMS_OK);
    assert_int_equal(params_parse_rcpt(SLICE(" NOTIFY=NEVER"), false, &dsn), PARAMS_NOT_OFFERED);
}

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X100 X50 X50
#define X490 X100 X100 X100 X100 X50 X10 X10 X10 X10

static void mail_says_what_is_returned_and_under_which_name(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum params_fault fault;
        uint8_t ret;
        const char *envid;
    } rows[] = {
        {"", PARAMS_OK, ENVELOPE_RETURN_ANY, ""},
        {" RET=FULL", PARAMS_OK, ENVELOPE_RETURN_FULL, ""},
        {" ret=hdrs ENVID=QQ+2B1 SIZE=1", PARAMS_OK, ENVELOPE_RETURN_HDRS, "QQ+2B1"},
        {" ENVID=" X100, PARAMS_OK, ENVELOPE_RETURN_ANY, X100},
        {" ENVID=" X100 "x", PARAMS_SYNTAX, 0, ""},
        {" ENVID=a\xC3\xA9", PARAMS_SYNTAX, 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct mail_params params;
        assert_int_equal(params_parse_mail(slice_from_string(rows[i].text), true, &params),
                         rows[i].fault);
        if (rows[i].fault == PARAMS_OK) {
            assert_int_equal(params.dsn.word, rows[i].ret);
            assert_true(slice_equal(params.dsn.text, slice_from_string(rows[i].envid)));
        }
    }
}

static void s19_rcpt_says_of_what_to_notify(void **state)
{
    (void)state;
    enum { NEVER = 1, SUCCESS = 2, FAILURE = 4, DELAY = 8 };
    static const struct {
        const char *text;
        enum params_fault fault;
        uint8_t notify;
        const char *orcpt;
    } rows[] = {
        {"", PARAMS_OK, 0, ""},
        {" NOTIFY=NEVER", PARAMS_OK, NEVER, ""},
        {" notify=failure,SUCCESS,Delay", PARAMS_OK, FAILURE | SUCCESS | DELAY, ""},
        {" ORCPT=rfc822;a+2Bb@c NOTIFY=DELAY", PARAMS_OK, DELAY, "rfc822;a+2Bb@c"},
        {" ORCPT=X-400;/C+3DDE/", PARAMS_OK, 0, "X-400;/C+3DDE/"},
        {" ORCPT=utf-8;z\xC3\xB6@b", PARAMS_OK, 0, "utf-8;z\xC3\xB6@b"},
        {" ORCPT=UTF-8;z\\x{F6}@b", PARAMS_OK, 0, "UTF-8;z\\x{F6}@b"},
        {" ORCPT=rfc822;" X490 "xxx", PARAMS_OK, 0, "rfc822;" X490 "xxx"},
        {" ORCPT=rfc822;" X490 "xxxx", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=NEVER,SUCCESS", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=SUCCESS,NEVER", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=SUCCESS,SUCCESS", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=SUCCESS,", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=,DELAY", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=ALWAYS", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY", PARAMS_SYNTAX, 0, ""},
        {" NOTIFY=DELAY NOTIFY=DELAY", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=a@b", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=;a@b", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=rfc822;", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=utf-8;", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=rf c;a@b", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=rfc822;a+2bb@c", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=rfc822;z\xC3\xB6@b", PARAMS_SYNTAX, 0, ""},
        {" ORCPT=rfc822;a ORCPT=rfc822;a", PARAMS_SYNTAX, 0, ""},
        {" SIZE=1", PARAMS_NOT_OFFERED, 0, ""},
        {" RET=FULL", PARAMS_NOT_OFFERED, 0, ""},
        {"x", PARAMS_SYNTAX, 0, ""},
        {" =", PARAMS_SYNTAX, 0, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct envelope_dsn dsn;
        enum params_fault fault = params_parse_rcpt(slice_from_string(rows[i].text), true, &dsn);
        if (fault != rows[i].fault) {
            fail_msg("%s: fault is %d", rows[i].text, fault);
        }
        if (fault == PARAMS_OK) {
            assert_int_equal(dsn.word, rows[i].notify);
            assert_true(slice_equal(dsn.text, slice_from_string(rows[i].orcpt)));
        }
    }
}

static void s17_xtext_hides_no_line_end(void **state)
{
    (void)state;
    static const char *const texts[] = {"+0D+0A", "a+0Ab", "+00", "+7F", "+1B", "+C3+A9"};
    for (size_t i = 0; i < COUNT_OF(texts); i++) {
        char line[64];
        struct mail_params params;
        struct envelope_dsn dsn;
        snprintf(line, sizeof(line), " ENVID=%s", texts[i]);
        assert_int_equal(params_parse_mail(slice_from_string(line), true, &params), PARAMS_SYNTAX);
        snprintf(line, sizeof(line), " ORCPT=rfc822;%s", texts[i]);
        assert_int_equal(params_parse_rcpt(slice_from_string(line), true, &dsn), PARAMS_SYNTAX);
    }
}

static void xclient_has_four_attributes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum params_fault fault;
        const char *client; /* null: none; port 0 where that is not known */
        const char *local;
    } rows[] = {
        {"ADDR=192.0.2.1", PARAMS_OK, "192.0.2.1:0", NULL},
        {"addr=192.0.2.1 port=1", PARAMS_OK, "192.0.2.1:1", NULL},
        {"ADDR=IPV6:2001:db8::1  PORT=65535", PARAMS_OK, "[2001:db8::1]:65535", NULL},
        {"DESTADDR=ipv6:::1 DESTPORT=25 ADDR=192.0.2.1", PARAMS_OK, "192.0.2.1:0", "[::1]:25"},
        {"ADDR=192.0.2.1 PORT=[UNAVAILABLE] DESTADDR=[TEMPUNAVAIL] DESTPORT=[unavailable]",
         PARAMS_OK, "192.0.2.1:0", NULL},
        {"", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=", PARAMS_SYNTAX, NULL, NULL},
        {"PORT", PARAMS_SYNTAX, NULL, NULL},
        {"=192.0.2.1", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=[UNAVAILABLE]", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=2001:db8::1", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=IPV6:192.0.2.1", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=IPV6:", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=[192.0.2.1]", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=192.0.2.1=1", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=192.0.2.1 ADDR=192.0.2.1", PARAMS_SYNTAX, NULL, NULL},
        {"PORT=[UNAVAILABLE] PORT=1", PARAMS_SYNTAX, NULL, NULL},
        {"PORT=0", PARAMS_SYNTAX, NULL, NULL},
        {"PORT=025", PARAMS_SYNTAX, NULL, NULL},
        {"PORT=65536", PARAMS_SYNTAX, NULL, NULL},
        {"PORT=-1", PARAMS_SYNTAX, NULL, NULL},
        {"DESTPORT=123456", PARAMS_SYNTAX, NULL, NULL},
        {"NAME=x.test", PARAMS_SYNTAX, NULL, NULL},
        {"ADDR=192.0.2.1 LOGIN=root", PARAMS_SYNTAX, NULL, NULL},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct xclient_params params;
        struct endpoint expected = {0};
        enum params_fault fault = params_parse_xclient(slice_from_string(rows[i].text), &params);
        if (fault != rows[i].fault) {
            fail_msg("%s: fault is %d", rows[i].text, fault);
        }
        if (fault == PARAMS_OK) {
            assert_true(params.has_address);
            assert_true(endpoint_parse(slice_from_string(rows[i].client), 0, &expected));
            assert_true(endpoint_equal(&params.client, &expected));
            assert_int_equal(params.has_local_address, rows[i].local != NULL);
        }
        if (rows[i].local != NULL) {
            assert_true(endpoint_parse(slice_from_string(rows[i].local), 0, &expected));
            assert_true(endpoint_equal(&params.local, &expected));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(mail_parameters_that_are_offered),
        cmocka_unit_test(s18_s19_faults_of_mail_parameters),
        cmocka_unit_test(after_helo_nothing_is_offered),
        cmocka_unit_test(mail_says_what_is_returned_and_under_which_name),
        cmocka_unit_test(s19_rcpt_says_of_what_to_notify),
        cmocka_unit_test(s17_xtext_hides_no_line_end),
        cmocka_unit_test(xclient_has_four_attributes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
