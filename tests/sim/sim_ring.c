/*
 * shard/ring.h over the world. A request is the kernel's side of an op: queued by the submitting
 * call, begun by ring_turn, ended by its last completion. Completions become visible now or later,
 * are collected by the turn in random order (but in order for one op), and dispatched.
 */
#include "tests/sim/sim_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(memory, size)   ((void)(memory), (void)(size))
#define ASAN_UNPOISON_MEMORY_REGION(memory, size) ((void)(memory), (void)(size))
#endif

/* --- open and close --------------------------------------------------------------------------- */

int ring_open(const struct ring_options *options, struct ring **ring_out, struct buf *reason_out)
{
    (void)reason_out;
    struct sim_node *node = options->world;
    CHECK(node != NULL);
    struct ring *ring = sim_memory(sizeof(*ring));
    ring->sim = node->sim;
    ring->node = node;
    ring->options = *options;
    struct list *lists[] = {&ring->queued, &ring->in_flight, &ring->visible,      &ring->collected,
                            &ring->late,   &ring->free_cqes, &ring->free_requests};
    for (unsigned i = 0; i < COUNT_OF(lists); i += 1) {
        list_init(lists[i]);
    }
    unsigned count = options->buffer_count;
    ring->buffers = sim_memory(count * sizeof(*ring->buffers));
    ring->buffers_free = sim_memory(count * sizeof(*ring->buffers_free));
    ring->buffer_taken = sim_memory(count * sizeof(*ring->buffer_taken));
    ring->buffer_notes = sim_memory(count * sizeof(*ring->buffer_notes));
    for (unsigned i = 0; i < count; i += 1) {
        ring->buffers_free[i] = (uint16_t)(count - 1 - i);
    }
    ring->buffers_free_count = count;
    list_push_back(&ring->sim->rings, &ring->world_link);
    list_push_back(&node->rings, &ring->node_link);
    *ring_out = ring;
    return 0;
}

static void requests_free(struct sim *sim, struct list *requests)
{
    while (!list_empty(requests)) {
        struct sim_request *request =
            CONTAINER_OF(list_pop_front(requests), struct sim_request, link);
        sim_event_clear(sim, &request->event);
        list_remove(&request->file_link);
        free(request);
    }
}

static void completions_free(struct sim *sim, struct list *completions)
{
    while (!list_empty(completions)) {
        struct sim_cqe *cqe = CONTAINER_OF(list_pop_front(completions), struct sim_cqe, link);
        sim_event_clear(sim, &cqe->event);
        free(cqe);
    }
}

/* Sockets and listeners must not answer to requests that are gone. */
static void files_forget(struct sim_node *node, const struct ring *ring)
{
    for (unsigned i = 0; i < node->file_count; i += 1) {
        struct sim_file *file = node->files[i];
        struct sim_socket *socket = file->kind == SIM_FILE_SOCKET ? file->socket : NULL;
        struct sim_listener *listener = file->kind == SIM_FILE_LISTENER ? file->listener : NULL;
        if (socket != NULL && socket->recv != NULL && socket->recv->ring == ring) {
            socket->recv = NULL;
        }
        if (socket != NULL && socket->send != NULL && socket->send->ring == ring) {
            socket->send = NULL;
        }
        if (socket != NULL && socket->connect != NULL && socket->connect->ring == ring) {
            socket->connect = NULL;
        }
        if (listener != NULL && listener->accept != NULL && listener->accept->ring == ring) {
            listener->accept = NULL;
        }
    }
}

void sim_ring_free(struct ring *ring)
{
    struct sim *sim = ring->sim;
    files_forget(ring->node, ring);
    requests_free(sim, &ring->queued);
    requests_free(sim, &ring->in_flight);
    requests_free(sim, &ring->free_requests);
    completions_free(sim, &ring->late);
    completions_free(sim, &ring->visible);
    completions_free(sim, &ring->collected);
    completions_free(sim, &ring->free_cqes);
    list_remove(&ring->world_link);
    list_remove(&ring->node_link);
    for (unsigned i = 0; i < ring->options.buffer_count; i += 1) {
        free(ring->buffers[i]);
    }
    free(ring->buffers);
    free(ring->buffers_free);
    free(ring->buffer_taken);
    free(ring->buffer_notes);
    free(ring);
}

bool sim_ring_idle(const struct ring *ring, const char **what_out)
{
    *what_out = "";
    if (!list_empty(&ring->queued) || !list_empty(&ring->in_flight)) {
        *what_out = "an operation is in flight";
    } else if (ring->buffers_free_count != ring->options.buffer_count) {
        *what_out = "a provided buffer has not come home";
    }
    return **what_out == '\0';
}

void ring_close(struct ring *ring)
{
    const char *what = "";
    if (!sim_ring_idle(ring, &what)) {
        sim_fail(ring->sim, "ring_close: %s", what);
    }
    sim_ring_free(ring);
}

const struct ring_counts *ring_counts(const struct ring *ring)
{
    return &ring->counts;
}

void sim_actor_set(struct ring *ring, void (*turn)(void *context), void *context)
{
    ring->turn = turn;
    ring->context = context;
}

/* --- time and chance -------------------------------------------------------------------------- */

uint64_t ring_monotonic_ns(struct ring *ring)
{
    return ring->sim->now_ns;
}

uint64_t ring_wall_ns(struct ring *ring)
{
    struct sim *sim = ring->sim;
    if (sim_fault(sim, SIM_FAULT_wall_jump)) {
        int64_t by = (int64_t)sim_delay(sim, 3600 * NS_PER_S);
        by = !sim->small_jumps && sim_chance(sim, 20) ? by * 24 * 3650 : by;
        sim->wall_offset_ns += sim_chance(sim, 500) ? by : -by;
    }
    return (uint64_t)((int64_t)sim->now_ns + sim->wall_offset_ns);
}

void ring_entropy(struct ring *ring, void *bytes, size_t size)
{
    uint8_t *out = bytes;
    for (size_t i = 0; i < size; i += 1) {
        out[i] = (uint8_t)prng_next(&ring->sim->prng);
    }
}

/* --- completions ------------------------------------------------------------------------------ */

static void cqe_show(struct sim *sim, struct sim_event *event)
{
    struct sim_cqe *cqe = CONTAINER_OF(event, struct sim_cqe, event);
    struct ring *ring = cqe->request->ring;
    cqe->request->late -= 1;
    list_remove(&cqe->link);
    list_push_back(&ring->visible, &cqe->link);
    ring->visible_count += 1;
    if (ring->visible_count > ring->options.complete_entries) {
        ring->counts.cq_overflows += 1;
    }
    sim_trace(sim, (uint64_t)(uint32_t)cqe->result << 8 | cqe->request->kind);
}

void sim_complete(struct sim_request *request, int32_t result, uint16_t flags, uint16_t buffer)
{
    struct ring *ring = request->ring;
    struct sim *sim = ring->sim;
    CHECK(!request->ended);
    struct list *node = list_pop_front(&ring->free_cqes);
    struct sim_cqe *cqe = node != NULL ? CONTAINER_OF(node, struct sim_cqe, link)
                                       : sim_memory(sizeof(*cqe));
    *cqe = (struct sim_cqe){.request = request, .result = result, .flags = flags, .buffer = buffer};
    cqe->event.run = cqe_show;
    list_init(&cqe->link);
    if ((flags & OP_MORE) == 0) {
        request->ended = true;
        list_remove(&request->file_link);
    }
    uint64_t at = sim->now_ns;
    if (sim_fault(sim, SIM_FAULT_late_completion)) {
        at += sim_delay(sim, 50 * NS_PER_MS);
    }
    at = MAX_OF(at, request->visible_ns);
    request->visible_ns = at;
    list_push_back(&ring->late, &cqe->link);
    request->late += 1;
    if (at == sim->now_ns && request->late == 1) {
        cqe_show(sim, &cqe->event);
    } else {
        sim_event_set(sim, &cqe->event, at - sim->now_ns);
    }
}

void sim_end(struct sim_request *request, int32_t result)
{
    sim_complete(request, result, 0, 0);
}

/*
 * Moves everything visible to the collected list in random order; completions of one op keep
 * theirs.
 */
static void ring_collect(struct ring *ring)
{
    unsigned left = ring->visible_count;
    while (left > 0) {
        struct list *node = ring->visible.next;
        for (uint64_t skip = sim_below(ring->sim, MIN_OF(left, 8)); skip > 0; skip -= 1) {
            node = node->next;
        }
        struct sim_cqe *cqe = CONTAINER_OF(node, struct sim_cqe, link);
        for (struct list *at = ring->visible.next; at != node; at = at->next) {
            struct sim_cqe *earlier = CONTAINER_OF(at, struct sim_cqe, link);
            if (earlier->request == cqe->request) {
                cqe = earlier;
                break;
            }
        }
        list_remove(&cqe->link);
        list_push_back(&ring->collected, &cqe->link);
        struct op *op = cqe->request->op;
        if (op->scratch.words[0] != (uint64_t)(uintptr_t)cqe->request || op->state == OP_IDLE) {
            sim_fail(ring->sim, "completion of an op that is not in flight: its memory was reused");
            return;
        }
        if ((cqe->flags & OP_MORE) == 0) {
            op->state = OP_READY;
        }
        left -= 1;
        ring->visible_count -= 1;
    }
}

unsigned ring_dispatch(struct ring *ring)
{
    unsigned count = 0;
    while (!ring->sim->failed && !list_empty(&ring->collected)) {
        struct sim_cqe *cqe = CONTAINER_OF(list_pop_front(&ring->collected), struct sim_cqe, link);
        struct sim_request *request = cqe->request;
        struct op *op = request->op;
        list_push_back(&ring->free_cqes, &cqe->link);
        if (op->scratch.words[0] != (uint64_t)(uintptr_t)request) {
            sim_fail(ring->sim, "a slot was used again before its result was seen");
            return count;
        }
        op->result = cqe->result;
        op->flags = cqe->flags;
        op->buffer = cqe->buffer;
        if ((cqe->flags & OP_BUFFER) != 0) {
            ring->buffer_taken[cqe->buffer] = true;
            ASAN_UNPOISON_MEMORY_REGION(ring_buffer(ring, cqe->buffer),
                                        cqe->result > 0 ? (size_t)cqe->result : 0);
        }
        if ((cqe->flags & OP_MORE) == 0) {
            op->state = OP_IDLE;
            op->scratch.words[0] = 0;
            list_remove(&request->link);
            list_push_back(&ring->free_requests, &request->link);
        }
        ring->counts.completed += 1;
        count += 1;
        op->done(op);
    }
    return count;
}

/* --- submitting ------------------------------------------------------------------------------- */

static struct sim_request *submit(struct ring *ring, struct op *op, enum sim_request_kind kind,
                                  int fd)
{
    if (op->state != OP_IDLE) {
        sim_fail(ring->sim, "submitted an op that is not idle (kind %d, fd %d)", (int)kind, fd);
        return NULL;
    }
    struct list *node = list_pop_front(&ring->free_requests);
    struct sim_request *request = node != NULL ? CONTAINER_OF(node, struct sim_request, link)
                                               : sim_memory(sizeof(*request));
    *request = (struct sim_request){.ring = ring, .op = op, .kind = kind};
    list_init(&request->link);
    list_init(&request->file_link);
    op->state = OP_IN_FLIGHT;
    op->kind = (uint8_t)kind;
    op->fd = fd;
    op->scratch.words[0] = (uint64_t)(uintptr_t)request;
    list_push_back(&ring->queued, &request->link);
    return request;
}

static void submit_vector(struct ring *ring, struct sim_request *request,
                          const struct iovec *iovecs, unsigned count)
{
    if (count > RING_IOVECS_MAX || count == 0) {
        sim_fail(ring->sim, "%u iovecs", count);
        count = 0;
    }
    request->iovecs = iovecs;
    request->count = count;
    for (unsigned i = 0; i < count; i += 1) {
        request->size += iovecs[i].iov_len;
    }
    request->size_stop = request->size;
}

void ring_accept(struct ring *ring, struct op *op, int listener)
{
    (void)submit(ring, op, SIM_ACCEPT, listener);
}

void ring_connect(struct ring *ring, struct op *op, int fd, const struct endpoint *peer)
{
    struct sim_request *request = submit(ring, op, SIM_CONNECT, fd);
    if (request != NULL) {
        request->endpoint = *peer;
    }
}

void ring_recv(struct ring *ring, struct op *op, int fd)
{
    (void)submit(ring, op, SIM_RECV, fd);
}

void ring_send(struct ring *ring, struct op *op, int fd, const struct iovec *iovecs,
               unsigned count)
{
    struct sim_request *request = submit(ring, op, SIM_SEND, fd);
    if (request != NULL) {
        submit_vector(ring, request, iovecs, count);
    }
}

void ring_cancel(struct ring *ring, struct op *op, int fd)
{
    (void)submit(ring, op, SIM_CANCEL, fd);
}

void ring_cancel_op(struct ring *ring, struct op *op, const struct op *target)
{
    if (op_idle(target)) {
        sim_fail(ring->sim, "cancel of an operation that is idle");
        return;
    }
    struct sim_request *request = submit(ring, op, SIM_CANCEL, target->fd);
    if (request != NULL) {
        request->target = target;
    }
}

void ring_close_fd(struct ring *ring, struct op *op, int fd)
{
    (void)submit(ring, op, SIM_CLOSE, fd);
}

void ring_read(struct ring *ring, struct op *op, int fd, void *data, uint32_t size,
               uint64_t offset)
{
    struct sim_request *request = submit(ring, op, SIM_READ, fd);
    if (request != NULL) {
        request->data = data;
        request->size = size;
        request->size_stop = size;
        request->offset = offset;
    }
}

void ring_write(struct ring *ring, struct op *op, int fd, const struct ring_extent *extent,
                bool durable)
{
    struct sim_request *request = submit(ring, op, SIM_WRITE, fd);
    if (request != NULL) {
        submit_vector(ring, request, extent->iovecs, extent->count);
        request->offset = extent->offset;
        request->durable = durable;
    }
}

void ring_sync(struct ring *ring, struct op *op, int fd)
{
    (void)submit(ring, op, SIM_SYNC, fd);
}

void ring_defer(struct ring *ring, struct op *op)
{
    (void)submit(ring, op, SIM_DEFER, -1);
}

/* --- the turn --------------------------------------------------------------------------------- */

static bool request_fits(const struct sim_request *request)
{
    enum sim_file_kind wanted = SIM_FILE_FREE;
    switch (request->kind) {
    case SIM_ACCEPT:
        wanted = SIM_FILE_LISTENER;
        break;
    case SIM_CONNECT:
    case SIM_RECV:
    case SIM_SEND:
        wanted = SIM_FILE_SOCKET;
        break;
    case SIM_READ:
    case SIM_WRITE:
    case SIM_SYNC:
        wanted = SIM_FILE_DISK;
        break;
    case SIM_CANCEL:
    case SIM_CLOSE:
    case SIM_DEFER:
        return true;
    }
    return request->file != NULL && request->file->kind == wanted;
}

static void request_close(struct sim_request *request)
{
    struct sim_file *file = request->file;
    if (!list_empty(&file->requests)) {
        sim_fail(request->ring->sim, "descriptor %d closed with an operation in flight", file->fd);
        return;
    }
    sim_file_free(file);
    sim_end(request, 0);
}

void ring_discard(struct ring *ring, int fd)
{
    struct sim_file *file = sim_file_find(ring->node, fd);
    if (file == NULL || !list_empty(&file->requests)) {
        sim_fail(ring->sim, "ring_discard: %d is in use or not open", fd);
        return;
    }
    sim_file_free(file);
}

static void request_begin(struct sim_request *request)
{
    struct ring *ring = request->ring;
    int fd = request->op->fd;
    request->file = request->kind == SIM_DEFER ? NULL : sim_file_find(ring->node, fd);
    bool needs_file = request->kind != SIM_DEFER;
    if ((needs_file && request->file == NULL) || !request_fits(request)) {
        sim_fail(ring->sim, "operation of kind %d on descriptor %d, which is no such thing",
                 (int)request->kind, fd);
        return;
    }
    if (needs_file && request->kind != SIM_CANCEL && request->kind != SIM_CLOSE) {
        list_push_back(&request->file->requests, &request->file_link);
    }
    switch (request->kind) {
    case SIM_ACCEPT:
        sim_socket_accept(request);
        break;
    case SIM_CONNECT:
        sim_socket_connect(request);
        break;
    case SIM_RECV:
        sim_socket_recv(request);
        break;
    case SIM_SEND:
        sim_socket_send(request);
        break;
    case SIM_CANCEL:
        sim_socket_cancel(request);
        break;
    case SIM_CLOSE:
        request_close(request);
        break;
    case SIM_READ:
        sim_file_read(request);
        break;
    case SIM_WRITE:
        sim_file_write(request);
        break;
    case SIM_SYNC:
        sim_file_sync(request);
        break;
    case SIM_DEFER:
        sim_end(request, 0);
        break;
    }
}

void ring_turn(struct ring *ring, uint64_t until_ns)
{
    ring->counts.enters += 1;
    while (!ring->sim->failed && !list_empty(&ring->queued)) {
        struct sim_request *request =
            CONTAINER_OF(list_pop_front(&ring->queued), struct sim_request, link);
        list_push_back(&ring->in_flight, &request->link);
        ring->counts.submitted += 1;
        request_begin(request);
    }
    ring->sleep_until_ns = until_ns;
    if (!ring->sim->failed) {
        ring_collect(ring);
    }
}

bool sim_ring_ready(const struct ring *ring)
{
    return ring->woken || ring->visible_count > 0 || !list_empty(&ring->collected) ||
           !list_empty(&ring->queued) || ring->sim->now_ns >= ring->sleep_until_ns;
}

void sim_ring_run(struct ring *ring)
{
    bool quiet = ring->visible_count == 0 && list_empty(&ring->collected);
    if (ring->woken) {
        ring->counts.wakes += 1;
    } else if (quiet && ring->sleep_until_ns != 0) {
        ring->counts.timeouts += 1;
    }
    ring->woken = false;
    ring_collect(ring);
    if (!ring->sim->failed) {
        ring->turn(ring->context);
    }
}

void ring_wake(struct ring *target)
{
    target->woken = true;
}

/* --- provided buffers ------------------------------------------------------------------------- */

uint32_t ring_buffer_count(const struct ring *ring)
{
    return ring->options.buffer_count;
}

uint32_t ring_buffers_held(const struct ring *ring)
{
    return ring->options.buffer_count - ring->buffers_free_count;
}

uint32_t ring_buffer_bytes(const struct ring *ring)
{
    return ring->options.buffer_bytes;
}

uint64_t ring_buffers_memory(const struct ring *ring)
{
    return (uint64_t)ring->options.buffer_count * ring->options.buffer_bytes;
}

const uint8_t *ring_buffer(struct ring *ring, uint16_t buffer)
{
    CHECK(buffer < ring->options.buffer_count);
    return ring->buffers[buffer];
}

struct ring_note *ring_buffer_note(struct ring *ring, uint16_t buffer)
{
    CHECK(buffer < ring->options.buffer_count);
    if (!ring->buffer_taken[buffer]) {
        sim_fail(ring->sim, "note of buffer %u, which nobody has taken", (unsigned)buffer);
    }
    return &ring->buffer_notes[buffer];
}

int sim_buffer_take(struct ring *ring)
{
    if (ring->buffers_free_count == 0) {
        return -1;
    }
    ring->buffers_free_count -= 1;
    uint16_t buffer = ring->buffers_free[ring->buffers_free_count];
    if (ring->buffers[buffer] == NULL) {
        ring->buffers[buffer] = sim_memory(ring->options.buffer_bytes);
        ASAN_POISON_MEMORY_REGION(ring->buffers[buffer], ring->options.buffer_bytes);
    }
    return buffer;
}

void sim_buffer_fill(struct ring *ring, int buffer, const void *bytes, size_t size)
{
    uint8_t *memory = ring->buffers[buffer];
    ASAN_UNPOISON_MEMORY_REGION(memory, size);
    memcpy(memory, bytes, size);
    ASAN_POISON_MEMORY_REGION(memory, size);
}

void ring_buffer_give(struct ring *ring, uint16_t buffer)
{
    if (buffer >= ring->options.buffer_count || !ring->buffer_taken[buffer]) {
        sim_fail(ring->sim, "buffer %u given back, which nobody has taken", (unsigned)buffer);
        return;
    }
    ring->buffer_taken[buffer] = false;
    memset(&ring->buffer_notes[buffer], 0xdd, sizeof(ring->buffer_notes[buffer]));
    ring->buffers_free[ring->buffers_free_count] = buffer;
    ring->buffers_free_count += 1;
    size_t junk = MIN_OF(ring->options.buffer_bytes, 256); /* whoever still reads it will see */
    ASAN_UNPOISON_MEMORY_REGION(ring_buffer(ring, buffer), junk);
    memset(ring->buffers[buffer], 0xdd, junk);
    ASAN_POISON_MEMORY_REGION(ring_buffer(ring, buffer), ring->options.buffer_bytes);
}
