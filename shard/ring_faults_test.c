#include "shard/ring_faults.h"

#include "shard/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct ring_options options = {
    .submit_entries = 4, .complete_entries = 64, .buffer_count = 4, .buffer_bytes = 64};
static const struct socket_options sockets = {.congestion = "", .backlog = 16};

/* An operation that notes what became of it, and as which of all. */
struct watched {
    struct op op;
    struct bench *bench;
    unsigned place; /* among those that have ended; 0: not yet */
    int32_t result;
    uint64_t ended_ns;
};

/* A ring under rules, with two files. */
struct bench {
    struct ring *ring;
    unsigned ended;
    char paths[2][32];
    int fds[2];
};

static void watched_done(struct op *op)
{
    struct watched *watched = CONTAINER_OF(op, struct watched, op);
    watched->result = op->result;
    if (op_idle(op)) {
        watched->place = ++watched->bench->ended;
        watched->ended_ns = ring_monotonic_ns(watched->bench->ring);
    }
}

static void watched_init(struct watched *watched, struct bench *bench)
{
    *watched = (struct watched){.bench = bench};
    op_init(&watched->op, watched_done);
}

static int try_open(const char *rules, struct ring **ring_out, struct buf *reason)
{
    assert_int_equal(setenv("RINGPOST_FAULTS", rules, 1), 0);
    int error = ring_open(&options, ring_out, reason);
    assert_int_equal(unsetenv("RINGPOST_FAULTS"), 0);
    return error;
}

static void bench_open(struct bench *bench, const char *rules)
{
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    *bench = (struct bench){0};
    if (try_open(rules, &bench->ring, &reason) != 0) {
        fail_msg("%.*s", (int)reason.size, text);
    }
    for (unsigned i = 0; i < 2; i++) {
        static const char *const names[] = {"/tmp/one-XXXXXX", "/tmp/two-XXXXXX"};
        memcpy(bench->paths[i], names[i], strlen(names[i]) + 1);
        bench->fds[i] = mkstemp(bench->paths[i]);
        assert_true(bench->fds[i] >= 0);
    }
}

static void turn_until_ended(struct bench *bench, unsigned count)
{
    for (unsigned turns = 0; turns < 1000 && bench->ended < count; turns++) {
        ring_turn(bench->ring, ring_monotonic_ns(bench->ring) + 100 * NS_PER_MS);
        ring_dispatch(bench->ring);
    }
    assert_int_equal(bench->ended, count);
}

static void bench_close(struct bench *bench)
{
    ring_close(bench->ring);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(close(bench->fds[i]), 0);
        assert_int_equal(unlink(bench->paths[i]), 0);
    }
}

static int32_t write_text(struct bench *bench, unsigned file, const char *text)
{
    struct watched writing;
    struct iovec iovec = {(void *)(uintptr_t)text, strlen(text)};
    struct ring_extent extent = {.iovecs = &iovec, .count = 1};
    watched_init(&writing, bench);
    bench->ended = 0;
    ring_write(bench->ring, &writing.op, bench->fds[file], &extent, true);
    turn_until_ended(bench, 1);
    return writing.result;
}

static void assert_content(const struct bench *bench, unsigned file, const char *wanted)
{
    char text[64] = "";
    assert_true(pread(bench->fds[file], text, sizeof(text) - 1, 0) >= 0);
    assert_string_equal(text, wanted);
}

/* --- which ------------------------------------------------------------------------------------ */

static void nothing_is_ordered_without_rules(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "");
    assert_int_equal(write_text(&bench, 0, "written"), 7);
    assert_content(&bench, 0, "written");
    bench_close(&bench);
}

static void the_nth_of_a_file_fails_and_reaches_no_disk(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "write */one-* 2-3 error=EIO; write */one-* 4 error=ENOSPC");
    assert_int_equal(write_text(&bench, 0, "first"), 5);
    assert_int_equal(write_text(&bench, 1, "other"), 5);
    assert_int_equal(write_text(&bench, 0, "second"), -EIO);
    assert_int_equal(write_text(&bench, 0, "third"), -EIO);
    assert_int_equal(write_text(&bench, 0, "fourth"), -ENOSPC);
    assert_content(&bench, 0, "first");
    assert_int_equal(write_text(&bench, 0, "fifth"), 5);
    assert_content(&bench, 0, "fifth");
    assert_content(&bench, 1, "other");
    bench_close(&bench);
}

static void what_is_done_may_fail_afterwards(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "write */one-* 2 after=EIO");
    assert_int_equal(write_text(&bench, 0, "first"), 5);
    assert_int_equal(write_text(&bench, 0, "second"), -EIO);
    assert_content(&bench, 0, "second");
    assert_int_equal(write_text(&bench, 0, "3"), 1);
    bench_close(&bench);
}

static void a_process_is_killed_before_the_nth(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "write */one-* 2 kill");
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)write_text(&bench, 0, "first");
        (void)write_text(&bench, 0, "second");
        _exit(0);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    assert_content(&bench, 0, "first");
    bench_close(&bench);
}

static void a_kind_is_of_its_own(void **state)
{
    (void)state;
    struct bench bench;
    struct watched syncing;
    bench_open(&bench, "fsync * 1+ error=EIO");
    assert_int_equal(write_text(&bench, 0, "text"), 4);
    watched_init(&syncing, &bench);
    for (unsigned i = 0; i < 2; i++) {
        bench.ended = 0;
        ring_sync(bench.ring, &syncing.op, bench.fds[0]);
        turn_until_ended(&bench, 1);
        assert_int_equal(syncing.result, -EIO);
    }
    bench_close(&bench);
}

static void a_rule_with_a_condition_holds_while_its_file_exists(void **state)
{
    (void)state;
    struct bench bench;
    char rules[64] = "write */one-* 2+ error=EROFS if=/tmp/if-XXXXXX";
    char *path = strstr(rules, "/tmp/if");
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    bench_open(&bench, rules);
    assert_int_equal(write_text(&bench, 0, "a"), 1);
    assert_int_equal(write_text(&bench, 0, "b"), 1);
    int made = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
    assert_true(made >= 0);
    assert_int_equal(write_text(&bench, 0, "c"), 1); /* the first that it sees */
    assert_int_equal(write_text(&bench, 0, "d"), -EROFS);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(write_text(&bench, 0, "e"), 1);
    close(made);
    close(fd);
    bench_close(&bench);
}

/* --- short ------------------------------------------------------------------------------------ */

static void a_short_write_writes_that_much(void **state)
{
    (void)state;
    struct bench bench;
    bench_open(&bench, "write * 1 short=3; read * 1 short=2");
    assert_int_equal(write_text(&bench, 0, "written"), 3);
    assert_content(&bench, 0, "wri");
    struct watched reading;
    char text[8] = "";
    watched_init(&reading, &bench);
    bench.ended = 0;
    ring_read(bench.ring, &reading.op, bench.fds[0], text, sizeof(text), 0);
    turn_until_ended(&bench, 1);
    assert_int_equal(reading.result, 2);
    assert_string_equal(text, "wr");
    bench_close(&bench);
}

static void a_short_gathered_write_ends_in_its_first_piece(void **state)
{
    (void)state;
    const struct {
        const char *rules;
        const char *content;
    } rows[] = {
        {"write * 1 short=2", "ab"},
        {"write * 1 short=500", "abcd"},
        {"write * 2 short=2", "abcdefg"},
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        struct bench bench;
        struct watched writing;
        struct iovec iovecs[] = {{(void *)(uintptr_t)"abcd", 4}, {(void *)(uintptr_t)"efg", 3}};
        struct ring_extent extent = {.iovecs = iovecs, .count = 2};
        bench_open(&bench, rows[i].rules);
        watched_init(&writing, &bench);
        ring_write(bench.ring, &writing.op, bench.fds[0], &extent, true);
        turn_until_ended(&bench, 1);
        assert_int_equal(writing.result, strlen(rows[i].content));
        assert_content(&bench, 0, rows[i].content);
        bench_close(&bench);
    }
}

static void a_short_send_sends_that_much(void **state)
{
    (void)state;
    for (unsigned count = 1; count <= 2; count++) {
        struct bench bench;
        struct watched sending;
        int pair[2];
        char text[16] = "";
        struct iovec iovecs[] = {{(void *)(uintptr_t)"abcd", 4}, {(void *)(uintptr_t)"efg", 3}};
        bench_open(&bench, "send socket:* 1 short=3");
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        watched_init(&sending, &bench);
        ring_send(bench.ring, &sending.op, pair[0], iovecs, count);
        turn_until_ended(&bench, 1);
        assert_int_equal(sending.result, 3);
        assert_int_equal(recv(pair[1], text, sizeof(text), MSG_DONTWAIT), 3);
        assert_string_equal(text, "abc");
        close(pair[0]);
        close(pair[1]);
        bench_close(&bench);
    }
}

/* --- late ------------------------------------------------------------------------------------- */

static void a_late_write_begins_later_and_holds_nothing_up(void **state)
{
    (void)state;
    struct bench bench;
    struct watched late;
    struct watched other;
    struct iovec iovec = {(void *)(uintptr_t)"text", 4};
    struct ring_extent extent = {.iovecs = &iovec, .count = 1};
    bench_open(&bench, "write */one-* 1 late=100ms");
    watched_init(&late, &bench);
    watched_init(&other, &bench);
    uint64_t begun_ns = ring_monotonic_ns(bench.ring);
    ring_write(bench.ring, &late.op, bench.fds[0], &extent, true);
    ring_write(bench.ring, &other.op, bench.fds[1], &extent, true);
    turn_until_ended(&bench, 2);
    assert_true(ring_monotonic_ns(bench.ring) - begun_ns >= 100 * NS_PER_MS);
    assert_int_equal(other.place, 1);
    assert_int_equal(late.place, 2);
    assert_int_equal(late.result, 4);
    assert_content(&bench, 0, "text");
    bench_close(&bench);
}

/* The ring for submissions holds four: a timer and its operation stay together nevertheless. */
static void many_late_writes_fit_a_small_ring(void **state)
{
    (void)state;
    struct bench bench;
    struct watched writing[15];
    struct iovec iovec = {(void *)(uintptr_t)"text", 4};
    bench_open(&bench, "write */one-* 1+ late=50ms");
    ring_turn(bench.ring, 0);
    uint64_t begun_ns = ring_monotonic_ns(bench.ring);
    for (unsigned i = 0; i < COUNT_OF(writing); i++) {
        struct ring_extent extent = {.iovecs = &iovec, .count = 1, .offset = 4 * i};
        watched_init(&writing[i], &bench);
        ring_write(bench.ring, &writing[i].op, bench.fds[i % 3 == 1], &extent, false);
    }
    turn_until_ended(&bench, COUNT_OF(writing));
    for (unsigned i = 0; i < COUNT_OF(writing); i++) {
        assert_int_equal(writing[i].result, 4);
        if (i % 3 != 1) {
            assert_true(writing[i].place > 5);
            assert_true(writing[i].ended_ns - begun_ns >= 50 * NS_PER_MS);
        }
    }
    bench_close(&bench);
}

/* --- sockets ---------------------------------------------------------------------------------- */

static void an_accept_that_fails_has_ended_and_may_be_begun_again(void **state)
{
    (void)state;
    struct bench bench;
    struct watched accepting;
    struct watched connecting;
    struct watched refused;
    struct endpoint wanted;
    struct endpoint at;
    static const struct endpoint nowhere = {0};
    bench_open(&bench, "accept socket:* 1 error=EMFILE; connect * 1 error=ENETUNREACH");
    assert_true(endpoint_parse(SLICE("127.0.0.1:0"), 0, &wanted));
    int listener = ring_listen(bench.ring, &wanted, &sockets, &at);
    int client = ring_socket(bench.ring, &at, &nowhere, &sockets);
    assert_true(listener >= 0 && client >= 0);
    watched_init(&accepting, &bench);
    watched_init(&refused, &bench);
    watched_init(&connecting, &bench);
    ring_accept(bench.ring, &accepting.op, listener);
    ring_connect(bench.ring, &refused.op, client, &at);
    turn_until_ended(&bench, 2);
    assert_int_equal(accepting.result, -EMFILE);
    assert_int_equal(refused.result, -ENETUNREACH);
    ring_accept(bench.ring, &accepting.op, listener);
    ring_connect(bench.ring, &connecting.op, client, &at);
    accepting.result = -1;
    for (unsigned turns = 0; turns < 1000 && accepting.result < 0; turns++) {
        ring_turn(bench.ring, ring_monotonic_ns(bench.ring) + 100 * NS_PER_MS);
        ring_dispatch(bench.ring);
    }
    assert_true(accepting.result >= 0);
    ring_discard(bench.ring, accepting.result);
    struct watched cancelling;
    watched_init(&cancelling, &bench);
    ring_cancel(bench.ring, &cancelling.op, listener);
    turn_until_ended(&bench, 5);
    close(listener);
    close(client);
    bench_close(&bench);
}

/* --- rules ------------------------------------------------------------------------------------ */

static void what_is_no_rule_is_named_and_opens_no_ring(void **state)
{
    (void)state;
    static const char *const rows[] = {
        "write",
        "write * 1",
        "write * 0 error=EIO",
        "write * 3-2 error=EIO",
        "write * x error=EIO",
        "write * 1 error=EVERY",
        "write * 1 short=0",
        "write * 1 late=2",
        "write * 1 late=0ms",
        "write * 1 error=EIO if=",
        "write * 1 error=EIO whenever",
        "write * 1 error=EIO if=/tmp more",
        "recv * 1 late=2ms",
        "send * 1 after=EIO",
        "write * 1 after=no",
        "write * 1 kill=1",
        "* * 1 late=2ms",
        "fsync * 1 short=1",
        "fsync * 1 error=EIO; write * 1 lost",
    };
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        char text[256];
        struct buf reason;
        struct ring *ring = NULL;
        buf_init(&reason, text, sizeof(text));
        assert_int_equal(try_open(rows[i], &ring, &reason), -EINVAL);
        assert_true(slice_starts_with(buf_slice(&reason), SLICE("RINGPOST_FAULTS: no rule: ")));
        assert_null(ring);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_ordered_without_rules),
        cmocka_unit_test(the_nth_of_a_file_fails_and_reaches_no_disk),
        cmocka_unit_test(what_is_done_may_fail_afterwards),
        cmocka_unit_test(a_process_is_killed_before_the_nth),
        cmocka_unit_test(a_kind_is_of_its_own),
        cmocka_unit_test(a_rule_with_a_condition_holds_while_its_file_exists),
        cmocka_unit_test(a_short_write_writes_that_much),
        cmocka_unit_test(a_short_gathered_write_ends_in_its_first_piece),
        cmocka_unit_test(a_short_send_sends_that_much),
        cmocka_unit_test(a_late_write_begins_later_and_holds_nothing_up),
        cmocka_unit_test(many_late_writes_fit_a_small_ring),
        cmocka_unit_test(an_accept_that_fails_has_ended_and_may_be_begun_again),
        cmocka_unit_test(what_is_no_rule_is_named_and_opens_no_ring),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
