/* Which spools are opened and which are refused, and what is found in them. */
#include "tools/spool_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/kit/spool_log.h"

#define UUID 0x1234567890ABCDEFull

static struct rig {
    char path[64];
    struct spool_log log;
    struct spool_location last; /* of the messages put */
} rig;

static void write_file(const char *name, const void *data, size_t size)
{
    char path[128];
    snprintf(path, sizeof(path), "%s/%s", rig.path, name);
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(data, 1, size, file), size);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0640), 0);
}

static int set_up(void **state)
{
    (void)state;
    char text[MANIFEST_BYTES_MAX];
    char path[128];
    struct buf buf;
    struct manifest manifest;
    rig = (struct rig){.path = "/tmp/ringpost_spool_XXXXXX"};
    assert_non_null(mkdtemp(rig.path));
    snprintf(path, sizeof(path), "%s/lane-000", rig.path);
    assert_int_equal(mkdir(path, 0750), 0);
    manifest_init(&manifest, UUID);
    assert_true(manifest_grow(&manifest, 1));
    buf_init(&buf, text, sizeof(text));
    manifest_put(&buf, &manifest);
    write_file("manifest", buf.data, buf.size);
    write_file("lock", "", 0);
    spool_log_init(&rig.log, UUID, 0, 64 * KIB);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    char path[128];
    spool_log_fini(&rig.log);
    for (unsigned i = 0; i < 4; i++) {
        snprintf(path, sizeof(path), "%s/lane-000/segment-%06u", rig.path, i);
        (void)unlink(path);
    }
    static const char *const names[] = {"manifest", "lock"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", rig.path, names[i]);
        (void)unlink(path);
    }
    snprintf(path, sizeof(path), "%s/lane-000", rig.path);
    assert_int_equal(rmdir(path), 0);
    return rmdir(rig.path);
}

/* A segment with `groups` groups of one message each, in the file of this slot. */
static void put_segment(unsigned slot, uint32_t number, uint64_t sequence, unsigned groups)
{
    char name[64];
    struct slice sections[SECTIONS] = {[SECTION_ENVELOPE] = SLICE("envelope"),
                                       [SECTION_BODY] = SLICE("Subject: x\r\n\r\nbody\r\n")};
    spool_log_segment(&rig.log, number, sequence);
    for (unsigned i = 0; i < groups; i++) {
        spool_log_group(&rig.log, sequence + i, sequence + i, 0);
        rig.last = spool_log_message(&rig.log, i, sections);
        spool_log_seal(&rig.log);
    }
    snprintf(name, sizeof(name), "lane-000/segment-%06u", slot);
    write_file(name, rig.log.segments[rig.log.count - 1].bytes, 64 * KIB);
}

struct count {
    unsigned groups;
    unsigned records;
    unsigned others;
};

static bool count_item(void *context, const struct log_item *item)
{
    struct count *count = context;
    count->groups += item->step == LOG_GROUP ? 1 : 0;
    count->records += item->step == LOG_RECORD ? 1 : 0;
    count->others += item->step != LOG_GROUP && item->step != LOG_RECORD ? 1 : 0;
    return true;
}

static struct count walk(struct spool_lane *lane, struct spool_position begin)
{
    struct count count = {0};
    struct spool_visitor visitor = {.context = &count, .item = count_item};
    assert_true(spool_lane_walk(lane, begin, &visitor));
    return count;
}

static void check_refused(const char *reason)
{
    struct spool_reader reader;
    struct spool_lane lane = {.dir_fd = -1, .fd = -1};
    bool good = spool_reader_open(&reader, rig.path);
    if (good) {
        good = spool_lane_open(&lane, &reader, 0);
        spool_lane_close(&lane);
    }
    assert_false(good);
    if (strstr(reader.reason, reason) == NULL) {
        fail_msg("\"%s\" is not in \"%s\"", reason, reader.reason);
    }
    spool_reader_close(&reader);
}

static void the_log_is_walked_over_its_files_in_order_of_their_numbers(void **state)
{
    (void)state;
    struct spool_reader reader;
    struct spool_lane lane;
    put_segment(2, 7, 1, 3);
    put_segment(0, 8, 4, 2);
    write_file("lane-000/segment-000001", rig.log.segments[0].bytes + 40 * KIB, 8 * KIB);
    write_file("lane-000/segment-000003", "junk", 4);
    assert_true(spool_reader_open(&reader, rig.path));
    assert_true(spool_lane_open(&lane, &reader, 0));
    assert_int_equal(lane.count, 4);
    assert_int_equal(spool_lane_find(&lane, 7), 2);
    assert_int_equal(spool_lane_find(&lane, 9), lane.count);
    assert_int_equal(lane.files[0].blank + lane.files[1].blank, 1);
    struct count all = walk(&lane, (struct spool_position){0});
    assert_int_equal(all.groups, 5);
    assert_int_equal(all.records, 5);
    assert_int_equal(all.others, 0);
    struct spool_position begin = {.sequence = 3, .group = {7, 3 * 4096 / 64}};
    assert_int_equal(walk(&lane, begin).groups, 3);
    spool_lane_close(&lane);
    spool_reader_close(&reader);
}

static void one_record_is_read_by_its_place(void **state)
{
    (void)state;
    struct spool_reader reader;
    struct spool_lane lane;
    struct record record;
    struct record_message message;
    put_segment(0, 7, 1, 3);
    assert_true(spool_reader_open(&reader, rig.path));
    assert_true(spool_lane_open(&lane, &reader, 0));
    assert_int_equal(spool_lane_record(&lane, rig.last, true, &record), SPOOL_RECORD_GOOD);
    assert_true(record_message_get(&record, &message));
    assert_true(record_body_matches(&record));
    assert_int_equal(message.id.bytes[4], 2);
    struct spool_location beside = {rig.last.segment, rig.last.offset_64 + 1};
    struct spool_location beyond = {rig.last.segment, 64 * KIB};
    struct spool_location missing = {8, 64};
    assert_int_equal(spool_lane_record(&lane, beside, true, &record), SPOOL_RECORD_DAMAGED);
    assert_int_equal(spool_lane_record(&lane, beyond, true, &record), SPOOL_RECORD_DAMAGED);
    assert_int_equal(spool_lane_record(&lane, missing, true, &record), SPOOL_RECORD_MISSING);
    spool_lane_close(&lane);
    spool_reader_close(&reader);
}

/* The SEGMENT header is damaged; its first group says as much. */
static void a_segment_is_known_by_its_first_group(void **state)
{
    (void)state;
    struct spool_reader reader;
    struct spool_lane lane;
    put_segment(0, 7, 1, 2);
    rig.log.segments[0].bytes[20] ^= 1;
    write_file("lane-000/segment-000000", rig.log.segments[0].bytes, 64 * KIB);
    assert_true(spool_reader_open(&reader, rig.path));
    assert_true(spool_lane_open(&lane, &reader, 0));
    assert_int_equal(lane.files[0].number, 7);
    assert_int_equal(walk(&lane, (struct spool_position){0}).groups, 2);
    spool_lane_close(&lane);
    spool_reader_close(&reader);
}

static void spoil_header(uint16_t version, uint16_t lane, uint64_t uuid)
{
    struct record_segment header = {
        .version = version, .lane = lane, .number = 7, .uuid = uuid, .sequence = 1};
    put_segment(0, 7, 1, 1);
    record_segment_put(rig.log.segments[0].bytes, &header);
    write_file("lane-000/segment-000000", rig.log.segments[0].bytes, 64 * KIB);
}

static void b11_a_segment_of_a_newer_version_is_refused(void **state)
{
    (void)state;
    spoil_header(RECORD_VERSION + 1, 0, UUID);
    check_refused("segment-000000 is of format version");
}

static void b11_a_manifest_of_a_newer_version_is_refused(void **state)
{
    (void)state;
    static const char text[] = "ringpost-spool 77\n";
    write_file("manifest", text, sizeof(text) - 1);
    check_refused("format version 77, this program knows");
    write_file("manifest", "ringpost-spool", 14);
    check_refused("the manifest is damaged");
}

static void b07_segments_of_another_spool_or_lane_are_refused(void **state)
{
    (void)state;
    spoil_header(RECORD_VERSION, 0, UUID + 1);
    check_refused("segment-000000 belongs to another spool or lane");
}

static void b07_a_segment_of_another_lane_is_refused(void **state)
{
    (void)state;
    spoil_header(RECORD_VERSION, 1, UUID);
    check_refused("segment-000000 belongs to another spool or lane");
}

static void b07_two_files_of_one_number_are_refused(void **state)
{
    (void)state;
    put_segment(0, 7, 1, 1);
    put_segment(1, 7, 1, 1);
    check_refused("both claim to be segment 7");
}

static void f30_a_second_reader_is_refused(void **state)
{
    (void)state;
    struct spool_reader reader;
    assert_true(spool_reader_open(&reader, rig.path));
    check_refused("in use by another process");
    spool_reader_close(&reader);
    assert_true(spool_reader_open(&reader, rig.path));
    spool_reader_close(&reader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_log_is_walked_over_its_files_in_order_of_their_numbers),
        TEST(one_record_is_read_by_its_place),
        TEST(a_segment_is_known_by_its_first_group),
        TEST(b11_a_segment_of_a_newer_version_is_refused),
        TEST(b11_a_manifest_of_a_newer_version_is_refused),
        TEST(b07_segments_of_another_spool_or_lane_are_refused),
        TEST(b07_a_segment_of_another_lane_is_refused),
        TEST(b07_two_files_of_one_number_are_refused),
        TEST(f30_a_second_reader_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
