/*
 * The seam on io_uring.
 *
 * The boot thread makes the ring disabled (R_DISABLED); its owner enables it in its first turn, so
 * that SINGLE_ISSUER binds to the right task, and registers there what belongs to a task: the ring
 * descriptor and the limit on kernel workers. With DEFER_TASKRUN nothing completes but inside our
 * own enter; one enter a turn submits everything and collects everything.
 *
 * The user data of an operation is the address of its struct op. Completions are copied into the
 * ready array, so that the kernel has its ring back before the first callback runs; an op whose
 * last completion is in the array is OP_READY. Every completion passes completion_take.
 *
 * The doorbell is an eventfd with a multishot poll in the ring itself. The counter is never read:
 * every write wakes the poll again, and a poll armed anew on a counter that is not zero completes
 * at once, so that a ring can be rung before it has ever turned.
 *
 * Provided buffers are given back to the kernel in one store a turn: it takes them only inside
 * enter.
 */
#include "shard/ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/check.h"
#include "core/poison.h"
#include "shard/boot.h"
#include "shard/ring_faults.h"
#include "shard/sockaddr.h"

#define BUFFER_GROUP   0
#define ENTROPY_BYTES  256
#define PREFETCH_AHEAD 4
#define KIND_AFTER     255 /* of an operation whose result a test has ordered */

/* One completion, as it waits for ring_dispatch. */
struct ready {
    struct op *op;
    int32_t result;
    uint16_t flags; /* OP_MORE, OP_BUFFER */
    uint16_t buffer;
};

struct ring {
    struct io_uring uring;
    struct ring_options options;
    struct ring_counts counts;
    bool enabled;
    bool bell_armed;
    unsigned enter_flags;
    int bell_fd;
    struct op bell;
    uint64_t in_flight; /* operations of others */

    struct ready *ready; /* ready_capacity of them */
    unsigned ready_capacity;
    unsigned ready_first;
    unsigned ready_count;
    struct op *deferred_first; /* complete in the next turn; linked by scratch.words[0] */
    struct op *deferred_last;
    struct op *due_first; /* deferred ops whose turn has come */

    struct io_uring_buf_ring *buffer_ring;
    uint8_t *buffers;
    struct ring_note *notes; /* one a buffer */
    unsigned buffers_unpublished;
    unsigned buffers_out; /* with their consumers */

    struct ring_faults *faults;     /* ordered by a test; null: none */
    const struct ring_fault *fault; /* of the operation that is being submitted */

    uint64_t memory_bytes; /* of this struct and all arrays: one piece */
    unsigned entropy_left;
    uint8_t entropy[ENTROPY_BYTES];
};

static_assert(sizeof(struct msghdr) <= sizeof(((struct op *)0)->scratch.words), "of ring_send");
static_assert(SOCKADDR_BYTES_MAX <= sizeof(((struct op *)0)->scratch.address), "of ring_connect");
static_assert(sizeof(struct timespec) == sizeof(struct __kernel_timespec), "of late_begin");

/* --- opening ---------------------------------------------------------------------------------- */

struct opcode {
    uint8_t code;
    const char *name;
};

static const struct opcode opcodes[] = {
    {IORING_OP_NOP, "nop"},
    {IORING_OP_POLL_ADD, "poll_add"},
    {IORING_OP_ACCEPT, "accept"},
    {IORING_OP_CONNECT, "connect"},
    {IORING_OP_RECV, "recv"},
    {IORING_OP_SEND, "send"},
    {IORING_OP_SENDMSG, "sendmsg"},
    {IORING_OP_ASYNC_CANCEL, "async_cancel"},
    {IORING_OP_CLOSE, "close"},
    {IORING_OP_READ, "read"},
    {IORING_OP_WRITE, "write"},
    {IORING_OP_WRITEV, "writev"},
    {IORING_OP_FSYNC, "fsync"},
};

/* What the owner still has to register after the restrictions are in force. */
static const uint8_t register_opcodes[] = {
    IORING_REGISTER_RING_FDS,
    IORING_UNREGISTER_RING_FDS,
    IORING_REGISTER_IOWQ_MAX_WORKERS,
};

static int sysctl_io_uring_disabled(void)
{
    int fd = open("/proc/sys/kernel/io_uring_disabled", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    char digit = '0';
    ssize_t size = read(fd, &digit, 1);
    close(fd);
    return size == 1 ? digit - '0' : 0;
}

static void explain_setup(int error, struct buf *reason)
{
    struct rlimit memlock = {0};
    (void)getrlimit(RLIMIT_MEMLOCK, &memlock);
    int disabled = sysctl_io_uring_disabled();
    if (disabled != 0) {
        buf_printf(reason, "io_uring is off for this user: sysctl kernel.io_uring_disabled=%d",
                   disabled);
    } else if (error == -ENOSYS || error == -EPERM) {
        buf_printf(reason, "io_uring is forbidden (%s): by a seccomp or container profile",
                   strerror(-error));
    } else if (error == -ENOMEM) {
        buf_printf(reason, "no memory for an io_uring (memlock limit %llu bytes)",
                   (unsigned long long)memlock.rlim_cur);
    } else if (error == -EINVAL) {
        buf_printf(reason, "this kernel's io_uring is too old: 6.1 or later is needed");
    } else {
        buf_printf(reason, "io_uring: %s", strerror(-error));
    }
}

/* Every opcode we use must be there. */
static int ring_probe(struct ring *ring, struct buf *reason)
{
    union {
        struct io_uring_probe probe;
        uint8_t room[sizeof(struct io_uring_probe) + 256 * sizeof(struct io_uring_probe_op)];
    } answer = {0};
    int error = io_uring_register_probe(&ring->uring, &answer.probe, 256);
    if (error < 0) {
        buf_printf(reason, "io_uring: cannot ask for its operations: %s", strerror(-error));
        return error;
    }
    for (size_t i = 0; i < COUNT_OF(opcodes); i++) {
        if (!io_uring_opcode_supported(&answer.probe, opcodes[i].code)) {
            buf_printf(reason, "this kernel's io_uring lacks the operation %s", opcodes[i].name);
            return -ENOSYS;
        }
    }
    return 0;
}

/*
 * The ring may do what we use and no more. By direct register call: the packaged shared library
 * lacks the function. A kernel that refuses restrictions is used without.
 */
static void ring_restrict(struct ring *ring)
{
    if (RING_FAULTS && ring->faults != NULL) {
        return; /* what is late needs timers and links */
    }
    struct io_uring_restriction rules[COUNT_OF(opcodes) + COUNT_OF(register_opcodes) + 1] = {0};
    unsigned count = 0;
    for (size_t i = 0; i < COUNT_OF(opcodes); i++) {
        rules[count].opcode = IORING_RESTRICTION_SQE_OP;
        rules[count++].sqe_op = opcodes[i].code;
    }
    for (size_t i = 0; i < COUNT_OF(register_opcodes); i++) {
        rules[count].opcode = IORING_RESTRICTION_REGISTER_OP;
        rules[count++].register_op = register_opcodes[i];
    }
    rules[count].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    rules[count++].sqe_flags = IOSQE_BUFFER_SELECT;
    (void)io_uring_register((unsigned)ring->uring.ring_fd, IORING_REGISTER_RESTRICTIONS, rules,
                            count);
}

static int ring_setup(struct ring *ring, struct buf *reason)
{
    struct io_uring_params params = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP |
                 IORING_SETUP_R_DISABLED,
        .cq_entries = ring->options.complete_entries,
    };
    int error = io_uring_queue_init_params(ring->options.submit_entries, &ring->uring, &params);
    if (error < 0) {
        explain_setup(error, reason);
        return error;
    }
    if ((params.features & IORING_FEAT_EXT_ARG) == 0 ||
        (params.features & IORING_FEAT_NODROP) == 0) {
        explain_setup(-EINVAL, reason);
        error = -EINVAL;
    } else {
        error = ring_probe(ring, reason);
    }
    if (error < 0) {
        io_uring_queue_exit(&ring->uring);
    }
    return error;
}

static int ring_register_buffers(struct ring *ring, struct buf *reason)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)ring->buffer_ring,
        .ring_entries = ring->options.buffer_count,
        .bgid = BUFFER_GROUP,
    };
    int error = io_uring_register_buf_ring(&ring->uring, &registration, 0);
    if (error < 0) {
        buf_printf(reason, "io_uring: cannot register %u receive buffers: %s",
                   ring->options.buffer_count, strerror(-error));
        return error;
    }
    io_uring_buf_ring_init(ring->buffer_ring);
    ring->buffers_out = ring->options.buffer_count;
    for (unsigned i = 0; i < ring->options.buffer_count; i++) {
        ring_buffer_give(ring, (uint16_t)i);
    }
    return 0;
}

/* One piece: the buffer ring first, as it wants a page; then buffers, ready array, notes, ring. */
static struct ring *ring_carve(const struct ring_options *options)
{
    uint64_t ring_bytes = align_up(options->buffer_count * sizeof(struct io_uring_buf), 4096);
    uint64_t buffers_bytes = align_up((uint64_t)options->buffer_count * options->buffer_bytes, 64);
    unsigned ready_capacity = 2 * options->complete_entries;
    uint64_t ready_bytes = align_up(ready_capacity * sizeof(struct ready), 64);
    uint64_t notes_bytes = align_up(options->buffer_count * sizeof(struct ring_note), 64);
    uint64_t notes_at = ring_bytes + buffers_bytes + ready_bytes;
    uint64_t total = notes_at + notes_bytes + sizeof(struct ring);
    uint8_t *memory = boot_memory_take(total);
    if (memory == NULL) {
        return NULL;
    }
    /* Touched here, so that no receive pays for it. */
    for (uint64_t at = 0; at < total; at += 4096) {
        memory[at] = 0;
    }
    struct ring *ring = (void *)(memory + notes_at + notes_bytes);
    *ring = (struct ring){
        .options = *options,
        .bell_fd = -1,
        .buffer_ring = (void *)memory,
        .buffers = memory + ring_bytes,
        .notes = (void *)(memory + notes_at),
        .ready = (void *)(memory + ring_bytes + buffers_bytes),
        .ready_capacity = ready_capacity,
        .memory_bytes = total,
    };
    return ring;
}

static void ring_drop(struct ring *ring)
{
    if (ring->bell_fd >= 0) {
        close(ring->bell_fd);
    }
    if (RING_FAULTS) {
        ring_faults_close(ring->faults);
    }
    UNPOISON(ring->buffers, (size_t)ring->options.buffer_count * ring->options.buffer_bytes);
    boot_memory_give(ring->buffer_ring, ring->memory_bytes);
}

int ring_open(const struct ring_options *options, struct ring **ring_out, struct buf *reason_out)
{
    CHECK(options->buffer_count > 0 && options->buffer_count <= 32768);
    CHECK((options->buffer_count & (options->buffer_count - 1)) == 0);
    struct ring *ring = ring_carve(options);
    if (ring == NULL) {
        buf_printf(reason_out, "no memory for %u receive buffers", options->buffer_count);
        return -ENOMEM;
    }
    ring->bell_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (ring->bell_fd < 0) {
        int error = -errno;
        buf_printf(reason_out, "no descriptor for the doorbell: %s", strerror(-error));
        ring_drop(ring);
        return error;
    }
    int error = RING_FAULTS ? ring_faults_open(&ring->faults, reason_out) : 0;
    error = error < 0 ? error : ring_setup(ring, reason_out);
    if (error < 0) {
        ring_drop(ring);
        return error;
    }
    error = ring_register_buffers(ring, reason_out);
    if (error < 0) {
        io_uring_queue_exit(&ring->uring);
        ring_drop(ring);
        return error;
    }
    ring_restrict(ring);
    *ring_out = ring;
    return 0;
}

void ring_close(struct ring *ring)
{
    CHECK(ring->in_flight == 0);
    CHECK(ring->buffers_out == 0);
    io_uring_queue_exit(&ring->uring);
    ring_drop(ring);
}

const struct ring_counts *ring_counts(const struct ring *ring)
{
    return &ring->counts;
}

/* In the owner's first turn. */
static void ring_enable(struct ring *ring)
{
    unsigned descriptor = (unsigned)ring->uring.ring_fd;
    CHECK(io_uring_register(descriptor, IORING_REGISTER_ENABLE_RINGS, NULL, 0) == 0);
    ring->enabled = true;
    ring->enter_flags = IORING_ENTER_EXT_ARG;
    /* Both only save work: a kernel that refuses them serves all the same. */
    if (io_uring_register_ring_fd(&ring->uring) == 1) {
        ring->enter_flags |= IORING_ENTER_REGISTERED_RING;
    }
    unsigned workers[2] = {2, 2};
    (void)io_uring_register_iowq_max_workers(&ring->uring, workers);
}

void ring_entropy(struct ring *ring, void *bytes, size_t size)
{
    uint8_t *out = bytes;
    while (size > 0) {
        if (ring->entropy_left == 0) {
            CHECK(getrandom(ring->entropy, ENTROPY_BYTES, 0) == ENTROPY_BYTES);
            ring->entropy_left = ENTROPY_BYTES;
        }
        size_t count = MIN_OF(size, (size_t)ring->entropy_left);
        uint8_t *from = ring->entropy + ENTROPY_BYTES - ring->entropy_left;
        memcpy(out, from, count);
        memset(from, 0, count);
        ring->entropy_left -= (unsigned)count;
        out += count;
        size -= count;
    }
}

/* --- completions ------------------------------------------------------------------------------ */

static void ready_push(struct ring *ring, const struct ready *ready)
{
    CHECK(ring->ready_count < ring->ready_capacity);
    ring->ready[ring->ready_count++] = *ready;
}

static void bell_take(struct ring *ring, int32_t result, bool more)
{
    ring->bell_armed = more;
    ring->counts.wakes += result > 0;
}

/* A buffer that came with nothing in it goes straight back. */
static uint16_t buffer_flag(struct ring *ring, int32_t result, uint32_t cqe_flags)
{
    if ((cqe_flags & IORING_CQE_F_BUFFER) == 0) {
        return 0;
    }
    uint16_t buffer = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT);
    ring->buffers_out++;
    UNPOISON(ring->buffers + (size_t)buffer * ring->options.buffer_bytes,
             ring->options.buffer_bytes);
    if (result <= 0) {
        ring_buffer_give(ring, buffer);
        return 0;
    }
    return OP_BUFFER;
}

/* Every completion of the kernel comes through here, once. */
static void completion_take(struct ring *ring, struct op *op, int32_t result, uint32_t cqe_flags)
{
    bool more = (cqe_flags & IORING_CQE_F_MORE) != 0;
    if (op == &ring->bell) {
        bell_take(ring, result, more);
        return;
    }
    CHECK(op->state == OP_IN_FLIGHT);
    if (!more) {
        op->state = OP_READY;
    }
    if (RING_FAULTS && UNLIKELY(op->kind == KIND_AFTER)) {
        result = (int32_t)op->scratch.words[0];
    }
    ring->counts.completed++;
    ring->counts.no_buffers += result == -ENOBUFS && op->kind == IORING_OP_RECV;
    struct ready ready = {
        .op = op,
        .result = result,
        .flags = (uint16_t)((more ? OP_MORE : 0) | buffer_flag(ring, result, cqe_flags)),
        .buffer = (uint16_t)(cqe_flags >> IORING_CQE_BUFFER_SHIFT),
    };
    ready_push(ring, &ready);
}

/* Takes what stands in the completion ring, as far as there is room; returns the count. */
static unsigned ring_reap(struct ring *ring)
{
    struct io_uring_cq *cq = &ring->uring.cq;
    unsigned head = *cq->khead;
    unsigned count = io_uring_smp_load_acquire(cq->ktail) - head;
    count = MIN_OF(count, ring->ready_capacity - ring->ready_count);
    for (unsigned i = 0; i < count; i++) {
        if (i + PREFETCH_AHEAD < count) {
            unsigned ahead = (head + i + PREFETCH_AHEAD) & cq->ring_mask;
            __builtin_prefetch((const void *)(uintptr_t)cq->cqes[ahead].user_data, 1);
        }
        const struct io_uring_cqe *cqe = &cq->cqes[(head + i) & cq->ring_mask];
        completion_take(ring, (struct op *)(uintptr_t)cqe->user_data, cqe->res, cqe->flags);
    }
    io_uring_cq_advance(&ring->uring, count);
    return count;
}

/* The deferred ops of the last turn become ready behind what is ready already. */
static void deferred_ripen(struct ring *ring)
{
    if (ring->deferred_first == NULL || ring->due_first != NULL) {
        return;
    }
    for (struct op *op = ring->deferred_first; op != NULL; op = (void *)op->scratch.words[0]) {
        op->state = OP_READY;
    }
    ring->due_first = ring->deferred_first;
    ring->deferred_first = NULL;
    ring->deferred_last = NULL;
}

static void op_finish(struct ring *ring, const struct ready *ready)
{
    struct op *op = ready->op;
    op->result = ready->result;
    op->flags = ready->flags;
    op->buffer = ready->buffer;
    if ((ready->flags & OP_MORE) == 0) {
        op->state = OP_IDLE;
        ring->in_flight--;
    }
    op->done(op);
}

unsigned ring_dispatch(struct ring *ring)
{
    unsigned count = 0;
    while (ring->ready_first < ring->ready_count) {
        struct ready ready = ring->ready[ring->ready_first++];
        if (ring->ready_first < ring->ready_count) {
            __builtin_prefetch(ring->ready[ring->ready_first].op, 1);
        }
        op_finish(ring, &ready);
        count++;
    }
    ring->ready_first = 0;
    ring->ready_count = 0;
    while (ring->due_first != NULL) {
        struct op *op = ring->due_first;
        ring->due_first = (void *)op->scratch.words[0];
        struct ready ready = {.op = op, .result = op->result};
        op_finish(ring, &ready);
        count++;
    }
    return count;
}

/* --- the turn --------------------------------------------------------------------------------- */

static unsigned submissions_waiting(struct ring *ring)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    return sq->sqe_tail - io_uring_smp_load_acquire(sq->khead);
}

/* One io_uring_enter. Its result: how many were submitted, or a negative errno that may happen. */
static int ring_enter(struct ring *ring, unsigned complete_min, unsigned flags,
                      struct __kernel_timespec *timeout)
{
    struct io_uring_sq *sq = &ring->uring.sq;
    struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)timeout};
    unsigned count = submissions_waiting(ring);
    sq->sqe_head = sq->sqe_tail;
    io_uring_smp_store_release(sq->ktail, sq->sqe_tail);
    bool registered = (ring->enter_flags & IORING_ENTER_REGISTERED_RING) != 0;
    unsigned descriptor =
        (unsigned)(registered ? ring->uring.enter_ring_fd : ring->uring.ring_fd);
    int result = io_uring_enter2(descriptor, count, complete_min, flags | ring->enter_flags,
                                 (void *)&argument, sizeof(argument));
    ring->counts.enters++;
    if (result > 0) {
        ring->counts.submitted += (unsigned)result;
    }
    /* Anything else is our bug: a ring that is not ours or not enabled, or lost completions. */
    CHECK(result >= 0 || result == -ETIME || result == -EINTR || result == -EAGAIN ||
          result == -EBUSY || result == -ENOMEM);
    return result;
}

static void bell_arm(struct ring *ring);

static void buffers_publish(struct ring *ring)
{
    if (ring->buffers_unpublished > 0) {
        io_uring_buf_ring_advance(ring->buffer_ring, (int)ring->buffers_unpublished);
        ring->buffers_unpublished = 0;
    }
}

static bool ring_has_ready(const struct ring *ring)
{
    return ring->ready_first < ring->ready_count || ring->due_first != NULL;
}

void ring_turn(struct ring *ring, uint64_t until_ns)
{
    if (UNLIKELY(!ring->enabled)) {
        ring_enable(ring);
    }
    if (UNLIKELY(!ring->bell_armed)) {
        bell_arm(ring);
    }
    deferred_ripen(ring);
    buffers_publish(ring);
    uint64_t now_ns = until_ns > 0 ? ring_monotonic_ns(ring) : 0;
    bool sleeps = until_ns > now_ns && !ring_has_ready(ring);
    uint64_t sleep_ns = sleeps ? until_ns - now_ns : 0;
    struct __kernel_timespec timeout = {
        .tv_sec = (long long)(sleep_ns / NS_PER_S),
        .tv_nsec = (long long)(sleep_ns % NS_PER_S),
    };
    int result = ring_enter(ring, sleeps, IORING_ENTER_GETEVENTS, sleeps ? &timeout : NULL);
    if (UNLIKELY((io_uring_smp_load_acquire(ring->uring.sq.kflags) & IORING_SQ_CQ_OVERFLOW) != 0)) {
        ring->counts.cq_overflows++;
    }
    if (ring_reap(ring) > 0) {
        return;
    }
    if (result == -EBUSY || result == -EAGAIN || result == -ENOMEM) {
        /* The kernel took nothing, and has not looked for completions either: those make room. */
        (void)ring_enter(ring, 0, IORING_ENTER_GETEVENTS, NULL);
        ring_reap(ring);
        return;
    }
    if (sleeps && result != -EINTR && (result == -ETIME || ring_monotonic_ns(ring) >= until_ns)) {
        ring->counts.timeouts++;
    }
}

void ring_wake(struct ring *target)
{
    uint64_t one = 1;
    atomic_fetch_add_explicit(&target->counts.rings, 1, memory_order_relaxed);
    ssize_t size = write(target->bell_fd, &one, sizeof(one));
    /* -EAGAIN: 2^64 - 2 wakes that nobody took; the poll has long been woken. */
    CHECK(size == (ssize_t)sizeof(one) || errno == EAGAIN);
}

/* --- submitting ------------------------------------------------------------------------------- */

static void op_defer(struct ring *ring, struct op *op, int32_t result)
{
    op->result = result;
    op->scratch.words[0] = 0;
    if (ring->deferred_first == NULL) {
        ring->deferred_first = op;
    } else {
        ring->deferred_last->scratch.words[0] = (uint64_t)(uintptr_t)op;
    }
    ring->deferred_last = op;
}

static struct io_uring_sqe *sqe_take(struct ring *ring)
{
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    if (UNLIKELY(sqe == NULL)) {
        /* More in one turn than the ring holds: hand over what is there, collect nothing. */
        CHECK(ring->enabled);
        (void)ring_enter(ring, 0, 0, NULL);
        sqe = io_uring_get_sqe(&ring->uring);
    }
    return sqe;
}

/* --- what a test orders (shard/ring_faults.h) ------------------------------------------------- */

static const char *opcode_name(uint8_t code)
{
    for (size_t i = 0; i < COUNT_OF(opcodes); i++) {
        if (opcodes[i].code == code) {
            return opcodes[i].name;
        }
    }
    return "";
}

/* A timer before the entry that is taken next. Both in one submission: a chain ends with it. */
static void late_begin(struct ring *ring, const struct ring_fault *fault)
{
    if (io_uring_sq_space_left(&ring->uring) < 2) {
        (void)ring_enter(ring, 0, 0, NULL);
    }
    struct io_uring_sqe *sqe = io_uring_get_sqe(&ring->uring);
    CHECK(sqe != NULL);
    io_uring_prep_timeout(sqe, (struct __kernel_timespec *)(uintptr_t)&fault->late, 0,
                          IORING_TIMEOUT_ETIME_SUCCESS);
    sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    sqe->user_data = 0;
}

/* True when the operation ends without the kernel. What is left to do is done in sqe_name. */
static bool op_faulted(struct ring *ring, struct op *op)
{
    const struct ring_fault *fault =
        ring_faults_next(ring->faults, opcode_name(op->kind), op->fd);
    ring->fault = fault;
    if (fault == NULL) {
        return false;
    }
    if (fault->error < 0) {
        op_defer(ring, op, fault->error);
        return true;
    }
    if (fault->late.tv_sec > 0 || fault->late.tv_nsec > 0) {
        late_begin(ring, fault);
    }
    return false;
}

/* What gathers becomes the plain operation on its first piece. */
static void sqe_shorten(struct io_uring_sqe *sqe, uint32_t bytes_max)
{
    const struct iovec *first = NULL;
    if (sqe->opcode == IORING_OP_WRITEV) {
        first = (const struct iovec *)(uintptr_t)sqe->addr;
        sqe->opcode = IORING_OP_WRITE;
    } else if (sqe->opcode == IORING_OP_SENDMSG) {
        first = ((const struct msghdr *)(uintptr_t)sqe->addr)->msg_iov;
        sqe->opcode = IORING_OP_SEND;
    }
    if (first != NULL) {
        sqe->addr = (uint64_t)(uintptr_t)first->iov_base;
        sqe->len = (uint32_t)first->iov_len;
    }
    sqe->len = MIN_OF(sqe->len, bytes_max);
}

static void sqe_fault(struct io_uring_sqe *sqe, struct op *op, const struct ring_fault *fault)
{
    if (fault->bytes_max > 0) {
        sqe_shorten(sqe, fault->bytes_max);
    }
    if (fault->after < 0) {
        op->kind = KIND_AFTER;
        op->scratch.words[0] = (uint64_t)(int64_t)fault->after;
    }
}

/* --- operations ------------------------------------------------------------------------------- */

/*
 * The entry for an operation, or null when the kernel would not take any: then the operation ends
 * with -EAGAIN in the next turn.
 */
static struct io_uring_sqe *op_submit(struct ring *ring, struct op *op, uint8_t opcode, int fd)
{
    CHECK(op->state == OP_IDLE);
    CHECK(op->done != NULL);
    op->state = OP_IN_FLIGHT;
    op->kind = opcode;
    op->fd = fd;
    ring->in_flight++;
    if (RING_FAULTS && UNLIKELY(ring->faults != NULL) && op_faulted(ring, op)) {
        return NULL;
    }
    struct io_uring_sqe *sqe = sqe_take(ring);
    if (UNLIKELY(sqe == NULL)) {
        op_defer(ring, op, -EAGAIN);
    }
    return sqe;
}

/* After the prepare function of the library, which clears the field. */
static void sqe_name(struct ring *ring, struct io_uring_sqe *sqe, struct op *op)
{
    sqe->user_data = (uint64_t)(uintptr_t)op;
    if (RING_FAULTS && UNLIKELY(ring->fault != NULL)) {
        sqe_fault(sqe, op, ring->fault);
        ring->fault = NULL;
    }
}

static void bell_arm(struct ring *ring)
{
    struct io_uring_sqe *sqe = sqe_take(ring);
    if (sqe == NULL) {
        return;
    }
    io_uring_prep_poll_multishot(sqe, ring->bell_fd, POLLIN);
    sqe_name(ring, sqe, &ring->bell);
    ring->bell_armed = true;
}

void ring_accept(struct ring *ring, struct op *op, int listener)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_ACCEPT, listener);
    if (sqe != NULL) {
        io_uring_prep_multishot_accept(sqe, listener, NULL, NULL, SOCK_CLOEXEC);
        sqe_name(ring, sqe, op);
    }
}

void ring_connect(struct ring *ring, struct op *op, int fd, const struct endpoint *peer)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_CONNECT, fd);
    if (sqe != NULL) {
        socklen_t size = sockaddr_put(peer, op->scratch.address);
        io_uring_prep_connect(sqe, fd, (const struct sockaddr *)(void *)op->scratch.address, size);
        sqe_name(ring, sqe, op);
    }
}

void ring_recv(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_RECV, fd);
    if (sqe != NULL) {
        io_uring_prep_recv_multishot(sqe, fd, NULL, 0, 0);
        sqe->flags |= IOSQE_BUFFER_SELECT;
        sqe->buf_group = BUFFER_GROUP;
        sqe_name(ring, sqe, op);
    }
}

void ring_send(struct ring *ring, struct op *op, int fd, const struct iovec *iovecs,
               unsigned count)
{
    CHECK(count > 0 && count <= RING_IOVECS_MAX);
    CHECK_SLOW(iovecs[0].iov_len <= UINT32_MAX);
    const int flags = MSG_NOSIGNAL | MSG_WAITALL;
    struct io_uring_sqe *sqe =
        op_submit(ring, op, count == 1 ? IORING_OP_SEND : IORING_OP_SENDMSG, fd);
    if (sqe == NULL) {
        return;
    }
    if (count == 1) {
        io_uring_prep_send(sqe, fd, iovecs[0].iov_base, iovecs[0].iov_len, flags);
    } else {
        struct msghdr *message = (void *)op->scratch.words;
        *message = (struct msghdr){.msg_iov = (struct iovec *)(uintptr_t)iovecs,
                                   .msg_iovlen = count};
        io_uring_prep_sendmsg(sqe, fd, message, (unsigned)flags);
    }
    sqe_name(ring, sqe, op);
}

void ring_cancel(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_ASYNC_CANCEL, fd);
    if (sqe != NULL) {
        io_uring_prep_cancel_fd(sqe, fd, IORING_ASYNC_CANCEL_ALL);
        sqe_name(ring, sqe, op);
    }
}

void ring_cancel_op(struct ring *ring, struct op *op, const struct op *target)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_ASYNC_CANCEL, target->fd);
    if (sqe != NULL) {
        io_uring_prep_cancel64(sqe, (uint64_t)(uintptr_t)target, 0);
        sqe_name(ring, sqe, op);
    }
}

void ring_close_fd(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_CLOSE, fd);
    if (sqe != NULL) {
        io_uring_prep_close(sqe, fd);
        sqe_name(ring, sqe, op);
    }
}

uint32_t ring_buffer_count(const struct ring *ring)
{
    return ring->options.buffer_count;
}

uint32_t ring_buffers_held(const struct ring *ring)
{
    return ring->buffers_out;
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
    CHECK_SLOW(buffer < ring->options.buffer_count);
    return ring->buffers + (size_t)buffer * ring->options.buffer_bytes;
}

struct ring_note *ring_buffer_note(struct ring *ring, uint16_t buffer)
{
    CHECK_SLOW(buffer < ring->options.buffer_count);
    return &ring->notes[buffer];
}

void ring_buffer_give(struct ring *ring, uint16_t buffer)
{
    CHECK(buffer < ring->options.buffer_count && ring->buffers_out > 0);
    ring->buffers_out--;
    uint8_t *data = ring->buffers + (size_t)buffer * ring->options.buffer_bytes;
    POISON(data, ring->options.buffer_bytes);
    io_uring_buf_ring_add(ring->buffer_ring, data, ring->options.buffer_bytes, buffer,
                          io_uring_buf_ring_mask(ring->options.buffer_count),
                          (int)ring->buffers_unpublished);
    ring->buffers_unpublished++;
}

void ring_read(struct ring *ring, struct op *op, int fd, void *data, uint32_t size,
               uint64_t offset)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_READ, fd);
    if (sqe != NULL) {
        io_uring_prep_read(sqe, fd, data, size, offset);
        sqe_name(ring, sqe, op);
    }
}

void ring_write(struct ring *ring, struct op *op, int fd, const struct ring_extent *extent,
                bool durable)
{
    CHECK(extent->count > 0 && extent->count <= RING_IOVECS_MAX);
    const struct iovec *first = &extent->iovecs[0];
    struct io_uring_sqe *sqe =
        op_submit(ring, op, extent->count == 1 ? IORING_OP_WRITE : IORING_OP_WRITEV, fd);
    if (sqe == NULL) {
        return;
    }
    if (extent->count == 1) {
        CHECK_SLOW(first->iov_len <= UINT32_MAX);
        io_uring_prep_write(sqe, fd, first->iov_base, (unsigned)first->iov_len, extent->offset);
    } else {
        io_uring_prep_writev(sqe, fd, extent->iovecs, extent->count, extent->offset);
    }
    sqe->rw_flags = durable ? RWF_DSYNC : 0;
    sqe_name(ring, sqe, op);
}

void ring_sync(struct ring *ring, struct op *op, int fd)
{
    struct io_uring_sqe *sqe = op_submit(ring, op, IORING_OP_FSYNC, fd);
    if (sqe != NULL) {
        io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
        sqe_name(ring, sqe, op);
    }
}

void ring_defer(struct ring *ring, struct op *op)
{
    CHECK(op->state == OP_IDLE);
    CHECK(op->done != NULL);
    op->state = OP_IN_FLIGHT;
    op->kind = IORING_OP_NOP;
    ring->in_flight++;
    op_defer(ring, op, 0);
}
