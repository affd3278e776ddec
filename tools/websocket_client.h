/*
 * The client's end of a WebSocket (RFC 6455) over a socket that blocks, for `ringpost trace`. It
 * also waits for signals, so that Ctrl-C ends a dialogue as a close does. One thread.
 */
#ifndef RINGPOST_TOOLS_WEBSOCKET_CLIENT_H
#define RINGPOST_TOOLS_WEBSOCKET_CLIENT_H

#include "shard/io/websocket.h"
#include "tools/server_url.h"

#define WEBSOCKET_CLIENT_MESSAGE (64 * KIB)
#define WEBSOCKET_CLIENT_PROBLEM 256

struct websocket_client {
    int fd;                /* -1: not connected */
    int signals;           /* a signalfd for SIGINT and SIGTERM; -1: no dialogue yet */
    struct websocket websocket;
    size_t held;           /* of `input`, not fed yet, from `at` on */
    size_t at;
    char problem[WEBSOCKET_CLIENT_PROBLEM]; /* a line, after a failure; of the server's, too */
    uint8_t input[16 * KIB];
    uint8_t message[WEBSOCKET_CLIENT_MESSAGE];
};

enum websocket_client_step {
    WEBSOCKET_CLIENT_TEXT,   /* a message, until the next call */
    WEBSOCKET_CLIENT_END,    /* the server has closed in order */
    WEBSOCKET_CLIENT_SIGNAL, /* the user wants it to end */
    WEBSOCKET_CLIENT_FAILED, /* `problem` says why */
};

/* False: `problem` says why. */
MUST_USE bool websocket_client_open(struct websocket_client *client,
                                    const struct server_url *url, const char *path);
MUST_USE bool websocket_client_say(struct websocket_client *client, struct slice text);
MUST_USE enum websocket_client_step websocket_client_hear(struct websocket_client *client,
                                                          struct slice *text_out);
/* Says good-bye when it is open. */
void websocket_client_close(struct websocket_client *client);

#endif
