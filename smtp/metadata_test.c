#include "smtp/metadata.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static struct metadata example(void)
{
    struct metadata metadata = {
        .protocol = SLICE("ESMTP"), .hello = SLICE("client.test"), .urgent = true};
    memset(metadata.peer.address, 0x11, 16);
    metadata.peer.port = 40123;
    memset(metadata.local.address, 0x22, 16);
    metadata.local.port = 25;
    memset(metadata.session.bytes, 0x33, 16);
    return metadata;
}

static void what_is_put_is_parsed(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    struct metadata before = example();
    metadata_put(&buf, &before);
    assert_false(buf.overflow);
    struct metadata after;
    assert_true(metadata_parse(buf_slice(&buf), &after));
    assert_true(slice_equal(after.protocol, before.protocol));
    assert_true(slice_equal(after.hello, before.hello));
    assert_memory_equal(&after.peer, &before.peer, sizeof(after.peer.address));
    assert_int_equal(after.peer.port, 40123);
    assert_memory_equal(&after.local, &before.local, sizeof(after.local.address));
    assert_int_equal(after.local.port, 25);
    assert_memory_equal(after.session.bytes, before.session.bytes, 16);
    assert_true(after.urgent);
}

static void who_spoke_for_the_client_stands_there_when_somebody_did(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct buf buf;
    struct metadata metadata = example();
    buf_init(&buf, bytes, sizeof(bytes));
    assert_true(endpoint_parse(SLICE("[2001:db8::7]:4711"), 0, &metadata.origin));
    metadata_put(&buf, &metadata);
    struct metadata after;
    assert_true(metadata_parse(buf_slice(&buf), &after));
    assert_true(endpoint_equal(&after.origin, &metadata.origin));
}

static void tenant_and_campaign_stand_there_when_there_are_any(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct buf buf;
    struct metadata metadata = example();
    buf_init(&buf, bytes, sizeof(bytes));
    metadata_put(&buf, &metadata);
    size_t without = buf.size;
    assert_true(metadata_parse(buf_slice(&buf), &metadata));
    assert_int_equal(metadata.tenant.size + metadata.campaign.size, 0);
    metadata.tenant = SLICE("acme");
    metadata.campaign = SLICE("spring sale");
    buf.size = 0;
    metadata_put(&buf, &metadata);
    assert_int_equal(buf.size, without + 3 + 4 + 3 + 11);
    assert_true(metadata_parse(buf_slice(&buf), &metadata));
    assert_true(slice_equal(metadata.tenant, SLICE("acme")));
    assert_true(slice_equal(metadata.campaign, SLICE("spring sale")));
}

static void a_schedule_stands_there_when_there_is_one_and_outlives_a_change(void **state)
{
    (void)state;
    uint8_t bytes[2][256];
    struct buf buf[2];
    struct metadata metadata = example();
    const struct metadata_change change = {.sets_tenant = true, .tenant = SLICE("b")};
    for (unsigned i = 0; i < 2; i++) {
        buf_init(&buf[i], bytes[i], sizeof(bytes[i]));
    }
    metadata_put(&buf[0], &metadata);
    size_t without = buf[0].size;
    metadata.schedule = SLICE("tomorrow");
    buf[0].size = 0;
    metadata_put(&buf[0], &metadata);
    assert_int_equal(buf[0].size, without + 3 + 8);
    metadata_put_changed(&buf[1], buf_slice(&buf[0]), &change);
    assert_true(metadata_parse(buf_slice(&buf[1]), &metadata));
    assert_true(slice_equal(metadata.schedule, SLICE("tomorrow")));
    assert_true(slice_equal(metadata.tenant, SLICE("b")));
}

static void a_rebind_is_told_once_and_of_what_was_before_it(void **state)
{
    uint8_t bytes[3][512];
    struct buf buf[3];
    struct metadata metadata = example();
    const struct metadata_change change = {.sets_tenant = true, .tenant = SLICE("b")};
    (void)state;
    metadata.tenant = SLICE("a");
    metadata.campaign = SLICE("spring");
    for (unsigned i = 0; i < 3; i++) {
        buf_init(&buf[i], bytes[i], sizeof(bytes[i]));
    }
    metadata_put(&buf[0], &metadata);
    metadata_put_changed(&buf[1], buf_slice(&buf[0]), &change);
    metadata_put_rebind(&buf[1], buf_slice(&buf[0]), 7, SLICE("one"));
    assert_true(metadata_parse(buf_slice(&buf[1]), &metadata));
    assert_int_equal(metadata.rebind.wall_ns, 7);
    assert_true(slice_equal(metadata.rebind.tenant, SLICE("a")));
    assert_true(slice_equal(metadata.rebind.campaign, SLICE("spring")));
    assert_true(slice_equal(metadata.rebind.reason, SLICE("one")));
    assert_true(slice_equal(metadata.tenant, SLICE("b")));
    metadata_put_changed(&buf[2], buf_slice(&buf[1]), &change);
    assert_true(metadata_parse(buf_slice(&buf[2]), &metadata));
    assert_int_equal(metadata.rebind.wall_ns, 0);
    assert_int_equal(buf[2].size, buf[0].size);
    const uint8_t torn[] = {METADATA_REBIND, 11, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1, 'x'};
    assert_false(metadata_parse(slice_make(torn, sizeof(torn)), &metadata));
    const uint8_t brief[] = {METADATA_REBIND, 2, 0, 1, 0};
    assert_false(metadata_parse(slice_make(brief, sizeof(brief)), &metadata));
}

static void empty_section_is_all_defaults(void **state)
{
    (void)state;
    struct metadata metadata;
    assert_true(metadata_parse(SLICE_NONE, &metadata));
    assert_int_equal(metadata.protocol.size, 0);
    assert_false(metadata.urgent);
}

static void unknown_key_is_skipped(void **state)
{
    (void)state;
    const uint8_t bytes[] = {200, 2, 0, 'x', 'y', METADATA_CLASS, 1, 0, 1};
    struct metadata metadata;
    assert_true(metadata_parse(slice_make(bytes, sizeof(bytes)), &metadata));
    assert_true(metadata.urgent);
}

static void b_damaged_sections_are_refused_at_every_cut(void **state)
{
    (void)state;
    uint8_t bytes[256];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    struct metadata metadata = example();
    metadata_put(&buf, &metadata);
    size_t whole_fields = 0;
    for (size_t size = 0; size < buf.size; size++) {
        uint8_t *cut = malloc(size + 1); /* exactly as large: a read beyond is seen */
        memcpy(cut, bytes, size);
        uint8_t *exact = realloc(cut, size > 0 ? size : 1);
        whole_fields += metadata_parse(slice_make(exact, size), &metadata);
        free(exact);
    }
    assert_int_equal(whole_fields, 6); /* cuts between fields only, the empty one included */
}

static void fields_of_wrong_size_are_refused(void **state)
{
    (void)state;
    const uint8_t keys[] = {METADATA_PEER, METADATA_LOCAL, METADATA_SESSION, METADATA_CLASS};
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        const uint8_t bytes[] = {keys[i], 2, 0, 0, 0};
        struct metadata metadata;
        assert_false(metadata_parse(slice_make(bytes, sizeof(bytes)), &metadata));
    }
    const uint8_t class_two[] = {METADATA_CLASS, 1, 0, 2};
    struct metadata metadata;
    assert_false(metadata_parse(slice_make(class_two, sizeof(class_two)), &metadata));
}

static void what_does_not_fit_sets_overflow(void **state)
{
    (void)state;
    uint8_t bytes[20];
    struct buf buf;
    buf_init(&buf, bytes, sizeof(bytes));
    struct metadata metadata = example();
    metadata_put(&buf, &metadata);
    assert_true(buf.overflow);
}

static void what_is_changed_is_said_once_and_unknown_keys_stay(void **state)
{
    static const struct {
        struct metadata_change change;
        const char *tenant;
        const char *campaign;
        bool urgent;
    } rows[] = {
        {{.sets_tenant = true, .tenant = {(const uint8_t *)"b", 1}}, "b", "spring", false},
        {{.sets_campaign = true}, "a", "", false},
        {{.sets_class = true, .urgent = true}, "a", "spring", true},
        {{.sets_tenant = true, .sets_campaign = true, .sets_class = true}, "", "", false},
        {{.sets_campaign = false}, "a", "spring", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        uint8_t before_memory[256];
        uint8_t after_memory[256];
        struct buf before;
        struct buf after;
        struct metadata said = {.tenant = SLICE("a"), .campaign = SLICE("spring")};
        said.protocol = SLICE("ESMTP");
        buf_init(&before, before_memory, sizeof(before_memory));
        metadata_put(&before, &said);
        buf_put(&before, slice_make("\x7f\x02\x00hi", 5));
        buf_init(&after, after_memory, sizeof(after_memory));
        metadata_put_changed(&after, buf_slice(&before), &rows[i].change);
        assert_false(after.overflow);
        assert_true(metadata_parse(buf_slice(&after), &said));
        assert_true(slice_equal(said.tenant, slice_from_string(rows[i].tenant)));
        assert_true(slice_equal(said.campaign, slice_from_string(rows[i].campaign)));
        assert_int_equal(said.urgent, rows[i].urgent);
        assert_true(slice_equal(said.protocol, SLICE("ESMTP")));
        assert_non_null(memmem(after.data, after.size, "\x7f\x02\x00hi", 5));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_put_is_parsed),
        cmocka_unit_test(who_spoke_for_the_client_stands_there_when_somebody_did),
        cmocka_unit_test(tenant_and_campaign_stand_there_when_there_are_any),
        cmocka_unit_test(a_schedule_stands_there_when_there_is_one_and_outlives_a_change),
        cmocka_unit_test(a_rebind_is_told_once_and_of_what_was_before_it),
        cmocka_unit_test(empty_section_is_all_defaults),
        cmocka_unit_test(unknown_key_is_skipped),
        cmocka_unit_test(b_damaged_sections_are_refused_at_every_cut),
        cmocka_unit_test(fields_of_wrong_size_are_refused),
        cmocka_unit_test(what_does_not_fit_sets_overflow),
        cmocka_unit_test(what_is_changed_is_said_once_and_unknown_keys_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
