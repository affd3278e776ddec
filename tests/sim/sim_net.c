/*
 * The network. Each socket owns the bytes that are on their way to it: a pipe, which its sender may
 * fill up to the window, and whose front part has arrived. Order inside a connection is kept;
 * between connections everything is chance.
 */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BACKLOG_DEFAULT    128
#define CONNECT_TIMEOUT_NS (130 * NS_PER_S)

static void recv_pump(struct sim_socket *socket);
static void send_pump(struct sim_socket *socket);
static void accept_pump(struct sim_listener *listener);

struct endpoint sim_endpoint(unsigned host, uint16_t port)
{
    struct endpoint endpoint = {.port = port};
    endpoint.address[10] = 0xff;
    endpoint.address[11] = 0xff;
    endpoint.address[12] = 10;
    endpoint.address[14] = (uint8_t)(host >> 8);
    endpoint.address[15] = (uint8_t)host;
    return endpoint;
}

struct endpoint sim_node_endpoint(const struct sim_node *node, uint16_t port)
{
    return sim_endpoint(node->host, port);
}

static bool same_address(const struct endpoint *a, const struct endpoint *b)
{
    return memcmp(a->address, b->address, sizeof(a->address)) == 0;
}

static bool address_any(const struct endpoint *endpoint)
{
    static const uint8_t zero[16] = {0};
    static const uint8_t zero_v4[16] = {[10] = 0xff, [11] = 0xff};
    return memcmp(endpoint->address, zero, 16) == 0 || memcmp(endpoint->address, zero_v4, 16) == 0;
}

static bool address_loopback(const struct endpoint *endpoint)
{
    static const uint8_t v4[13] = {[10] = 0xff, [11] = 0xff, [12] = 127};
    static const uint8_t v6[16] = {[15] = 1};
    return memcmp(endpoint->address, v4, 13) == 0 || memcmp(endpoint->address, v6, 16) == 0;
}

void sim_reach_set(struct sim *sim, const struct endpoint *address, enum sim_reach reach)
{
    unsigned i = 0;
    while (i < sim->block_count && memcmp(sim->blocks[i].address, address->address, 16) != 0) {
        i += 1;
    }
    CHECK(i < COUNT_OF(sim->blocks));
    sim->block_count = MAX_OF(sim->block_count, i + 1);
    memcpy(sim->blocks[i].address, address->address, 16);
    sim->blocks[i].reach = reach;
}

enum sim_reach sim_reach_find(const struct sim *sim, const struct endpoint *address)
{
    for (unsigned i = 0; i < sim->block_count; i += 1) {
        if (memcmp(sim->blocks[i].address, address->address, 16) == 0) {
            return sim->blocks[i].reach;
        }
    }
    return SIM_REACH;
}

/* --- pipes ------------------------------------------------------------------------------------ */

static void arrival_plan(struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    struct sim_pipe *pipe = &socket->in;
    bool more = pipe->size > pipe->arrived || (pipe->fin && !pipe->fin_arrived);
    if (!more || socket->silent || socket->error != 0 || pipe->event.position != 0) {
        return;
    }
    uint64_t delay = NS_PER_US + sim_below(sim, 100 * NS_PER_US);
    if (sim_fault(sim, SIM_FAULT_delay)) {
        delay += sim_delay(sim, 500 * NS_PER_MS);
    }
    sim_event_set(sim, &pipe->event, delay);
}

static void socket_readable(struct sim_socket *socket)
{
    if (socket->peer != NULL) {
        sim_peer_changed(socket->peer);
    } else {
        recv_pump(socket);
    }
}

static void arrival_run(struct sim *sim, struct sim_event *event)
{
    struct sim_pipe *pipe = CONTAINER_OF(event, struct sim_pipe, event);
    struct sim_socket *socket = CONTAINER_OF(pipe, struct sim_socket, in);
    uint32_t coming = pipe->size - pipe->arrived;
    if (coming == 0) {
        pipe->fin_arrived = pipe->fin;
    } else if (sim_fault(sim, SIM_FAULT_split)) {
        pipe->arrived += 1 + (uint32_t)sim_delay(sim, coming - 1);
    } else {
        pipe->arrived += coming;
    }
    arrival_plan(socket);
    socket_readable(socket);
}

uint32_t sim_pipe_put(struct sim_socket *to, const uint8_t *bytes, size_t size)
{
    struct sim_pipe *pipe = &to->in;
    uint32_t room = to->window > pipe->size ? to->window - pipe->size : 0;
    uint32_t count = (uint32_t)MIN_OF((size_t)room, size);
    if (pipe->first + pipe->size + count > pipe->capacity) {
        uint32_t needed = pipe->size + count;
        if (needed * 2 > pipe->capacity) {
            pipe->capacity = MAX_OF(256, needed * 2);
            uint8_t *data = malloc(pipe->capacity);
            CHECK(data != NULL);
            if (pipe->size > 0) {
                memcpy(data, pipe->data + pipe->first, pipe->size);
            }
            free(pipe->data);
            pipe->data = data;
        } else {
            memmove(pipe->data, pipe->data + pipe->first, pipe->size);
        }
        pipe->first = 0;
    }
    if (count > 0) {
        memcpy(pipe->data + pipe->first + pipe->size, bytes, count);
        pipe->size += count;
        arrival_plan(to);
    }
    return count;
}

void sim_pipe_consume(struct sim_socket *socket, uint32_t count)
{
    struct sim_pipe *pipe = &socket->in;
    CHECK(count <= pipe->arrived);
    pipe->first += count;
    pipe->size -= count;
    pipe->arrived -= count;
    if (pipe->size == 0) {
        pipe->first = 0;
    }
    if (socket->other != NULL && count > 0) {
        sim_pump(socket->other);
    }
}

void sim_pump(struct sim_socket *socket)
{
    if (socket->peer != NULL) {
        sim_peer_pump(socket->peer);
    } else {
        send_pump(socket);
    }
}

/* --- sockets ---------------------------------------------------------------------------------- */

static void connect_run(struct sim *sim, struct sim_event *event);
static void break_run(struct sim *sim, struct sim_event *event);

struct sim_socket *sim_socket_new(struct sim *sim)
{
    struct sim_socket *socket = sim_memory(sizeof(*socket));
    socket->sim = sim;
    socket->window = sim->window_bytes;
    socket->in.event.run = arrival_run;
    socket->break_event.run = break_run;
    socket->connect_event.run = connect_run;
    list_init(&socket->backlog);
    list_init(&socket->datagrams);
    list_push_back(&sim->sockets, &socket->link);
    return socket;
}

void sim_socket_free(struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    sim_event_clear(sim, &socket->in.event);
    sim_event_clear(sim, &socket->break_event);
    sim_event_clear(sim, &socket->connect_event);
    list_remove(&socket->link);
    list_remove(&socket->backlog);
    if (socket->other != NULL) {
        socket->other->other = NULL;
    }
    sim_datagrams_free(sim, &socket->datagrams);
    free(socket->in.data);
    free(socket);
}

static void break_plan(struct sim_socket *socket, int32_t error, uint64_t delay_ns)
{
    sim_event_clear(socket->sim, &socket->break_event);
    socket->error_next = error;
    sim_event_set(socket->sim, &socket->break_event, delay_ns);
}

/* This end is broken; what has arrived may still be read, or may not. */
static void socket_break(struct sim_socket *socket, int32_t error)
{
    struct sim *sim = socket->sim;
    if (socket->error != 0) {
        return;
    }
    socket->error = error;
    socket->open = false;
    sim_event_clear(sim, &socket->break_event);
    sim_event_clear(sim, &socket->in.event);
    socket->in.size = sim_chance(sim, 500) ? socket->in.arrived : 0;
    socket->in.arrived = socket->in.size;
    if (socket->other != NULL) {
        socket->other->other = NULL;
        socket->other = NULL;
    }
    socket_readable(socket);
    if (socket->peer == NULL) {
        send_pump(socket);
    }
}

void sim_socket_reset(struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    if (socket->other != NULL && socket->other->error == 0 && !socket->other->silent) {
        break_plan(socket->other, -ECONNRESET, sim_delay(sim, 50 * NS_PER_MS));
    }
    socket_break(socket, -ECONNRESET);
}

static void break_run(struct sim *sim, struct sim_event *event)
{
    struct sim_socket *socket = CONTAINER_OF(event, struct sim_socket, break_event);
    if (socket->error_next == -ECONNRESET) {
        sim_socket_reset(socket);
        return;
    }
    if (socket->error_next != 0) {
        socket_break(socket, socket->error_next);
        return;
    }
    struct sim_socket *both[] = {socket, socket->other};
    for (unsigned i = 0; i < 2; i += 1) {
        if (both[i] != NULL && both[i]->error == 0) {
            both[i]->silent = true;
            sim_event_clear(sim, &both[i]->in.event);
            break_plan(both[i], -ETIMEDOUT, 60 * NS_PER_S + sim_delay(sim, 900 * NS_PER_S));
        }
    }
}

void sim_socket_finish(struct sim_socket *socket)
{
    socket->finished = true;
    if (socket->other != NULL) {
        socket->other->in.fin = true;
        arrival_plan(socket->other);
    }
}

void sim_socket_close(struct sim_socket *socket, bool silent)
{
    struct sim *sim = socket->sim;
    struct sim_socket *other = socket->other;
    if (other != NULL && other->error == 0) {
        if (silent) {
            other->silent = true;
            sim_event_clear(sim, &other->in.event);
            break_plan(other, -ETIMEDOUT, 60 * NS_PER_S + sim_delay(sim, 900 * NS_PER_S));
        } else if (socket->in.size > 0) {
            break_plan(other, -ECONNRESET, sim_delay(sim, 50 * NS_PER_MS));
        } else {
            sim_socket_finish(socket);
        }
    }
    sim_socket_free(socket);
}

static struct sim_socket *request_socket(const struct sim_request *request)
{
    return request->file->socket;
}

int ring_socket(struct ring *ring, const struct endpoint *peer, const struct endpoint *source,
                const struct socket_options *options)
{
    (void)options;
    struct sim *sim = ring->sim;
    if (sim_fault(sim, SIM_FAULT_no_descriptors)) {
        return -EMFILE;
    }
    bool bound = source != NULL && !address_any(source);
    if (bound && (sim_fault(sim, SIM_FAULT_source_missing) ||
                  sim_reach_find(sim, source) == SIM_REACH_NONE)) {
        return -EADDRNOTAVAIL;
    }
    struct sim_file *file = sim_file_open(ring->node, SIM_FILE_SOCKET);
    file->socket = sim_socket_new(sim);
    file->socket->file = file;
    file->socket->local = bound                    ? *source
                          : address_loopback(peer) ? *peer
                                                   : sim_endpoint(ring->node->host, 0);
    sim->next_port = (uint16_t)MAX_OF(32768, sim->next_port + 1);
    file->socket->local.port = sim->next_port;
    return file->fd;
}

int ring_accepted(struct ring *ring, int fd, const struct socket_options *options,
                  struct endpoint *peer_out, struct endpoint *local_out)
{
    (void)options;
    struct sim_file *file = sim_file_find(ring->node, fd);
    if (file == NULL || file->kind != SIM_FILE_SOCKET) {
        sim_fail(ring->sim, "ring_accepted: %d is no socket", fd);
        return -EBADF;
    }
    *peer_out = file->socket->remote;
    *local_out = file->socket->local;
    return file->socket->error != 0 ? -ENOTCONN : 0;
}

int ring_local(struct ring *ring, int fd, struct endpoint *endpoint_out)
{
    struct sim_file *file = sim_file_find(ring->node, fd);
    if (file == NULL || file->kind != SIM_FILE_SOCKET) {
        sim_fail(ring->sim, "ring_local: %d is no socket", fd);
        return -EBADF;
    }
    *endpoint_out = file->socket->local;
    return 0;
}

void ring_shutdown(struct ring *ring, int fd)
{
    struct sim_file *file = sim_file_find(ring->node, fd);
    if (file == NULL || file->kind != SIM_FILE_SOCKET) {
        sim_fail(ring->sim, "ring_shutdown: %d is no socket", fd);
        return;
    }
    struct sim_socket *socket = file->socket;
    if (socket->error != 0 || !socket->open) {
        return;
    }
    socket->shut = true;
    sim_socket_finish(socket);
    recv_pump(socket);
    send_pump(socket);
}

/* --- receive and send ------------------------------------------------------------------------- */

static void recv_end(struct sim_socket *socket, int32_t result)
{
    struct sim_request *request = socket->recv;
    socket->recv = NULL;
    sim_end(request, result);
}

/* One completion with bytes; false when the receive has ended by it. */
static bool recv_some(struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    struct sim_request *request = socket->recv;
    struct ring *ring = request->ring;
    int buffer = sim_fault(sim, SIM_FAULT_no_buffers) ? -1 : sim_buffer_take(ring);
    if (buffer < 0) {
        ring->counts.no_buffers += 1;
        recv_end(socket, -ENOBUFS);
        return false;
    }
    uint32_t count = MIN_OF(socket->in.arrived, ring->options.buffer_bytes);
    if (sim_fault(sim, SIM_FAULT_split)) {
        count = 1 + (uint32_t)sim_delay(sim, count - 1);
    }
    sim_buffer_fill(ring, buffer, socket->in.data + socket->in.first, count);
    sim_pipe_consume(socket, count);
    bool more = !sim_fault(sim, SIM_FAULT_multishot_end);
    if (!more) {
        socket->recv = NULL;
    }
    sim_complete(request, (int32_t)count, (uint16_t)(OP_BUFFER | (more ? OP_MORE : 0)),
                 (uint16_t)buffer);
    return more;
}

static void recv_pump(struct sim_socket *socket)
{
    if (socket->datagram) {
        sim_datagram_recv_pump(socket);
        return;
    }
    while (socket->recv != NULL) {
        if (socket->in.arrived > 0 && !socket->shut) {
            if (!recv_some(socket)) {
                return;
            }
        } else if (socket->error != 0) {
            recv_end(socket, socket->error);
        } else if (socket->in.fin_arrived || socket->shut) {
            recv_end(socket, 0);
        } else {
            return;
        }
    }
}

void sim_socket_recv(struct sim_request *request)
{
    struct sim_socket *socket = request_socket(request);
    struct sim *sim = socket->sim;
    if (socket->recv != NULL) {
        sim_fail(sim, "two receives on descriptor %d", request->file->fd);
        return;
    }
    socket->recv = request;
    if (!socket->open && socket->error == 0) {
        recv_end(socket, -ENOTCONN);
    } else if (request->ring->buffers_free_count == 0 && sim_chance(sim, 500)) {
        request->ring->counts.no_buffers += 1;
        recv_end(socket, -ENOBUFS);
    } else if (sim_fault(sim, SIM_FAULT_interrupted)) {
        recv_end(socket, sim_chance(sim, 500) ? -EINTR : -EAGAIN);
    } else {
        recv_pump(socket);
    }
}

static void send_end(struct sim_socket *socket, int32_t result)
{
    struct sim_request *request = socket->send;
    socket->send = NULL;
    sim_end(request, result);
}

/* Copies from the iovecs what the other side has room for. */
static void send_copy(struct sim_request *request, struct sim_socket *to)
{
    uint64_t skip = request->size_done;
    for (unsigned i = 0; i < request->count && request->size_done < request->size_stop; i += 1) {
        const struct iovec *iovec = &request->iovecs[i];
        if (skip >= iovec->iov_len) {
            skip -= iovec->iov_len;
            continue;
        }
        size_t size = MIN_OF(iovec->iov_len - skip, request->size_stop - request->size_done);
        uint32_t count = sim_pipe_put(to, (const uint8_t *)iovec->iov_base + skip, size);
        request->size_done += count;
        if (count < size) {
            return;
        }
        skip = 0;
    }
}

static void send_pump(struct sim_socket *socket)
{
    struct sim_request *request = socket->send;
    if (request == NULL) {
        return;
    }
    struct sim *sim = socket->sim;
    if (socket->error != 0 || socket->finished) {
        int32_t error = socket->error == -ETIMEDOUT ? -ETIMEDOUT
                        : sim_chance(sim, 500)      ? -EPIPE
                                                    : -ECONNRESET;
        send_end(socket, request->size_done > 0 ? (int32_t)request->size_done : error);
        return;
    }
    if (socket->other != NULL) {
        send_copy(request, socket->other);
    } else {
        request->size_done = request->size_stop;
        if (!socket->silent && socket->break_event.position == 0) {
            break_plan(socket, -ECONNRESET, sim_delay(sim, 50 * NS_PER_MS));
        }
    }
    if (request->size_done == request->size_stop) {
        send_end(socket, (int32_t)request->size_done);
    }
}

void sim_socket_send(struct sim_request *request)
{
    struct sim_socket *socket = request_socket(request);
    struct sim *sim = socket->sim;
    if (socket->datagram) {
        sim_datagram_send(request);
        return;
    }
    if (socket->send != NULL) {
        sim_fail(sim, "two sends on descriptor %d", request->file->fd);
        return;
    }
    socket->send = request;
    if (!socket->open && socket->error == 0) {
        send_end(socket, -ENOTCONN);
        return;
    }
    if (sim_fault(sim, SIM_FAULT_interrupted)) {
        send_end(socket, sim_chance(sim, 500) ? -EINTR : -EAGAIN);
        return;
    }
    if (request->size > 1 && sim_fault(sim, SIM_FAULT_short_send)) {
        request->size_stop = 1 + sim_below(sim, request->size - 1);
    }
    send_pump(socket);
}

/* --- listen, accept, connect ------------------------------------------------------------------ */

static struct sim_listener *listener_new(struct sim *sim, const struct endpoint *endpoint)
{
    struct sim_listener *listener = sim_memory(sizeof(*listener));
    listener->sim = sim;
    listener->endpoint = *endpoint;
    listener->backlog_max = BACKLOG_DEFAULT;
    list_init(&listener->backlog);
    list_push_back(&sim->listeners, &listener->link);
    return listener;
}

/* A port is shared only by listeners of one node that all say so; never with a test's own. */
static bool port_taken(const struct sim *sim, const struct sim_node *node,
                       const struct endpoint *endpoint, bool reuse_port)
{
    for (struct list *at = sim->listeners.next; at != &sim->listeners; at = at->next) {
        const struct sim_listener *listener = CONTAINER_OF(at, struct sim_listener, link);
        bool taken = listener->node == NULL || (listener->node == node && !reuse_port);
        if (taken && listener->endpoint.port == endpoint->port &&
            same_address(&listener->endpoint, endpoint)) {
            return true;
        }
    }
    return false;
}

int ring_listen(struct ring *ring, const struct endpoint *endpoint,
                const struct socket_options *options, struct endpoint *bound_out)
{
    struct sim *sim = ring->sim;
    *bound_out = *endpoint;
    if (bound_out->port == 0) {
        sim->next_port = (uint16_t)MAX_OF(32768, sim->next_port + 1);
        bound_out->port = sim->next_port;
    }
    if (port_taken(sim, ring->node, bound_out, options->reuse_port)) {
        return -EADDRINUSE;
    }
    struct sim_file *file = sim_file_open(ring->node, SIM_FILE_LISTENER);
    file->listener = listener_new(sim, bound_out);
    file->listener->node = ring->node;
    file->listener->file = file;
    if (options->backlog > 0) {
        file->listener->backlog_max = (unsigned)options->backlog;
    }
    return file->fd;
}

struct sim_listener *sim_peer_listen(struct sim *sim, const struct endpoint *endpoint,
                                     sim_peer_event *event, void *context)
{
    struct sim_listener *listener = listener_new(sim, endpoint);
    listener->event = event;
    listener->context = context;
    return listener;
}

void sim_listener_drop(struct sim_listener *listener, bool silent)
{
    while (!list_empty(&listener->backlog)) {
        struct list *node = list_pop_front(&listener->backlog);
        struct sim_socket *socket = CONTAINER_OF(node, struct sim_socket, backlog);
        if (!silent) {
            sim_socket_reset(socket);
        }
        sim_socket_close(socket, silent);
    }
    list_remove(&listener->link);
    free(listener);
}

void sim_listener_close(struct sim_listener *listener)
{
    sim_listener_drop(listener, false);
}

static void accept_end(struct sim_listener *listener, int32_t result)
{
    struct sim_request *request = listener->accept;
    listener->accept = NULL;
    sim_end(request, result);
}

static void accept_pump(struct sim_listener *listener)
{
    struct sim *sim = listener->sim;
    while (listener->accept != NULL && !list_empty(&listener->backlog)) {
        if (sim_fault(sim, SIM_FAULT_no_descriptors)) {
            accept_end(listener, sim_chance(sim, 500) ? -EMFILE : -ENFILE);
            return;
        }
        struct list *node = list_pop_front(&listener->backlog);
        struct sim_socket *socket = CONTAINER_OF(node, struct sim_socket, backlog);
        listener->backlog_count -= 1;
        if (sim_fault(sim, SIM_FAULT_accept_aborted)) {
            sim_socket_reset(socket);
            sim_socket_close(socket, false);
            accept_end(listener, -ECONNABORTED);
            return;
        }
        struct sim_file *file = sim_file_open(listener->node, SIM_FILE_SOCKET);
        file->socket = socket;
        socket->file = file;
        bool more = !sim_fault(sim, SIM_FAULT_multishot_end);
        struct sim_request *request = listener->accept;
        if (!more) {
            listener->accept = NULL;
        }
        sim_complete(request, file->fd, more ? OP_MORE : 0, 0);
    }
}

int ring_spare(struct ring *ring)
{
    if (sim_fault(ring->sim, SIM_FAULT_no_descriptors)) {
        return -EMFILE;
    }
    return sim_file_open(ring->node, SIM_FILE_SPARE)->fd;
}

int ring_turn_away(struct ring *ring, int listener, struct slice reply, int *spare)
{
    struct sim *sim = ring->sim;
    struct sim_file *file = sim_file_find(ring->node, listener);
    if (file == NULL || file->kind != SIM_FILE_LISTENER || file->listener->accept != NULL) {
        sim_fail(sim, "ring_turn_away: %d is no listener without an accept", listener);
        return -EBADF;
    }
    if (list_empty(&file->listener->backlog)) {
        return -EAGAIN;
    }
    if (*spare < 0 && sim_fault(sim, SIM_FAULT_no_descriptors)) {
        return -EMFILE;
    }
    struct list *node = list_pop_front(&file->listener->backlog);
    struct sim_socket *socket = CONTAINER_OF(node, struct sim_socket, backlog);
    file->listener->backlog_count -= 1;
    if (socket->other != NULL) {
        (void)sim_pipe_put(socket->other, reply.data, reply.size);
    }
    sim_socket_close(socket, false);
    /* What has just become free is ours again, unless another thread was faster. */
    bool lost = sim_fault(sim, SIM_FAULT_no_descriptors) && sim_chance(sim, 100);
    if (*spare >= 0 && lost) {
        ring_discard(ring, *spare);
        *spare = -1;
    } else if (*spare < 0 && !lost) {
        *spare = ring_spare(ring);
    }
    return 0;
}

void sim_socket_accept(struct sim_request *request)
{
    struct sim_listener *listener = request->file->listener;
    if (listener->accept != NULL) {
        sim_fail(listener->sim, "two accepts on descriptor %d", request->file->fd);
        return;
    }
    listener->accept = request;
    if (sim_fault(listener->sim, SIM_FAULT_interrupted)) {
        accept_end(listener, -EINTR);
        return;
    }
    accept_pump(listener);
}

static void connect_end(struct sim_socket *socket, int32_t result)
{
    socket->connecting = false;
    socket->open = result == 0;
    if (result != 0) {
        socket->error = result;
    }
    if (socket->peer != NULL) {
        sim_peer_changed(socket->peer);
        return;
    }
    struct sim_request *request = socket->connect;
    socket->connect = NULL;
    if (request != NULL) {
        sim_end(request, result);
    }
}

static bool listener_matches(const struct sim_listener *listener, const struct sim_socket *socket)
{
    const struct endpoint *to = &socket->remote;
    struct sim_node *from = socket->file != NULL ? socket->file->node : NULL;
    if (listener->endpoint.port != to->port) {
        return false;
    }
    if (address_loopback(to)) {
        return (from == NULL || listener->node == from) &&
               (same_address(&listener->endpoint, to) || address_any(&listener->endpoint));
    }
    if (listener->node != NULL && address_any(&listener->endpoint)) {
        struct endpoint own = sim_endpoint(listener->node->host, to->port);
        return same_address(&own, to);
    }
    return same_address(&listener->endpoint, to);
}

static struct sim_listener *listener_choose(const struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    struct sim_listener *chosen = NULL;
    unsigned count = 0;
    for (struct list *node = sim->listeners.next; node != &sim->listeners; node = node->next) {
        struct sim_listener *listener = CONTAINER_OF(node, struct sim_listener, link);
        if (listener_matches(listener, socket)) {
            count += 1;
            if (count == 1 || sim_below(sim, count) == 0) {
                chosen = listener;
            }
        }
    }
    return chosen;
}

/* What this connection will meet with. */
static void connection_fate(struct sim_socket *client, struct sim_socket *server)
{
    struct sim *sim = client->sim;
    if (sim_fault(sim, SIM_FAULT_small_window)) {
        client->window = 1 + (uint32_t)sim_below(sim, 512);
        server->window = 1 + (uint32_t)sim_below(sim, 512);
    }
    struct sim_socket *victim = sim_chance(sim, 500) ? client : server;
    if (sim_fault(sim, SIM_FAULT_reset)) {
        break_plan(victim, -ECONNRESET, sim_delay(sim, 2 * NS_PER_S));
    } else if (sim_fault(sim, SIM_FAULT_black_hole)) {
        break_plan(victim, 0, sim_delay(sim, 2 * NS_PER_S));
    }
}

static void connect_to(struct sim_socket *socket, struct sim_listener *listener)
{
    struct sim *sim = socket->sim;
    if (listener->backlog_count >= listener->backlog_max) {
        sim_event_set(sim, &socket->connect_event, NS_PER_S);
        return;
    }
    struct sim_socket *server = sim_socket_new(sim);
    server->open = true;
    server->local = socket->remote;
    server->remote = socket->local;
    server->other = socket;
    socket->other = server;
    connection_fate(socket, server);
    connect_end(socket, 0);
    if (listener->node == NULL) {
        sim_peer_accept(listener, server);
        return;
    }
    list_push_back(&listener->backlog, &server->backlog);
    listener->backlog_count += 1;
    accept_pump(listener);
}

static void connect_run(struct sim *sim, struct sim_event *event)
{
    struct sim_socket *socket = CONTAINER_OF(event, struct sim_socket, connect_event);
    enum sim_reach reach = sim_reach_find(sim, &socket->remote);
    if (socket->silent) {
        connect_end(socket, -ETIMEDOUT);
    } else if (reach == SIM_REACH_SILENT || sim_fault(sim, SIM_FAULT_connect_silence)) {
        socket->silent = true;
        sim_event_set(sim, &socket->connect_event, CONNECT_TIMEOUT_NS);
    } else if (reach == SIM_REACH_NONE || sim_fault(sim, SIM_FAULT_unreachable)) {
        connect_end(socket, sim_chance(sim, 500) ? -EHOSTUNREACH : -ENETUNREACH);
    } else if (reach == SIM_REACH_REFUSED || sim_fault(sim, SIM_FAULT_refuse)) {
        connect_end(socket, -ECONNREFUSED);
    } else {
        struct sim_listener *listener = listener_choose(socket);
        if (listener == NULL) {
            connect_end(socket, -ECONNREFUSED);
        } else {
            connect_to(socket, listener);
        }
    }
}

void sim_connect_start(struct sim_socket *socket)
{
    struct sim *sim = socket->sim;
    socket->connecting = true;
    uint64_t delay = 10 * NS_PER_US + sim_below(sim, 500 * NS_PER_US);
    if (sim_fault(sim, SIM_FAULT_delay)) {
        delay += sim_delay(sim, 500 * NS_PER_MS);
    }
    sim_event_set(sim, &socket->connect_event, delay);
}

void sim_socket_connect(struct sim_request *request)
{
    struct sim_socket *socket = request_socket(request);
    if (socket->connecting || socket->open) {
        sim_fail(socket->sim, "second connect on descriptor %d", request->file->fd);
        return;
    }
    socket->connect = request;
    socket->remote = request->endpoint;
    sim_connect_start(socket);
}

/* --- cancel ----------------------------------------------------------------------------------- */

static void cancel_recv(struct sim_socket *socket, bool loses)
{
    if (loses && !socket->silent) {
        socket->in.arrived = socket->in.size;
        recv_pump(socket);
    }
    if (socket->recv != NULL) {
        recv_end(socket, -ECANCELED);
    }
}

static void cancel_connect(struct sim_socket *socket, bool loses)
{
    struct sim *sim = socket->sim;
    sim_event_clear(sim, &socket->connect_event);
    if (loses && !socket->silent) {
        connect_run(sim, &socket->connect_event);
        sim_event_clear(sim, &socket->connect_event);
    }
    if (socket->connect != NULL) {
        connect_end(socket, -ECANCELED);
    }
}

/* The victim ends: with what it has done so far, with more than that, or as cancelled. */
static void cancel_one(struct sim_request *victim)
{
    bool loses = sim_fault(victim->ring->sim, SIM_FAULT_cancel_loses);
    switch (victim->kind) {
    case SIM_ACCEPT:
        accept_end(victim->file->listener, -ECANCELED);
        break;
    case SIM_CONNECT:
        cancel_connect(victim->file->socket, loses);
        break;
    case SIM_RECV:
        cancel_recv(victim->file->socket, loses);
        break;
    case SIM_SEND:
        if (loses) {
            send_pump(victim->file->socket);
        }
        if (victim->file->socket->send == victim) {
            send_end(victim->file->socket,
                     victim->size_done > 0 ? (int32_t)victim->size_done : -ECANCELED);
        }
        break;
    case SIM_CANCEL:
    case SIM_CLOSE:
    case SIM_READ:
    case SIM_WRITE:
    case SIM_SYNC:
    case SIM_DEFER:
        break; /* the kernel finishes what a disk has begun */
    }
}

void sim_socket_cancel(struct sim_request *request)
{
    struct sim_request *victims[8];
    unsigned count = 0;
    struct list *requests = &request->file->requests;
    for (struct list *node = requests->next; node != requests; node = node->next) {
        struct sim_request *victim = CONTAINER_OF(node, struct sim_request, file_link);
        bool meant = request->target == NULL || request->target == victim->op;
        if (meant && count < COUNT_OF(victims)) {
            victims[count] = victim;
            count += 1;
        }
    }
    for (unsigned i = 0; i < count; i += 1) {
        cancel_one(victims[i]);
    }
    int32_t found = request->target == NULL ? (int32_t)count : 0;
    sim_end(request, count > 0 ? found : -ENOENT);
}
