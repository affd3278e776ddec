#include "shard/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

static const struct ring_options small = {
    .submit_entries = 4, .complete_entries = 8, .buffer_count = 2, .buffer_bytes = 64};
static const struct ring_options usual = {
    .submit_entries = 256, .complete_entries = 1024, .buffer_count = 64, .buffer_bytes = 4096};
static const struct socket_options sockets = {.congestion = "", .backlog = 128};

/* An operation that notes what became of it. */
struct watched {
    struct op op;
    struct ring *ring;
    unsigned calls;
    int32_t last;
    bool ended;      /* its last completion has come */
    bool keep;       /* do not give buffers back */
    unsigned buffers;
    char text[512];
    size_t text_size;
    uint16_t kept[8];
};

static void watched_done(struct op *op)
{
    struct watched *watched = CONTAINER_OF(op, struct watched, op);
    watched->calls++;
    watched->last = op->result;
    watched->ended = (op->flags & OP_MORE) == 0;
    assert_true(watched->ended == op_idle(op));
    if ((op->flags & OP_BUFFER) == 0) {
        return;
    }
    assert_true(op->result > 0);
    assert_true(watched->text_size + (size_t)op->result <= sizeof(watched->text));
    memcpy(watched->text + watched->text_size, ring_buffer(watched->ring, op->buffer),
           (size_t)op->result);
    watched->text_size += (size_t)op->result;
    if (watched->keep) {
        watched->kept[watched->buffers] = op->buffer;
    } else {
        ring_buffer_give(watched->ring, op->buffer);
    }
    watched->buffers++;
}

static void watched_init(struct watched *watched, struct ring *ring)
{
    *watched = (struct watched){.ring = ring};
    op_init(&watched->op, watched_done);
}

static struct ring *open_ring(const struct ring_options *options)
{
    char text[256];
    struct buf reason;
    struct ring *ring = NULL;
    buf_init(&reason, text, sizeof(text));
    int error = ring_open(options, &ring, &reason);
    if (error != 0) {
        fail_msg("%.*s", (int)reason.size, text);
    }
    return ring;
}

static unsigned turn(struct ring *ring, unsigned wait_ms)
{
    ring_turn(ring, wait_ms > 0 ? ring_monotonic_ns(ring) + wait_ms * NS_PER_MS : 0);
    return ring_dispatch(ring);
}

static void turn_until_calls(struct watched *watched, unsigned calls)
{
    for (unsigned turns = 0; turns < 1000 && watched->calls < calls; turns++) {
        turn(watched->ring, 100);
    }
    assert_true(watched->calls >= calls);
}

static void turn_until_ended(struct watched *watched)
{
    for (unsigned turns = 0; turns < 1000 && !watched->ended; turns++) {
        turn(watched->ring, 100);
    }
    assert_true(watched->ended);
}

static void close_all(struct ring *ring, const int *fds, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        struct watched closing;
        watched_init(&closing, ring);
        ring_close_fd(ring, &closing.op, fds[i]);
        turn_until_ended(&closing);
        assert_int_equal(closing.last, 0);
    }
}

/* A listener, and a connection through it. */
struct link {
    int listener;
    int client;
    int server;
    struct endpoint at;
    struct watched accepting;
};

static const struct endpoint nowhere = {0};

static void link_open(struct link *link, struct ring *ring, const char *address)
{
    struct endpoint wanted;
    assert_true(endpoint_parse(slice_from_string(address), 0, &wanted));
    link->listener = ring_listen(ring, &wanted, &sockets, &link->at);
    assert_true(link->listener >= 0);
    assert_true(link->at.port != 0);
    watched_init(&link->accepting, ring);
    ring_accept(ring, &link->accepting.op, link->listener);
    link->client = ring_socket(ring, &link->at, &nowhere, &sockets);
    assert_true(link->client >= 0);
    struct watched connecting;
    watched_init(&connecting, ring);
    ring_connect(ring, &connecting.op, link->client, &link->at);
    turn_until_ended(&connecting);
    assert_int_equal(connecting.last, 0);
    turn_until_calls(&link->accepting, 1);
    assert_false(link->accepting.ended);
    link->server = link->accepting.last;
    assert_true(link->server >= 0);
}

static void link_close(struct link *link, struct ring *ring)
{
    struct watched cancelling;
    watched_init(&cancelling, ring);
    ring_cancel(ring, &cancelling.op, link->listener);
    turn_until_ended(&cancelling);
    turn_until_ended(&link->accepting);
    assert_int_equal(link->accepting.last, -ECANCELED);
    int fds[] = {link->listener, link->client, link->server};
    close_all(ring, fds, 3);
}

static void send_text(struct ring *ring, int fd, const char *text)
{
    struct watched sending;
    watched_init(&sending, ring);
    struct iovec piece = {(void *)(uintptr_t)text, strlen(text)};
    ring_send(ring, &sending.op, fd, &piece, 1);
    turn_until_ended(&sending);
    assert_int_equal(sending.last, strlen(text));
}

static void bytes_travel_over_both_families(void **state)
{
    (void)state;
    static const char *const addresses[] = {"127.0.0.1:0", "[::1]:0"};
    struct ring *ring = open_ring(&usual);
    for (size_t i = 0; i < COUNT_OF(addresses); i++) {
        struct link link;
        link_open(&link, ring, addresses[i]);
        struct endpoint peer, local;
        assert_int_equal(ring_accepted(ring, link.server, &sockets, &peer, &local), 0);
        assert_true(endpoint_is_loopback(&peer) && endpoint_is_loopback(&local));
        assert_int_equal(local.port, link.at.port);
        assert_int_equal(ring_local(ring, link.client, &local), 0);
        assert_true(endpoint_equal(&local, &peer));
        int no_delay = 0;
        socklen_t size = sizeof(no_delay);
        getsockopt(link.server, IPPROTO_TCP, TCP_NODELAY, &no_delay, &size);
        assert_true(no_delay != 0);

        struct watched receiving;
        watched_init(&receiving, ring);
        ring_recv(ring, &receiving.op, link.server);
        send_text(ring, link.client, "one ");
        turn_until_calls(&receiving, 1);
        struct iovec pieces[] = {{"tw", 2}, {"o ", 2}, {"three", 5}};
        struct watched sending;
        watched_init(&sending, ring);
        ring_send(ring, &sending.op, link.client, pieces, 3);
        turn_until_ended(&sending);
        assert_int_equal(sending.last, 9);
        turn_until_calls(&receiving, 2);
        assert_false(receiving.ended);
        ring_shutdown(ring, link.client);
        turn_until_ended(&receiving);
        assert_int_equal(receiving.last, 0);
        assert_int_equal(receiving.text_size, 13);
        assert_memory_equal(receiving.text, "one two three", 13);
        link_close(&link, ring);
    }
    assert_int_equal(ring_counts(ring)->cq_overflows, 0);
    ring_close(ring);
}

static void u06_receive_ends_when_no_buffer_is_free_and_goes_on_after(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&small);
    struct link link;
    link_open(&link, ring, "127.0.0.1:0");
    struct watched receiving;
    watched_init(&receiving, ring);
    receiving.keep = true;
    ring_recv(ring, &receiving.op, link.server);
    char text[201];
    memset(text, 'x', 200);
    text[200] = 0;
    send_text(ring, link.client, text);
    turn_until_ended(&receiving);
    assert_int_equal(receiving.last, -ENOBUFS);
    assert_int_equal(receiving.buffers, 2);
    assert_int_equal(receiving.text_size, 128);
    assert_int_equal(ring_counts(ring)->no_buffers, 1);

    receiving.keep = false;
    for (unsigned i = 0; i < 2; i++) {
        ring_buffer_give(ring, receiving.kept[i]);
    }
    while (receiving.text_size < 200) {
        if (op_idle(&receiving.op)) {
            ring_recv(ring, &receiving.op, link.server);
        }
        turn(ring, 100);
    }
    ring_shutdown(ring, link.server);
    turn_until_ended(&receiving);
    link_close(&link, ring);
    ring_close(ring);
}

static void u05_cancel_ends_a_receive_that_close_would_not(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct link link;
    link_open(&link, ring, "127.0.0.1:0");
    struct watched receiving, cancelling;
    watched_init(&receiving, ring);
    watched_init(&cancelling, ring);
    ring_recv(ring, &receiving.op, link.server);
    turn(ring, 0);
    assert_false(receiving.ended);
    ring_cancel(ring, &cancelling.op, link.server);
    turn_until_ended(&cancelling);
    turn_until_ended(&receiving);
    assert_int_equal(receiving.last, -ECANCELED);
    link_close(&link, ring);
    ring_close(ring);
}

static void cancel_of_one_operation_spares_the_others(void **state)
{
    (void)state;
    enum { BYTES = 16 << 20 }; /* more than the kernel keeps for a peer that reads nothing */
    struct ring *ring = open_ring(&usual);
    struct link link;
    link_open(&link, ring, "127.0.0.1:0");
    struct watched receiving, sending, cancelling;
    watched_init(&receiving, ring);
    watched_init(&sending, ring);
    watched_init(&cancelling, ring);
    uint8_t *bytes = calloc(1, BYTES);
    assert_non_null(bytes);
    struct iovec piece = {bytes, BYTES};
    ring_recv(ring, &receiving.op, link.server);
    ring_send(ring, &sending.op, link.server, &piece, 1);
    turn(ring, 0);
    ring_cancel_op(ring, &cancelling.op, &receiving.op);
    turn_until_ended(&cancelling);
    turn_until_ended(&receiving);
    assert_int_equal(cancelling.last, 0);
    assert_int_equal(receiving.last, -ECANCELED);
    turn(ring, 20);
    assert_false(sending.ended);
    ring_cancel_op(ring, &cancelling.op, &receiving.op);
    turn_until_calls(&cancelling, 2);
    assert_int_equal(cancelling.last, -ENOENT);
    ring_shutdown(ring, link.server);
    turn_until_ended(&sending);
    free(bytes);
    link_close(&link, ring);
    ring_close(ring);
}

static void connect_to_nobody_is_refused(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct endpoint wanted, bound, source;
    assert_true(endpoint_parse(SLICE("127.0.0.1:0"), 0, &wanted));
    int listener = ring_listen(ring, &wanted, &sockets, &bound);
    assert_true(listener >= 0);
    close_all(ring, &listener, 1);
    assert_true(endpoint_parse(SLICE("127.0.0.2:0"), 0, &source));
    int fd = ring_socket(ring, &bound, &source, &sockets);
    assert_true(fd >= 0);
    struct watched connecting;
    watched_init(&connecting, ring);
    ring_connect(ring, &connecting.op, fd, &bound);
    turn_until_ended(&connecting);
    assert_int_equal(connecting.last, -ECONNREFUSED);
    close_all(ring, &fd, 1);
    struct socket_options bad = {.congestion = "no such thing"};
    assert_int_equal(ring_socket(ring, &bound, &nowhere, &bad), -ENOENT);
    assert_true(endpoint_parse(SLICE("192.0.2.1:0"), 0, &source));
    assert_int_equal(ring_socket(ring, &bound, &source, &sockets), -EADDRNOTAVAIL);
    ring_close(ring);
}

static void files_are_written_synced_and_read(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    char path[] = "/tmp/ringpost-ring-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    struct iovec pieces[] = {{"abc", 3}, {"defg", 4}};
    struct watched op;
    watched_init(&op, ring);
    const struct ring_extent both = {.iovecs = pieces, .count = 2, .offset = 5};
    ring_write(ring, &op.op, fd, &both, true);
    turn_until_ended(&op);
    assert_int_equal(op.last, 7);
    const struct ring_extent first = {.iovecs = pieces, .count = 1};
    ring_write(ring, &op.op, fd, &first, false);
    turn_until_calls(&op, 2);
    assert_int_equal(op.last, 3);
    ring_sync(ring, &op.op, fd);
    turn_until_calls(&op, 3);
    assert_int_equal(op.last, 0);
    char text[16] = {0};
    ring_read(ring, &op.op, fd, text, sizeof(text), 0);
    turn_until_calls(&op, 4);
    assert_int_equal(op.last, 12);
    assert_memory_equal(text, "abc\0\0abcdefg", 12);
    close_all(ring, &fd, 1);
    ring_read(ring, &op.op, -1, text, sizeof(text), 0);
    turn_until_calls(&op, 5);
    assert_int_equal(op.last, -EBADF);
    unlink(path);
    ring_close(ring);
}

/* The highest descriptor that may be had is this one; returns the limit that was. */
static struct rlimit limit_descriptors(int highest)
{
    struct rlimit before;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit tight = {.rlim_cur = (rlim_t)highest + 1, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
    return before;
}

/* A client that is connected and waits to be accepted. */
static int waiting_client(struct ring *ring, const struct endpoint *to, const char *says)
{
    int fd = ring_socket(ring, to, &nowhere, &sockets);
    struct watched connecting;
    watched_init(&connecting, ring);
    ring_connect(ring, &connecting.op, fd, to);
    turn_until_ended(&connecting);
    assert_int_equal(connecting.last, 0);
    send_text(ring, fd, says);
    return fd;
}

static void f23_without_descriptors_who_waits_is_told_so_by_a_spare_one(void **state)
{
    (void)state;
    enum { CLIENTS = 3 };
    struct ring *ring = open_ring(&usual);
    struct endpoint wanted, at;
    assert_true(endpoint_parse(SLICE("127.0.0.1:0"), 0, &wanted));
    int listener = ring_listen(ring, &wanted, &sockets, &at);
    int clients[CLIENTS];
    for (unsigned i = 0; i < CLIENTS; i++) {
        clients[i] = waiting_client(ring, &at, i == 0 ? "EHLO early\r\n" : "");
    }
    int spare = ring_spare(ring);
    assert_true(spare > clients[CLIENTS - 1]);
    const struct rlimit before = limit_descriptors(spare);
    struct watched accepting;
    watched_init(&accepting, ring);
    ring_accept(ring, &accepting.op, listener);
    turn_until_ended(&accepting);
    assert_int_equal(accepting.last, -EMFILE);
    int none = -1;
    assert_int_equal(ring_turn_away(ring, listener, SLICE("421 no\r\n"), &none), -EMFILE);
    assert_int_equal(none, -1);
    for (unsigned i = 0; i < CLIENTS; i++) {
        assert_int_equal(ring_turn_away(ring, listener, SLICE("421 no\r\n"), &spare), 0);
        assert_true(spare >= 0);
    }
    assert_int_equal(ring_turn_away(ring, listener, SLICE("421 no\r\n"), &spare), -EAGAIN);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
    for (unsigned i = 0; i < CLIENTS; i++) {
        struct watched receiving;
        watched_init(&receiving, ring);
        ring_recv(ring, &receiving.op, clients[i]);
        turn_until_ended(&receiving);
        assert_int_equal(receiving.last, 0);
        assert_int_equal(receiving.text_size, 8);
        assert_memory_equal(receiving.text, "421 no\r\n", 8);
    }
    ring_discard(ring, spare);
    close_all(ring, clients, CLIENTS);
    close_all(ring, &listener, 1);
    ring_close(ring);
}

/* More operations in one turn than either ring has entries: all complete, and it is noticed. */
static void u07_small_rings_lose_nothing(void **state)
{
    (void)state;
    enum { OPS = 100 };
    struct ring *ring = open_ring(&small);
    static struct watched ops[OPS];
    char text[4];
    turn(ring, 0);
    for (unsigned i = 0; i < OPS; i++) {
        watched_init(&ops[i], ring);
        ring_read(ring, &ops[i].op, -1, text, sizeof(text), 0);
    }
    for (unsigned i = 0; i < OPS; i++) {
        turn_until_ended(&ops[i]);
        assert_int_equal(ops[i].calls, 1);
        assert_int_equal(ops[i].last, -EBADF);
    }
    assert_int_equal(ring_counts(ring)->completed, OPS);
    assert_true(ring_counts(ring)->cq_overflows > 0);
    ring_close(ring);
}

static void deferred_ops_complete_in_the_next_turn_in_order(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct watched ops[3];
    for (unsigned i = 0; i < COUNT_OF(ops); i++) {
        watched_init(&ops[i], ring);
        ring_defer(ring, &ops[i].op);
        assert_int_equal(ops[i].op.state, OP_IN_FLIGHT);
    }
    uint64_t before = ring_monotonic_ns(ring);
    assert_int_equal(ring_dispatch(ring), 0);
    assert_int_equal(turn(ring, 5000), 3);
    assert_true(ring_monotonic_ns(ring) - before < NS_PER_S);
    for (unsigned i = 0; i < COUNT_OF(ops); i++) {
        assert_int_equal(ops[i].calls, 1);
        assert_int_equal(ops[i].last, 0);
    }
    assert_int_equal(turn(ring, 0), 0);
    ring_close(ring);
}

static void a_sleep_ends_at_its_time_and_is_counted(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    turn(ring, 0);
    for (unsigned i = 1; i <= 3; i++) {
        uint64_t until = ring_monotonic_ns(ring) + 20 * NS_PER_MS;
        ring_turn(ring, until);
        assert_true(ring_monotonic_ns(ring) >= until);
        assert_int_equal(ring_counts(ring)->timeouts, i);
    }
    assert_int_equal(ring_counts(ring)->enters, 4);
    ring_close(ring);
}

static void *ring_the_bell(void *argument)
{
    struct timespec pause = {.tv_nsec = 30 * 1000 * 1000};
    nanosleep(&pause, NULL);
    ring_wake(argument);
    return NULL;
}

static void a_wake_ends_the_sleep_or_the_next_one(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    uint64_t start = ring_monotonic_ns(ring);
    /* Rung before it has ever turned. */
    ring_wake(ring);
    ring_turn(ring, start + 60 * NS_PER_S);
    assert_int_equal(ring_counts(ring)->wakes, 1);
    /* Rung while awake, several times. */
    ring_wake(ring);
    ring_wake(ring);
    ring_turn(ring, start + 60 * NS_PER_S);
    for (unsigned i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, ring_the_bell, ring), 0);
        uint64_t wakes = ring_counts(ring)->wakes;
        for (unsigned turns = 0; turns < 10 && ring_counts(ring)->wakes == wakes; turns++) {
            ring_turn(ring, start + 60 * NS_PER_S);
        }
        assert_true(ring_counts(ring)->wakes > wakes);
        assert_int_equal(pthread_join(thread, NULL), 0);
    }
    assert_int_equal(ring_counts(ring)->timeouts, 0);
    assert_true(ring_monotonic_ns(ring) - start < 30 * NS_PER_S);
    ring_close(ring);
}

static void *own_a_ring(void *argument)
{
    struct ring *ring = argument;
    struct watched op;
    watched_init(&op, ring);
    ring_defer(ring, &op.op);
    turn_until_ended(&op);
    return NULL;
}

static void u16_the_first_thread_that_turns_it_owns_it(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct watched op;
    watched_init(&op, ring);
    /* Submitting before the first turn is the boot thread's right. */
    ring_read(ring, &op.op, -1, NULL, 0, 0);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, own_a_ring, ring), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    ring_dispatch(ring);
    assert_int_equal(op.last, -EBADF);
    ring_close(ring);
}

static void f24_a_ring_that_cannot_be_says_why(void **state)
{
    (void)state;
    char text[256];
    struct buf reason;
    struct ring *ring = NULL;
    buf_init(&reason, text, sizeof(text));
    struct ring_options huge = usual;
    huge.buffer_count = 32768;
    huge.buffer_bytes = UINT32_MAX - 4095;
    assert_int_equal(ring_open(&huge, &ring, &reason), -ENOMEM);
    assert_true(reason.size > 0);
    assert_null(ring);
}

static void entropy_differs(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    uint8_t a[300] = {0}, b[300] = {0};
    ring_entropy(ring, a, sizeof(a));
    ring_entropy(ring, b, sizeof(b));
    assert_memory_not_equal(a, b, sizeof(a));
    assert_memory_not_equal(a, a + 44, 256);
    assert_true(ring_wall_ns(ring) > 1700000000ull * NS_PER_S);
    ring_close(ring);
}

/* --- no faults to order ----------------------------------------------------------------------- */

/* A UDP socket of the test, outside the ring, bound to loopback. */
static int udp_server(struct endpoint *at_out)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &size), 0);
    assert_true(endpoint_parse_address(SLICE("127.0.0.1"), at_out));
    at_out->port = ntohs(address.sin_port);
    return fd;
}

static struct sockaddr_in udp_from(int server)
{
    char text[64];
    struct sockaddr_in from;
    socklen_t size = sizeof(from);
    assert_int_equal(recvfrom(server, text, sizeof(text), 0, (struct sockaddr *)&from, &size), 4);
    assert_memory_equal(text, "ping", 4);
    return from;
}

static void datagrams_come_one_a_buffer_and_from_the_peer_alone(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct endpoint at;
    struct endpoint elsewhere;
    int server = udp_server(&at);
    int stranger = udp_server(&elsewhere);
    int fd = ring_udp(ring, &at);
    struct watched receiving;
    struct watched sending;
    struct iovec ping = {.iov_base = (void *)(uintptr_t)"ping", .iov_len = 4};
    assert_true(fd >= 0);
    watched_init(&receiving, ring);
    watched_init(&sending, ring);
    ring_recv(ring, &receiving.op, fd);
    ring_send(ring, &sending.op, fd, &ping, 1);
    turn_until_ended(&sending);
    assert_int_equal(sending.last, 4);
    struct sockaddr_in from = udp_from(server);
    const struct sockaddr *to = (const struct sockaddr *)&from;
    assert_int_equal(sendto(stranger, "lie", 3, 0, to, sizeof(from)), 3);
    assert_int_equal(sendto(server, "one", 3, 0, to, sizeof(from)), 3);
    assert_int_equal(sendto(server, "two", 3, 0, to, sizeof(from)), 3);
    turn_until_calls(&receiving, 2);
    assert_int_equal(receiving.buffers, 2);
    assert_int_equal(receiving.text_size, 6);
    assert_memory_equal(receiving.text, "onetwo", 6);
    /* An empty one ends the receive; it goes on. */
    assert_int_equal(sendto(server, "", 0, 0, to, sizeof(from)), 0);
    turn_until_ended(&receiving);
    assert_int_equal(receiving.last, 0);
    watched_init(&receiving, ring);
    ring_recv(ring, &receiving.op, fd);
    assert_int_equal(sendto(server, "end", 3, 0, to, sizeof(from)), 3);
    turn_until_calls(&receiving, 1);
    assert_int_equal(receiving.last, 3);
    struct watched cancelling;
    watched_init(&cancelling, ring);
    ring_cancel(ring, &cancelling.op, fd);
    turn_until_ended(&cancelling);
    turn_until_ended(&receiving);
    close_all(ring, &fd, 1);
    close(server);
    close(stranger);
    ring_close(ring);
}

static void f17_a_datagram_longer_than_a_buffer_fills_it_and_one_to_nobody_is_refused(void **state)
{
    (void)state;
    struct ring_options options = usual;
    options.buffer_bytes = 64;
    struct ring *ring = open_ring(&options);
    struct endpoint at;
    char text[65] = {0};
    int server = udp_server(&at);
    int fd = ring_udp(ring, &at);
    struct watched receiving;
    struct watched sending;
    struct iovec ping = {.iov_base = (void *)(uintptr_t)"ping", .iov_len = 4};
    assert_int_equal(ring_buffer_bytes(ring), 64);
    watched_init(&receiving, ring);
    watched_init(&sending, ring);
    ring_recv(ring, &receiving.op, fd);
    ring_send(ring, &sending.op, fd, &ping, 1);
    turn_until_ended(&sending);
    struct sockaddr_in from = udp_from(server);
    assert_int_equal(sendto(server, text, 65, 0, (struct sockaddr *)&from, sizeof(from)), 65);
    assert_int_equal(sendto(server, "next", 4, 0, (struct sockaddr *)&from, sizeof(from)), 4);
    turn_until_calls(&receiving, 2);
    assert_int_equal(receiving.buffers, 2);
    assert_int_equal(receiving.text_size, 64 + 4);
    close(server);
    watched_init(&sending, ring);
    ring_send(ring, &sending.op, fd, &ping, 1);
    turn_until_ended(&sending);
    turn_until_ended(&receiving);
    assert_int_equal(receiving.last, -ECONNREFUSED);
    close_all(ring, &fd, 1);
    ring_close(ring);
}

/* Only so many peers can be served from one port: 16 of them would not do for 28,000 connections
 * if each took one at bind. */
static void f23_a_source_address_takes_no_port_before_the_peer_is_known(void **state)
{
    (void)state;
    struct ring *ring = open_ring(&usual);
    struct endpoint at;
    struct endpoint source;
    struct endpoint local;
    assert_true(endpoint_parse_address(SLICE("127.0.0.1"), &at));
    assert_true(endpoint_parse_address(SLICE("127.0.0.2"), &source));
    int listener = ring_listen(ring, &at, &sockets, &at);
    assert_true(listener >= 0);
    int fd = ring_socket(ring, &at, &source, &sockets);
    assert_true(fd >= 0);
    assert_int_equal(ring_local(ring, fd, &local), 0);
    assert_true(endpoint_equal_address(&local, &source));
    assert_int_equal(local.port, 0);
    struct watched connecting;
    watched_init(&connecting, ring);
    ring_connect(ring, &connecting.op, fd, &at);
    turn_until_ended(&connecting);
    assert_int_equal(connecting.last, 0);
    assert_int_equal(ring_local(ring, fd, &local), 0);
    assert_int_not_equal(local.port, 0);
    close_all(ring, (int[]){fd, listener}, 2);
    ring_close(ring);
}

static void rules_of_tests_are_not_read(void **state)
{
    (void)state;
    struct watched writing;
    char path[] = "/tmp/ring-XXXXXX";
    struct iovec iovec = {(void *)(uintptr_t)"text", 4};
    struct ring_extent extent = {.iovecs = &iovec, .count = 1};
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(setenv("RINGPOST_FAULTS", "write * 1+ error=EIO; nonsense", 1), 0);
    struct ring *ring = open_ring(&usual);
    watched_init(&writing, ring);
    ring_write(ring, &writing.op, fd, &extent, true);
    turn_until_ended(&writing);
    assert_int_equal(writing.last, 4);
    assert_int_equal(unsetenv("RINGPOST_FAULTS"), 0);
    ring_close(ring);
    close(fd);
    assert_int_equal(unlink(path), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_travel_over_both_families),
        cmocka_unit_test(u06_receive_ends_when_no_buffer_is_free_and_goes_on_after),
        cmocka_unit_test(u05_cancel_ends_a_receive_that_close_would_not),
        cmocka_unit_test(cancel_of_one_operation_spares_the_others),
        cmocka_unit_test(connect_to_nobody_is_refused),
        cmocka_unit_test(files_are_written_synced_and_read),
        cmocka_unit_test(f23_without_descriptors_who_waits_is_told_so_by_a_spare_one),
        cmocka_unit_test(u07_small_rings_lose_nothing),
        cmocka_unit_test(deferred_ops_complete_in_the_next_turn_in_order),
        cmocka_unit_test(a_sleep_ends_at_its_time_and_is_counted),
        cmocka_unit_test(a_wake_ends_the_sleep_or_the_next_one),
        cmocka_unit_test(u16_the_first_thread_that_turns_it_owns_it),
        cmocka_unit_test(f24_a_ring_that_cannot_be_says_why),
        cmocka_unit_test(entropy_differs),
        cmocka_unit_test(datagrams_come_one_a_buffer_and_from_the_peer_alone),
        cmocka_unit_test(
            f17_a_datagram_longer_than_a_buffer_fills_it_and_one_to_nobody_is_refused),
        cmocka_unit_test(f23_a_source_address_takes_no_port_before_the_peer_is_known),
        cmocka_unit_test(rules_of_tests_are_not_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
