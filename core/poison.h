/*
 * Memory that is free inside a pool of ours is made to fault in builds with the address sanitizer;
 * elsewhere these do nothing. `bytes` a multiple of 8, `at` aligned to 8.
 */
#ifndef RINGPOST_CORE_POISON_H
#define RINGPOST_CORE_POISON_H

#include "core/base.h"

#if defined(__SANITIZE_ADDRESS__)
#define POISON_IN_FORCE 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define POISON_IN_FORCE 1
#else
#define POISON_IN_FORCE 0
#endif
#else
#define POISON_IN_FORCE 0
#endif

#if POISON_IN_FORCE
#include <sanitizer/asan_interface.h>
#define POISON(at, bytes)   ASAN_POISON_MEMORY_REGION((at), (bytes))
#define UNPOISON(at, bytes) ASAN_UNPOISON_MEMORY_REGION((at), (bytes))
#define IS_POISONED(at)     (__asan_address_is_poisoned(at) != 0)
#else
#define POISON(at, bytes)   ((void)(at), (void)(bytes))
#define UNPOISON(at, bytes) ((void)(at), (void)(bytes))
#define IS_POISONED(at)     ((void)(at), false)
#endif

#endif
