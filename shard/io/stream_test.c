/* What a user of a stream may count on, each path by a script of the other side. */
#include "shard/io/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/shards.h"

#define WINDOW 256 /* bytes of the peer on their way at once: 16 buffers */

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct stream stream;
    struct sim_peer *peer;
    unsigned connects;
    unsigned inputs;
    unsigned sends;
    unsigned detaches;
    unsigned releases;
    enum stream_end connect_end;
    enum stream_end send_end;
    bool close_in_input;
    uint64_t eaten;
};

static struct rig *rig_of(struct stream *stream)
{
    return CONTAINER_OF(stream, struct rig, stream);
}

static void on_connected(struct stream *stream, enum stream_end end)
{
    rig_of(stream)->connects += 1;
    rig_of(stream)->connect_end = end;
}

static void on_input(struct stream *stream)
{
    rig_of(stream)->inputs += 1;
    if (rig_of(stream)->close_in_input) {
        stream_close(stream);
    }
}

static void on_sent(struct stream *stream, enum stream_end end)
{
    rig_of(stream)->sends += 1;
    rig_of(stream)->send_end = end;
}

static void on_detached(struct stream *stream)
{
    rig_of(stream)->detaches += 1;
}

static void on_released(struct stream *stream)
{
    rig_of(stream)->releases += 1;
}

static const struct stream_user user = {
    .connected = on_connected, .input = on_input, .sent = on_sent,
    .detached = on_detached, .released = on_released};

static void peer_event(struct sim_peer *peer, void *context)
{
    ((struct rig *)context)->peer = peer;
}

/* What the test does to a stream outside the loop is submitted by the next turn. */
static void run(struct rig *rig, uint64_t ns)
{
    ring_wake(rig->shards.shards[0].ring);
    assert_true(sim_run_for(rig->sim, ns));
}

static void rig_init(struct rig *rig, uint32_t buffers, uint32_t window)
{
    *rig = (struct rig){0};
    struct sim_options options = {.seed = 1};
    rig->sim = sim_open(&options);
    sim_window_set(rig->sim, window);
    sim_shards_boot(&rig->shards, sim_node_open(rig->sim, NULL), 1, buffers, 16);
}

static void rig_connect(struct rig *rig)
{
    static const struct endpoint any = {0};
    struct endpoint where = sim_endpoint(99, 25);
    struct socket_options options = {.congestion = ""};
    stream_connect(&rig->stream, &rig->shards.shards[0], &user, &where, &any, &options);
    run(rig, NS_PER_S);
}

static void rig_open_window(struct rig *rig, uint32_t buffers, uint32_t window)
{
    rig_init(rig, buffers, window);
    struct endpoint where = sim_endpoint(99, 25);
    (void)sim_peer_listen(rig->sim, &where, peer_event, rig);
    rig_connect(rig);
    assert_int_equal(rig->connects, 1);
    assert_int_equal(rig->connect_end, STREAM_OPEN);
    assert_non_null(rig->peer);
}

static void rig_open(struct rig *rig, uint32_t buffers)
{
    rig_open_window(rig, buffers, WINDOW);
}

/* Everything is home, and `released` was the last callback. */
static void rig_end(struct rig *rig)
{
    stream_close(&rig->stream);
    stream_close(&rig->stream);
    unsigned calls = rig->connects + rig->inputs + rig->sends;
    assert_int_equal(rig->releases, 0);
    run(rig, 10 * NS_PER_S);
    assert_int_equal(rig->releases, 1);
    assert_int_equal(rig->connects + rig->inputs + rig->sends, calls);
    sim_shards_stop(&rig->shards);
    assert_string_equal(sim_failure(rig->sim), "");
    sim_close(rig->sim);
}

static void eat(struct rig *rig)
{
    struct slice input = stream_input(&rig->stream);
    while (input.size > 0) {
        rig->eaten += input.size;
        stream_consume(&rig->stream, input.size);
        input = stream_input(&rig->stream);
    }
}

static void held_bytes_come_before_the_end(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 16);
    sim_peer_send(rig.peer, SLICE("the last words of a peer"));
    sim_peer_finish(rig.peer);
    run(&rig, NS_PER_S);
    assert_int_equal(rig.stream.end, STREAM_EOF);
    assert_true(slice_equal(stream_input(&rig.stream), SLICE("the last words o")));
    stream_consume(&rig.stream, 4);
    assert_true(slice_equal(stream_input(&rig.stream), SLICE("last words o")));
    stream_consume(&rig.stream, 14);
    assert_true(slice_equal(stream_input(&rig.stream), SLICE(" a peer")) ||
                slice_equal(stream_input(&rig.stream), SLICE(" peer")) ||
                slice_equal(stream_input(&rig.stream), SLICE("a peer")));
    rig_end(&rig);
}

static void f22b_a_reset_is_told_once(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 16);
    sim_peer_reset(rig.peer);
    run(&rig, NS_PER_S);
    assert_int_equal(rig.stream.end, STREAM_RESET);
    assert_int_equal(rig.inputs, 1);
    rig_end(&rig);
}

static void connects_that_fail_say_why(void **state)
{
    (void)state;
    static const struct {
        enum sim_reach reach;
        enum stream_end end;
    } rows[] = {{SIM_REACH, STREAM_REFUSED},
                {SIM_REACH_REFUSED, STREAM_REFUSED},
                {SIM_REACH_NONE, STREAM_UNREACHABLE},
                {SIM_REACH_SILENT, STREAM_TIMEOUT}};
    for (unsigned i = 0; i < COUNT_OF(rows); i += 1) {
        struct rig rig;
        rig_init(&rig, 16, WINDOW);
        struct endpoint where = sim_endpoint(99, 25);
        sim_reach_set(rig.sim, &where, rows[i].reach);
        rig_connect(&rig);
        run(&rig, 200 * NS_PER_S);
        assert_int_equal(rig.connects, 1);
        assert_int_equal(rig.connect_end, rows[i].end);
        rig_end(&rig);
    }
}

static void f23_no_descriptor_is_told_from_the_loop(void **state)
{
    (void)state;
    struct rig rig;
    rig_init(&rig, 16, WINDOW);
    sim_fault_set(rig.sim, SIM_FAULT_no_descriptors, 1000);
    static const struct endpoint any = {0};
    struct endpoint where = sim_endpoint(99, 25);
    struct socket_options options = {.congestion = ""};
    stream_connect(&rig.stream, &rig.shards.shards[0], &user, &where, &any, &options);
    assert_int_equal(rig.connects, 0);
    run(&rig, NS_PER_S);
    assert_int_equal(rig.connects, 1);
    assert_int_equal(rig.connect_end, STREAM_LOCAL);
    rig_end(&rig);
}

static void a_slow_reader_closes_the_window_and_opens_it_again(void **state)
{
    (void)state;
    static const uint8_t bytes[1000];
    struct rig rig;
    rig_open(&rig, 64);
    sim_fault_set(rig.sim, SIM_FAULT_split, 1000);
    for (unsigned i = 0; i < 40 && !rig.stream.paused; i += 1) {
        sim_peer_send(rig.peer, slice_make(bytes, 10));
        run(&rig, 10 * NS_PER_MS);
    }
    assert_true(rig.stream.paused);
    assert_in_range(rig.stream.held_count, STREAM_HELD_MAX + 1, 64);
    sim_peer_send(rig.peer, slice_make(bytes, sizeof(bytes)));
    uint64_t before = rig.stream.bytes_in;
    run(&rig, 10 * NS_PER_S);
    assert_int_equal(rig.stream.bytes_in, before);
    sim_fault_set(rig.sim, SIM_FAULT_split, 0);
    for (unsigned i = 0; i < 500; i += 1) {
        eat(&rig);
        run(&rig, 20 * NS_PER_MS);
    }
    assert_int_equal(rig.stream.end, STREAM_OPEN);
    assert_true(rig.eaten >= 1000 && rig.eaten == rig.stream.bytes_in);
    assert_int_equal(sim_peer_unsent(rig.peer), 0);
    rig_end(&rig);
}

static void byte_pattern(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i += 1) {
        bytes[i] = (uint8_t)(i * 167 >> 3);
    }
}

static void a_burst_of_any_size_is_held_and_keeps_its_order(void **state)
{
    (void)state;
    static uint8_t bytes[6000];
    byte_pattern(bytes, sizeof(bytes));
    struct rig rig;
    rig_open_window(&rig, 512, 4096);
    sim_peer_send(rig.peer, slice_make(bytes, sizeof(bytes)));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.stream.end, STREAM_OPEN);
    assert_true(rig.stream.paused);
    assert_in_range(rig.stream.held_count, 200, 512);
    uint64_t checked = 0;
    for (unsigned i = 0; i < 500 && checked < sizeof(bytes); i += 1) {
        struct slice input = stream_input(&rig.stream);
        while (input.size > 0) {
            size_t part = MIN_OF(input.size, (size_t)7);
            assert_memory_equal(input.data, bytes + checked, part);
            checked += part;
            stream_consume(&rig.stream, part);
            input = stream_input(&rig.stream);
        }
        run(&rig, 10 * NS_PER_MS);
    }
    assert_int_equal(checked, sizeof(bytes));
    assert_int_equal(rig.stream.end, STREAM_OPEN);
    rig_end(&rig);
}

static void a_burst_beyond_the_buffers_of_the_ring_ends_nothing(void **state)
{
    (void)state;
    static const uint8_t bytes[3000];
    struct rig rig;
    rig_open_window(&rig, 64, 2048);
    sim_peer_send(rig.peer, slice_make(bytes, sizeof(bytes)));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.stream.held_count, 64);
    assert_int_equal(rig.stream.end, STREAM_OPEN);
    for (unsigned i = 0; i < 500; i += 1) {
        eat(&rig);
        run(&rig, 10 * NS_PER_MS);
    }
    assert_int_equal(rig.eaten, sizeof(bytes));
    rig_end(&rig);
}

/* The pause is of the receive alone: what is being sent goes on undisturbed. */
static void a_pause_leaves_the_send_in_flight(void **state)
{
    (void)state;
    static uint8_t out[200000];
    static const uint8_t in[WINDOW];
    struct rig rig;
    rig_open(&rig, 64);
    struct iovec iovec = {.iov_base = out, .iov_len = sizeof(out)};
    stream_send(&rig.stream, &iovec, 1);
    sim_peer_send(rig.peer, slice_make(in, sizeof(in)));
    run(&rig, NS_PER_S);
    assert_true(rig.stream.paused && op_idle(&rig.stream.recv_op));
    assert_true(op_idle(&rig.stream.cancel_op));
    assert_false(op_idle(&rig.stream.send_op));
    assert_int_equal(rig.stream.bytes_out, 0);
    rig_end(&rig);
}

static void u06_a_starved_stream_reads_on_when_buffers_come_home(void **state)
{
    (void)state;
    static const uint8_t bytes[640];
    struct rig rig;
    rig_open(&rig, 2);
    sim_peer_send(rig.peer, slice_make(bytes, sizeof(bytes)));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.stream.held_count, 2);
    for (unsigned i = 0; i < 100; i += 1) {
        eat(&rig);
        run(&rig, 10 * NS_PER_MS);
    }
    assert_int_equal(rig.eaten, sizeof(bytes));
    rig_end(&rig);
}

static void u01_a_short_send_is_finished(void **state)
{
    (void)state;
    static uint8_t bytes[250];
    memset(bytes, 'x', sizeof(bytes));
    struct rig rig;
    rig_open(&rig, 16);
    sim_fault_set(rig.sim, SIM_FAULT_short_send, 900);
    sim_fault_set(rig.sim, SIM_FAULT_interrupted, 300);
    struct iovec iovecs[] = {{.iov_base = bytes, .iov_len = 1},
                             {.iov_base = bytes, .iov_len = 0},
                             {.iov_base = bytes + 1, .iov_len = 249}};
    stream_send(&rig.stream, iovecs, 3);
    assert_true(stream_sending(&rig.stream));
    run(&rig, 60 * NS_PER_S);
    assert_int_equal(rig.sends, 1);
    assert_int_equal(rig.send_end, STREAM_OPEN);
    assert_false(stream_sending(&rig.stream));
    assert_int_equal(sim_peer_input(rig.peer).size, sizeof(bytes));
    rig_end(&rig);
}

static void u03_closing_during_a_send_releases_once(void **state)
{
    (void)state;
    static uint8_t bytes[200000];
    struct rig rig;
    rig_open(&rig, 16);
    struct iovec iovec = {.iov_base = bytes, .iov_len = sizeof(bytes)};
    stream_send(&rig.stream, &iovec, 1);
    run(&rig, NS_PER_S);
    assert_true(stream_sending(&rig.stream));
    rig_end(&rig);
}

static void closing_in_a_callback_and_while_connecting_is_fine(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 16);
    rig.close_in_input = true;
    sim_peer_send(rig.peer, SLICE("a few bytes that fill two buffers"));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.inputs, 1);
    assert_int_equal(rig.releases, 1);
    sim_shards_stop(&rig.shards);
    assert_string_equal(sim_failure(rig.sim), "");
    sim_close(rig.sim);
    rig_init(&rig, 16, WINDOW);
    struct endpoint where = sim_endpoint(99, 25);
    sim_reach_set(rig.sim, &where, SIM_REACH_SILENT);
    rig_connect(&rig);
    assert_int_equal(rig.connects, 0);
    rig_end(&rig);
}

/* Whether it was receiving or not; what the peer says meanwhile comes out on the other side. */
static void a_descriptor_goes_on_in_another_stream(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i += 1) {
        struct rig rig;
        struct rig next = {0};
        rig_open(&rig, 16);
        if (i == 1) {
            stream_set_reading(&rig.stream, false);
            run(&rig, NS_PER_S);
            assert_true(op_idle(&rig.stream.recv_op));
        }
        stream_detach(&rig.stream);
        assert_int_equal(rig.detaches, 0);
        run(&rig, NS_PER_S);
        assert_int_equal(rig.detaches, 1);
        sim_peer_send(rig.peer, SLICE("in between"));
        run(&rig, NS_PER_S);
        assert_int_equal(rig.inputs, 0);
        stream_accept(&next.stream, &rig.shards.shards[0], &user, stream_leave(&rig.stream));
        run(&rig, NS_PER_S);
        assert_int_equal(rig.inputs + rig.releases, 0);
        assert_int_equal(next.inputs, 1);
        assert_true(slice_equal(stream_input(&next.stream), SLICE("in between")));
        stream_close(&next.stream);
        run(&rig, NS_PER_S);
        assert_int_equal(next.releases, 1);
        sim_shards_stop(&rig.shards);
        assert_string_equal(sim_failure(rig.sim), "");
        sim_close(rig.sim);
    }
}

static void a_stream_that_is_detached_may_stay_or_close(void **state)
{
    (void)state;
    struct rig rig;
    rig_open(&rig, 16);
    stream_detach(&rig.stream);
    stream_attach(&rig.stream); /* at once */
    run(&rig, NS_PER_S);
    sim_peer_send(rig.peer, SLICE("one"));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.inputs, 1);
    assert_int_equal(rig.detaches, 0);
    stream_detach(&rig.stream);
    run(&rig, NS_PER_S);
    assert_int_equal(rig.detaches, 1);
    stream_attach(&rig.stream); /* later */
    sim_peer_send(rig.peer, SLICE("two"));
    run(&rig, NS_PER_S);
    assert_int_equal(rig.inputs, 2);
    stream_detach(&rig.stream);
    rig_end(&rig);
    assert_int_equal(rig.detaches, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(held_bytes_come_before_the_end),
        cmocka_unit_test(f22b_a_reset_is_told_once),
        cmocka_unit_test(connects_that_fail_say_why),
        cmocka_unit_test(f23_no_descriptor_is_told_from_the_loop),
        cmocka_unit_test(a_slow_reader_closes_the_window_and_opens_it_again),
        cmocka_unit_test(a_burst_of_any_size_is_held_and_keeps_its_order),
        cmocka_unit_test(a_burst_beyond_the_buffers_of_the_ring_ends_nothing),
        cmocka_unit_test(a_pause_leaves_the_send_in_flight),
        cmocka_unit_test(u06_a_starved_stream_reads_on_when_buffers_come_home),
        cmocka_unit_test(u01_a_short_send_is_finished),
        cmocka_unit_test(u03_closing_during_a_send_releases_once),
        cmocka_unit_test(closing_in_a_callback_and_while_connecting_is_fine),
        cmocka_unit_test(a_descriptor_goes_on_in_another_stream),
        cmocka_unit_test(a_stream_that_is_detached_may_stay_or_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
