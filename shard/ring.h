/*
 * The seam: sockets, files, clock and entropy of one thread. Two implementations, chosen at link
 * time: ring_uring.c (io_uring; the only file that knows liburing) and tests/sim (one thread, one
 * seed, virtual time). Nothing on a shard reaches the kernel by another way but shard/work.h.
 *
 * An operation is a struct op embedded in its owner. It is idle, in flight, or ready (its last
 * completion is reaped and its callback has not run yet). Submitting one that is not idle is a bug.
 * An op becomes idle just before the callback of its last completion, never earlier: a sibling's
 * callback must not reuse a slot whose result nobody has seen. Memory that an operation names
 * (data, iovecs, addresses) must stay until then. Callbacks run from ring_dispatch only, never
 * inside a submitting call.
 *
 * Results are those of the kernel: 0 or positive, or a negative errno. Sends and writes may be
 * short; a cancel is advice: the target's own completion ends it and may still say success.
 * A ring belongs to one thread; only ring_wake may be called from another.
 */
#ifndef RINGPOST_SHARD_RING_H
#define RINGPOST_SHARD_RING_H

#include <sys/uio.h>

#include "core/base.h"
#include "core/endpoint.h"
#include "core/slice.h"

struct ring;
struct op;

typedef void op_done(struct op *op);

enum op_state { OP_IDLE, OP_IN_FLIGHT, OP_READY };

/* Bits of op.flags in a callback. */
enum {
    OP_MORE = 1,   /* multishot: more completions follow, the op is still in flight */
    OP_BUFFER = 2, /* op.buffer names a provided buffer with op.result bytes; give it back */
};

struct op {
    op_done *done;   /* set by the owner before submitting */
    int32_t result;  /* valid in the callback */
    uint16_t flags;
    uint16_t buffer;
    uint8_t state;   /* enum op_state; written by the ring alone */
    uint8_t kind;    /* the ring's own */
    int32_t fd;
    union {          /* arguments that must live until the kernel has read them; the ring's own */
        uint8_t address[28];
        uint64_t words[8];
    } scratch;
};

static inline void op_init(struct op *op, op_done *done)
{
    *op = (struct op){.done = done, .fd = -1};
}

static inline bool op_idle(const struct op *op)
{
    return op->state == OP_IDLE;
}

struct ring_options {
    uint32_t submit_entries;  /* power of two, ≤ 4096 */
    uint32_t complete_entries;
    uint32_t buffer_count;    /* provided receive buffers, power of two */
    uint32_t buffer_bytes;
    void *world;              /* the simulator's (struct sim_node); null for the real ring */
};

/* Counts since the ring was opened. Those marked 0 are zero in every test. */
struct ring_counts {
    uint64_t enters;        /* io_uring_enter calls */
    uint64_t submitted;
    uint64_t completed;
    uint64_t cq_overflows;  /* 0 */
    uint64_t no_buffers;    /* receives ended because no provided buffer was free */
    uint64_t wakes;         /* ring_wake calls that this ring has taken notice of */
    uint64_t timeouts;      /* sleeps that ran to their end: no completion, no wake */
    _Atomic uint64_t rings; /* ring_wake calls, from any thread, noticed or not */
};

/*
 * Made by the boot thread, first used (ring_turn) by its owner. On failure a negative errno, and
 * one plain line in `reason_out` saying what is missing (kernel, sysctl, memlock) (F-24, U-22).
 */
MUST_USE int ring_open(const struct ring_options *options, struct ring **ring_out,
                       struct buf *reason_out);
/* No op may be in flight, and every provided buffer is home. */
void ring_close(struct ring *ring);

const struct ring_counts *ring_counts(const struct ring *ring);

/* --- time and chance ------------------------------------------------------------------------ */

uint64_t ring_monotonic_ns(struct ring *ring);
uint64_t ring_wall_ns(struct ring *ring); /* since 1970, UTC */
void ring_entropy(struct ring *ring, void *bytes, size_t size);

/* --- the turn -------------------------------------------------------------------------------- */

/*
 * Submits everything queued and collects completions. Sleeps until there is one, a wake, or
 * `until_ns` (monotonic) has come; 0 does not sleep.
 */
void ring_turn(struct ring *ring, uint64_t until_ns);
/* Calls the callbacks of all collected completions in order of arrival; returns their count. */
unsigned ring_dispatch(struct ring *ring);
/* Ends the sleep of another thread's ring_turn, or its next one. Any thread. */
void ring_wake(struct ring *target);

/* --- sockets: made at once ------------------------------------------------------------------- */

struct socket_options {
    const char *congestion; /* TCP_CONGESTION, or "" for the system's */
    bool reuse_port;
    int backlog;
};

/* A listening TCP socket; with port 0 `bound_out` names the one chosen. Descriptor or -errno. */
MUST_USE int ring_listen(struct ring *ring, const struct endpoint *endpoint,
                         const struct socket_options *options, struct endpoint *bound_out);
/* A TCP socket for ring_connect, TCP_NODELAY set; bound to `source` unless its address is zero. */
MUST_USE int ring_socket(struct ring *ring, const struct endpoint *peer,
                         const struct endpoint *source, const struct socket_options *options);
/*
 * A UDP socket that talks to `peer` alone, from a port that the kernel chooses at random and shares
 * with nobody; what others send there it drops. Descriptor or -errno (-ENETUNREACH: no way there).
 * On it ring_send sends one datagram, and each completion of ring_recv is one: at most a provided
 * buffer of it, so one that fills the buffer may have been cut. An empty one ends the receive with
 * 0, and -ECONNREFUSED (of either) says that nobody is there; both may be begun again.
 */
MUST_USE int ring_udp(struct ring *ring, const struct endpoint *peer);
/* Both ends of an accepted descriptor; TCP_NODELAY and congestion it has from its listener. */
MUST_USE int ring_accepted(struct ring *ring, int fd, const struct socket_options *options,
                           struct endpoint *peer_out, struct endpoint *local_out);
/* Our end of a connected descriptor. 0 or -errno. */
MUST_USE int ring_local(struct ring *ring, int fd, struct endpoint *endpoint_out);

/* --- sockets: operations --------------------------------------------------------------------- */

/* Multishot: each completion is a new descriptor or an error; without OP_MORE it has ended. */
void ring_accept(struct ring *ring, struct op *op, int listener);
void ring_connect(struct ring *ring, struct op *op, int fd, const struct endpoint *peer);
/*
 * Multishot receive into provided buffers. Result > 0 with OP_BUFFER: bytes; 0: end of stream;
 * -ENOBUFS: no buffer was free, receive again after buffers have come home.
 */
void ring_recv(struct ring *ring, struct op *op, int fd);
/* One gathered send (MSG_NOSIGNAL, MSG_WAITALL). May be short. count ≤ RING_IOVECS_MAX. */
void ring_send(struct ring *ring, struct op *op, int fd, const struct iovec *iovecs,
               unsigned count);
#define RING_IOVECS_MAX 64
/* Cancels every operation on `fd`. Result: how many were found; none may also be -ENOENT. */
void ring_cancel(struct ring *ring, struct op *op, int fd);
/* Cancels `target` alone, an operation on a descriptor of this ring. Result: 0, or a negative. */
void ring_cancel_op(struct ring *ring, struct op *op, const struct op *target);
/* Ends both directions of a socket at once (RST or FIN as the kernel sees fit); no operation. */
void ring_shutdown(struct ring *ring, int fd);
/*
 * Closes a descriptor at once on which this ring has never submitted anything: one just accepted,
 * or just come from another shard.
 */
void ring_discard(struct ring *ring, int fd);
/* A descriptor that is good for nothing, kept back for ring_turn_away; or -errno. */
MUST_USE int ring_spare(struct ring *ring);
/*
 * For when no descriptor is left (F-23, U-19): gives up `*spare` (-1: there is none), accepts who
 * has waited longest at this listener, on which no accept is in flight, says `reply`, closes, and
 * takes a spare again, if one is to be had. At once; nobody is waited for. 0: somebody was turned
 * away; -EAGAIN: nobody waits; else -errno, and who waits goes on waiting.
 */
MUST_USE int ring_turn_away(struct ring *ring, int listener, struct slice reply, int *spare);
/* Closes a descriptor on which nothing is in flight. */
void ring_close_fd(struct ring *ring, struct op *op, int fd);

/* --- provided buffers ------------------------------------------------------------------------ */

const uint8_t *ring_buffer(struct ring *ring, uint16_t buffer);
/* How many there are, and how many of them are with those who received into them. */
uint32_t ring_buffer_count(const struct ring *ring);
uint32_t ring_buffers_held(const struct ring *ring);
/* Bytes of one, and of all of them. */
uint32_t ring_buffer_bytes(const struct ring *ring);
uint64_t ring_buffers_memory(const struct ring *ring);
/* Exactly once for every OP_BUFFER completion. */
void ring_buffer_give(struct ring *ring, uint16_t buffer);

/*
 * A place for whoever holds a buffer, so that a list of buffers needs no memory of its own. Valid
 * from the OP_BUFFER completion to ring_buffer_give; the ring never looks.
 */
struct ring_note {
    uint16_t next;   /* another buffer */
    uint32_t offset; /* of what is left */
    uint32_t size;
};
struct ring_note *ring_buffer_note(struct ring *ring, uint16_t buffer);

/* --- files (opened by a job of shard/work.h) -------------------------------------------------- */

/* Positioned read into memory and an offset aligned as the file needs. May be short. */
void ring_read(struct ring *ring, struct op *op, int fd, void *data, uint32_t size,
               uint64_t offset);
/* What one write writes, and where. The iovecs stay until it completes, the extent need not. */
struct ring_extent {
    const struct iovec *iovecs;
    unsigned count; /* ≤ RING_IOVECS_MAX */
    uint64_t offset;
};
/* `durable`: RWF_DSYNC, complete means on stable storage. May be short. */
void ring_write(struct ring *ring, struct op *op, int fd, const struct ring_extent *extent,
                bool durable);
/* fdatasync. */
void ring_sync(struct ring *ring, struct op *op, int fd);

/* --- nothing --------------------------------------------------------------------------------- */

/* Completes with 0 in the next turn: the rest of bounded work. */
void ring_defer(struct ring *ring, struct op *op);

#endif
