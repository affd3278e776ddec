/* The event log on a real disk, by the real ring and worker threads. */
#include "tsa/event_log.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/log_reader.h"

#define TURNS_MAX 20000

struct rig {
    char directory[64];
    struct work *work;
    struct shard shard;
    struct shard *peers[1];
    struct heap heap;
    struct event_log *log;
    struct event_feed feed;
    unsigned lines;
};

static void say(void *context, struct slice line)
{
    (void)context;
    fprintf(stderr, "%.*s", (int)line.size, (const char *)line.data);
}

static void rig_boot(struct rig *rig)
{
    struct ring_options ring = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 4, .buffer_bytes = 64};
    struct shard_options options = {.count = 1, .peers = rig->peers};
    uint8_t reason[256];
    struct buf buf;
    buf_init(&buf, reason, sizeof(reason));
    heap_init(&rig->heap);
    rig->peers[0] = &rig->shard;
    assert_int_equal(work_open(NULL, 8, &rig->work), 0);
    options.work = rig->work;
    assert_int_equal(ring_open(&ring, &options.ring, &buf), 0);
    assert_int_equal(shard_init(&rig->shard, &options), 0);
    struct event_log_options log = {.path = rig->directory, .max_file_bytes = 1 << 30,
                                    .flush_ns = 10 * NS_PER_MS,
                                    .retention_ns = 3600 * NS_PER_S, .sink = {say, NULL},
                                    .heap = &rig->heap};
    rig->log = event_log_open(&rig->shard, &log);
    struct event_feed_options feed = {
        .arrive = event_log_arrive, .sink = rig->log, .batches = 2, .heap = &rig->heap};
    event_feed_init(&rig->feed, &rig->shard, &feed);
}

static void rig_end(struct rig *rig)
{
    shard_fini(&rig->shard);
    work_close(rig->work);
    heap_fini(&rig->heap);
}

static void put(struct rig *rig, unsigned count)
{
    struct event event = {.type = EVENT_DELIVERY, .content = SLICE("OK")};
    for (unsigned i = 0; i < count; i++) {
        assert_true(event_feed_put(&rig->feed, &event));
    }
    event_feed_flush(&rig->feed);
}

static void turns_until_written(struct rig *rig, uint64_t lines)
{
    unsigned turns = 0;
    while (event_log_counts(rig->log)->flushes == 0 ||
           event_log_counts(rig->log)->lines < lines || !event_feed_settled(&rig->feed) ||
           !event_feed_idle(&rig->feed) || !event_log_idle(rig->log)) {
        shard_turn(&rig->shard, false);
        assert_true(++turns < TURNS_MAX);
    }
}

static bool count_line(void *context, struct slice line)
{
    struct rig *rig = context;
    (void)line;
    rig->lines++;
    return true;
}

/* Files of the directory with this mode; `remove` takes every file away. */
static unsigned files_with_mode(const struct rig *rig, mode_t mode, bool remove)
{
    unsigned count = 0;
    DIR *directory = opendir(rig->directory);
    assert_non_null(directory);
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        char path[512];
        struct stat info;
        snprintf(path, sizeof(path), "%s/%s", rig->directory, entry->d_name);
        assert_int_equal(stat(path, &info), 0);
        if (S_ISREG(info.st_mode)) {
            count += (info.st_mode & 07777) == mode;
            if (remove) {
                assert_int_equal(unlink(path), 0);
            }
        }
    }
    closedir(directory);
    return count;
}

static void a_finished_file_and_one_left_by_a_crash_become_read_only(void **state)
{
    struct rig rig = {.directory = "/tmp/ringpost_events_XXXXXX"};
    unsigned turns = 0;
    (void)state;
    assert_non_null(mkdtemp(rig.directory));
    rig_boot(&rig);
    put(&rig, 10);
    turns_until_written(&rig, 10);
    assert_int_equal(files_with_mode(&rig, 0440, false), 0);
    rig_end(&rig); /* as a crash: the file is not ended */

    rig_boot(&rig);
    put(&rig, 5);
    turns_until_written(&rig, 5);
    assert_int_equal(files_with_mode(&rig, 0440, false), 1);
    event_log_stop(rig.log);
    while (!event_log_stopped(rig.log)) {
        shard_turn(&rig.shard, false);
        assert_true(++turns < TURNS_MAX);
    }
    for (unsigned i = 0; i < 50 && files_with_mode(&rig, 0440, false) < 2; i++) {
        shard_turn(&rig.shard, false);
    }
    assert_int_equal(files_with_mode(&rig, 0440, false), 2);
    rig_end(&rig);

    struct log_reader *reader = log_reader_open(rig.directory);
    assert_int_equal(log_reader_run(reader, count_line, &rig), 0);
    assert_int_equal(rig.lines, 15);
    log_reader_close(reader);
    assert_int_equal(files_with_mode(&rig, 0440, true), 2);
    assert_int_equal(rmdir(rig.directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_finished_file_and_one_left_by_a_crash_become_read_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
