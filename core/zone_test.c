#include "core/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct rig {
    struct heap heap;
    struct zone zone;
    char said[4096]; /* a line for each complaint */
};

static void complain(void *context, unsigned line, struct slice why)
{
    struct rig *rig = context;
    size_t size = strlen(rig->said);
    snprintf(rig->said + size, sizeof(rig->said) - size, "%u: %.*s\n", line, (int)why.size,
             (const char *)why.data);
}

static void rig_fini(struct rig *rig)
{
    heap_fini(&rig->heap);
}

static bool rig_read(struct rig *rig, const char *text)
{
    struct heap scratch;
    *rig = (struct rig){0};
    heap_init(&rig->heap);
    heap_init(&scratch);
    bool good =
        zone_read(slice_from_string(text), &rig->heap, &scratch, complain, rig, &rig->zone);
    heap_fini(&scratch);
    assert_int_equal(good, rig->said[0] == 0);
    return good;
}

static void put_record(struct buf *out, enum dns_type type, const struct dns_record *record)
{
    buf_put_string(out, " | ");
    if (type == DNS_MX) {
        buf_printf(out, "%u ", (unsigned)record->preference);
    }
    if (type == DNS_A || type == DNS_AAAA) {
        endpoint_put_address(out, &record->address);
    }
    buf_put(out, record->name);
    if (type == DNS_TLSA) {
        buf_put_hex(out, record->bytes);
    } else {
        buf_put(out, record->bytes);
    }
}

/* "300 | record | record", "no data", "no name". */
static void expect(const struct rig *rig, const char *name, enum dns_type type,
                   const char *expected)
{
    uint8_t bytes[2048];
    struct buf out;
    const struct zone_name *found = zone_find(&rig->zone, slice_from_string(name));
    const struct zone_set *set = found == NULL ? NULL : zone_set_find(found, type);
    buf_init(&out, bytes, sizeof(bytes));
    if (set == NULL) {
        buf_put_string(&out, found == NULL ? "no name" : "no data");
    } else {
        buf_put_u64(&out, set->ttl_s);
        for (unsigned i = 0; i < set->count; i++) {
            put_record(&out, type, &set->records[i]);
        }
    }
    if (!slice_equal(buf_slice(&out), slice_from_string(expected))) {
        fail_msg("%s: %.*s, not %s", name, (int)out.size, (const char *)bytes, expected);
    }
}

static void records_are_read_as_a_master_file_has_them(void **state)
{
    (void)state;
    struct rig rig;
    assert_true(rig_read(&rig,
        "; nothing\n\n"
        "a.test. 30 IN MX 20 Mx2.test. ; the second\r\n"
        "A.test.\tIN 60 MX 10 mx1.test.\n"
        "a.test. A 192.0.2.1\n"
        "   A 192.0.2.2\n"
        "   5m AAAA 2001:db8::1\n"
        "  null.test. MX 0 .\n"
        "alias.test. 1h30m CNAME a.test.\n"
        "_25._tcp.mx1.test. TLSA 3 1 1 (\n  aBcd ; half\n  0102 )\n"
        "t.test. TXT \"v=spf1 \" \"-all; \\\"\\065\\\"\" bare\n"
        "1.2.0.192.in-addr.arpa. PTR host.test.\n"
        "a.test. SOA ns.test. root.test. 1 2 3 4 5\n"
        "a.test. NS ns.test.\n"
        "$TTL 7\n$ORIGIN b.test.\n"
        "@ MX 5 mail\n"
        "mail A 192.0.2.3\n"
        "$ORIGIN sub\n"
        "x A 192.0.2.4"));
    expect(&rig, "a.test", DNS_MX, "30 | 20 mx2.test | 10 mx1.test");
    expect(&rig, "a.test", DNS_A, "300 | 192.0.2.1 | 192.0.2.2");
    expect(&rig, "a.test", DNS_AAAA, "300 | 2001:db8::1");
    expect(&rig, "a.test", DNS_TXT, "no data");
    expect(&rig, "null.test", DNS_MX, "300 | 0 ");
    expect(&rig, "alias.test", DNS_CNAME, "5400 | a.test");
    expect(&rig, "_25._tcp.mx1.test", DNS_TLSA, "300 | 030101abcd0102");
    expect(&rig, "t.test", DNS_TXT, "300 | v=spf1 -all; \"A\"bare");
    expect(&rig, "1.2.0.192.in-addr.arpa", DNS_PTR, "300 | host.test");
    expect(&rig, "b.test", DNS_MX, "7 | 5 mail.b.test");
    expect(&rig, "mail.b.test", DNS_A, "7 | 192.0.2.3");
    expect(&rig, "x.sub.b.test", DNS_A, "7 | 192.0.2.4");
    expect(&rig, "sub.b.test", DNS_A, "no data");
    expect(&rig, "mx1.test", DNS_A, "no data");
    expect(&rig, "test", DNS_A, "no data");
    expect(&rig, "ns.test", DNS_A, "no name");
    expect(&rig, "xa.test", DNS_MX, "no name");
    rig_fini(&rig);
}

static void wildcards_are_what_is_not_there_otherwise(void **state)
{
    (void)state;
    struct rig rig;
    assert_true(rig_read(&rig, "*.a.test. MX 10 mx.test.\nx.y.a.test. A 192.0.2.1\n"
                               "$ORIGIN b.test.\n* A 192.0.2.2\n"));
    expect(&rig, "z.a.test", DNS_MX, "300 | 10 mx.test");
    expect(&rig, "u.v.w.a.test", DNS_MX, "300 | 10 mx.test");
    expect(&rig, "z.a.test", DNS_A, "no data");
    expect(&rig, "a.test", DNS_MX, "no data");
    expect(&rig, "y.a.test", DNS_MX, "no data");
    expect(&rig, "z.y.a.test", DNS_MX, "no name");
    expect(&rig, "x.y.a.test", DNS_MX, "no data");
    expect(&rig, "c.b.test", DNS_A, "300 | 192.0.2.2");
    expect(&rig, "other.test", DNS_MX, "no name");
    rig_fini(&rig);
    assert_true(rig_read(&rig, "*. A 192.0.2.1\n"));
    expect(&rig, "any.thing", DNS_A, "300 | 192.0.2.1");
    rig_fini(&rig);
}

static void what_is_wrong_is_told_with_its_line(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *said;
    } rows[] = {
        {"a.test.", "1: a type is missing\n"},
        {"a.test. 60 IN", "1: a type is missing\n"},
        {"\n\na.test. IN IN MX 1 b.", "3: no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA: IN\n"},
        {"a.test. CH TXT x", "1: no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA: CH\n"},
        {"a..test. A 192.0.2.1", "1: no name of a host or domain: a..test.\n"},
        {"a.test. MX b.test.", "1: MX wants a preference, 0 to 65535: b.test.\n"},
        {"a.test. MX 65536 b.test.", "1: MX wants a preference, 0 to 65535: 65536\n"},
        {"a.test. MX 1 *.test.", "1: no name of a host or domain: *.test.\n"},
        {"a.test. A 192.0.2.1 192.0.2.2", "1: too much: 192.0.2.2\n"},
        {"a.test. A ::1", "1: A wants an address such as 192.0.2.1: ::1\n"},
        {"a.test. AAAA 192.0.2.1", "1: AAAA wants an address such as 2001:db8::1: 192.0.2.1\n"},
        {"a.test. TXT", "1: TXT wants strings\n"},
        {"a.test. TXT \"x\nb.test. A 192.0.2.1", "1: a quote is not closed\n"},
        {"a.test. TXT \\256", "1: an escape above \\255: \\256\n"},
        {"a.test. TLSA 3 1 1", "1: TLSA wants data in hexadecimal digits, at most 509 bytes\n"},
        {"a.test. TLSA 3 1 1 abc", "1: TLSA wants data in hexadecimal digits: abc\n"},
        {"a.test. TLSA 256 1 1 ab", "1: TLSA wants a usage, 0 to 255: 256\n"},
        {"a.test. TLSA 3 1 1 (ab", "1: a parenthesis is not closed\n"},
        {"a.test. A ) 192.0.2.1", "1: a parenthesis too many\n"},
        {"a.test. 2147483648 A 192.0.2.1",
         "1: a TTL wants seconds, at most 2147483647: 2147483648\n"},
        {"$TTL x", "1: $TTL wants seconds, at most 2147483647: x\n"},
        {"$INCLUDE file", "1: only $ORIGIN and $TTL are known: $INCLUDE\n"},
        {"$ORIGIN", "1: a value is missing\n"},
        {"$ORIGIN a. b.", "1: too much: b.\n"},
        {"a.test. CNAME b.\na.test. A 192.0.2.1",
         "1: a CNAME has no other records beside it (RFC 1034 3.6.2): a.test\n"},
        {"a.test. CNAME b.\na.test. CNAME c.",
         "2: a CNAME has no other records beside it (RFC 1034 3.6.2): a.test\n"},
        {"a.test. X\nb.test. A 192.0.2.1\nc.test. Y",
         "1: no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA: X\n"
         "3: no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA: Y\n"},
        {"\x01\xFF A 192.0.2.1", "1: no name of a host or domain: ??\n"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct rig rig;
        (void)rig_read(&rig, rows[i].text);
        assert_string_equal(rig.said, rows[i].said);
        rig_fini(&rig);
    }
}

static void many_names_are_all_found(void **state)
{
    (void)state;
    static uint8_t text[256 * KIB];
    struct buf buf;
    struct rig rig;
    buf_init(&buf, text, sizeof(text) - 1);
    for (unsigned i = 0; i < 2000; i++) {
        buf_printf(&buf, "d%u.test. MX 10 mx%u.test.\nmx%u.test. A 10.0.%u.%u\n", i, i, i,
                   i / 256, i % 256);
    }
    assert_false(buf.overflow);
    text[buf.size] = 0;
    assert_true(rig_read(&rig, (const char *)text));
    for (unsigned i = 0; i < 2000; i++) {
        char name[32];
        char expected[64];
        snprintf(name, sizeof(name), "mx%u.test", i);
        snprintf(expected, sizeof(expected), "300 | 10.0.%u.%u", i / 256, i % 256);
        expect(&rig, name, DNS_A, expected);
        expect(&rig, name, DNS_MX, "no data");
    }
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_read_as_a_master_file_has_them),
        cmocka_unit_test(wildcards_are_what_is_not_there_otherwise),
        cmocka_unit_test(what_is_wrong_is_told_with_its_line),
        cmocka_unit_test(many_names_are_all_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
