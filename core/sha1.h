/*
 * SHA-1 (RFC 3174) of a few bytes, for the handshake of WebSockets (RFC 6455 4.2.2), where it only
 * shows that the server has understood, and to tell sets of hosts apart (smtp/site_name.h). For
 * nothing that has to be secret or proof against who can spend 2^60 steps. libcrypto computes it;
 * nothing is allocated. Pure.
 */
#ifndef RINGPOST_CORE_SHA1_H
#define RINGPOST_CORE_SHA1_H

#include "core/slice.h"

#define SHA1_BYTES 20

void sha1(struct slice input, uint8_t digest_out[SHA1_BYTES]);

#endif
