/*
 * The ledger of a source or a sink: what became of every message whose content went over, for a
 * judge who was not there. A file that is only appended to, a line at once for each message:
 *
 *   NUMBER HASH BEGUN_NS ENDED_NS RECIPIENT[,RECIPIENT…] [REPLY]
 *
 *              source                                  sink
 *   BEGUN_NS   its content was sent                    its content had been read whole
 *   ENDED_NS   its final reply was read; 0: never      its final reply had gone; 0: it could not go
 *   RECIPIENT  whose RCPT was answered 2xx; "-": none  whom it came for
 *   REPLY      code and text; "-": none came
 *
 * HASH as in bench/body.h, sixteen hex digits; times are monotonic nanoseconds, which processes of
 * one machine share. Whoever holds it writes it from one thread.
 */
#ifndef RINGPOST_BENCH_LEDGER_H
#define RINGPOST_BENCH_LEDGER_H

#include <stdio.h>

#include "core/buf.h"

struct ledger_entry {
    uint64_t number;
    uint64_t hash;
    uint64_t begun_ns;
    uint64_t ended_ns;
};

/* Null with a reason when it cannot be opened. */
MUST_USE FILE *ledger_open(const char *path, struct buf *reason_out);
/* Null is fine. False, said on stderr by name, when something could not be written. */
MUST_USE bool ledger_close(FILE *ledger, const char *path);

/* The parts of a line in their order: entry, every recipient, perhaps a reply, the end. */
void ledger_put_entry(FILE *ledger, const struct ledger_entry *entry);
/* `index` from 0 on: how many were put before. */
void ledger_put_recipient(FILE *ledger, unsigned index, struct slice address);
void ledger_put_reply(FILE *ledger, unsigned code, struct slice text);
void ledger_put_end(FILE *ledger);

#endif
