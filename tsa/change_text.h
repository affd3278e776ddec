/*
 * Messages of /subscribe_event_v2 (tsa/hub.h), as whoever subscribes reads them. What a message
 * asks for is checked as if a stranger had sent it: an order without a domain would be one for all
 * mail. Pure but for the parser's own memory; one thread.
 */
#ifndef RINGPOST_TSA_CHANGE_TEXT_H
#define RINGPOST_TSA_CHANGE_TEXT_H

#include "core/arena.h"
#include "core/heap.h"
#include "core/id.h"
#include "tsa/automation.h"

#define CHANGE_TEXT_BYTES_MAX (16 * KIB)      /* of a message */
#define CHANGE_VALUES_BYTES   (256 * KIB)     /* of one, read; touched as needed */
#define CHANGE_EXPIRES_MAX_NS (366 * 86400 * NS_PER_S) /* from now on, at most */

enum change_what {
    CHANGE_IN_FORCE,  /* has begun, or ends later */
    CHANGE_CANCELLED,
    CHANGE_COMPLETE,  /* the end of a snapshot */
};

struct change_message {
    uint64_t number;   /* 0: of a part of a snapshot */
    struct id epoch;
    bool snapshot;
    enum change_what what;
    struct automation_effect effect; /* not of CHANGE_COMPLETE; id 0; event_ns 0: not told */
};

struct json_reader;

struct change_text {
    struct json_reader *reader; /* owned */
    struct arena arena;
};

/* Boot: memory from `heap`. */
void change_text_init(struct change_text *text, struct heap *heap);
void change_text_fini(struct change_text *text);
/* Null, and what it says, until the next call; else what is wrong, constant. Times lie within
 * CHANGE_EXPIRES_MAX_NS of `now_ns`. */
MUST_USE const char *change_read(struct change_text *text, struct slice message, uint64_t now_ns,
                                 struct change_message *message_out);

#endif
