/*
 * A lane's log in memory, written record by record: for tests of whatever reads one. Lengths and
 * checksums are right unless the test spoils them afterwards.
 */
#ifndef RINGPOST_TESTS_KIT_SPOOL_LOG_H
#define RINGPOST_TESTS_KIT_SPOOL_LOG_H

#include "shard/spool/record.h"

#define SPOOL_LOG_SEGMENTS 8

struct spool_log_segment {
    uint8_t *bytes;
    size_t size; /* used, a multiple of 4096 */
    uint32_t number;
};

struct spool_log {
    uint64_t uuid;
    uint16_t lane;
    size_t segment_bytes;
    struct spool_log_segment segments[SPOOL_LOG_SEGMENTS];
    unsigned count;
    struct record_group group; /* the open one */
    size_t group_at;           /* in the last segment */
    uint64_t event_sequence;   /* the next one */
};

void spool_log_init(struct spool_log *log, uint64_t uuid, uint16_t lane, size_t segment_bytes);
void spool_log_fini(struct spool_log *log);

/* Begins a segment; `sequence` is that of its first group. */
void spool_log_segment(struct spool_log *log, uint32_t number, uint64_t sequence);
/* Begins a group in the last segment. */
void spool_log_group(struct spool_log *log, uint64_t sequence, uint64_t durable_before,
                     uint64_t void_from);
/* Records of the open group; the place of each. */
struct spool_location spool_log_record(struct spool_log *log, enum record_kind kind,
                                       struct slice payload);
/* A message with one recipient, sections made of `envelope`, `prepend` and `body`. */
struct spool_location spool_log_message(struct spool_log *log, uint32_t number,
                                        const struct slice sections[SECTIONS]);
struct spool_location spool_log_body(struct spool_log *log, struct slice body);
/* One recipient (index 0) was delivered. */
struct spool_location spool_log_outcome(struct spool_log *log, struct spool_location message);
struct spool_location spool_log_void(struct spool_log *log, struct spool_location message);
/* The group's header: as many records as there are, or `records`. Returns the offset of it. */
size_t spool_log_seal(struct spool_log *log);
/* Any record that `bytes` begins with, again with a checksum that is right. */
void spool_log_reseal(const struct spool_log *log, uint8_t *bytes, uint64_t sequence);

#endif
