/* The text of the manifest: what is written is read, and what makes no sense is damaged. */
#include "shard/spool/manifest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <string.h>

static enum manifest_status get(const char *text, struct manifest *manifest)
{
    uint64_t version;
    return manifest_get(slice_from_string(text), manifest, &version);
}

static void lanes_get_ids_that_are_never_given_twice(void **state)
{
    (void)state;
    struct manifest manifest;
    struct manifest read;
    uint64_t version = 0;
    char text[MANIFEST_BYTES_MAX];
    struct buf buf;
    manifest_init(&manifest, 0x0123456789abcdef);
    assert_true(manifest_grow(&manifest, 3));
    manifest.lane_count = 1; /* two are gone */
    manifest.lanes[2] = 0;
    assert_true(manifest_grow(&manifest, 2));
    manifest.epoch = 1;
    buf_init(&buf, text, sizeof(text));
    manifest_put(&buf, &manifest);
    text[buf.size] = '\0';
    assert_string_equal(
        text, "ringpost-spool 2\nuuid=0123456789abcdef\nepoch=1\nnext_lane=4\nlanes=0,3\n");
    assert_int_equal(manifest_get(buf_slice(&buf), &read, &version), MANIFEST_GOOD);
    assert_int_equal(version, 2);
    assert_memory_equal(&read, &manifest, sizeof(read));
    assert_true(manifest_has(&read, 3));
    assert_false(manifest_has(&read, 1));
}

static void the_largest_manifest_fits(void **state)
{
    (void)state;
    struct manifest manifest;
    struct manifest read;
    char text[MANIFEST_BYTES_MAX];
    struct buf buf;
    manifest_init(&manifest, UINT64_MAX);
    manifest.epoch = UINT32_MAX;
    manifest.next_lane = MANIFEST_LANE_IDS - MANIFEST_LANES_MAX;
    assert_true(manifest_grow(&manifest, MANIFEST_LANES_MAX));
    buf_init(&buf, text, sizeof(text) - 1);
    manifest_put(&buf, &manifest);
    text[buf.size] = '\0';
    assert_int_equal(get(text, &read), MANIFEST_GOOD);
    assert_int_equal(read.lanes[MANIFEST_LANES_MAX - 1], MANIFEST_LANE_IDS - 1);
    read.lane_count--;
    assert_false(manifest_grow(&read, MANIFEST_LANES_MAX));
    assert_int_equal(read.lane_count, MANIFEST_LANES_MAX - 1);
}

static void version_1_had_lanes_from_0_up(void **state)
{
    (void)state;
    struct manifest manifest;
    assert_int_equal(get("ringpost-spool 1\nuuid=00000000000000ff\nlanes=3\n", &manifest),
                     MANIFEST_GOOD);
    assert_int_equal(manifest.uuid, 255);
    assert_int_equal(manifest.epoch, 0);
    assert_int_equal(manifest.next_lane, 3);
    assert_int_equal(manifest.lane_count, 3);
    assert_int_equal(manifest.lanes[2], 2);
}

#define HEAD "ringpost-spool 2\nuuid=0123456789abcdef\n"

static void what_makes_no_sense_is_damaged(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        enum manifest_status status;
    } rows[] = {
        {HEAD "epoch=0\nnext_lane=2\nlanes=1,0\n", MANIFEST_GOOD},
        {HEAD "epoch=0\nnext_lane=2\nlanes=1,0", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\nlanes=0,0\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\nlanes=0,2\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\nlanes=0,\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\nlanes=,0\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\nlanes=\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=2\n", MANIFEST_DAMAGED},
        {HEAD "epoch=0\nnext_lane=4097\nlanes=0\n", MANIFEST_DAMAGED},
        {HEAD "epoch=4294967296\nnext_lane=2\nlanes=0\n", MANIFEST_DAMAGED},
        {HEAD "next_lane=2\nlanes=0\n", MANIFEST_DAMAGED},
        {"ringpost-spool 1\nuuid=0123456789abcdef\nlanes=0\n", MANIFEST_DAMAGED},
        {"ringpost-spool 1\nuuid=0123456789abcdef\nlanes=257\n", MANIFEST_DAMAGED},
        {"ringpost-spool 1\nuuid=0000000000000000\nlanes=1\n", MANIFEST_DAMAGED},
        {"ringpost-spool 0\nuuid=0123456789abcdef\nlanes=1\n", MANIFEST_OTHER_VERSION},
        {"ringpost-spool 3\n", MANIFEST_OTHER_VERSION},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct manifest manifest;
        assert_int_equal(get(rows[i].text, &manifest), rows[i].status);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lanes_get_ids_that_are_never_given_twice),
        cmocka_unit_test(the_largest_manifest_fits),
        cmocka_unit_test(version_1_had_lanes_from_0_up),
        cmocka_unit_test(what_makes_no_sense_is_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
