/*
 * What an EVENT record of the spool says: the records of a report that came as mail (OOB for each
 * recipient that it tells of, or one Feedback), for each recipient of the mail whose domain logs
 * such reports. Absolute and whole, so that a record is the same to the byte whenever it is made of
 * it. docs/spool-format.md has the bytes. Pure codec.
 */
#ifndef RINGPOST_SMTP_REPORT_EVENT_H
#define RINGPOST_SMTP_REPORT_EVENT_H

#include "core/id.h"
#include "smtp/report_read.h"
#include "smtp/report_text.h"

#define REPORT_EVENT_HEAD_BYTES 64 /* before its three sections */

struct report_event {
    uint64_t sequence;      /* of its first record; the n-th has this + n */
    uint64_t wall_ns;       /* when the mail came */
    uint32_t count;         /* of its records: recipients × entries, or recipients */
    enum report_kind kind;
    struct id id;           /* of the mail */
    uint64_t size;          /* its bytes */
    struct slice envelope;  /* smtp/envelope.h: its sender, and the recipients that are told */
    struct slice metadata;  /* smtp/metadata.h: how it came */
    struct slice said;      /* below, or the object feedback_report as JSON */
};

/*
 * A payload is begun, `said` is put behind it by whoever has it, then it is ended: that sets the
 * sequence and the count. False in a buffer without room for its beginning.
 */
MUST_USE bool report_event_begin(struct buf *buf, const struct report_event *event);
void report_event_end(struct buf *buf, uint64_t sequence, uint32_t count);
/* Slices are borrowed. False when the bytes are damaged. */
MUST_USE bool report_event_get(struct slice payload, struct report_event *event_out);

/* What a notification says of a recipient that failed. */
struct report_entry {
    uint16_t code;
    uint8_t enhanced[3];    /* all 0: none */
    struct slice recipient; /* each at most REPORT_TEXT_BYTES_MAX */
    struct slice content;
};

/* `said` of a REPORT_DELIVERY: the name of the host that reports, then entries. All or nothing. */
MUST_USE bool report_said_begin(struct buf *buf, struct slice reporter);
MUST_USE bool report_said_put(struct buf *buf, const struct report_entry *entry);
MUST_USE bool report_said_open(struct slice *said, struct slice *reporter_out);
/* 1: an entry; 0: the end; -1: damaged. */
MUST_USE int report_said_next(struct slice *said, struct report_entry *entry_out);

#endif
