/* A stream on io_uring, over a pair of connected sockets. */
#include "shard/io/stream.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "shard/shard.h"

#define BURST_BYTES  65536
#define BUFFER_BYTES 256
#define TURNS_MAX    100000

struct rig {
    struct shard shard;
    struct shard *peers[1];
    struct stream stream;
    int peer;
    bool released;
};

static void on_connected(struct stream *stream, enum stream_end end)
{
    (void)stream;
    (void)end;
    fail_msg("an accepted stream connects");
}

static void on_input(struct stream *stream)
{
    (void)stream;
}

static void on_sent(struct stream *stream, enum stream_end end)
{
    (void)stream;
    (void)end;
}

static void on_released(struct stream *stream)
{
    CONTAINER_OF(stream, struct rig, stream)->released = true;
}

static const struct stream_user user = {
    .connected = on_connected, .input = on_input, .sent = on_sent, .released = on_released};

static void rig_open(struct rig *rig)
{
    uint8_t text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct ring_options ring_options = {.submit_entries = 64,
                                        .complete_entries = 1024,
                                        .buffer_count = 1024,
                                        .buffer_bytes = BUFFER_BYTES};
    struct ring *ring = NULL;
    assert_int_equal(ring_open(&ring_options, &ring, &reason), 0);
    rig->peers[0] = &rig->shard;
    struct shard_options options = {.count = 1, .ring = ring, .peers = rig->peers};
    assert_int_equal(shard_init(&rig->shard, &options), 0);
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    rig->peer = fds[1];
    stream_accept(&rig->stream, &rig->shard, &user, fds[0]);
}

static void rig_end(struct rig *rig)
{
    stream_close(&rig->stream);
    for (unsigned i = 0; i < TURNS_MAX && !rig->released; i += 1) {
        shard_turn(&rig->shard, false);
    }
    assert_true(rig->released);
    close(rig->peer);
    shard_fini(&rig->shard);
    free(rig);
}

/* Takes what is held and compares it; returns the bytes seen so far. */
static size_t eat(struct rig *rig, const uint8_t *bytes, size_t seen)
{
    struct slice input = stream_input(&rig->stream);
    while (input.size > 0) {
        assert_true(seen + input.size <= BURST_BYTES);
        assert_memory_equal(input.data, bytes + seen, input.size);
        seen += input.size;
        stream_consume(&rig->stream, input.size);
        input = stream_input(&rig->stream);
    }
    return seen;
}

/* The pause has won. */
static bool at_rest(const struct stream *stream)
{
    return stream->paused && op_idle(&stream->recv_op) && op_idle(&stream->cancel_op);
}

static void a_burst_before_the_pause_is_held_whole(void **state)
{
    (void)state;
    static uint8_t bytes[BURST_BYTES];
    for (size_t i = 0; i < BURST_BYTES; i += 1) {
        bytes[i] = (uint8_t)((i * 167 >> 3) + i);
    }
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig_open(rig);
    assert_int_equal(write(rig->peer, bytes, BURST_BYTES), BURST_BYTES);
    for (unsigned i = 0; i < 16; i += 1) {
        ring_turn(rig->shard.ring, 0); /* nobody is told: the pause comes too late */
    }
    for (unsigned i = 0; i < TURNS_MAX && !at_rest(&rig->stream); i += 1) {
        shard_turn(&rig->shard, false);
    }
    assert_int_equal(rig->stream.end, STREAM_OPEN);
    assert_true(rig->stream.paused);
    assert_true(op_idle(&rig->stream.recv_op));
    assert_in_range(rig->stream.held_count, 100, 1024);
    size_t seen = 0;
    for (unsigned i = 0; i < TURNS_MAX && seen < BURST_BYTES; i += 1) {
        seen = eat(rig, bytes, seen);
        shard_turn(&rig->shard, false);
    }
    assert_int_equal(seen, BURST_BYTES);
    assert_int_equal(rig->stream.end, STREAM_OPEN);
    rig_end(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_burst_before_the_pause_is_held_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
