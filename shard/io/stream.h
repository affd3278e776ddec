/*
 * A TCP connection on the ring: in order, whole, or ended for a reason. It finishes interrupted,
 * short, would-block and no-buffer results itself; its user never sees them.
 *
 * The user embeds the struct, and gives its memory back only in `released`, which comes once, from
 * the loop, after every operation has come home and the descriptor is closed.
 *
 * Input stands in provided buffers that the stream holds until they are consumed, linked through
 * their notes. While more than STREAM_HELD_MAX are held the receive is cancelled: the peer's window
 * closes. What comes before the cancel wins is held as well, all the ring's buffers if need be; the
 * receive begins again only when STREAM_HELD_MAX / 2 are left, so that a stream whose user waits
 * keeps one burst and no more. Other streams meet an empty ring meanwhile and try again. While
 * three quarters of the ring's buffers are held the line is STREAM_HELD_SHORT: clients that make
 * us wait leave buffers for those that do not, and for the replies of servers.
 * Plain today; TLS is a sibling of the same shape.
 */
#ifndef RINGPOST_SHARD_IO_STREAM_H
#define RINGPOST_SHARD_IO_STREAM_H

#include "core/slice.h"
#include "core/wheel.h"
#include "shard/ring.h"

#define STREAM_HELD_MAX   8
#define STREAM_HELD_SHORT 1

struct shard;
struct stream;

enum stream_end {
    STREAM_OPEN,    /* not ended */
    STREAM_EOF,     /* the peer has sent its last byte */
    STREAM_RESET,   /* broken by the peer or the network */
    STREAM_REFUSED, /* connect: nobody there */
    STREAM_UNREACHABLE,
    STREAM_TIMEOUT, /* the kernel gave up */
    STREAM_LOCAL,     /* our own side: no descriptors, no ports */
    STREAM_UNPLUMBED, /* the source address is none of this host */
};

/* All are called from the loop. After stream_close only `released` is. */
struct stream_user {
    /* Connect has ended; STREAM_OPEN is success. */
    void (*connected)(struct stream *stream, enum stream_end end);
    /* Bytes have come, or the input has ended (stream->end says so; held bytes come first). */
    void (*input)(struct stream *stream);
    /* The last stream_send is done, whole (STREAM_OPEN) or not. */
    void (*sent)(struct stream *stream, enum stream_end end);
    /* After stream_detach: nothing is in flight. May be null when nobody asks for it. */
    void (*detached)(struct stream *stream);
    /* The last callback: the stream's memory is the user's again. */
    void (*released)(struct stream *stream);
};

struct stream {
    struct shard *shard;            /* borrowed */
    const struct stream_user *user; /* constant */
    int fd;
    enum stream_end end;
    bool connecting;
    bool closing;
    bool detaching;  /* receive cancelled; `detached` follows, or the descriptor is on its way */
    bool paused;     /* held too much: receive cancelled */
    bool stopped;    /* the user wants no more for now */
    bool starved;    /* no provided buffer was free: receive again by starved_timer */
    bool cancelled;  /* closing: what was in flight has been cancelled */
    struct op recv_op;
    struct op send_op; /* also the connect */
    struct op cancel_op;
    struct op close_op;
    struct op defer_op; /* tells from the loop that there was no socket to connect */
    struct timer starved_timer;
    uint16_t held_first; /* provided buffers, linked by their notes */
    uint16_t held_last;
    uint32_t held_count;
    struct iovec iovecs[RING_IOVECS_MAX]; /* what is left to send */
    unsigned iovec_first;
    unsigned iovec_count;
    uint64_t bytes_in;
    uint64_t bytes_out;
};

/* Of an accepted descriptor, or one that has left another stream; receiving begins at once. */
void stream_accept(struct stream *stream, struct shard *shard, const struct stream_user *user,
                   int fd);
/*
 * Connects to `peer` from `source` (zero: any). Always ends in `connected`, from the loop, unless
 * closed before.
 */
void stream_connect(struct stream *stream, struct shard *shard, const struct stream_user *user,
                    const struct endpoint *peer, const struct endpoint *source,
                    const struct socket_options *options);

/* The first held bytes, contiguous; empty when there are none. */
struct slice stream_input(const struct stream *stream);
/* All held bytes. */
size_t stream_held_bytes(const struct stream *stream);
/* Takes `count` held bytes off; exhausted buffers go back to the ring. */
void stream_consume(struct stream *stream, size_t count);

/*
 * Whether to receive. What is held, and what comes before the cancel wins, is input all the same.
 */
void stream_set_reading(struct stream *stream, bool reading);

/*
 * One send at a time, of at least one byte. The iovecs are copied, count ≤ RING_IOVECS_MAX; the
 * memory they name stays until `sent`, or `released` when the stream is closed before. It may be
 * held input. Nothing happens on a closed stream.
 */
void stream_send(struct stream *stream, const struct iovec *iovecs, unsigned count);
bool stream_sending(const struct stream *stream);

/*
 * The descriptor is to go on in a stream of another shard: the receive ends, and `detached` follows
 * from the loop, unless the stream is closed before. Nothing is being sent or connected. What has
 * come meanwhile is input as ever, and then the user had better keep it.
 */
void stream_detach(struct stream *stream);
/* In `detached` or later: it stays after all, and receives again. */
void stream_attach(struct stream *stream);
/* The same: the descriptor goes, with no input held. The stream is over, without `released`. */
MUST_USE int stream_leave(struct stream *stream);

/* From anywhere, any number of times; `released` follows from the loop. */
void stream_close(struct stream *stream);

#endif
