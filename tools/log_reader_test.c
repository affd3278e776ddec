#include "tools/log_reader.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

struct rig {
    char directory[64];
    struct log_reader *reader;
    char lines[4096]; /* what came, with line ends */
};

static bool keep(void *context, struct slice line)
{
    struct rig *rig = context;
    size_t size = strlen(rig->lines);
    assert_true(size + line.size + 2 < sizeof(rig->lines));
    memcpy(rig->lines + size, line.data, line.size);
    memcpy(rig->lines + size + line.size, "\n", 2);
    return true;
}

static void rig_init(struct rig *rig)
{
    *rig = (struct rig){.directory = "/tmp/ringpost_log_XXXXXX"};
    assert_non_null(mkdtemp(rig->directory));
    rig->reader = log_reader_open(rig->directory);
}

static void rig_fini(struct rig *rig)
{
    static const char *const names[] = {"20261122-163000.000001", "20261122-163000.000002",
                                        "other"};
    char path[128];
    log_reader_close(rig->reader);
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        snprintf(path, sizeof(path), "%s/%s", rig->directory, names[i]);
        (void)unlink(path);
    }
    assert_int_equal(rmdir(rig->directory), 0);
}

/* Appends the first `bytes` of the frame that holds `text`; all of it with SIZE_MAX. */
static void append(const struct rig *rig, const char *name, const char *text, size_t bytes)
{
    char path[128];
    uint8_t frame[4096];
    size_t size = ZSTD_compress(frame, sizeof(frame), text, strlen(text), 1);
    snprintf(path, sizeof(path), "%s/%s", rig->directory, name);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(frame, 1, MIN_OF(size, bytes), file), MIN_OF(size, bytes));
    assert_int_equal(fclose(file), 0);
}

static void frames_of_all_files_come_in_order(void **state)
{
    struct rig rig;
    (void)state;
    rig_init(&rig);
    append(&rig, "20261122-163000.000002", "c\n", SIZE_MAX);
    append(&rig, "20261122-163000.000001", "a\n", SIZE_MAX);
    append(&rig, "20261122-163000.000001", "b\nbb\n", SIZE_MAX);
    append(&rig, "other", "no\n", SIZE_MAX);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "a\nb\nbb\nc\n");
    rig_fini(&rig);
}

static void a_torn_frame_gives_no_line_until_it_is_whole(void **state)
{
    struct rig rig;
    uint8_t frame[256];
    char path[128];
    (void)state;
    rig_init(&rig);
    append(&rig, "20261122-163000.000001", "a\n", SIZE_MAX);
    append(&rig, "20261122-163000.000001", "torn\n", 7);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "a\n");
    size_t size = ZSTD_compress(frame, sizeof(frame), "torn\n", 5, 1);
    snprintf(path, sizeof(path), "%s/20261122-163000.000001", rig.directory);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite(frame + 7, 1, size - 7, file), size - 7);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "a\ntorn\n");
    append(&rig, "20261122-163000.000001", "last\n", SIZE_MAX);
    append(&rig, "20261122-163000.000002", "next\n", SIZE_MAX);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "a\ntorn\nlast\nnext\n");
    rig_fini(&rig);
}

static void a_file_that_was_removed_is_passed_over(void **state)
{
    struct rig rig;
    char path[128];
    (void)state;
    rig_init(&rig);
    append(&rig, "20261122-163000.000001", "one\n", SIZE_MAX);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    snprintf(path, sizeof(path), "%s/20261122-163000.000001", rig.directory);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    append(&rig, "20261122-163000.000002", "two\n", SIZE_MAX);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "one\ntwo\n");
    rig_fini(&rig);
}

static void behind_a_damaged_file_reading_goes_on(void **state)
{
    struct rig rig;
    char path[128];
    (void)state;
    rig_init(&rig);
    append(&rig, "20261122-163000.000001", "a\n", SIZE_MAX);
    snprintf(path, sizeof(path), "%s/20261122-163000.000001", rig.directory);
    FILE *file = fopen(path, "ab");
    assert_non_null(file);
    assert_int_equal(fwrite("no frame at all", 1, 15, file), 15);
    assert_int_equal(fclose(file), 0);
    append(&rig, "20261122-163000.000002", "b\n", SIZE_MAX);
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), -1);
    assert_string_equal(rig.lines, "a\nb\n");
    assert_int_equal(log_reader_run(rig.reader, keep, &rig), 0);
    assert_string_equal(rig.lines, "a\nb\n");
    rig_fini(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_files_come_in_order),
        cmocka_unit_test(a_torn_frame_gives_no_line_until_it_is_whole),
        cmocka_unit_test(a_file_that_was_removed_is_passed_over),
        cmocka_unit_test(behind_a_damaged_file_reading_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
