/*
 * A ringpostd of a round, or a ringpost-tsad: in a directory of its own, with the configuration
 * that the contract gives, from exec to its last line. Its stderr goes to a file, so that it never
 * waits for us.
 */
#ifndef RINGPOST_BENCH_MTA_H
#define RINGPOST_BENCH_MTA_H

#include "bench/process.h"
#include "bench/report.h"

#define MTA_LINE_MAX 4096

enum mta_program { MTA_RINGPOSTD, MTA_TSAD };

struct mta_options {
    enum mta_program program;
    const char *bin;        /* directory of ringpostd; ../tests has ringpostd-faults */
    const char *dir;        /* made anew, with everything of the round in it, unless … */
    bool keep;              /* … it is to go on with what the one before left there */
    uint16_t sink_port;
    unsigned connections;   /* connection_limit; of cast_start_mta 0: as the scenario says */
    unsigned shards;
    uint64_t segment_mib;   /* segment_size of the spool */
    const char *congestion; /* "": the system's */
    uint64_t retry_s;       /* retry_interval, seconds; 0: the default */
    unsigned sites;         /* names of domains_put_sites lead to the sink; 0: all names do */
    uint64_t spread_s;      /* of the groups of domains.h: evenly up to this; 0: as the others */
    const char *site;       /* lines of the site's block of [shaping]; null: none */
    uint64_t rules;         /* of automation, as in rules.h; 0: none */
    const char *more;       /* lines at the end of the configuration; null: none */
    const char *flush_delay; /* "2ms": each write to a segment so late; null: the disk as it is */
};

struct mta {
    enum mta_program program;
    struct child child;
    uint16_t port;      /* 0: it is not there. Of SMTP; of ringpost-tsad as the next one */
    uint16_t http_port; /* of its first HTTP listener */
    uint64_t ready_ns; /* fork and exec → its line event=ready seen, to a millisecond */
    double queued;     /* of that line */
    char log_path[4096];
    long log_from; /* lines are looked for behind so many bytes of it */
    char stopped[MTA_LINE_MAX]; /* the line event=stopped; "" before */
    char mallocs[MTA_LINE_MAX]; /* the line event=mallocs of a build that counts; else "" */
};

/* Starts it and waits for event=ready; false with a reason, and nothing left running. */
MUST_USE bool mta_start(struct mta *mta, const struct mta_options *options, struct buf *reason);
/* SIGTERM, and waits for its end and its last line; false when it did not end well. */
MUST_USE bool mta_stop(struct mta *mta, struct buf *reason);
/* Whether it has ended by itself; then with its last words as the reason. */
bool mta_ended(struct mta *mta, struct buf *reason_out);
/* SIGKILL. */
void mta_kill(struct mta *mta);
/* Its memory account: the line event=memory of a report that it makes now (SIGUSR1). */
MUST_USE bool mta_memory(struct mta *mta, char line[MTA_LINE_MAX], struct buf *reason);
/* What its last line and the kernel say, per message where that is asked. */
void mta_figures(const struct mta *mta, double messages, struct run *run);

/* The value of `key=` as a number in a line of key=value pairs; NAN when there is none. */
double line_number(const char *line, const char *key);
/* The configuration; false when it does not fit. */
MUST_USE bool mta_put_configuration(const struct mta_options *options, struct buf *buf);

#endif
