/*
 * A socket that listens, and what is accepted from it. After an error of accepting (no descriptors,
 * no memory) it rests for 100 ms (F-23): that is not over in a turn. Embedded in its owner, on its
 * shard; the struct has to stay until listener_is_closed.
 */
#ifndef RINGPOST_SHARD_IO_LISTENER_H
#define RINGPOST_SHARD_IO_LISTENER_H

#include "shard/shard.h"

struct listener;

/* The descriptor is the owner's. Also while it closes: what has come may still be told why. */
typedef void listener_accepted(struct listener *listener, int fd);
/* A negative errno; it rests then. */
typedef void listener_failed(struct listener *listener, int error);

struct listener {
    struct shard *shard;         /* borrowed */
    listener_accepted *accepted;
    listener_failed *failed;     /* null: nobody wants to know */
    int fd;                      /* negative: closed */
    bool closing;
    struct endpoint bound;
    struct op accept_op;
    struct op cancel_op;
    struct op close_op;
    struct timer again;
};

/* Listens and accepts from now on; 0, or a negative errno, and it is closed. */
MUST_USE int listener_open(struct listener *listener, struct shard *shard,
                           const struct endpoint *endpoint, const struct socket_options *options);
void listener_close(struct listener *listener);
static inline bool listener_is_closed(const struct listener *listener)
{
    return listener->fd < 0;
}

#endif
