/*
 * Where a server listens for HTTP, as operators write it. Pure but for the environment and
 * what it prints.
 */
#ifndef RINGPOST_TOOLS_SERVER_URL_H
#define RINGPOST_TOOLS_SERVER_URL_H

#include "core/base.h"

#define SERVER_URL_DEFAULT "http://127.0.0.1:8000"
#define SERVER_URL_BYTES   300u

struct server_url {
    bool tls;
    char host[SERVER_URL_BYTES]; /* an IPv6 address without its brackets */
    char port[8];
    char where[SERVER_URL_BYTES]; /* "127.0.0.1:8000", "[::1]:8000": what the Host field has */
};

/* What --endpoint says; null: what RINGPOST_ENDPOINT says, or the usual one. */
const char *server_url_choose(const char *option);
/* "http://HOST:PORT/"; HOST:PORT, and "/" or not, will do. False: it is none. */
MUST_USE bool server_url_parse(const char *text, struct server_url *url_out);
/* Says on standard error, for this verb, that it is none. */
void server_url_complain(const char *verb, const char *text);

#endif
