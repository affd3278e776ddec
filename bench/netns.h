/* A network of our own: loopback alone, with cubic, which the rest of the machine does not see. */
#ifndef RINGPOST_BENCH_NETNS_H
#define RINGPOST_BENCH_NETNS_H

#include "core/base.h"

/*
 * Moves the calling process, and children made later, into a new network namespace with loopback
 * up. False without the rights for it: then nothing has changed. `congestion_set_out` says whether
 * `congestion` is now the default there; a kernel may know it and still keep it from namespaces.
 * Before any thread is made.
 */
MUST_USE bool netns_enter(const char *congestion, bool *congestion_set_out);

#endif
