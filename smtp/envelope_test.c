#include "smtp/envelope.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static void reads_back_what_was_put_with_the_domain_in_lower_case(void **state)
{
    (void)state;
    const struct {
        struct slice address;
        struct slice stored;
    } cases[] = {
        {SLICE("Bob.Example@Example.COM"), SLICE("Bob.Example@example.com")},
        {SLICE("\"A@B C\"@EXAMPLE.net"), SLICE("\"A@B C\"@example.net")},
        {SLICE("\"A\\\"@B\""), SLICE("\"A\\\"@B\"")},
        {SLICE("Postmaster"), SLICE("Postmaster")},
        {SLICE("x@[IPv6:2001:DB8::1]"), SLICE("x@[ipv6:2001:db8::1]")},
        {SLICE("J\xC3\x96@M\xC3\x9CNZE.example"), SLICE("J\xC3\x96@m\xC3\x9Cnze.example")},
    };
    uint8_t memory[512];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    envelope_put_sender(&buf, SLICE("Sender@Example.ORG"), NULL);
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        envelope_put_recipient(&buf, (uint16_t)(i * 13000), cases[i].address, NULL);
    }
    assert_false(buf.overflow);
    struct slice sender;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    assert_true(envelope_open(buf_slice(&buf), &sender, &cursor));
    assert_true(slice_equal(sender, SLICE("Sender@example.org")));
    for (size_t i = 0; i < COUNT_OF(cases); i++) {
        assert_int_equal(envelope_next(&cursor, &recipient), 1);
        assert_int_equal(recipient.index, i * 13000);
        assert_true(slice_equal(recipient.address, cases[i].stored));
    }
    assert_int_equal(envelope_next(&cursor, &recipient), 0);
    assert_int_equal(envelope_next(&cursor, &recipient), 0);
}

static void the_bytes_are_as_documented(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    envelope_put_sender(&buf, SLICE_NONE, NULL);
    envelope_put_recipient(&buf, 0x0201, SLICE("a@b"), NULL);
    assert_true(slice_equal(buf_slice(&buf), SLICE("\0\0\x01\x02\x03\0a@b")));
    struct slice sender;
    struct envelope_cursor cursor;
    assert_true(envelope_open(buf_slice(&buf), &sender, &cursor));
    assert_int_equal(sender.size, 0);
}

static void what_was_asked_about_notifications_stands_behind_its_address(void **state)
{
    (void)state;
    uint8_t memory[64];
    struct buf buf;
    struct slice sender;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    const struct envelope_dsn full = {ENVELOPE_RETURN_FULL, SLICE("id")};
    const struct envelope_dsn never = {ENVELOPE_NOTIFY_NEVER, SLICE_NONE};
    const struct envelope_dsn named = {0, SLICE("rfc822;x")};
    buf_init(&buf, memory, sizeof(memory));
    envelope_put_sender(&buf, SLICE_NONE, &full);
    envelope_put_recipient(&buf, 1, SLICE("a@B"), &never);
    envelope_put_recipient(&buf, 2, SLICE("c@d"), NULL);
    envelope_put_recipient(&buf, 3, SLICE("e@f"), &named);
    assert_true(slice_equal(buf_slice(&buf),
                            SLICE("\0\x80\x01\x02\0id"
                                  "\x01\0\x03\x80" "a@b\x01\0\0"
                                  "\x02\0\x03\0c@d"
                                  "\x03\0\x03\x80" "e@f\0\x08\0rfc822;x")));
    assert_true(envelope_sound(buf_slice(&buf)));
    assert_true(envelope_open(buf_slice(&buf), &sender, &cursor));
    assert_int_equal(sender.size, 0);
    assert_int_equal(cursor.dsn.word, ENVELOPE_RETURN_FULL);
    assert_true(slice_equal(cursor.dsn.text, SLICE("id")));
    assert_int_equal(envelope_next(&cursor, &recipient), 1);
    assert_int_equal(recipient.dsn.word, ENVELOPE_NOTIFY_NEVER);
    assert_int_equal(envelope_next(&cursor, &recipient), 1);
    assert_false(envelope_dsn_asks(&recipient.dsn));
    assert_int_equal(envelope_next(&cursor, &recipient), 1);
    assert_true(slice_equal(recipient.address, SLICE("e@f")));
    assert_true(slice_equal(recipient.dsn.text, SLICE("rfc822;x")));
    assert_int_equal(envelope_next(&cursor, &recipient), 0);
}

static void requests_that_cannot_be_are_damage(void **state)
{
    (void)state;
    const struct slice sections[] = {
        SLICE("\x01\x80" "a"),                    /* cut before it */
        SLICE("\x01\x80" "a\x01\0"),             /* in it */
        SLICE("\x01\x80" "a\x01\x02\0x"),        /* in its text */
        SLICE("\x01\x80" "a\x03\0\0"),           /* no RET */
        SLICE("\x01\x80" "a\0\0\0"),             /* nothing asked */
        SLICE("\x01\x80" "a\x01\x03\0x y"),      /* a parameter of its own */
        SLICE("\x01\x80" "a\x01\x03\0x\ry"),
        SLICE("\0\0\0\0\x01\x80" "a\x10\0\0"),  /* no NOTIFY */
        SLICE("\0\0\0\0\0\x80\x01\0\0"),        /* no address */
    };
    for (size_t i = 0; i < COUNT_OF(sections); i++) {
        if (envelope_sound(sections[i])) {
            fail_msg("section %zu", i);
        }
    }
}

static void a_put_that_does_not_fit_leaves_the_section_whole(void **state)
{
    (void)state;
    uint8_t memory[12];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    envelope_put_sender(&buf, SLICE("a@b"), NULL);
    envelope_put_recipient(&buf, 0, SLICE("c@de"), NULL);
    assert_true(buf.overflow);
    assert_int_equal(buf.size, 5);
    buf_reset(&buf);
    envelope_put_sender(&buf, SLICE("a@b.example"), NULL);
    assert_true(buf.overflow);
    assert_int_equal(buf.size, 0);
}

/* Every prefix of a section, in memory of exactly its size: whole recipients, then the damage. */
static void a_section_cut_anywhere_is_read_up_to_the_cut(void **state)
{
    (void)state;
    struct slice section = SLICE("\x03\0a@b\0\0\x03\0c@d\x01\0\x04\0e@fg");
    static const size_t whole[] = {5, 12, 20};
    for (size_t size = 0; size <= section.size; size++) {
        uint8_t *copy = malloc(MAX_OF(size, (size_t)1));
        assert_non_null(copy);
        memcpy(copy, section.data, size);
        struct slice sender;
        struct envelope_cursor cursor;
        struct envelope_recipient recipient;
        bool opened = envelope_open(slice_make(copy, size), &sender, &cursor);
        assert_int_equal(opened, size >= whole[0]);
        if (opened) {
            int recipients = 0;
            int last = 0;
            while ((last = envelope_next(&cursor, &recipient)) == 1) {
                recipients++;
            }
            assert_int_equal(recipients, (size >= whole[1]) + (size >= whole[2]));
            bool clean = size == whole[0] || size == whole[1] || size == whole[2];
            assert_int_equal(last, clean ? 0 : -1);
            assert_int_equal(envelope_next(&cursor, &recipient), last);
        }
        free(copy);
    }
}

static void an_empty_recipient_is_damage(void **state)
{
    (void)state;
    struct slice sender;
    struct envelope_cursor cursor;
    struct envelope_recipient recipient;
    assert_true(envelope_open(SLICE("\0\0\0\0\0\0"), &sender, &cursor));
    assert_int_equal(envelope_next(&cursor, &recipient), -1);
}

static void b05_an_address_with_a_line_end_or_nul_is_damage(void **state)
{
    (void)state;
    static const uint8_t bad[] = {'\r', '\n', 0};
    for (size_t i = 0; i < COUNT_OF(bad); i++) {
        uint8_t memory[64];
        uint8_t address[] = "a@b.test";
        struct slice sender;
        struct envelope_cursor cursor;
        struct envelope_recipient recipient;
        struct buf buf;
        address[4] = bad[i];
        struct slice odd = slice_make(address, sizeof(address) - 1);
        buf_init(&buf, memory, sizeof(memory));
        envelope_put_sender(&buf, odd, NULL);
        assert_false(envelope_open(buf_slice(&buf), &sender, &cursor));
        assert_false(envelope_sound(buf_slice(&buf)));
        buf_reset(&buf);
        envelope_put_sender(&buf, SLICE_NONE, NULL);
        envelope_put_recipient(&buf, 0, SLICE("good@b.test"), NULL);
        assert_true(envelope_sound(buf_slice(&buf)));
        envelope_put_recipient(&buf, 1, odd, NULL);
        assert_true(envelope_open(buf_slice(&buf), &sender, &cursor));
        assert_int_equal(envelope_next(&cursor, &recipient), 1);
        assert_int_equal(envelope_next(&cursor, &recipient), -1);
        assert_false(envelope_sound(buf_slice(&buf)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_back_what_was_put_with_the_domain_in_lower_case),
        cmocka_unit_test(the_bytes_are_as_documented),
        cmocka_unit_test(what_was_asked_about_notifications_stands_behind_its_address),
        cmocka_unit_test(requests_that_cannot_be_are_damage),
        cmocka_unit_test(a_put_that_does_not_fit_leaves_the_section_whole),
        cmocka_unit_test(a_section_cut_anywhere_is_read_up_to_the_cut),
        cmocka_unit_test(an_empty_recipient_is_damage),
        cmocka_unit_test(b05_an_address_with_a_line_end_or_nul_is_damage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
