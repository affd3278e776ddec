/* Scripted clients and servers: a socket that belongs to a test. */
#include "tests/sim/sim_internal.h"

#include <stdlib.h>
#include <string.h>

static void notify_run(struct sim *sim, struct sim_event *event)
{
    (void)sim;
    struct sim_peer *peer = CONTAINER_OF(event, struct sim_peer, notify);
    if (!peer->closed) {
        peer->event(peer, peer->context);
    }
}

/* The test hears of it from the loop, never from inside its own call. */
static void notify(struct sim_peer *peer)
{
    if (peer->event != NULL && !peer->closed && peer->notify.position == 0) {
        sim_event_set(peer->sim, &peer->notify, 0);
    }
}

void sim_peer_changed(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    if (socket == NULL) {
        return;
    }
    if (socket->error != 0) {
        peer->state = SIM_PEER_ENDED;
    } else if (socket->in.fin_arrived) {
        peer->state = SIM_PEER_EOF;
    } else if (socket->open && peer->state == SIM_PEER_CONNECTING) {
        peer->state = SIM_PEER_OPEN;
        sim_peer_pump(peer);
    }
    notify(peer);
}

static struct sim_peer *peer_new(struct sim *sim, struct sim_socket *socket, sim_peer_event *event,
                                 void *context)
{
    struct sim_peer *peer = sim_memory(sizeof(*peer));
    peer->sim = sim;
    peer->socket = socket;
    peer->event = event;
    peer->context = context;
    peer->notify.run = notify_run;
    peer->remote = socket->remote;
    socket->peer = peer;
    list_push_back(&sim->peers, &peer->link);
    return peer;
}

struct sim_peer *sim_peer_accept(struct sim_listener *listener, struct sim_socket *socket)
{
    struct sim_peer *peer = peer_new(listener->sim, socket, listener->event, listener->context);
    peer->state = SIM_PEER_OPEN;
    notify(peer);
    return peer;
}

struct sim_peer *sim_peer_connect(struct sim *sim, const struct endpoint *from,
                                  const struct endpoint *to, sim_peer_event *event, void *context)
{
    struct sim_socket *socket = sim_socket_new(sim);
    socket->local = *from;
    if (from->port == 0) {
        sim->next_port = (uint16_t)MAX_OF(32768, sim->next_port + 1);
        socket->local.port = sim->next_port;
    }
    socket->remote = *to;
    struct sim_peer *peer = peer_new(sim, socket, event, context);
    sim_connect_start(socket);
    return peer;
}

void sim_peer_free(struct sim_peer *peer)
{
    sim_event_clear(peer->sim, &peer->notify);
    list_remove(&peer->link);
    free(peer->out);
    free(peer);
}

enum sim_peer_state sim_peer_state(const struct sim_peer *peer)
{
    return peer->state;
}

const struct endpoint *sim_peer_remote(const struct sim_peer *peer)
{
    return &peer->remote;
}

void *sim_peer_tag(const struct sim_peer *peer)
{
    return peer->tag;
}

void sim_peer_tag_set(struct sim_peer *peer, void *tag)
{
    peer->tag = tag;
}

void sim_peer_pump(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    if (socket == NULL || !socket->open || socket->finished) {
        return;
    }
    if (peer->out_size > 0) {
        uint32_t count = (uint32_t)peer->out_size;
        if (socket->other != NULL) {
            count = sim_pipe_put(socket->other, peer->out, peer->out_size);
        }
        memmove(peer->out, peer->out + count, peer->out_size - count);
        peer->out_size -= count;
        if (socket->other == NULL && !socket->silent) {
            sim_socket_reset(socket);
            return;
        }
    }
    if (peer->out_size == 0) {
        if (peer->finishing) {
            sim_socket_finish(socket);
        }
        notify(peer);
    }
}

void sim_peer_send(struct sim_peer *peer, struct slice bytes)
{
    if (peer->closed || bytes.size == 0) {
        return;
    }
    if (peer->out_size + bytes.size > peer->out_capacity) {
        peer->out_capacity = (peer->out_size + bytes.size) * 2;
        peer->out = realloc(peer->out, peer->out_capacity);
        CHECK(peer->out != NULL);
    }
    memcpy(peer->out + peer->out_size, bytes.data, bytes.size);
    peer->out_size += bytes.size;
    sim_peer_pump(peer);
}

size_t sim_peer_unsent(const struct sim_peer *peer)
{
    return peer->out_size;
}

struct slice sim_peer_input(const struct sim_peer *peer)
{
    const struct sim_socket *socket = peer->socket;
    if (socket == NULL || socket->in.arrived == 0) {
        return SLICE_NONE;
    }
    return slice_make(socket->in.data + socket->in.first, socket->in.arrived);
}

void sim_peer_consume(struct sim_peer *peer, size_t count)
{
    if (peer->socket != NULL) {
        sim_pipe_consume(peer->socket, (uint32_t)count);
    }
}

void sim_peer_finish(struct sim_peer *peer)
{
    peer->finishing = true;
    sim_peer_pump(peer);
}

static void peer_drop(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    peer->closed = true;
    peer->state = SIM_PEER_ENDED;
    peer->socket = NULL;
    if (socket != NULL) {
        socket->peer = NULL;
        sim_socket_close(socket, false);
    }
}

void sim_peer_reset(struct sim_peer *peer)
{
    if (peer->socket != NULL && peer->socket->error == 0) {
        sim_socket_reset(peer->socket);
    }
    peer_drop(peer);
}

void sim_peer_close(struct sim_peer *peer)
{
    struct sim_socket *socket = peer->socket;
    if (socket != NULL && socket->open && socket->other != NULL && peer->out_size > 0) {
        socket->other->window += (uint32_t)peer->out_size; /* the kernel sends the rest */
        sim_peer_pump(peer);
    }
    peer_drop(peer);
}
