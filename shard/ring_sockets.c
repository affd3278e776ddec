/* The calls of the real ring that are plain system calls: making sockets, reading clocks. */
#include "shard/ring.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "core/check.h"
#include "shard/sockaddr.h"

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    CHECK(clock_gettime(clock, &now) == 0);
    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t ring_monotonic_ns(struct ring *ring)
{
    (void)ring;
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t ring_wall_ns(struct ring *ring)
{
    (void)ring;
    return clock_ns(CLOCK_REALTIME);
}

static bool set_flag(int fd, int level, int name)
{
    int on = 1;
    return setsockopt(fd, level, name, &on, sizeof(on)) == 0;
}

/*
 * Never O_NONBLOCK: on such a descriptor an operation of the ring ends with -EAGAIN instead of
 * waiting.
 */
static int tcp_socket(int family, const struct socket_options *options)
{
    int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, IPPROTO_TCP);
    if (fd < 0) {
        return -errno;
    }
    size_t name_size = strlen(options->congestion);
    bool set = set_flag(fd, IPPROTO_TCP, TCP_NODELAY) &&
               (name_size == 0 || setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, options->congestion,
                                             (socklen_t)name_size) == 0);
    if (!set) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

static bool bind_to(int fd, const struct endpoint *endpoint)
{
    uint8_t address[SOCKADDR_BYTES_MAX];
    socklen_t size = sockaddr_put(endpoint, address);
    return bind(fd, (const struct sockaddr *)(const void *)address, size) == 0;
}

static int own_address(int fd, struct endpoint *endpoint_out)
{
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (getsockname(fd, (struct sockaddr *)&address, &size) != 0) {
        return -errno;
    }
    *endpoint_out = sockaddr_get(&address);
    return 0;
}

int ring_listen(struct ring *ring, const struct endpoint *endpoint,
                const struct socket_options *options, struct endpoint *bound_out)
{
    (void)ring;
    int family = sockaddr_family(endpoint);
    int fd = tcp_socket(family, options);
    if (fd < 0) {
        return fd;
    }
    /* IPV6_V6ONLY: "[::]:25" and "0.0.0.0:25" are two listeners. */
    bool listening = set_flag(fd, SOL_SOCKET, SO_REUSEADDR) &&
                     (!options->reuse_port || set_flag(fd, SOL_SOCKET, SO_REUSEPORT)) &&
                     (family == AF_INET || set_flag(fd, IPPROTO_IPV6, IPV6_V6ONLY)) &&
                     bind_to(fd, endpoint) && listen(fd, options->backlog) == 0;
    int error = listening ? own_address(fd, bound_out) : -errno;
    if (error != 0) {
        close(fd);
        return error;
    }
    return fd;
}

int ring_socket(struct ring *ring, const struct endpoint *peer, const struct endpoint *source,
                const struct socket_options *options)
{
    (void)ring;
    static const struct endpoint any = {0};
    int fd = tcp_socket(sockaddr_family(peer), options);
    if (fd < 0 || endpoint_equal_address(source, &any)) {
        return fd;
    }
    /* The port is chosen at connect, when the peer is known: one port serves many peers. */
    bool late_port = source->port == 0;
    if ((late_port && !set_flag(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT)) || !bind_to(fd, source)) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int ring_udp(struct ring *ring, const struct endpoint *peer)
{
    (void)ring;
    uint8_t address[SOCKADDR_BYTES_MAX];
    socklen_t size = sockaddr_put(peer, address);
    int fd = socket(sockaddr_family(peer), SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP);
    if (fd < 0) {
        return -errno;
    }
    /* At once: it only binds, and names the peer. */
    if (connect(fd, (const struct sockaddr *)(const void *)address, size) != 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    return fd;
}

int ring_accepted(struct ring *ring, int fd, const struct socket_options *options,
                  struct endpoint *peer_out, struct endpoint *local_out)
{
    (void)ring;
    (void)options;
    struct sockaddr_storage address;
    socklen_t size = sizeof(address);
    if (getpeername(fd, (struct sockaddr *)&address, &size) != 0) {
        return -errno;
    }
    *peer_out = sockaddr_get(&address);
    return own_address(fd, local_out);
}

int ring_local(struct ring *ring, int fd, struct endpoint *endpoint_out)
{
    (void)ring;
    return own_address(fd, endpoint_out);
}

void ring_shutdown(struct ring *ring, int fd)
{
    (void)ring;
    /* By system call: the ring's own operation always goes to a kernel worker. */
    (void)shutdown(fd, SHUT_RDWR);
}

void ring_discard(struct ring *ring, int fd)
{
    (void)ring;
    (void)close(fd);
}

int ring_spare(struct ring *ring)
{
    (void)ring;
    int fd = eventfd(0, EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

/* What has come is thrown away: a close with unread bytes is a reset, and may beat the reply. */
static void say_and_close(int fd, struct slice reply)
{
    (void)recv(fd, NULL, SIZE_MAX >> 1, MSG_TRUNC | MSG_DONTWAIT);
    (void)send(fd, reply.data, reply.size, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(fd);
}

int ring_turn_away(struct ring *ring, int listener, struct slice reply, int *spare)
{
    struct pollfd waiting = {.fd = listener, .events = POLLIN};
    if (poll(&waiting, 1, 0) <= 0) {
        return -EAGAIN; /* an accept would wait */
    }
    if (*spare >= 0) {
        (void)close(*spare);
    }
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    int error = fd < 0 ? -errno : 0;
    if (fd >= 0) {
        say_and_close(fd, reply);
    }
    int again = ring_spare(ring);
    *spare = again < 0 ? -1 : again;
    return error;
}
