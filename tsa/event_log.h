/*
 * The event log of a node: takes the batches of every shard in the order in which they come, and
 * appends them to files in log.path, one zstd frame per flush, at least every flush interval or
 * 4 MiB; each flush is synced, and then every lane is told up to which of its marks its events are
 * durable. Lives on the TSA shard; compression and file calls are jobs of the workers.
 *
 * Files are named YYYYMMDD-HHMMSS.ffffff (UTC, time of the first flush). A file ends after
 * max_file_size bytes of text or max_segment_duration and becomes 0440 then; every start begins a
 * new one, and the one a crash left behind becomes 0440 too. Old ones leave: event_retention.h.
 *
 * Trouble (disk full, directory gone) never blocks mail: the flush is tried again every second in a
 * new file, text that waits is bounded by two buffers of 4 MiB, after that batches come home late
 * and the shards read what they could not send from the spool when they do. It is said once, and
 * once more when it is over.
 */
#ifndef RINGPOST_TSA_EVENT_LOG_H
#define RINGPOST_TSA_EVENT_LOG_H

#include "core/heap.h"
#include "core/logline.h"
#include "shard/event_batch.h"
#include "tsa/event_ends.h"
#include "tsa/event_retention.h"

#define EVENT_LOG_FLUSH_BYTES (4 * MIB)
#define EVENT_LOG_PATH_MAX    1024

struct event_log;

struct event_log_options {
    const char *path; /* directory, made when it is missing; borrowed */
    uint64_t max_file_bytes;
    uint64_t max_segment_ns; /* 0: no limit */
    uint64_t flush_ns;
    int level;               /* of zstd; 0: its default */
    uint64_t retention_ns;
    uint64_t max_total_bytes; /* 0: no limit */
    struct log_sink sink;
    struct heap *heap; /* boot: buffers are taken from it */
};

struct event_log_frame {
    const char *file;
    uint64_t at;    /* offset in the file */
    uint64_t bytes; /* there */
    uint64_t text_bytes;
};

/* Who hears of the text that the log takes, before it is durable there: what it tells of is in the
 * spool. On the log's shard. */
struct event_log_tap {
    /* Whole lines, in the order of the log; borrowed. */
    void (*taken)(struct event_log_tap *tap, struct slice lines);
    /* The next `text_bytes` of them are durable: they are a frame of a file. */
    void (*stored)(struct event_log_tap *tap, const struct event_log_frame *frame);
};

struct event_log_counts {
    uint64_t batches;
    uint64_t lines;
    uint64_t bytes;      /* of text, written to a file */
    uint64_t frame_bytes; /* of zstd, written to a file */
    uint64_t flushes;
    uint64_t files;      /* begun */
    uint64_t failures;   /* of a job */
    uint64_t lines_waiting;
};

/* Boot thread; `shard` is the TSA shard. Lives in the heap. */
MUST_USE struct event_log *event_log_open(struct shard *shard,
                                          const struct event_log_options *options);
/* Files, flushes and retention by these from now on; path, sink and heap are not looked at. */
void event_log_set(struct event_log *log, const struct event_log_options *options);
/* Before the first batch; borrowed until the log is idle for good. */
void event_log_tap_set(struct event_log *log, struct event_log_tap *tap);
/* mail_arrive of the feeds, whose sink is the log. */
void event_log_arrive(struct shard *shard, struct mail *mail);
/*
 * On the TSA shard, when the node begins to stop: flushes what comes without delay. When that fails
 * the log has had its last try: all text is dropped, and the feeds are told that it is lost.
 */
void event_log_hurry(struct event_log *log);
/* The same, and ends the file; takes no timers any more. */
void event_log_stop(struct event_log *log);
/* After event_log_stop: everything is written (or given up after a failed last try), no mail is
 * under way. */
bool event_log_stopped(const struct event_log *log);
/* No job and no mail of its own is under way. */
bool event_log_idle(const struct event_log *log);
const struct event_log_counts *event_log_counts(const struct event_log *log);
/* For those who read it: tsa/event_reader.h. */
struct event_ends *event_log_ends(struct event_log *log);

#endif
