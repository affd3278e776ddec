#include "proxy/proxy_header.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

/* What a header says, as text; "" of what is none. */
static void describe(const struct proxy_header *header, char out[200])
{
    struct buf buf;
    buf_init(&buf, (uint8_t *)out, 199);
    if (header->has_addresses) {
        endpoint_put(&buf, &header->source);
        buf_put_string(&buf, " > ");
        endpoint_put(&buf, &header->destination);
    }
    out[buf.size] = 0;
}

/* However the input is cut, and whatever follows: the same, and no earlier than it is whole. */
static void expect(struct slice input, enum proxy_parse result, const char *text, size_t bytes)
{
    uint8_t followed[PROXY_HEADER_BYTES_MAX + 80];
    char said[200];
    struct proxy_header header;
    assert_int_equal(proxy_header_parse(input, &header), result);
    describe(&header, said);
    assert_string_equal(said, text);
    assert_int_equal(header.bytes, bytes);
    for (size_t i = 0; i < input.size; i++) {
        enum proxy_parse part = proxy_header_parse(slice_first(input, i), &header);
        assert_true(part == PROXY_MORE || (result == PROXY_BAD && part == PROXY_BAD));
    }
    assert_true(input.size + 60 <= sizeof(followed));
    memcpy(followed, input.data, input.size);
    memcpy(followed + input.size, "PROXY TCP4 1.1.1.1 2.2.2.2 3 4\r\nEHLO x\r\n", 41);
    if (result != PROXY_MORE) {
        assert_int_equal(proxy_header_parse(slice_make(followed, input.size + 41), &header),
                         result);
        assert_int_equal(header.bytes, bytes);
    }
}

#define A39 "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"
#define X10 "xxxxxxxxxx"
#define X90 X10 X10 X10 X10 X10 X10 X10 X10 X10

static void p03_version_1_is_taken_by_its_exact_grammar(void **state)
{
    (void)state;
    static const struct {
        const char *input;
        enum proxy_parse result;
        const char *text;
    } rows[] = {
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_WHOLE,
         "192.0.2.1:56324 > 198.51.100.2:25"},
        {"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", PROXY_WHOLE,
         "0.0.0.0:0 > 255.255.255.255:65535"},
        {"PROXY TCP6 2001:db8::1 ::1 1 2\r\n", PROXY_WHOLE, "[2001:db8::1]:1 > [::1]:2"},
        {"PROXY TCP6 " A39 " " A39 " 65535 65535\r\n", PROXY_WHOLE,
         "[" A39 "]:65535 > [" A39 "]:65535"},
        {"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", PROXY_WHOLE, "192.0.2.1:1 > [::1]:2"},
        {"PROXY UNKNOWN\r\n", PROXY_WHOLE, ""},
        {"PROXY UNKNOWN anything at all\r\n", PROXY_WHOLE, ""},
        {"PROXY UNKNOWN " X90 "x\r\n", PROXY_WHOLE, ""}, /* 107 bytes */
        {"PROXY UNKNOWN " X90 "xx\r\n", PROXY_BAD, ""},
        {"PROXY UNKNOWN " X90 X90, PROXY_BAD, ""},
        {"PROXY UNKNOWNS\r\n", PROXY_BAD, ""},
        {"PROXY UNKNOWN x\n", PROXY_BAD, ""},
        {"PROXY UNKNOWN x\ny\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25", PROXY_MORE, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r", PROXY_MORE, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\rx", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25 \r\n", PROXY_BAD, ""},
        {"PROXY TCP4  192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1  198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 56324  25\r\n", PROXY_BAD, ""},
        {"PROXY  TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY\tTCP4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"proxy TCP4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY tcp4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP5 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY UDP4 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP6 192.0.2.1 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 2001:db8::1 ::1 1 2\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 ::1 1 2\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.01 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.256 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2 198.51.100.2 56324 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP6 2001:db8::1::2 ::1 1 2\r\n", PROXY_BAD, ""},
        {"PROXY TCP6 [2001:db8::1] ::1 1 2\r\n", PROXY_BAD, ""},
        {"PROXY TCP6 fe80::1%lo ::1 1 2\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 65536 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 025 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 00 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 +1 25\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 -2\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n", PROXY_BAD, ""},
        {"PROXY TCP4 192.0.2.1 198.51.100.2\r\n", PROXY_BAD, ""},
        {"PROXY TCP4\r\n", PROXY_BAD, ""},
        {"PROXY \r\n", PROXY_BAD, ""},
        {"PROXY\r\n", PROXY_BAD, ""},
        {"", PROXY_MORE, ""},
        {"EHLO proxy.test\r\n", PROXY_BAD, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct slice input = slice_from_string(rows[i].input);
        expect(input, rows[i].result, rows[i].text,
               rows[i].result == PROXY_WHOLE ? input.size : 0);
    }
}

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V4 "\xC0\x00\x02\x01\xC6\x33\x64\x02\xDC\x04\x00\x19" /* 12 bytes */
#define V6                                                                                         \
    "\x20\x01\x0D\xB8\0\0\0\0\0\0\0\0\0\0\0\x01"                                                   \
    "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"                                                           \
    "\x00\x01\x00\x02" /* 36 bytes */
/* Bytes that may be NUL, and how many they are. */
#define BYTES(text) (text), sizeof(text) - 1

#define V4_TEXT "192.0.2.1:56324 > 198.51.100.2:25"

static void p04_version_2_is_taken_by_its_lengths(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        enum proxy_parse result;
        const char *text;
    } rows[] = {
        {BYTES(SIGNATURE "\x21\x11\0\x0C" V4), PROXY_WHOLE, V4_TEXT},
        {BYTES(SIGNATURE "\x21\x21\0\x24" V6), PROXY_WHOLE, "[2001:db8::1]:1 > [::1]:2"},
        {BYTES(SIGNATURE "\x20\0\0\0"), PROXY_WHOLE, ""},                 /* LOCAL */
        {BYTES(SIGNATURE "\x20\x11\0\x0C" V4), PROXY_WHOLE, ""},
        {BYTES(SIGNATURE "\x20\xFF\0\x05" "junk!"), PROXY_WHOLE, ""},
        {BYTES(SIGNATURE "\x21\0\0\0"), PROXY_WHOLE, ""},                 /* AF_UNSPEC */
        {BYTES(SIGNATURE "\x21\0\0\x04" "\x01\0\x01h"), PROXY_WHOLE, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x10" V4 "\xEE\0\x01x"), PROXY_WHOLE, V4_TEXT},
        {BYTES(SIGNATURE "\x21\x11\0\x12" V4 "\x04\0\0\x04\0\0"), PROXY_WHOLE, V4_TEXT},
        {BYTES(SIGNATURE "\x21\x11\0\x14" V4 "\x20\0\x05\x01\0\0\0\0"), PROXY_WHOLE, V4_TEXT},
        {BYTES(SIGNATURE "\x21\x11\0\x19" V4 "\x20\0\x0A\x01\0\0\0\0\x21\0\x02v1"), PROXY_WHOLE,
         V4_TEXT},
        {BYTES(SIGNATURE "\x21\x11\0\x0C"), PROXY_MORE, ""},
        {BYTES("\r\n\r\n\0\r\nQUIT\r"), PROXY_BAD, ""},
        {BYTES("\r\n\r\n\0\r\nQUIt\n"), PROXY_BAD, ""},
        {BYTES("\r\n\r\n\x01"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x11\x11\0\x0C" V4), PROXY_BAD, ""},            /* version 1 */
        {BYTES(SIGNATURE "\x31\x11\0\x0C" V4), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x22\x11\0\x0C" V4), PROXY_BAD, ""},            /* command 2 */
        {BYTES(SIGNATURE "\x2F"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x12\0\x0C" V4), PROXY_BAD, ""},            /* datagrams */
        {BYTES(SIGNATURE "\x21\x22\0\x24" V6), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x31\0\x00"), PROXY_BAD, ""},               /* AF_UNIX */
        {BYTES(SIGNATURE "\x21\x41\0\x00"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x10\0\x0C" V4), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x01\0\x0C" V4), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x00"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x0B" "\xC0\0\x02\x01\xC6\x33\x64\x02\xDC\x04\0"), PROXY_BAD,
         ""},
        {BYTES(SIGNATURE "\x21\x21\0\x0C" V4), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\x07\xF1"), PROXY_BAD, ""},             /* a byte too long */
        {BYTES(SIGNATURE "\x21\x11\xFF\xFF"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x20\x11\xFF\xFF"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x0D" V4 "\x04"), PROXY_BAD, ""},     /* half a TLV */
        {BYTES(SIGNATURE "\x21\x11\0\x0E" V4 "\x04\0"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x0F" V4 "\x04\0\x01"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x0F" V4 "\x04\xFF\xFF"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x0F" V4 "\x20\0\0"), PROXY_BAD, ""}, /* no room for itself */
        {BYTES(SIGNATURE "\x21\x11\0\x15" V4 "\x20\0\x06\x01\0\0\0\0\x21"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x18" V4 "\x20\0\x09\x01\0\0\0\0\x21\0\x02v"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\0\0\0\0"), PROXY_BAD, ""},
        {BYTES(SIGNATURE "\x21\x11\0\x11" V4 "\x03\0\x02\0\0"), PROXY_BAD, ""},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        expect(slice_make(rows[i].bytes, rows[i].size), rows[i].result, rows[i].text,
               rows[i].result == PROXY_WHOLE ? rows[i].size : 0);
    }
}

/* The sum of a header whose checksum field is zero, by another way than the code's: by a table. */
static uint32_t crc32c(const uint8_t *data, size_t size)
{
    uint32_t table[256];
    for (uint32_t i = 0; i < 256; i++) {
        table[i] = i;
        for (unsigned bit = 0; bit < 8; bit++) {
            table[i] = (table[i] & 1) != 0 ? table[i] >> 1 ^ 0x82F63B78u : table[i] >> 1;
        }
    }
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < size; i++) {
        sum = sum >> 8 ^ table[(sum ^ data[i]) & 0xFF];
    }
    return ~sum;
}

static void p04_a_checksum_is_verified_wherever_it_stands(void **state)
{
    (void)state;
    static const struct {
        const char *bytes; /* with zeros for the sum */
        size_t size;
        size_t hole;
    } rows[] = {
        {BYTES(SIGNATURE "\x21\x11\0\x13" V4 "\x03\0\x04\0\0\0\0"), 31},
        {BYTES(SIGNATURE "\x21\x11\0\x17" V4 "\x03\0\x04\0\0\0\0\xEE\0\x01x"), 31},
        {BYTES(SIGNATURE "\x21\x11\0\x17" V4 "\xEE\0\x01x\x03\0\x04\0\0\0\0"), 35},
        {BYTES(SIGNATURE "\x21\0\0\x07\x03\0\x04\0\0\0\0"), 19},
    };
    assert_int_equal(crc32c((const uint8_t *)"123456789", 9), 0xE3069283u); /* RFC 3720's */
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t bytes[80];
        struct slice input = slice_make(bytes, rows[i].size);
        memcpy(bytes, rows[i].bytes, input.size);
        uint32_t sum = crc32c(bytes, input.size);
        for (unsigned j = 0; j < 4; j++) {
            bytes[rows[i].hole + j] = (uint8_t)(sum >> (24 - 8 * j));
        }
        expect(input, PROXY_WHOLE, bytes[13] == 0 ? "" : V4_TEXT, input.size);
        for (size_t j = 16; j < input.size; j++) { /* any one bit of what it protects */
            struct proxy_header header;
            bool is_type = j == rows[i].hole - 3; /* then there is none to be verified */
            bytes[j] ^= 0x10;
            assert_int_equal(proxy_header_parse(input, &header),
                             is_type ? PROXY_WHOLE : PROXY_BAD);
            bytes[j] ^= 0x10;
        }
    }
}

static void p04_two_checksums_are_none(void **state)
{
    (void)state;
    uint8_t bytes[80];
    static const char text[] = SIGNATURE "\x21\0\0\x0E\x03\0\x04\0\0\0\0\x03\0\x04\0\0\0\0";
    size_t size = sizeof(text) - 1;
    struct proxy_header header;
    memcpy(bytes, text, size);
    uint32_t sum = crc32c(bytes, size);
    for (unsigned j = 0; j < 4; j++) {
        bytes[19 + j] = (uint8_t)(sum >> (24 - 8 * j));
    }
    assert_int_equal(proxy_header_parse(slice_make(bytes, size), &header), PROXY_BAD);
}

static void p04_the_longest_header_is_taken_whole(void **state)
{
    (void)state;
    uint8_t bytes[PROXY_HEADER_BYTES_MAX] = SIGNATURE "\x21\x11\x07\xF0" V4 "\xEE\x07\xE1";
    expect(slice_make(bytes, sizeof(bytes)), PROXY_WHOLE, V4_TEXT, sizeof(bytes));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(p03_version_1_is_taken_by_its_exact_grammar),
        cmocka_unit_test(p04_version_2_is_taken_by_its_lengths),
        cmocka_unit_test(p04_a_checksum_is_verified_wherever_it_stands),
        cmocka_unit_test(p04_two_checksums_are_none),
        cmocka_unit_test(p04_the_longest_header_is_taken_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
