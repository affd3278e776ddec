/* The database in a real file: what is written is there after a kill; damage is set aside. */
#include "shard/state_db.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include <sqlite3.h>

#define WALL (1800000000ull * NS_PER_S) /* 2027-01-15 08:00 */

static char folder[64];
static char path[128];
static struct heap heap;
static struct state_db db;
static struct state_rows rows;

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof(folder), "/tmp/ringpost-state-XXXXXX");
    if (mkdtemp(folder) == NULL) {
        return -1;
    }
    snprintf(path, sizeof(path), "%s/state.db", folder);
    heap_init(&heap);
    state_db_init(&db, path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    state_db_close(&db);
    heap_fini(&heap);
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static int reopen(void)
{
    state_db_close(&db);
    return state_db_open(&db, WALL, &heap, &rows);
}

static int write_one(struct state_db *to, uint32_t table, uint32_t slot,
                     const char *bytes)
{
    struct state_row row = {table, slot, slice_from_string(bytes)};
    const struct state_rows one = {&row, 1};
    return state_db_write(to, WALL, &one);
}

static void rows_stand_by_slot_until_they_are_emptied(void **state)
{
    (void)state;
    assert_int_equal(reopen(), 0);
    assert_int_equal(rows.count, 0);
    assert_int_equal(write_one(&db, 1, 0, "c0"), 0);
    assert_int_equal(write_one(&db, 0, 70000, "e7"), 0);
    assert_int_equal(write_one(&db, 0, 3, "e3"), 0);
    assert_int_equal(write_one(&db, 0, 3, "again"), 0);
    assert_int_equal(reopen(), 0);
    assert_int_equal(rows.count, 3);
    assert_int_equal(rows.rows[0].slot, 3);
    assert_true(slice_equal(rows.rows[0].bytes, SLICE("again")));
    assert_int_equal(rows.rows[1].slot, 70000);
    assert_int_equal(rows.rows[2].table, 1);
    assert_int_equal(write_one(&db, 0, 3, ""), 0);
    assert_int_equal(reopen(), 0);
    assert_int_equal(rows.count, 2);
    assert_false(db.set_aside);
}

/* Writes rows 0, 1, 2 … until it is killed; says each that is durable. */
static void writer(int pipe_fd)
{
    struct state_db own;
    state_db_init(&own, path);
    if (state_db_open(&own, WALL, &heap, &rows) != 0) {
        _exit(1);
    }
    for (uint32_t slot = rows.count;; slot++) {
        if (write_one(&own, 0, slot, "row") != 0 ||
            write(pipe_fd, &slot, sizeof(slot)) != sizeof(slot)) {
            _exit(1);
        }
    }
}

static void at08_a_killed_writer_loses_nothing_that_it_was_told_is_durable(void **state)
{
    (void)state;
    uint32_t last = 0;
    for (unsigned round = 0; round < 12; round++) {
        int fds[2];
        int status;
        assert_int_equal(pipe(fds), 0);
        pid_t child = fork();
        if (child == 0) {
            writer(fds[1]);
        }
        close(fds[1]);
        for (unsigned i = 0; i <= round; i++) {
            assert_int_equal(read(fds[0], &last, sizeof(last)), sizeof(last));
        }
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFSIGNALED(status));
        while (read(fds[0], &last, sizeof(last)) == sizeof(last)) {
        }
        close(fds[0]);
        assert_int_equal(reopen(), 0);
        assert_false(db.set_aside);
        assert_true(rows.count == last + 1 || rows.count == last + 2);
        state_db_close(&db);
    }
}

static void spoil(off_t at, const char *bytes)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, strlen(bytes), at), strlen(bytes));
    close(fd);
}

static void at08_what_is_no_database_is_set_aside_with_a_date(void **state)
{
    (void)state;
    static const struct {
        off_t at;
        const char *bytes;
    } damages[] = {{0, "no database at all"}, {100, "\x37\x37\x37\x37"},
                   {4096, "\x37\x37\x37\x37\x37\x37\x37\x37"}, {60, "\x7f"}};
    char aside[160];
    snprintf(aside, sizeof(aside), "%s.damaged-20270115T080000Z", path);
    for (size_t i = 0; i < COUNT_OF(damages); i++) {
        (void)unlink(path);
        (void)unlink(aside);
        assert_int_equal(reopen(), 0);
        assert_int_equal(write_one(&db, 0, 1, "x"), 0);
        state_db_close(&db);
        spoil(damages[i].at, damages[i].bytes);
        assert_int_equal(reopen(), 0);
        assert_int_equal(rows.count, 0);
        assert_true(db.set_aside);
        assert_string_equal(db.aside, aside);
        assert_true(strlen(db.error) > 0);
        assert_int_equal(access(aside, F_OK), 0);
        assert_int_equal(write_one(&db, 0, 1, "x"), 0);
        state_db_close(&db);
    }
}

/* Any byte of the file: rows come back, as they were or refused by their checksum, or it is set
 * aside. */
static void at08_a_flipped_byte_is_no_crash(void **state)
{
    (void)state;
    struct stat status;
    assert_int_equal(reopen(), 0);
    for (uint32_t i = 0; i < 40; i++) {
        assert_int_equal(write_one(&db, 0, i, "a row of some bytes"), 0);
    }
    state_db_close(&db);
    assert_int_equal(stat(path, &status), 0);
    for (off_t at = 0; at < status.st_size; at += 61) {
        char copy[400];
        snprintf(copy, sizeof(copy), "%s.copy", path);
        state_db_init(&db, copy);
        int from = open(path, O_RDONLY);
        int to = open(copy, O_RDWR | O_CREAT | O_TRUNC, 0600);
        static char bytes[1 << 20];
        ssize_t size = read(from, bytes, sizeof(bytes));
        assert_int_equal(size, status.st_size);
        bytes[at] ^= 0x40;
        assert_int_equal(write(to, bytes, (size_t)size), size);
        close(from);
        close(to);
        assert_int_equal(state_db_open(&db, WALL, &heap, &rows), 0);
        assert_true(rows.count <= 40);
        state_db_close(&db);
        (void)unlink(copy);
    }
}

static void f20_no_room_is_told_and_what_was_there_stays(void **state)
{
    (void)state;
    static char large[1280];
    struct rlimit limit = {64 * KIB, RLIM_INFINITY};
    const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
    int result = 0;
    memset(large, 'x', sizeof(large) - 1);
    assert_int_equal(reopen(), 0);
    assert_int_equal(write_one(&db, 0, 1, "x"), 0);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (uint32_t i = 2; result == 0 && i < 200; i++) {
        result = write_one(&db, 0, i, large);
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &unlimited), 0);
    assert_true(result < 0 && result != -EUCLEAN);
    assert_true(strlen(db.error) > 0);
    assert_int_equal(write_one(&db, 0, 200, "y"), 0);
    assert_int_equal(reopen(), 0);
    assert_true(slice_equal(rows.rows[0].bytes, SLICE("x")));
    assert_true(slice_equal(rows.rows[rows.count - 1].bytes, SLICE("y")));
}

/* A fault after which SQLite leaves the transaction open; what it held is for others again. */
static void a_write_that_failed_leaves_no_transaction_open(void **state)
{
    (void)state;
    sqlite3 *other = NULL;
    assert_int_equal(reopen(), 0);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    assert_int_equal(sqlite3_exec(other, "ALTER TABLE state RENAME TO elsewhere", NULL, NULL,
                                  NULL), SQLITE_OK);
    assert_int_equal(write_one(&db, 0, 1, "x"), -EIO);
    assert_string_equal(db.error, "no such table: state");
    assert_int_equal(sqlite3_exec(other, "ALTER TABLE elsewhere RENAME TO state", NULL, NULL,
                                  NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(other), SQLITE_OK);
    assert_int_equal(write_one(&db, 0, 2, "y"), 0);
    assert_int_equal(reopen(), 0);
    assert_int_equal(rows.count, 1);
    assert_int_equal(rows.rows[0].slot, 2);
}

static void f20_a_folder_that_is_not_there_is_an_error_that_passes(void **state)
{
    (void)state;
    char deep[200];
    snprintf(deep, sizeof(deep), "%s/sub/state.db", folder);
    state_db_init(&db, deep);
    assert_int_equal(state_db_open(&db, WALL, &heap, &rows), -EACCES);
    assert_null(db.handle);
    deep[strlen(folder) + 4] = '\0';
    assert_int_equal(mkdir(deep, 0700), 0);
    deep[strlen(folder) + 4] = '/';
    assert_int_equal(state_db_open(&db, WALL, &heap, &rows), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_stand_by_slot_until_they_are_emptied),
        TEST(at08_a_killed_writer_loses_nothing_that_it_was_told_is_durable),
        TEST(at08_what_is_no_database_is_set_aside_with_a_date),
        TEST(at08_a_flipped_byte_is_no_crash),
        TEST(f20_no_room_is_told_and_what_was_there_stays),
        TEST(a_write_that_failed_leaves_no_transaction_open),
        TEST(f20_a_folder_that_is_not_there_is_an_error_that_passes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
