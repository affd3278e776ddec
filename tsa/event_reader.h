/*
 * Records read back from the event log, in its order, from any place on: for those who follow it
 * (GET /api/events/v1). On the TSA shard; files are read and decompressed by the workers, one job
 * at a time, a frame at a time: memory is bounded, and nothing is read before what was is taken.
 *
 * A place is the end of a record: file, frame, and bytes of the text of that frame; also after a
 * restart. Of the file being written nothing is read but what is durable. A frame that a crash has
 * left unfinished is the end of its file; a damaged one is passed over, and said.
 *
 *   start ─► READING ─► LINES ─► (all taken) READING … ─► END ─► (there is more) READING
 *               └─► GONE, NOWHERE, FAILED
 */
#ifndef RINGPOST_TSA_EVENT_READER_H
#define RINGPOST_TSA_EVENT_READER_H

#include "shard/shard.h"
#include "tsa/event_ends.h"
#include "tsa/event_log.h"

/* Of a flush, compressed. */
#define EVENT_READER_CHUNK_BYTES (EVENT_LOG_FLUSH_BYTES + 64 * KIB)
#define EVENT_OFFSET_TEXT_MAX     64

enum event_reader_state {
    EVENT_READER_READING,
    EVENT_READER_LINES,  /* event_reader_line */
    EVENT_READER_END,    /* that was all, for now: event_reader_more */
    EVENT_READER_GONE,    /* the file has been removed */
    EVENT_READER_NOWHERE, /* there is no such place */
    EVENT_READER_FAILED,
};

struct event_offset {
    char file[EVENT_FILE_NAME_BYTES + 1]; /* empty: before all files */
    bool after;                           /* behind all of that file, or of that time */
    uint64_t frame;                       /* offset in the file */
    uint32_t text;                        /* bytes of its text that are before it */
};

struct event_reader {
    struct shard *shard;             /* borrowed, like the next one */
    struct event_ends *ends;         /* of the log */
    struct work_job job;
    enum event_reader_state state;
    struct event_offset place;
    size_t chunk_size;               /* bytes of the file from place.frame on */
    size_t chunk_at;                 /* of these passed over */
    bool given;                      /* its place is a stranger's, and not yet found to be one */
    uint64_t frame_bytes;            /* of the frame whose text stands in `text` */
    size_t text_size;
    void (*ready)(struct event_reader *reader); /* it has left READING */
    uint8_t *chunk;                  /* the owner's: EVENT_READER_CHUNK_BYTES */
    uint8_t *text;                   /* … EVENT_LOG_FLUSH_BYTES */
    char path[EVENT_LOG_PATH_MAX + EVENT_FILE_NAME_BYTES + 2];
};

/* "20261122-164910.123456-4096-812"; opaque to all others. */
void event_offset_put(struct buf *buf, const struct event_offset *place);
MUST_USE bool event_offset_parse(struct slice text, struct event_offset *place_out);
/* Where the next record will be. */
struct event_offset event_offset_now(const struct event_ends *ends, const struct shard *shard);

/* `ready`, memory, shard and ends are set. */
void event_reader_start(struct event_reader *reader, const struct event_offset *place);
/* The next record, with its line end, good until the next call of event_reader_more. False: all of
 * them were taken, and it is END or READING. After it `place` is behind the record. */
MUST_USE bool event_reader_line(struct event_reader *reader, struct slice *line_out);
/* The last record again, which has `bytes` bytes: nothing was called in between. */
void event_reader_back(struct event_reader *reader, size_t bytes);
/* At an END: looks for more. */
void event_reader_more(struct event_reader *reader);
/* No job is under way. */
bool event_reader_idle(const struct event_reader *reader);

#endif
