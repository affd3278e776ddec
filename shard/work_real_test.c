#include "shard/work.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zstd.h>

#include "shard/shard.h"
#include "shard/state_db.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#define CAPACITY 8

struct desk {
    struct shard shard;
    struct shard *peers[1];
    struct timer soon; /* cuts the sleep of the turn in which a job came home */
    char folder[64];
};

struct task {
    struct work_job job;
    struct desk *desk;
    struct deferred submit; /* from inside a turn, as a shard does it */
    unsigned done;
};

static void task_done(struct work_job *job)
{
    struct task *task = CONTAINER_OF(job, struct task, job);
    assert_false(job->in_flight);
    task->done++;
    shard_timer_set(job->home, &CONTAINER_OF(job->home, struct desk, shard)->soon, 1);
}

static void nothing(struct timer *timer)
{
    (void)timer;
}

static void task_submit(struct deferred *deferred)
{
    struct task *task = CONTAINER_OF(deferred, struct task, submit);
    struct shard *shard = &task->desk->shard;
    assert_true(work_submit(shard->work, shard, &task->job));
}

static int desk_setup(void **state)
{
    struct desk *desk = aligned_alloc(64, align_up(sizeof(*desk), 64));
    assert_non_null(desk);
    memset(desk, 0, sizeof(*desk));
    static const struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 8, .buffer_bytes = 4096};
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct shard_options shard = {.count = 1, .peers = desk->peers};
    desk->peers[0] = &desk->shard;
    timer_init(&desk->soon, nothing);
    assert_int_equal(ring_open(&options, &shard.ring, &reason), 0);
    assert_int_equal(work_open(NULL, CAPACITY, &shard.work), 0);
    assert_int_equal(shard_init(&desk->shard, &shard), 0);
    snprintf(desk->folder, sizeof(desk->folder), "/tmp/ringpost-work-XXXXXX");
    assert_non_null(mkdtemp(desk->folder));
    *state = desk;
    return 0;
}

static int desk_teardown(void **state)
{
    struct desk *desk = *state;
    char command[128];
    snprintf(command, sizeof(command), "rm -rf %s", desk->folder);
    assert_int_equal(system(command), 0);
    assert_int_equal(counters_get(&desk->shard.counters, COUNTER_lost_wakeups), 0);
    work_close(desk->shard.work);
    shard_fini(&desk->shard);
    free(desk);
    return 0;
}

static void finish(struct desk *desk, struct task *task)
{
    for (unsigned turns = 0; turns < 1000 && task->done == 0; turns++) {
        shard_turn(&desk->shard, false);
    }
    assert_int_equal(task->done, 1);
}

/* Does one job and returns its result. */
static int32_t run(struct desk *desk, struct task *task)
{
    task->done = 0;
    task->desk = desk;
    task->job.done = task_done;
    deferred_init(&task->submit, task_submit);
    shard_defer(&desk->shard, &task->submit);
    finish(desk, task);
    return task->job.result;
}

static const char *in_folder(struct desk *desk, char out[128], const char *name)
{
    snprintf(out, 128, "%s/%s", desk->folder, name);
    return out;
}

static void files_are_made_of_zeros_under_their_final_name(void **state)
{
    struct desk *desk = *state;
    char path[128], beside[128];
    struct task task = {.job = {.kind = WORK_CREATE, .size = 3 * MIB + 8192}};
    task.job.path = in_folder(desk, path, "segment");
    int fd = run(desk, &task);
    assert_true(fd >= 0);
    assert_int_equal((fcntl(fd, F_GETFL) & O_DIRECT) != 0, task.job.direct_out);
    struct stat status;
    assert_int_equal(fstat(fd, &status), 0);
    assert_int_equal(status.st_size, 3 * MIB + 8192);
    assert_true(status.st_blocks * 512 >= status.st_size);
    int check = open(path, O_RDONLY);
    static uint8_t data[4 * MIB];
    assert_int_equal(read(check, data, sizeof(data)), status.st_size);
    for (size_t i = 0; i < (size_t)status.st_size; i++) {
        assert_int_equal(data[i], 0);
    }
    close(check);
    assert_int_equal(access(in_folder(desk, beside, "segment.tmp"), F_OK), -1);
    assert_int_equal(run(desk, &task), -EEXIST);
    struct task closing = {.job = {.kind = WORK_CLOSE, .fd = fd, .flags = WORK_READ_ONLY}};
    assert_int_equal(run(desk, &closing), 0);
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_mode & 0777, 0440);
    task.job.path = in_folder(desk, path, "odd");
    task.job.size = 1000;
    assert_int_equal(run(desk, &task), -EINVAL);
    assert_int_equal(access(path, F_OK), -1);
}

/* With one descriptor left the file can be written, but not the directory opened for its sync. */
static void f23_a_file_that_could_not_be_made_whole_leaves_nothing(void **state)
{
    struct desk *desk = *state;
    char path[128];
    struct rlimit limit;
    struct task task = {.job = {.kind = WORK_CREATE, .size = 8192}};
    task.job.path = in_folder(desk, path, "segment");
    int next = open("/dev/null", O_RDONLY);
    assert_true(next >= 0);
    assert_int_equal(close(next), 0);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    struct rlimit tight = {.rlim_cur = (rlim_t)next + 1, .rlim_max = limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    int32_t result = run(desk, &task);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_int_equal(result, -EMFILE);
    assert_int_equal(access(path, F_OK), -1);
    close(run(desk, &task));
    assert_true(task.job.result >= 0);
}

static void folders_names_and_whole_files(void **state)
{
    struct desk *desk = *state;
    char path[128], to[128];
    struct task make = {.job = {.kind = WORK_MAKE_DIR}};
    make.job.path = in_folder(desk, path, "a/b//c");
    assert_int_equal(run(desk, &make), 0);
    assert_int_equal(run(desk, &make), 0);

    static char text[] = "whole content";
    static const char *const names[] = {"a/zeta", "a/alpha", "a/b/x"};
    for (size_t i = 0; i < COUNT_OF(names); i++) {
        struct task replace = {.job = {.kind = WORK_REPLACE, .data = text, .data_size = 13}};
        replace.job.path = in_folder(desk, path, names[i]);
        assert_int_equal(run(desk, &replace), 0);
    }
    make.job.path = path;
    assert_int_equal(run(desk, &make), -ENOTDIR);

    char listing[64];
    struct task list = {.job = {.kind = WORK_LIST, .data = listing, .data_size = sizeof(listing)}};
    list.job.path = in_folder(desk, path, "a");
    assert_int_equal(run(desk, &list), 0);
    assert_int_equal(list.job.size, 13);
    assert_memory_equal(listing, "alpha\0b\0zeta\0", 13);
    list.job.data_size = 12;
    assert_int_equal(run(desk, &list), -EFBIG);

    struct task rename = {.job = {.kind = WORK_RENAME}};
    rename.job.path = in_folder(desk, path, "a/zeta");
    rename.job.path_to = in_folder(desk, to, "a/b/zeta");
    assert_int_equal(run(desk, &rename), 0);
    assert_int_equal(run(desk, &rename), -ENOENT);

    char content[13];
    struct task read = {.job = {.kind = WORK_READ_FILE, .data = content, .data_size = 13}};
    read.job.path = to;
    assert_int_equal(run(desk, &read), 0);
    assert_int_equal(read.job.size, 13);
    assert_memory_equal(content, text, 13);
    read.job.data_size = 12;
    assert_int_equal(run(desk, &read), -EFBIG);
    read.job.path = desk->folder;
    assert_int_equal(run(desk, &read), -EISDIR);

    struct task remove_dir = {.job = {.kind = WORK_REMOVE_DIR}};
    remove_dir.job.path = in_folder(desk, path, "a");
    assert_int_equal(run(desk, &remove_dir), -ENOTEMPTY);

    struct task remove = {.job = {.kind = WORK_REMOVE}};
    remove.job.path = to;
    assert_int_equal(run(desk, &remove), 0);
    assert_int_equal(run(desk, &remove), -ENOENT);
}

static void appends_go_to_the_end(void **state)
{
    struct desk *desk = *state;
    char path[128], content[16];
    struct task open = {.job = {.kind = WORK_OPEN, .flags = WORK_NEW | WORK_WRITE}};
    open.job.path = in_folder(desk, path, "log");
    int fd = run(desk, &open);
    assert_true(fd >= 0);
    assert_int_equal(run(desk, &open), -EEXIST);
    struct task append = {.job = {.kind = WORK_APPEND, .fd = fd, .flags = WORK_SYNC}};
    append.job.data = (void *)(uintptr_t) "one";
    append.job.data_size = 3;
    assert_int_equal(run(desk, &append), 0);
    append.job.data = (void *)(uintptr_t) "two";
    assert_int_equal(run(desk, &append), 0);
    struct task read = {.job = {.kind = WORK_READ_FILE, .data = content, .data_size = 16}};
    read.job.path = path;
    assert_int_equal(run(desk, &read), 0);
    assert_int_equal(read.job.size, 6);
    assert_memory_equal(content, "onetwo", 6);
    struct task closing = {.job = {.kind = WORK_CLOSE, .fd = fd}};
    assert_int_equal(run(desk, &closing), 0);
    assert_int_equal(run(desk, &closing), -EBADF);
    open.job.flags = WORK_DIRECT;
    fd = run(desk, &open);
    assert_true(fd >= 0);
    close(fd);
}

static void only_a_plain_file_of_our_own_is_opened_when_asked_for(void **state)
{
    struct desk *desk = *state;
    char path[128], other[128];
    struct task open_task = {.job = {.kind = WORK_OPEN, .size = 4096}};
    open_task.job.flags = WORK_PLAIN | WORK_DIRECT | WORK_WRITE;
    open_task.job.path = in_folder(desk, path, "plain");
    assert_int_equal(run(desk, &open_task), -ENOENT);
    int fd = open(path, O_RDWR | O_CREAT, 0640);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 4096), 0);
    int opened = run(desk, &open_task);
    assert_true(opened >= 0);
    close(opened);
    open_task.job.size = 4095;
    assert_int_equal(run(desk, &open_task), -EFBIG);
    open_task.job.size = 4096;
    assert_int_equal(fchmod(fd, 0646), 0);
    assert_int_equal(run(desk, &open_task), -EPERM);
    assert_int_equal(fchmod(fd, 0640), 0);
    assert_int_equal(link(path, in_folder(desk, other, "other")), 0);
    assert_int_equal(run(desk, &open_task), -EMLINK);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("other", path), 0);
    assert_int_equal(run(desk, &open_task), -ELOOP);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(mkfifo(path, 0640), 0);
    assert_int_equal(run(desk, &open_task), -ESPIPE);
    open_task.job.path = desk->folder;
    assert_int_equal(run(desk, &open_task), -EISDIR);
    close(fd);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(unlink(other), 0);
}

static void a_lock_is_held_until_its_descriptor_closes(void **state)
{
    struct desk *desk = *state;
    char path[128];
    struct task first = {.job = {.kind = WORK_LOCK}};
    struct task second = {.job = {.kind = WORK_LOCK}};
    first.job.path = second.job.path = in_folder(desk, path, "lock");
    int fd = run(desk, &first);
    assert_true(fd >= 0);
    uint64_t start = ring_monotonic_ns(desk->shard.ring);
    assert_int_equal(run(desk, &second), -EBUSY);
    assert_true(ring_monotonic_ns(desk->shard.ring) - start >= NS_PER_S * 9 / 10);
    close(fd);
    fd = run(desk, &second);
    assert_true(fd >= 0);
    close(fd);
}

static void space_and_compression(void **state)
{
    struct desk *desk = *state;
    struct task space = {.job = {.kind = WORK_SPACE, .path = desk->folder}};
    assert_int_equal(run(desk, &space), 0);
    assert_true(space.job.size > 0 && space.job.space >= space.job.size);
    assert_true(space.job.inodes >= space.job.inodes_free);

    static uint8_t data[100000], output[110000], back[100000];
    memset(data, 'e', sizeof(data));
    struct task compress = {.job = {.kind = WORK_COMPRESS,
                                    .level = 3,
                                    .data = data,
                                    .data_size = sizeof(data),
                                    .output = output,
                                    .output_capacity = sizeof(output)}};
    assert_int_equal(run(desk, &compress), 0);
    assert_true(compress.job.size < 1000);
    assert_int_equal(ZSTD_decompress(back, sizeof(back), output, compress.job.size), sizeof(data));
    assert_memory_equal(back, data, sizeof(data));
    compress.job.output_capacity = 4;
    assert_int_equal(run(desk, &compress), -ENOSPC);
}

static void parts_and_decompression(void **state)
{
    struct desk *desk = *state;
    char path[128];
    static uint8_t data[100000], frames[220000], part[220000], back[100000];
    memset(data, 'e', sizeof(data));
    size_t one = ZSTD_compress(frames, sizeof(frames), data, sizeof(data), 1);
    size_t two = ZSTD_compress(frames + one, sizeof(frames) - one, data, 10, 1);
    struct task write = {.job = {.kind = WORK_REPLACE,
                                 .path = in_folder(desk, path, "frames"),
                                 .data = frames,
                                 .data_size = one + two}};
    assert_int_equal(run(desk, &write), 0);
    struct task read = {.job = {.kind = WORK_READ_AT, .path = path, .data = part, .size = one,
                                .data_size = sizeof(part)}};
    assert_int_equal(run(desk, &read), 0);
    assert_int_equal(read.job.size, two);
    assert_memory_equal(part, frames + one, two);
    read.job.size = one + two;
    assert_int_equal(run(desk, &read), 0);
    assert_int_equal(read.job.size, 0);
    read.job.size = 0;
    assert_int_equal(run(desk, &read), 0);
    struct task plain = {.job = {.kind = WORK_DECOMPRESS, .data = part, .data_size = one + two,
                                 .output = back, .output_capacity = sizeof(back)}};
    assert_int_equal(run(desk, &plain), 0);
    assert_int_equal(plain.job.size, sizeof(data));
    assert_int_equal(plain.job.used, one);
    assert_memory_equal(back, data, sizeof(data));
    plain.job.data_size = one - 1;
    assert_int_equal(run(desk, &plain), -EAGAIN);
    assert_int_equal(plain.job.used, 0);
    plain.job.data_size = one;
    plain.job.output_capacity = sizeof(back) - 1;
    assert_int_equal(run(desk, &plain), -EBADMSG);
    assert_int_equal(plain.job.used, one);
    memset(part, 'x', 8);
    assert_int_equal(run(desk, &plain), -EBADMSG);
    read.job.path = in_folder(desk, path, "none");
    assert_int_equal(run(desk, &read), -ENOENT);
}

static void a_full_class_says_so_and_the_others_go_on(void **state)
{
    struct desk *desk = *state;
    char path[128];
    struct task first = {.job = {.kind = WORK_LOCK}};
    first.job.path = in_folder(desk, path, "lock");
    int fd = run(desk, &first);
    assert_true(fd >= 0);
    /* The io worker now waits a second for the lock; behind it the queue fills. */
    struct task blocked = {.job = {.kind = WORK_LOCK, .path = path, .done = task_done}};
    assert_true(work_submit(desk->shard.work, &desk->shard, &blocked.job));
    static struct task tasks[3 * CAPACITY];
    bool taken[COUNT_OF(tasks)];
    unsigned accepted = 0;
    for (unsigned i = 0; i < COUNT_OF(tasks); i++) {
        tasks[i] = (struct task){
            .job = {.kind = WORK_SPACE, .path = desk->folder, .done = task_done}};
        taken[i] = work_submit(desk->shard.work, &desk->shard, &tasks[i].job);
        accepted += taken[i];
    }
    assert_in_range(accepted, CAPACITY - 1, CAPACITY);
    uint8_t data[10] = {0}, output[100];
    struct task compress = {.job = {.kind = WORK_COMPRESS,
                                    .data = data,
                                    .data_size = sizeof(data),
                                    .output = output,
                                    .output_capacity = sizeof(output)}};
    assert_int_equal(run(desk, &compress), 0);
    assert_int_equal(blocked.done, 0);
    finish(desk, &blocked);
    for (unsigned i = 0; i < COUNT_OF(tasks); i++) {
        if (taken[i]) {
            finish(desk, &tasks[i]);
            assert_int_equal(tasks[i].job.result, 0);
        }
        assert_int_equal(tasks[i].done, taken[i]);
    }
    close(fd);
}

static void tables_of_state_are_written_and_read_back(void **state)
{
    struct desk *desk = *state;
    char path[128];
    struct state_db db;
    struct heap heap;
    struct state_row row = {1, 7, SLICE("a row")};
    state_db_init(&db, in_folder(desk, path, "state.db"));
    heap_init(&heap);
    struct state_db_job about = {.db = &db, .heap = &heap};
    static const enum work_kind kinds[] = {WORK_STATE_OPEN, WORK_STATE_WRITE, WORK_STATE_CLOSE,
                                           WORK_STATE_OPEN, WORK_STATE_CLOSE};
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct task task = {.job = {.kind = (uint8_t)kinds[i], .path = path, .data = &about}};
        if (kinds[i] == WORK_STATE_WRITE) {
            about.rows = (struct state_rows){&row, 1};
        }
        assert_int_equal(run(desk, &task), 0);
    }
    assert_int_equal(about.rows.count, 1);
    assert_int_equal(about.rows.rows[0].slot, 7);
    assert_true(slice_equal(about.rows.rows[0].bytes, SLICE("a row")));
    heap_fini(&heap);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(files_are_made_of_zeros_under_their_final_name, desk_setup,
                                        desk_teardown),
        cmocka_unit_test_setup_teardown(f23_a_file_that_could_not_be_made_whole_leaves_nothing,
                                        desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(folders_names_and_whole_files, desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(appends_go_to_the_end, desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(only_a_plain_file_of_our_own_is_opened_when_asked_for,
                                        desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(a_lock_is_held_until_its_descriptor_closes, desk_setup,
                                        desk_teardown),
        cmocka_unit_test_setup_teardown(space_and_compression, desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(parts_and_decompression, desk_setup, desk_teardown),
        cmocka_unit_test_setup_teardown(tables_of_state_are_written_and_read_back, desk_setup,
                                        desk_teardown),
        cmocka_unit_test_setup_teardown(a_full_class_says_so_and_the_others_go_on, desk_setup,
                                        desk_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
