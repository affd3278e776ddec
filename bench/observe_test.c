#include "bench/observe.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define FILE_BYTES 8192u

static void put_file(const char *dir, const char *name, size_t size)
{
    static const char zeros[FILE_BYTES];
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, zeros, size), size);
    assert_int_equal(fsync(fd), 0);
    close(fd);
}

static void remove_files(const char *dir, const char *const *names, size_t count)
{
    char path[256];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
        assert_int_equal(remove(path), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

static void a_directory_is_counted_with_all_below_and_by_kind(void **state)
{
    (void)state;
    static const char *const names[] = {"lane/segment-000001", "lane/segment-000002",
                                        "lane/checkpoint-0", "lane/checkpoint-1", "manifest",
                                        "lane"};
    char dir[] = "build/observe-test-XXXXXX";
    char lane[64];
    struct disk_use use;
    assert_non_null(mkdtemp(dir));
    (void)snprintf(lane, sizeof(lane), "%s/lane", dir);
    assert_int_equal(mkdir(lane, 0700), 0);
    put_file(dir, names[0], FILE_BYTES);
    put_file(dir, names[1], FILE_BYTES);
    put_file(dir, names[2], 1);
    put_file(dir, names[3], 0);
    put_file(dir, names[4], 0);
    assert_true(disk_use_read(dir, &use));
    assert_int_equal(use.files, 5);
    assert_int_equal(use.segments, 2);
    assert_int_equal(use.checkpoints, 1);
    assert_true(use.bytes >= 2 * FILE_BYTES + use.checkpoint_bytes);
    assert_true(use.checkpoint_bytes < FILE_BYTES);
    remove_files(dir, names, COUNT_OF(names));
    assert_false(disk_use_read(dir, &use));
}

static void a_process_has_memory_and_descriptors(void **state)
{
    (void)state;
    struct process_use before;
    struct process_use after;
    assert_true(process_use_read(getpid(), &before));
    assert_true(before.rss_bytes > 0);
    assert_true(before.cpu_ns > 0);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_true(process_use_read(getpid(), &after));
    assert_int_equal(after.descriptors, before.descriptors + 1);
    assert_true(after.cpu_ns > before.cpu_ns);
    close(fd);
    assert_false(process_use_read(-1, &after));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_directory_is_counted_with_all_below_and_by_kind),
        cmocka_unit_test(a_process_has_memory_and_descriptors),
    };
    return cmocka_run_group_tests_name("observe", tests, NULL, NULL);
}
