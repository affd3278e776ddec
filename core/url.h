/*
 * Where an HTTP server is, as operators write it: "http://HOST", "http://HOST:PORT", with or
 * without "/" behind it. Nothing else may stand in it: no user, path, query or fragment. Pure.
 */
#ifndef RINGPOST_CORE_URL_H
#define RINGPOST_CORE_URL_H

#include "core/dns.h"

#define URL_BYTES_MAX 270u

struct url {
    struct slice text;       /* "http://HOST:PORT": the same for all ways to write it */
    struct slice where;      /* of it: "HOST:PORT", for the Host field */
    struct slice host;       /* of it: a name in lower case (core/dns.h); empty: an address */
    struct endpoint address; /* port: always. The address, when the host is none but that */
};

/* `text_out` gets what the slices of `url_out` point into. Null; else what is wrong, for people. */
MUST_USE const char *url_parse(struct slice text, uint8_t text_out[URL_BYTES_MAX],
                               struct url *url_out);

#endif
