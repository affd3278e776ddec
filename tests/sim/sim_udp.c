/*
 * Datagrams: each travels alone, and is lost, doubled, overtaken or refused by chance. What arrives
 * where nobody is bound comes back as a refusal, as the kernel makes it of an ICMP message.
 */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PORT_FIRST 32768u
#define PORT_COUNT 28232u

/* One on its way, or one that has arrived and waits in its socket. */
struct sim_datagram {
    struct sim_event event;
    struct list link; /* world, or its socket */
    struct endpoint from;
    struct endpoint to;
    bool refusal; /* of one that went from `to` to `from` */
    uint32_t size;
    uint8_t data[];
};

struct sim_udp {
    struct list link; /* world */
    struct endpoint endpoint;
    sim_udp_event *event;
    void *context;
};

static void datagram_free(struct sim *sim, struct sim_datagram *datagram)
{
    sim_event_clear(sim, &datagram->event);
    list_remove(&datagram->link);
    free(datagram);
}

void sim_datagrams_free(struct sim *sim, struct list *datagrams)
{
    while (!list_empty(datagrams)) {
        datagram_free(sim, CONTAINER_OF(datagrams->next, struct sim_datagram, link));
    }
}

/* --- sockets of nodes ------------------------------------------------------------------------- */

static struct sim_socket *socket_at(struct sim *sim, const struct endpoint *local,
                                    const struct endpoint *remote)
{
    for (struct list *node = sim->sockets.next; node != &sim->sockets; node = node->next) {
        struct sim_socket *socket = CONTAINER_OF(node, struct sim_socket, link);
        if (socket->datagram && endpoint_equal(&socket->local, local) &&
            (remote == NULL || endpoint_equal(&socket->remote, remote))) {
            return socket;
        }
    }
    return NULL;
}

int ring_udp(struct ring *ring, const struct endpoint *peer)
{
    struct sim *sim = ring->sim;
    if (sim_fault(sim, SIM_FAULT_no_descriptors)) {
        return -EMFILE;
    }
    if (sim_reach_find(sim, peer) == SIM_REACH_NONE || sim_fault(sim, SIM_FAULT_unreachable)) {
        return -ENETUNREACH;
    }
    struct endpoint local =
        endpoint_is_loopback(peer) ? *peer : sim_endpoint(ring->node->host, 0);
    do {
        local.port = (uint16_t)(PORT_FIRST + sim_below(sim, PORT_COUNT));
    } while (socket_at(sim, &local, NULL) != NULL);
    struct sim_file *file = sim_file_open(ring->node, SIM_FILE_SOCKET);
    struct sim_socket *socket = sim_socket_new(sim);
    file->socket = socket;
    socket->file = file;
    socket->datagram = true;
    socket->open = true;
    socket->local = local;
    socket->remote = *peer;
    return file->fd;
}

/* One datagram into one buffer; false when the receive has ended by it. */
static bool recv_one(struct sim_socket *socket, struct sim_datagram *datagram)
{
    struct sim *sim = socket->sim;
    struct sim_request *request = socket->recv;
    struct ring *ring = request->ring;
    int buffer = sim_fault(sim, SIM_FAULT_no_buffers) ? -1 : sim_buffer_take(ring);
    if (buffer < 0) {
        ring->counts.no_buffers += 1;
        socket->recv = NULL;
        sim_end(request, -ENOBUFS);
        return false;
    }
    uint32_t count = MIN_OF(datagram->size, ring->options.buffer_bytes);
    sim_buffer_fill(ring, buffer, datagram->data, count);
    datagram_free(sim, datagram);
    bool more = !sim_fault(sim, SIM_FAULT_multishot_end);
    if (!more) {
        socket->recv = NULL;
    }
    sim_complete(request, (int32_t)count, (uint16_t)(OP_BUFFER | (more ? OP_MORE : 0)),
                 (uint16_t)buffer);
    return more;
}

void sim_datagram_recv_pump(struct sim_socket *socket)
{
    while (socket->recv != NULL && (socket->refused || !list_empty(&socket->datagrams))) {
        struct sim_request *request = socket->recv;
        struct sim_datagram *datagram =
            CONTAINER_OF(socket->datagrams.next, struct sim_datagram, link);
        if (socket->refused) {
            socket->refused = false;
            socket->recv = NULL;
            sim_end(request, -ECONNREFUSED);
        } else if (datagram->size == 0) {
            datagram_free(socket->sim, datagram);
            socket->recv = NULL;
            sim_end(request, 0);
        } else if (!recv_one(socket, datagram)) {
            return;
        }
    }
}

void sim_datagram_send(struct sim_request *request)
{
    struct sim_socket *socket = request->file->socket;
    struct sim *sim = socket->sim;
    uint8_t bytes[UINT16_MAX];
    size_t size = 0;
    if (socket->refused) {
        socket->refused = false;
        sim_end(request, -ECONNREFUSED);
        return;
    }
    if (sim_fault(sim, SIM_FAULT_interrupted)) {
        sim_end(request, sim_chance(sim, 500) ? -EINTR : -EAGAIN);
        return;
    }
    if (request->size > sizeof(bytes)) {
        sim_end(request, -EMSGSIZE);
        return;
    }
    for (unsigned i = 0; i < request->count; i += 1) {
        memcpy(bytes + size, request->iovecs[i].iov_base, request->iovecs[i].iov_len);
        size += request->iovecs[i].iov_len;
    }
    sim_udp_send(sim, &socket->local, &socket->remote, slice_make(bytes, size));
    sim_end(request, (int32_t)size);
}

/* --- on the way ------------------------------------------------------------------------------- */

static void datagram_go(struct sim *sim, struct sim_datagram *datagram)
{
    uint64_t delay = 10 * NS_PER_US + sim_below(sim, 500 * NS_PER_US);
    if (sim_fault(sim, SIM_FAULT_delay)) {
        delay += sim_delay(sim, 500 * NS_PER_MS);
    }
    sim_event_set(sim, &datagram->event, delay);
}

static void refuse(struct sim *sim, struct sim_datagram *datagram)
{
    struct endpoint from = datagram->from;
    if (datagram->refusal) {
        datagram_free(sim, datagram);
        return;
    }
    datagram->refusal = true;
    datagram->from = datagram->to;
    datagram->to = from;
    datagram_go(sim, datagram);
}

static struct sim_udp *peer_at(struct sim *sim, const struct endpoint *endpoint)
{
    for (struct list *node = sim->udps.next; node != &sim->udps; node = node->next) {
        struct sim_udp *udp = CONTAINER_OF(node, struct sim_udp, link);
        if (endpoint_equal(&udp->endpoint, endpoint)) {
            return udp;
        }
    }
    return NULL;
}

static void datagram_arrive(struct sim *sim, struct sim_event *event)
{
    struct sim_datagram *datagram = CONTAINER_OF(event, struct sim_datagram, event);
    struct sim_udp *udp = peer_at(sim, &datagram->to);
    struct sim_socket *socket = socket_at(sim, &datagram->to, &datagram->from);
    enum sim_reach reach = sim_reach_find(sim, &datagram->to);
    bool out = socket == NULL && !datagram->refusal;
    if (out && reach == SIM_REACH_SILENT) {
        datagram_free(sim, datagram);
    } else if (out && (reach == SIM_REACH_REFUSED || sim_fault(sim, SIM_FAULT_refuse))) {
        refuse(sim, datagram);
    } else if (socket != NULL && datagram->refusal) {
        socket->refused = true;
        datagram_free(sim, datagram);
        sim_datagram_recv_pump(socket);
    } else if (socket != NULL) {
        list_remove(&datagram->link);
        list_push_back(&socket->datagrams, &datagram->link);
        sim_datagram_recv_pump(socket);
    } else if (udp != NULL && !datagram->refusal) {
        udp->event(udp, &datagram->from, slice_make(datagram->data, datagram->size),
                   udp->context);
        datagram_free(sim, datagram);
    } else {
        refuse(sim, datagram);
    }
}

void sim_udp_send(struct sim *sim, const struct endpoint *from, const struct endpoint *to,
                  struct slice bytes)
{
    unsigned copies = sim_fault(sim, SIM_FAULT_datagram_lost)    ? 0
                      : sim_fault(sim, SIM_FAULT_datagram_twice) ? 2
                                                                 : 1;
    CHECK(bytes.size <= UINT16_MAX);
    for (unsigned i = 0; i < copies; i += 1) {
        struct sim_datagram *datagram = sim_memory(sizeof(*datagram) + bytes.size);
        datagram->event.run = datagram_arrive;
        datagram->from = *from;
        datagram->to = *to;
        datagram->size = (uint32_t)bytes.size;
        if (bytes.size > 0) {
            memcpy(datagram->data, bytes.data, bytes.size);
        }
        list_init(&datagram->link);
        list_push_back(&sim->datagrams, &datagram->link);
        datagram_go(sim, datagram);
    }
}

/* --- scripted ones ---------------------------------------------------------------------------- */

struct sim_udp *sim_udp_open(struct sim *sim, const struct endpoint *endpoint,
                             sim_udp_event *event, void *context)
{
    struct sim_udp *udp = sim_memory(sizeof(*udp));
    CHECK(peer_at(sim, endpoint) == NULL);
    *udp = (struct sim_udp){.endpoint = *endpoint, .event = event, .context = context};
    list_init(&udp->link);
    list_push_back(&sim->udps, &udp->link);
    return udp;
}

void sim_udp_close(struct sim_udp *udp)
{
    list_remove(&udp->link);
    free(udp);
}

void sim_udps_free(struct sim *sim)
{
    while (!list_empty(&sim->udps)) {
        sim_udp_close(CONTAINER_OF(sim->udps.next, struct sim_udp, link));
    }
}
