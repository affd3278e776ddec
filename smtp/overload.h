/*
 * What a shard is short of. A line is passed at one share and left at a lower one; both are told in
 * the log, a second apart at the least, so that what flutters does not flood it, and what is told
 * as begun counts. Who acts on a line asks overload_is:
 *
 *   OVERLOAD_CONNECTIONS  the memory account is at 80 %: new connections get 421 4.3.2
 *   OVERLOAD_MAIL         … at 90 %: MAIL gets 452 4.3.1
 *   OVERLOAD_READING      … at 97 %: nothing more is read of clients
 *   OVERLOAD_BLOCKS       90 % of the blocks that mail is received into are held; whose message has
 *                         no room gets 452 4.3.1
 *   OVERLOAD_SLOTS        90 % of a listener's max_connections are in use
 *   OVERLOAD_BUFFERS      three quarters of the ring's receive buffers are held: streams hold less
 *                         (shard/io/stream.h), clients that do not read are closed
 *
 * Past any line clients have little patience to count on (server_conn_press). Deliveries go on
 * past every line: they are what ends it. One per shard, owned by its server; all calls on its
 * thread.
 */
#ifndef RINGPOST_SMTP_OVERLOAD_H
#define RINGPOST_SMTP_OVERLOAD_H

#include "core/logline.h"
#include "shard/shard.h"

enum overload_line {
    OVERLOAD_CONNECTIONS,
    OVERLOAD_MAIL,
    OVERLOAD_READING,
    OVERLOAD_BLOCKS,
    OVERLOAD_SLOTS,
    OVERLOAD_BUFFERS,
    OVERLOAD_LINES,
};

struct overload {
    struct shard *shard; /* borrowed */
    struct log_sink log;
    struct {
        bool over;
        bool told;        /* the log says that it is over */
        uint64_t told_ns; /* since when it says what it says; 0: nothing yet */
    } lines[OVERLOAD_LINES];
};

/* Measures one line; true when it was just passed or left. */
bool overload_set(struct overload *overload, enum overload_line line, uint64_t used,
                  uint64_t limit);
bool overload_is(const struct overload *overload, enum overload_line line);
/* Past any line? */
bool overload_any(const struct overload *overload);

#endif
