/*
 * Assertions that stay on. CHECK states what only our own bug can break: it prints the expression
 * and aborts, and the supervisor restarts us from the spool. Nothing that a peer, a disk or a
 * configuration file can cause may be a CHECK. CHECK_SLOW is for costly ones: on in builds with
 * sanitizers and in the simulator, off in release.
 */
#ifndef RINGPOST_CORE_CHECK_H
#define RINGPOST_CORE_CHECK_H

#include "core/base.h"

#ifdef __cplusplus
extern "C" {
#endif

__attribute__((noreturn, cold)) void check_failed(const char *expression, const char *file,
                                                  int line);

#ifdef __cplusplus
}
#endif

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (UNLIKELY(!(x))) {                                                                      \
            check_failed(#x, __FILE__, __LINE__);                                                  \
        }                                                                                          \
    } while (0)

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CHECK_SLOW(x) CHECK(x)
#else
#define CHECK_SLOW(x)                                                                              \
    do {                                                                                           \
    } while (0)
#endif

#endif
