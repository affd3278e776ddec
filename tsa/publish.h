/*
 * Records that others publish, as the engine of automation wants them (tsa/automation.h). One is a
 * JSON object in the form of KumoMTA's log, which is that of core/event.h; of its members these are
 * looked at:
 *
 *   type           of what mailbox providers have answered or told; what else the log has is
 *                  skipped. A type that no log has is a fault
 *   timestamp      seconds since 1970, with or without a fraction; timestamp_ms counts before it
 *   response       {code, enhanced_code: null or {class, subject, detail}, content}
 *   recipient      a text, or several, of which the first counts: once, however many there are;
 *                  its domain in lower case, without a dot at the end
 *   queue          tells tenant and campaign (core/queue_name.h); may be missing, as the next two
 *   egress_source  null or missing: "unspecified"
 *   site           "SOURCE->NAME@smtp_client", or empty
 *   reference      of an OOB: {state, id}. One that is not "valid" is skipped, for anybody may
 *                  have sent its report; the others are the caller's to take once
 *
 * Of `type` and `timestamp` alone is anything asked where a record is skipped. Members of other
 * names may have any value, but what is no sound JSON (core/json_value.h) is no record.
 *
 * Pure but for the parser's own memory, which grows with the longest record and then stays. One
 * thread.
 */
#ifndef RINGPOST_TSA_PUBLISH_H
#define RINGPOST_TSA_PUBLISH_H

#include "core/arena.h"
#include "core/buf.h"
#include "core/heap.h"
#include "tsa/automation.h"

#define PUBLISH_RECORD_BYTES_MAX   MIB
#define PUBLISH_VALUES_BYTES       (4 * MIB)  /* of one record, read; touched as needed */
#define PUBLISH_RESPONSE_BYTES_MAX PATTERNS_TEXT_BYTES_MAX /* the rest is not looked at */
#define PUBLISH_DOMAIN_BYTES_MAX   255u
#define PUBLISH_REJECTED_MAX       100u       /* lines of a batch that are told of */
#define PUBLISH_FAULT_BYTES_MAX    96u        /* of what is said of one, as JSON */

enum publish_result {
    PUBLISH_TAKEN,
    PUBLISH_SKIPPED, /* of a type that tells automation nothing */
    PUBLISH_BAD,
};

struct json_reader;

struct publish {
    struct json_reader *reader; /* owned */
    struct arena arena;         /* of the record that is being read */
    uint8_t response[PUBLISH_RESPONSE_BYTES_MAX];
    uint8_t domain[PUBLISH_DOMAIN_BYTES_MAX];
};

/* Boot: memory from `heap`. */
void publish_init(struct publish *publish, struct heap *heap);
void publish_fini(struct publish *publish);

/*
 * `text` is one record. Of PUBLISH_TAKEN, `record_out` has all but the groups; it lives until the
 * next call. Of PUBLISH_BAD, `fault_out` is why: constant, a sentence without full stop.
 */
MUST_USE enum publish_result publish_read(struct publish *publish, struct slice text,
                                          struct automation_record *record_out,
                                          const char **fault_out);

/* Is anything but its type and time looked at in a record of this type? */
bool publish_type_counts(struct slice type);

/* --- batches ---------------------------------------------------------------------------------- */

typedef void publish_take(void *context, struct automation_record *record);

/* Records, one a line; empty lines are none. Plain data: a batch goes on where it was left. */
struct publish_batch {
    struct slice left;     /* borrowed, up to the end of the batch */
    uint64_t line;         /* of the last record that was read, from 1 */
    uint64_t accepted;     /* skipped ones, too */
    uint64_t rejected;
    uint32_t told;         /* lines that stand in `faults` */
    const char *faults[PUBLISH_REJECTED_MAX];
    uint64_t lines[PUBLISH_REJECTED_MAX];
};

void publish_batch_begin(struct publish_batch *batch, struct slice text);
/* Reads up to `records` more and hands those to `take` that count. False: that was all. */
MUST_USE bool publish_batch_step(struct publish_batch *batch, struct publish *publish,
                                 uint32_t records, publish_take *take, void *context);
/*
 * {"accepted":N,"rejected":[{"line":N,"error":"…"},…]}, of the first PUBLISH_REJECTED_MAX; behind
 * them "rejected_count", when there are more.
 */
void publish_batch_put_json(const struct publish_batch *batch, struct buf *buf);
#define PUBLISH_ANSWER_BYTES_MAX (128 + PUBLISH_REJECTED_MAX * (48 + PUBLISH_FAULT_BYTES_MAX))

#endif
