#include "shard/io/dns_message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ID 0x1234

/* Made by dnspython's encoder, which compresses names; ids are ID, questions those of the rows. */
static const char query_hex[] =
    "123401200001000000000001026d780161047465737400000f000100002904d0000000000000";
static const char mx_hex[] =
    "123481a000010003000000020161047465737400000f0001c00c000f00010000012c000900140162024d"
    "58c00ec00c000f00010000012c0006000a0161c028c00c000f00010000012c0003000000c03b00010001"
    "0000003c0004c00002010000292000000000000000";
static const char a_hex[] =
    "123481800001000200000001016104746573740000010001c00c000100010000003c0004c0000201c00c"
    "000100010000003c0004c00002020000292000000000000000";
static const char aaaa_hex[] =
    "1234818000010001000000000161047465737400001c0001c00c001c00010000003c001020010db80000"
    "00000000000000000001";
static const char mapped_hex[] =
    "1234818000010001000000010161047465737400001c0001c00c001c00010000003c0010000000000000"
    "00000000ffffc00002010000292000000000000000";
static const char txt_hex[] =
    "123481800001000100000001016104746573740000100001c00c001000010000003c000c06763d6f6e65"
    "200374776f000000292000000000000000";
static const char tlsa_hex[] =
    "123481800001000100000001016104746573740000340001c00c003400010000003c0023030101ababab"
    "ababababababababababababababababababababababababababababab0000292000000000000000";
static const char ptr_hex[] =
    "1234818000010001000000010131013201300331393207696e2d61646472046172706100000c0001c00c"
    "000c00010000003c000b04486f73740474657374000000292000000000000000";
static const char cname_hex[] =
    "123481800001000100000001016104746573740000050001c00c000500010000003c00040162c00e0000"
    "292000000000000000";
static const char aliases_hex[] =
    "123481800001000300000001016104746573740000010001c00c000500010000025800040162c00ec024"
    "000500010000001e00090163056f7468657200c034000100010000003c0004c000020900002920000000"
    "00000000";
static const char aliases_back_hex[] =
    "1234818000010003000000010161047465737400000100010163056f7468657200000100010000003c00"
    "04c00002090162c00e000500010000001e0002c018c00c00050001000002580002c02f00002920000000"
    "00000000";
static const char alias_no_data_hex[] =
    "123481800001000100010001016104746573740000010001c00c000500010000025800040162c00ec00e"
    "00060001000003840020026e73c00e04726f6f74c00e000000010000000200000003000000040000012c"
    "0000292000000000000000";
static const char alias_cut_hex[] =
    "123481000001000100000001016104746573740000010001c00c000500010000025800090162056f7468"
    "6572000000292000000000000000";
static const char alias_no_name_hex[] =
    "123481830001000100010001016104746573740000010001c00c000500010000025800040162c00ec00e"
    "00060001000003840020026e73c00e04726f6f74c00e000000010000000200000003000000040000012c"
    "0000292000000000000000";
static const char no_name_hex[] =
    "123481a300010000000100010161047465737400000f0001c00e00060001000003840020026e73c00e04"
    "726f6f74c00e000000010000000200000003000000040000012c0000292000000000000000";
static const char no_data_hex[] =
    "1234818000010000000100010161047465737400000f0001c00e00060001000003840020026e73c00e04"
    "726f6f74c00e000000010000000200000003000000040000012c0000292000000000000000";
static const char no_data_bare_hex[] =
    "1234810000010000000000010161047465737400000f00010000292000000000000000";
static const char no_data_foreign_soa_hex[] =
    "1234818000010000000100010161047465737400000f0001056f74686572000006000100000384002002"
    "6e73c01804726f6f74c018000000010000000200000003000000040000012c0000292000000000000000";
static const char referral_hex[] =
    "1234818000010000000100010161047465737400000f0001c00e00020001000003840005026e73c00e00"
    "00292000000000000000";
static const char servfail_hex[] =
    "1234818200010000000000010161047465737400000f00010000292000000000000000";
static const char refused_hex[] =
    "1234818500010000000000010161047465737400000f00010000292000000000000000";
static const char badvers_hex[] =
    "1234818000010000000000010161047465737400000f00010000292000010000000000";
static const char stranger_hex[] =
    "123481800001000300000001016104746573740000010001c00c000100010000003c0004c00002010162"
    "c00e000100010000000a0004c0000242c00c001000010000000a000201780000292000000000000000";
static const char only_strangers_hex[] =
    "1234818000010001000100010161047465737400000100010162c00e000100010000000a0004c0000242"
    "c00e00060001000003840020026e73c00e04726f6f74c00e000000010000000200000003000000040000"
    "012c0000292000000000000000";
static const char loop_hex[] =
    "123481800001000200000001016104746573740000010001c00c000500010000003c00040162c00ec024"
    "000500010000003c0002c00c0000292000000000000000";
static const char chain_16_hex[] =
    "123481800001001100000001016104746573740000010001c00c000500010000003c0005026331c00ec0"
    "24000500010000003c0005026332c00ec035000500010000003c0005026333c00ec04600050001000000"
    "3c0005026334c00ec057000500010000003c0005026335c00ec068000500010000003c0005026336c00e"
    "c079000500010000003c0005026337c00ec08a000500010000003c0005026338c00ec09b000500010000"
    "003c0005026339c00ec0ac000500010000003c000603633130c00ec0bd000500010000003c0006036331"
    "31c00ec0cf000500010000003c000603633132c00ec0e1000500010000003c000603633133c00ec0f300"
    "0500010000003c000603633134c00ec105000500010000003c000603633135c00ec11700050001000000"
    "3c000603633136c00ec129000100010000003c0004c00002010000292000000000000000";
static const char chain_20_hex[] =
    "123481800001001500000001016104746573740000010001c00c000500010000003c0005026331c00ec0"
    "24000500010000003c0005026332c00ec035000500010000003c0005026333c00ec04600050001000000"
    "3c0005026334c00ec057000500010000003c0005026335c00ec068000500010000003c0005026336c00e"
    "c079000500010000003c0005026337c00ec08a000500010000003c0005026338c00ec09b000500010000"
    "003c0005026339c00ec0ac000500010000003c000603633130c00ec0bd000500010000003c0006036331"
    "31c00ec0cf000500010000003c000603633132c00ec0e1000500010000003c000603633133c00ec0f300"
    "0500010000003c000603633134c00ec105000500010000003c000603633135c00ec11700050001000000"
    "3c000603633136c00ec129000500010000003c000603633137c00ec13b000500010000003c0006036331"
    "38c00ec14d000500010000003c000603633139c00ec15f000500010000003c000603633230c00ec17100"
    "0100010000003c0004c00002010000292000000000000000";
static const char ttl_zero_hex[] =
    "123481800001000100000001016104746573740000010001c00c00010001000000000004c00002010000"
    "292000000000000000";
static const char odd_target_hex[] =
    "1234818000010002000000010161047465737400000f0001c00c000f00010000003c0008000a03612062"
    "c00ec00c000f00010000003c000600140162c00e0000292000000000000000";
static const char odd_alias_hex[] =
    "123481800001000100000001016104746573740000010001c00c000500010000003c000603612062c00e"
    "0000292000000000000000";
static const char no_name_with_records_hex[] =
    "123481830001000100000001016104746573740000010001c00c000100010000003c0004c00002010000"
    "292000000000000000";

static uint8_t answer_memory[DNS_ANSWER_BYTES_MAX];
static char shown[128 * KIB];

/* A block of exactly its size: a read past its end is seen. */
static struct slice message_of(const char *hex)
{
    size_t size = strlen(hex) / 2;
    uint8_t *bytes = malloc(size > 0 ? size : 1);
    for (size_t i = 0; i < size; i++) {
        bytes[i] = (uint8_t)(ascii_hex_value((uint8_t)hex[2 * i]) << 4 |
                             ascii_hex_value((uint8_t)hex[2 * i + 1]));
    }
    return slice_make(bytes, size);
}

static void show_record(struct buf *out, enum dns_type type, const struct dns_record *record)
{
    buf_put_string(out, " | ");
    if (type == DNS_MX) {
        buf_printf(out, "%u ", (unsigned)record->preference);
    }
    buf_put(out, record->name);
    if (type == DNS_A || type == DNS_AAAA) {
        endpoint_put_address(out, &record->address);
    }
    if (type == DNS_TXT) {
        buf_put(out, record->bytes);
    }
    if (type == DNS_TLSA) {
        buf_put_hex(out, record->bytes);
    }
}

/* "found 300s secure ->alias left=1 | record | record". */
static const char *show(const struct dns_answer *answer)
{
    struct buf out;
    buf_init(&out, shown, sizeof(shown) - 1);
    if (answer->truncated) {
        return "truncated";
    }
    buf_printf(&out, "%s", dns_status_name(answer->status));
    if (answer->status <= DNS_NO_DATA) {
        buf_printf(&out, " %us", answer->ttl_s);
    } else if (answer->status == DNS_FAILED) {
        buf_printf(&out, " rcode=%u", (unsigned)answer->rcode);
    }
    buf_put_string(&out, answer->secure ? " secure" : "");
    if (answer->alias.data != NULL) {
        buf_put_string(&out, " ->");
        buf_put(&out, answer->alias);
    }
    if (answer->left_out > 0) {
        buf_printf(&out, " left=%u", answer->left_out);
    }
    for (unsigned i = 0; i < answer->count; i++) {
        show_record(&out, answer->type, &answer->records[i]);
    }
    assert_false(out.overflow);
    shown[out.size] = 0;
    return shown;
}

static const char *read_bytes(struct slice message, const char *name, enum dns_type type)
{
    struct dns_question question = {.name = slice_from_string(name), .type = type};
    struct dns_answer answer;
    struct buf memory;
    buf_init(&memory, answer_memory, sizeof(answer_memory));
    return dns_answer_read(message, &question, ID, &memory, &answer) ? show(&answer) : "ignored";
}

static const char *read_hex(const char *hex, const char *name, enum dns_type type)
{
    struct slice message = message_of(hex);
    const char *said = read_bytes(message, name, type);
    free((void *)message.data);
    return said;
}

static const struct {
    const char *hex;
    enum dns_type type;
    const char *expected;
} answers[] = {
    {mx_hex, DNS_MX, "found 300s secure | 20 b.mx.test | 10 a.mx.test | 0 "},
    {a_hex, DNS_A, "found 60s | 192.0.2.1 | 192.0.2.2"},
    {aaaa_hex, DNS_AAAA, "found 60s | 2001:db8::1"},
    {mapped_hex, DNS_AAAA, "bad answer left=1"},
    {txt_hex, DNS_TXT, "found 60s | v=one two"},
    {tlsa_hex, DNS_TLSA,
     "found 60s | 030101abababababababababababababababababababababababababababababababab"},
    {cname_hex, DNS_CNAME, "found 60s | b.test"},
    {aliases_hex, DNS_A, "found 30s ->c.other | 192.0.2.9"},
    {aliases_back_hex, DNS_A, "found 30s ->c.other | 192.0.2.9"},
    {alias_no_data_hex, DNS_A, "no such records 300s ->b.test"},
    {alias_cut_hex, DNS_A, "failed rcode=0 ->b.other"},
    {alias_no_name_hex, DNS_A, "no such name 300s ->b.test"},
    {no_name_hex, DNS_MX, "no such name 300s secure"},
    {no_data_hex, DNS_MX, "no such records 300s"},
    {no_data_bare_hex, DNS_MX, "no such records 0s"},
    {no_data_foreign_soa_hex, DNS_MX, "no such records 0s"},
    {referral_hex, DNS_MX, "failed rcode=0"},
    {servfail_hex, DNS_MX, "failed rcode=2"},
    {refused_hex, DNS_MX, "failed rcode=5"},
    {badvers_hex, DNS_MX, "failed rcode=16"},
    {stranger_hex, DNS_A, "found 60s | 192.0.2.1"},
    {only_strangers_hex, DNS_A, "no such records 300s"},
    {loop_hex, DNS_A, "bad answer"},
    {chain_16_hex, DNS_A, "found 60s ->c16.test | 192.0.2.1"},
    {chain_20_hex, DNS_A, "bad answer"},
    {ttl_zero_hex, DNS_A, "found 0s | 192.0.2.1"},
    {odd_target_hex, DNS_MX, "found 60s left=1 | 20 b.test"},
    {odd_alias_hex, DNS_A, "bad answer"},
    {no_name_with_records_hex, DNS_A, "bad answer"},
};

static void f19_answers_are_read_as_another_encoder_wrote_them(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        assert_string_equal(read_hex(answers[i].hex, "a.test", answers[i].type),
                            answers[i].expected);
    }
    assert_string_equal(read_hex(ptr_hex, "1.2.0.192.in-addr.arpa", DNS_PTR),
                        "found 60s | host.test");
}

static void a_query_is_what_another_encoder_makes_of_it(void **state)
{
    (void)state;
    uint8_t memory[DNS_QUERY_BYTES_MAX];
    struct buf buf;
    buf_init(&buf, memory, sizeof(memory));
    struct dns_question question = {.name = SLICE("mx.a.test"), .type = DNS_MX};
    dns_query_put(&buf, &question, ID, false);
    struct slice expected = message_of(query_hex);
    assert_true(slice_equal(buf_slice(&buf), expected));
    buf_reset(&buf);
    dns_query_put(&buf, &question, ID, true);
    assert_int_equal(memory[11], 0); /* and else the same, without the OPT record at its end */
    memory[11] = 1;
    assert_int_equal(buf.size, expected.size - 11);
    assert_memory_equal(memory, expected.data, buf.size);
    free((void *)expected.data);
    uint8_t longest[DNS_NAME_BYTES_MAX];
    for (size_t i = 0; i < sizeof(longest); i++) {
        longest[i] = i % 64 == 63 ? '.' : 'a';
    }
    buf_reset(&buf);
    question.name = slice_make(longest, sizeof(longest));
    dns_query_put(&buf, &question, ID, false);
    assert_false(buf.overflow);
}

static void what_is_no_answer_to_the_question_is_ignored(void **state)
{
    (void)state;
    struct {
        size_t at;
        uint8_t value;
        const char *expected;
    } rows[] = {
        {0, 0x13, "ignored"},  /* id */
        {1, 0x35, "ignored"},
        {2, 0x01, "ignored"},  /* no response bit */
        {2, 0x89, "ignored"},  /* opcode */
        {2, 0x83, "truncated"},
        {4, 0x01, "ignored"},  /* questions */
        {5, 0x00, "ignored"},  /* none, and no error */
        {5, 0x02, "ignored"},
        {13, 'b', "ignored"},  /* name */
        {13, 'A', "found 60s | 192.0.2.1 | 192.0.2.2"},
        {13, '.', "ignored"},
        {14, 0x05, "ignored"}, /* label */
        {12, 0xC0, "ignored"},
        {21, 0x0F, "ignored"}, /* type */
        {23, 0x03, "ignored"}, /* class */
        {7, 0x09, "bad answer"}, /* more answers than there are */
        {3, 0x82, "failed rcode=2"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice message = message_of(a_hex);
        ((uint8_t *)(uintptr_t)message.data)[rows[i].at] = rows[i].value;
        assert_string_equal(read_bytes(message, "a.test", DNS_A), rows[i].expected);
        free((void *)message.data);
    }
    assert_string_equal(read_hex("123481810000000000000000", "a.test", DNS_A), "failed rcode=1");
    assert_string_equal(read_hex("123481800000000000000000", "a.test", DNS_A), "ignored");
    assert_string_equal(read_hex("123481830000000000000000", "a.test", DNS_A), "ignored");
}

/* An answer to a.test of `count` records, which stand in `records`. */
static const char *read_records(enum dns_type type, unsigned count, const char *records)
{
    static char hex[256 * KIB];
    int size = snprintf(hex, sizeof(hex), "123481800001%04x0000000001610474657374000%03x0001%s",
                        count, (unsigned)type, records);
    assert_true(size < (int)sizeof(hex));
    return read_hex(hex, "a.test", type);
}

#define MX   "c00c000f00010000003c"
#define A    "c00c000100010000003c"
#define TXT  "c00c001000010000003c"
#define TLSA "c00c003400010000003c"
#define GOOD "0009000a016201630164" "00"

static void f19_junk_is_left_out_and_never_a_no(void **state)
{
    (void)state;
    static const struct {
        enum dns_type type;
        unsigned count;
        const char *records;
        const char *expected;
    } rows[] = {
        {DNS_MX, 1, MX GOOD, "found 60s | 10 b.c.d"},
        {DNS_MX, 1, MX "0000", "bad answer left=1"},
        {DNS_MX, 1, MX "000100", "bad answer left=1"},
        {DNS_MX, 1, MX "00020000", "bad answer left=1"},
        {DNS_MX, 1, MX "0003000000", "found 60s | 0 "},
        {DNS_MX, 1, MX "000400000000", "bad answer left=1"},     /* a byte behind the name */
        {DNS_MX, 1, MX "00040000c026", "bad answer left=1"},     /* a pointer to itself */
        {DNS_MX, 1, MX "00040000c0ff", "bad answer left=1"},     /* … out of the message */
        {DNS_MX, 1, MX "0003000041", "bad answer left=1"},       /* a label of another kind */
        {DNS_MX, 1, MX "00080000046121626300", "bad answer left=1"},
        {DNS_MX, 2, MX "00020000" MX GOOD, "found 60s left=1 | 10 b.c.d"},
        {DNS_MX, 2, "c018000f00010000003c00030000" "00" MX GOOD, "found 60s left=1 | 10 b.c.d"},
        {DNS_MX, 1, "c018000f00010000003c" GOOD, "bad answer left=1"}, /* the owner: itself */
        {DNS_MX, 1, "c00c000f00030000003c" GOOD, "no such records 0s"}, /* class */
        {DNS_MX, 1, "c00c000f000180000000" GOOD, "found 0s | 10 b.c.d"},
        {DNS_MX, 1, "c00c000f0001ffffffff" GOOD, "found 0s | 10 b.c.d"},
        {DNS_MX, 1, "c00c000f00017fffffff" GOOD, "found 2147483647s | 10 b.c.d"},
        {DNS_A, 1, A "0003c00002", "bad answer left=1"},
        {DNS_A, 1, A "0005c000020100", "bad answer left=1"},
        {DNS_A, 1, A "0000", "bad answer left=1"},
        {DNS_TXT, 1, TXT "0000", "bad answer left=1"},
        {DNS_TXT, 1, TXT "000100", "found 60s | "},
        {DNS_TXT, 1, TXT "00020261", "bad answer left=1"},
        {DNS_TXT, 2, TXT "0004016102" "62" TXT "00020163", "found 60s left=1 | c"},
        {DNS_TLSA, 1, TLSA "0000", "bad answer left=1"},
        {DNS_TLSA, 1, TLSA "000103", "bad answer left=1"},
        {DNS_TLSA, 1, TLSA "00020301", "bad answer left=1"},
        {DNS_TLSA, 1, TLSA "0003030101", "bad answer left=1"},
        {DNS_TLSA, 1, TLSA "000403010100", "found 60s | 03010100"},
        {DNS_A, 1, "c00c000500010000003c0000", "bad answer"},       /* an alias of nothing */
        {DNS_A, 1, "c00c000500010000003c0002c00c", "bad answer"},   /* … of itself */
        {DNS_A, 1, "c00c000500010000003c000100", "no such records 0s ->"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        assert_string_equal(read_records(rows[i].type, rows[i].count, rows[i].records),
                            rows[i].expected);
    }
}

static void f19_of_very_many_records_a_hundred_are_looked_at(void **state)
{
    (void)state;
    static char records[256 * KIB];
    unsigned count = 4000;
    struct buf out;
    buf_init(&out, records, sizeof(records) - 1);
    for (unsigned i = 0; i < count; i++) {
        buf_printf(&out, A "0004c00002%02x", i % 200);
    }
    records[out.size] = 0;
    const char *said = read_records(DNS_A, count, records);
    assert_true(strncmp(said, "found 60s left=3900 | 192.0.2.0 | 192.0.2.1 | ", 46) == 0);
    assert_null(strstr(said, "192.0.2.100"));
    assert_non_null(strstr(said, "192.0.2.99"));
    buf_reset(&out);
    for (unsigned i = 0; i < count; i++) {
        buf_put_string(&out, "c00e000100010000003c0004c0000201");
    }
    assert_false(out.overflow);
    records[out.size] = 0;
    assert_string_equal(read_records(DNS_A, count, records), "bad answer left=3900");
}

static void records_fit_whatever_they_are(void **state)
{
    (void)state;
    static char records[256 * KIB];
    struct buf out;
    unsigned count = 0;
    buf_init(&out, records, sizeof(records) - 1);
    /* TXT, nearly as much as a message can hold. */
    for (; count < 60; count++) {
        buf_put_string(&out, TXT "0400");
        for (unsigned i = 0; i < 1024; i++) {
            buf_put_string(&out, i % 256 == 0 ? "ff" : "61");
        }
    }
    assert_false(out.overflow);
    records[out.size] = 0;
    assert_true(strncmp(read_records(DNS_TXT, count, records), "found 60s | aaa", 15) == 0);
    /* What has no room is left out. */
    uint8_t small[200];
    struct buf memory;
    struct dns_answer answer;
    struct dns_question question = {.name = SLICE("a.test"), .type = DNS_MX};
    struct slice message = message_of(mx_hex);
    for (size_t room = 0; room <= sizeof(small); room++) {
        buf_init(&memory, small, room);
        assert_true(dns_answer_read(message, &question, ID, &memory, &answer));
        assert_true(answer.status == DNS_BAD_ANSWER || answer.count <= 3);
        assert_true(answer.status == DNS_BAD_ANSWER || answer.status == DNS_OK);
    }
    free((void *)message.data);
}

static void f19_the_beginning_of_an_answer_is_never_another_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT_OF(answers); i++) {
        for (size_t size = 0; size + 2 <= strlen(answers[i].hex); size += 2) {
            static char hex[4096];
            snprintf(hex, sizeof(hex), "%.*s", (int)size, answers[i].hex);
            const char *said = read_hex(hex, "a.test", answers[i].type);
            bool ignored = strcmp(said, "ignored") == 0;
            bool failed = strncmp(said, "failed", 6) == 0;
            assert_true(ignored || failed || strcmp(said, "bad answer") == 0 ||
                        size == strlen(answers[i].hex));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(f19_answers_are_read_as_another_encoder_wrote_them),
        cmocka_unit_test(a_query_is_what_another_encoder_makes_of_it),
        cmocka_unit_test(what_is_no_answer_to_the_question_is_ignored),
        cmocka_unit_test(f19_junk_is_left_out_and_never_a_no),
        cmocka_unit_test(f19_of_very_many_records_a_hundred_are_looked_at),
        cmocka_unit_test(records_fit_whatever_they_are),
        cmocka_unit_test(f19_the_beginning_of_an_answer_is_never_another_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
