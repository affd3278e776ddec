/* An HTTP client led by hand. What is no HTTP fails the run (sim_fail). */
#ifndef RINGPOST_TESTS_KIT_HTTP_CLIENT_H
#define RINGPOST_TESTS_KIT_HTTP_CLIENT_H

#include "tests/sim/sim.h"

#define HTTP_CLIENT_BYTES (256 * KIB)

struct http_client {
    struct sim *sim;
    struct sim_peer *peer;
    unsigned status;               /* of the last answer; 0: the connection ended instead */
    size_t bytes;
    char head[1024];
    char said[HTTP_CLIENT_BYTES];  /* its body */
};

/* Connects from host `from` (see sim_endpoint) to `to`. */
void http_client_open(struct http_client *client, struct sim *sim, unsigned from,
                      const struct endpoint *to);
void http_client_say(struct http_client *client, const char *text);
/* One byte of `text` each `every_ns`, until something is heard. */
void http_client_say_slowly(struct http_client *client, const char *text, uint64_t every_ns);
/* The next head; its status. */
unsigned http_client_head(struct http_client *client);
/* The next answer whole; its status. */
unsigned http_client_hear(struct http_client *client);
/* The same, which is to be this one; else the run has failed. */
bool http_client_hears(struct http_client *client, unsigned status, const char *said);
/* Reads `count` bytes. */
bool http_client_take(struct http_client *client, size_t count, char *into);
/* The server has closed within `within_ns`, and nothing is left to read. */
bool http_client_closed(struct http_client *client, uint64_t within_ns);
void http_client_close(struct http_client *client);

#endif
