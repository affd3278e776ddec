#include "smtp/reference.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "core/base64.h"
#include "smtp/envelope.h"
#include "smtp/mime_field.h"
#include "smtp/named_values.h"

#define NOW_S  1796126400ull /* 2026-12-01 */
#define NOW_NS (NOW_S * NS_PER_S)
#define DAY_NS (24 * 3600 * NS_PER_S)

static const struct reference_key key = {.bytes = "a key that nobody else has"};
static uint8_t field_bytes[REFERENCE_FIELD_BYTES_MAX];
static uint8_t scratch_bytes[REFERENCE_JSON_BYTES_MAX];
static struct buf scratch;

static struct id id_of(uint64_t wall_ns)
{
    struct id_source source;
    id_source_init(&source, 3, 77);
    return id_next(&source, wall_ns);
}

/* Of a message to these recipients, apart by spaces. */
static struct slice put(const char *recipients, const struct conf_trace *trace,
                        const struct metadata *metadata, uint64_t wall_ns)
{
    uint8_t envelope_bytes[4096];
    struct buf envelope;
    struct buf field;
    uint16_t index = 0;
    buf_init(&envelope, envelope_bytes, sizeof(envelope_bytes));
    envelope_put_sender(&envelope, SLICE("news@sender.test"), NULL);
    for (const char *at = recipients; *at != '\0';) {
        size_t size = strcspn(at, " ");
        envelope_put_recipient(&envelope, index++, slice_make(at, size), NULL);
        at += size + (at[size] == ' ');
    }
    const struct reference_facts facts = {
        .id = id_of(wall_ns), .envelope = buf_slice(&envelope), .metadata = metadata};
    buf_init(&field, field_bytes, sizeof(field_bytes));
    reference_put(&field, trace, &key, &facts);
    assert_false(field.overflow);
    return buf_slice(&field);
}

static struct slice put_plain(const char *recipients)
{
    const struct conf_trace trace = {.header_name = SLICE("X-KumoRef")};
    static const struct metadata none;
    return put(recipients, &trace, &none, NOW_NS);
}

static struct reference find(struct slice header, const struct reference_key *with,
                             uint64_t wall_ns)
{
    struct reference reference;
    buf_init(&scratch, scratch_bytes, sizeof(scratch_bytes));
    reference_find(header, with, wall_ns, &scratch, &reference);
    return reference;
}

static void assert_slice(struct slice is, const char *expected)
{
    if (!slice_equal(is, slice_from_string(expected))) {
        fail_msg("\"%.*s\" is not \"%s\"", (int)is.size, (const char *)is.data, expected);
    }
}

static void d10_what_we_sent_is_known_again(void **state)
{
    static const struct {
        const char *recipients;
        const char *domain;
        const char *trace; /* behind the id */
        uint16_t index;
    } rows[] = {
        {"a@Far.test", "far.test",
         "\",\"domain\":\"far.test\"},\"recipient\":\"a@far.test\"}", 0},
        {"a@far.test b@FAR.test c@far.test", "far.test", "\",\"domain\":\"far.test\"}}",
         ID_INDEX_MESSAGE},
        {"a@far.test b@other.test a@far.test", "", "\",\"domain\":\"\"}}", ID_INDEX_MESSAGE},
        {"postmaster", "", "\",\"domain\":\"\"},\"recipient\":\"postmaster\"}", 0},
        {"\"q\\\"\"@far.test", "far.test",
         "\",\"domain\":\"far.test\"},\"recipient\":\"\\\"q\\\\\\\"\\\"@far.test\"}", 0},
        {"a@[x\\\"y]", "", "\",\"domain\":\"\"},\"recipient\":\"a@[x\\\\\\\"y]\"}", 0},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        char expected[512];
        uint8_t id_text[ID_TEXT_BYTES];
        struct buf id;
        struct id want = id_with_index(id_of(NOW_NS), rows[i].index);
        struct reference reference = find(put_plain(rows[i].recipients), &key, NOW_NS);
        assert_int_equal(reference.state, REFERENCE_VALID);
        assert_true(id_equal(&reference.id, &want));
        assert_slice(reference.domain, rows[i].domain);
        buf_init(&id, id_text, sizeof(id_text));
        id_put(&id, &want);
        snprintf(expected, sizeof(expected), "{\"ringpost\":{\"id\":\"%.*s%s",
                 (int)sizeof(id_text), (const char *)id_text, rows[i].trace);
        assert_slice(reference.trace, expected);
    }
}

/* As KumoMTA's reader wants it: base64 of JSON, in lines that mail may have. */
static void the_field_is_short_lines_of_base64(void **state)
{
    struct slice field = put_plain("somebody@far.test");
    struct slice rest = field;
    struct mime_field parsed;
    unsigned lines = 0;
    (void)state;
    while (rest.size > 0) {
        struct slice line = mime_line_take(&rest);
        assert_true(line.size > 0 && line.size <= 78);
        assert_true(lines == 0 || line.data[0] == '\t');
        lines++;
    }
    assert_true(lines > 2 && slice_ends_with(field, SLICE("\r\n")));
    rest = field;
    assert_true(mime_field_next(&rest, &parsed));
    assert_slice(parsed.name, "X-KumoRef");
    assert_true(base64_is_valid(slice_trim(parsed.value)));
}

static void metadata_are_included_by_their_names(void **state)
{
    const struct slice names[] = {SLICE("tenant"), SLICE("x_*"), SLICE("recipient"),
                                  SLICE("ringpost"), SLICE("signature")};
    const struct conf_trace trace = {.header_name = SLICE("X-Own"),
                                     .meta = {.names = names, .count = COUNT_OF(names)}};
    uint8_t bytes[4096];
    uint8_t large[1500];
    struct buf extra;
    (void)state;
    buf_init(&extra, bytes, sizeof(bytes));
    named_value_put(&extra, SLICE("x_order"), SLICE("{\"n\":[7]}"));
    named_value_put(&extra, SLICE("recipient"), SLICE("\"forged@x\""));
    named_value_put(&extra, SLICE("ringpost"), SLICE("1"));
    named_value_put(&extra, SLICE("signature"), SLICE("2"));
    named_value_put(&extra, SLICE("other"), SLICE("3"));
    const struct metadata metadata = {.tenant = SLICE("acme"), .extra = buf_slice(&extra)};
    struct slice field = put("a@far.test", &trace, &metadata, NOW_NS);
    assert_true(slice_starts_with(field, SLICE("X-Own: ")));
    struct reference reference = find(field, &key, NOW_NS);
    assert_int_equal(reference.state, REFERENCE_VALID);
    assert_true(slice_ends_with(reference.trace,
                                SLICE("\"recipient\":\"a@far.test\",\"tenant\":\"acme\","
                                      "\"x_order\":{\"n\":[7]}}")));
    /* Two of them are too much: the first one stands. */
    memset(large, '1', sizeof(large));
    buf_reset(&extra);
    named_value_put(&extra, SLICE("x_a"), slice_make(large, sizeof(large)));
    named_value_put(&extra, SLICE("x_b"), slice_make(large, sizeof(large)));
    named_value_put(&extra, SLICE("x_c"), SLICE("5"));
    const struct metadata most = {.extra = buf_slice(&extra)};
    reference = find(put("a@far.test", &trace, &most, NOW_NS), &key, NOW_NS);
    assert_int_equal(reference.state, REFERENCE_VALID);
    assert_true(slice_ends_with(reference.trace, SLICE("1}")) ||
                slice_ends_with(reference.trace, SLICE("1,\"x_c\":5}")));
}

/* All characters of a header, in pieces of `width`, as a server that folds anew has them. */
static struct slice rewrapped(struct slice field, size_t width, const char *end,
                              uint8_t bytes[16384])
{
    struct mime_field parsed;
    struct buf buf;
    size_t column = 0;
    buf_init(&buf, bytes, 16384);
    assert_true(mime_field_next(&field, &parsed));
    buf_put(&buf, SLICE("x-kumoref:"));
    for (size_t i = 0; i < parsed.value.size; i++) {
        uint8_t byte = parsed.value.data[i];
        if (byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n') {
            continue;
        }
        if (column++ % width == 0) {
            buf_put_string(&buf, end);
        }
        buf_put_byte(&buf, byte);
    }
    buf_put(&buf, SLICE("\nSubject: x\n"));
    assert_false(buf.overflow);
    return buf_slice(&buf);
}

static void d10_it_is_found_however_it_was_folded(void **state)
{
    static const char *const ends[] = {" ", "\r\n ", "\n\t", "\r\n\t  "};
    static const size_t widths[] = {1, 5, 60, 70, 998, 4000};
    static uint8_t bytes[16384];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(ends) * COUNT_OF(widths); i++) {
        struct slice text = rewrapped(put_plain("a@far.test"), widths[i / COUNT_OF(ends)],
                                      ends[i % COUNT_OF(ends)], bytes);
        assert_int_equal(find(text, &key, NOW_NS).state, REFERENCE_VALID);
    }
}

/* Every byte of it, other than white space, has its meaning. */
static void d10_what_is_altered_is_forged(void **state)
{
    uint8_t copy[REFERENCE_FIELD_BYTES_MAX];
    struct slice field = put_plain("a@far.test");
    (void)state;
    for (size_t i = sizeof("X-KumoRef: ") - 1; i + 8 < field.size; i++) {
        if (field.data[i] == '\r' || field.data[i] == '\n' || field.data[i] == '\t') {
            continue;
        }
        memcpy(copy, field.data, field.size);
        copy[i] = copy[i] == 'A' ? 'B' : 'A';
        enum reference_state found = find(slice_make(copy, field.size), &key, NOW_NS).state;
        if (found != REFERENCE_NONE && found != REFERENCE_FORGED) {
            fail_msg("byte %zu of %zu: %u", i, field.size, found);
        }
    }
    for (size_t size = 0; size + 6 < field.size; size++) {
        enum reference_state found = find(slice_first(field, size), &key, NOW_NS).state;
        assert_true(found == REFERENCE_NONE || found == REFERENCE_FORGED);
    }
}

static struct slice encoded(const char *json, uint8_t bytes[4096])
{
    struct buf buf;
    buf_init(&buf, bytes, 4096);
    buf_put(&buf, SLICE("X-KumoRef: "));
    base64_put(&buf, slice_from_string(json));
    buf_put(&buf, SLICE("\r\n"));
    return buf_slice(&buf);
}

#define HEX16 "00112233445566778899aabbccddeeff"

static void d10_what_others_write_is_none_or_forged(void **state)
{
    static const struct {
        const char *json;
        enum reference_state state;
    } rows[] = {
        {"{\"_@_\":\"\\\\_/\",\"recipient\":\"a@far.test\"}", REFERENCE_NONE}, /* KumoMTA's */
        {"{\"_@_\":\"\\\\_/\"}", REFERENCE_NONE},
        {"{\"_@_\":\"\\\\_/", REFERENCE_NONE},
        {"{\"_@_\":\"other\",\"signature\":\"" HEX16 "\"}", REFERENCE_NONE},
        {"{\"_@_\":\"\\\\_/\",\"signature\":\"" HEX16 "\"}", REFERENCE_NONE},
        {"{\"_@_\":\"\\\\_/\",\"a\":1,\"signature\":\"" HEX16 "\"}", REFERENCE_FORGED},
        {"{\"_@_\":\"\\\\_/\",\"a\":1,\"signature\":\"" HEX16 "\"} ", REFERENCE_NONE},
        {"", REFERENCE_NONE},
    };
    static uint8_t bytes[4096];
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct reference found = find(encoded(rows[i].json, bytes), &key, NOW_NS);
        if (found.state != rows[i].state || found.trace.size > 0 || found.domain.size > 0) {
            fail_msg("%s: %u", rows[i].json, found.state);
        }
    }
}

static void d10_another_key_and_another_time_are_not_ours(void **state)
{
    static const struct {
        int64_t later_s; /* the report comes so long after */
        enum reference_state state;
    } rows[] = {
        {0, REFERENCE_VALID},
        {REFERENCE_AGE_MAX_S, REFERENCE_VALID},
        {(int64_t)REFERENCE_AGE_MAX_S + 1, REFERENCE_EXPIRED},
        {-(int64_t)REFERENCE_AHEAD_MAX_S, REFERENCE_VALID},
        {-(int64_t)REFERENCE_AHEAD_MAX_S - 1, REFERENCE_EXPIRED},
        {-(int64_t)NOW_S, REFERENCE_EXPIRED},
    };
    struct reference_key other = key;
    struct slice field = put_plain("a@far.test");
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint64_t then_ns = (uint64_t)((int64_t)NOW_S + rows[i].later_s) * NS_PER_S;
        struct reference found = find(field, &key, then_ns);
        assert_int_equal(found.state, rows[i].state);
        assert_true((found.trace.size > 0) == (found.state == REFERENCE_VALID));
    }
    other.bytes[REFERENCE_KEY_BYTES - 1] ^= 1;
    assert_int_equal(find(field, &other, NOW_NS).state, REFERENCE_FORGED);
}

/* Of several the one that counts is found, wherever it stands; not behind any number of others. */
static void d10_of_several_the_valid_one_counts(void **state)
{
    static uint8_t bytes[32768];
    static uint8_t junk[4096];
    struct buf header;
    (void)state;
    for (unsigned before = 0; before <= REFERENCE_TRIES_MAX; before++) {
        buf_init(&header, bytes, sizeof(bytes));
        buf_put(&header, SLICE("Received: from x\r\n\tby y; eyJfQF8iOiJcXF8v\r\n"));
        for (unsigned i = 0; i < before; i++) {
            buf_put(&header, encoded("{\"_@_\":\"\\\\_/\",\"a\":1,\"signature\":\"" HEX16 "\"}",
                                     junk));
        }
        buf_put(&header, put_plain("a@far.test"));
        buf_put(&header, encoded("{\"_@_\":\"\\\\_/\"}", junk));
        buf_put(&header, put_plain("b@later.test"));
        buf_put(&header, SLICE("Subject: x\r\n"));
        struct reference found = find(buf_slice(&header), &key, NOW_NS);
        if (before < REFERENCE_TRIES_MAX) {
            assert_int_equal(found.state, REFERENCE_VALID);
            assert_slice(found.domain, "far.test");
        } else {
            assert_int_equal(found.state, REFERENCE_FORGED);
        }
    }
}

static void what_is_kept_comes_back_or_is_damaged(void **state)
{
    const struct reference valid = {.state = REFERENCE_VALID,
                                    .id = id_of(NOW_NS),
                                    .domain = SLICE("far.test"),
                                    .trace = SLICE("{\"x\":1}")};
    uint8_t bytes[256];
    struct buf buf;
    struct reference back;
    (void)state;
    buf_init(&buf, bytes, sizeof(bytes));
    reference_keep(&buf, &valid);
    assert_true(reference_kept(buf_slice(&buf), &back));
    assert_int_equal(back.state, REFERENCE_VALID);
    assert_true(id_equal(&back.id, &valid.id));
    assert_slice(back.domain, "far.test");
    assert_slice(back.trace, "{\"x\":1}");
    for (size_t size = 0; size < 18 + 8; size++) {
        assert_false(reference_kept(slice_first(buf_slice(&buf), size), &back));
    }
    for (unsigned i = 0; i < REFERENCE_VALID; i++) {
        buf_reset(&buf);
        reference_keep(&buf, &(struct reference){.state = (enum reference_state)i});
        assert_int_equal(buf.size, 1);
        assert_true(reference_kept(buf_slice(&buf), &back) && back.state == i);
        buf_put_byte(&buf, 0);
        assert_false(reference_kept(buf_slice(&buf), &back));
    }
    bytes[0] = REFERENCE_VALID + 1;
    assert_false(reference_kept(slice_make(bytes, 1), &back));
}

/* What a record says of a valid one depends on whom it is about, and on the records before. */
static void d10_a_record_is_valid_for_its_domain_and_once(void **state)
{
    static const struct {
        const char *domain;
        const char *recipient;
        bool counted;
        const char *told;
    } rows[] = {
        {"far.test", "a@FAR.test", false, "\"valid\""},
        {"far.test", "other@far.test", true, "\"repeated\""},
        {"far.test", "a@far.test.evil.test", false, "\"elsewhere\""},
        {"far.test", "nobody", false, "\"elsewhere\""},
        {"far.test", "", false, "\"valid\""},
        {"", "a@far.test", false, "\"elsewhere\""},
        {"", "nobody", false, "\"elsewhere\""},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t bytes[REFERENCE_RECORD_BYTES_MAX];
        struct buf buf;
        const struct reference reference = {.state = REFERENCE_VALID,
                                            .domain = slice_from_string(rows[i].domain)};
        bool counted = rows[i].counted;
        buf_init(&buf, bytes, sizeof(bytes) - 1);
        reference_put_record(&buf, &reference, slice_from_string(rows[i].recipient), &counted);
        bytes[buf.size] = '\0';
        if (strstr((const char *)bytes, rows[i].told) == NULL) {
            fail_msg("%zu: %s", i, (const char *)bytes);
        }
        assert_int_equal(counted, rows[i].counted || strcmp(rows[i].told, "\"valid\"") == 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(d10_what_we_sent_is_known_again),
        cmocka_unit_test(the_field_is_short_lines_of_base64),
        cmocka_unit_test(metadata_are_included_by_their_names),
        cmocka_unit_test(d10_it_is_found_however_it_was_folded),
        cmocka_unit_test(d10_what_is_altered_is_forged),
        cmocka_unit_test(d10_what_others_write_is_none_or_forged),
        cmocka_unit_test(d10_another_key_and_another_time_are_not_ours),
        cmocka_unit_test(d10_of_several_the_valid_one_counts),
        cmocka_unit_test(what_is_kept_comes_back_or_is_damaged),
        cmocka_unit_test(d10_a_record_is_valid_for_its_domain_and_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
