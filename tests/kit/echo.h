/*
 * A service as small as one can be that uses the whole life of a stream: a server that sends back
 * what it gets, and a client that checks it. They run unchanged on the real ring and the simulated
 * one; what varies is drawn from their shard's generator.
 */
#ifndef RINGPOST_TESTS_KIT_ECHO_H
#define RINGPOST_TESTS_KIT_ECHO_H

#include "shard/io/stream.h"
#include "shard/shard.h"

#define ECHO_CONNECTIONS_MAX 32
#define ECHO_CHUNK_MAX       1024

struct echo_server;

struct echo_connection {
    struct stream stream;
    struct echo_server *server;
    struct timer idle_timer;
    struct timer nap_timer; /* reads nothing while it is set */
    size_t sending;         /* of the held input */
    bool used;
};

struct echo_server {
    struct shard *shard;
    int listener;
    struct op accept_op;
    struct op cancel_op;
    struct op close_op;
    struct timer accept_timer;
    unsigned nap_per_mille;  /* chance, at each input, to read nothing for a while */
    unsigned quit_per_mille; /* … to end the connection, sending or not */
    bool stopping;
    bool stopped; /* the listener is closed and no connection is left */
    unsigned used;
    uint64_t accepted;
    struct echo_connection connections[ECHO_CONNECTIONS_MAX];
};

/* 0 or -errno; `bound_out` says where it listens. */
MUST_USE int echo_server_start(struct echo_server *server, struct shard *shard,
                               const struct endpoint *endpoint, struct endpoint *bound_out);
/* Ends every connection; `stopped` follows. */
void echo_server_stop(struct echo_server *server);

enum echo_result {
    ECHO_RUNNING,
    ECHO_WHOLE,     /* every byte came back */
    ECHO_GONE,      /* the client went away in the middle, as it was told */
    ECHO_ENDED,     /* the connection ended; `end` is the reason */
    ECHO_TIMED_OUT, /* the client's deadline */
    ECHO_WRONG,     /* other bytes came back than were sent: never */
};

struct echo_client;
/* The client is its owner's again. */
typedef void echo_client_done(struct echo_client *client);

struct echo_client {
    struct stream stream;
    struct shard *shard;
    echo_client_done *done;
    struct timer deadline_timer;
    struct timer nap_timer;
    uint64_t size;    /* bytes to send and to see again */
    uint64_t quit_at; /* goes away after so many have come back; 0: stays */
    uint64_t sent;
    uint64_t checked;
    uint64_t deadline_ns;
    unsigned nap_per_mille;
    uint8_t salt;
    size_t sending;
    enum echo_result result;
    enum stream_end end;
    uint8_t chunk[ECHO_CHUNK_MAX];
};

/* `done`, `size`, `quit_at`, `deadline_ns` and `nap_per_mille` are set by the caller. */
void echo_client_start(struct echo_client *client, struct shard *shard,
                       const struct endpoint *server);

#endif
