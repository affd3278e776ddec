/*
 * One HTTP exchange after the other with a running server: what the operator's command asks it.
 * Over libcurl, without proxies and redirects. One thread; owns connection and answer.
 *
 * Waiting can be shared with a terminal: start, then turn until it is over. What went wrong is a
 * line for people.
 */
#ifndef RINGPOST_TOOLS_ENDPOINT_CLIENT_H
#define RINGPOST_TOOLS_ENDPOINT_CLIENT_H

#include "core/buf.h"
#include "tools/server_url.h"

#define ENDPOINT_ANSWER_BYTES_MAX (32u * MIB)

struct endpoint_limits {
    long connect_ms;
    long total_ms;
};

enum endpoint_state {
    ENDPOINT_IDLE,    /* nothing asked */
    ENDPOINT_PENDING,
    ENDPOINT_ANSWERED,
    ENDPOINT_FAILED,
};

struct endpoint_client;

/* Null: `endpoint` is none (server_url_parse). */
struct endpoint_client *endpoint_client_open(const char *endpoint, struct endpoint_limits limits);
void endpoint_client_close(struct endpoint_client *client);

/*
 * Asks. `path` begins with "/"; `body` is JSON, null for none, and borrowed until it is over. What
 * was asked before is forgotten.
 */
void endpoint_client_start(struct endpoint_client *client, const char *method, const char *path,
                           const struct slice *body);
/* Waits for at most so long, or until `fd` can be read; -1: there is none. */
enum endpoint_state endpoint_client_turn(struct endpoint_client *client, int wait_ms, int fd);

/* Once it is answered, until the next start. */
unsigned endpoint_client_status(const struct endpoint_client *client);
struct slice endpoint_client_answer(const struct endpoint_client *client);
/* Once it has failed, until the next start. */
const char *endpoint_client_reason(const struct endpoint_client *client);
/* The same: the request has gone out, or a part of it. It may have been carried out. */
bool endpoint_client_was_sent(const struct endpoint_client *client);
/* "127.0.0.1:8000" */
const char *endpoint_client_where(const struct endpoint_client *client);

/* A parameter of a path: "?key=value" or "&key=value", encoded (RFC 3986 2.1). */
void endpoint_put_parameter(struct buf *path, const char *key, struct slice value);

#endif
