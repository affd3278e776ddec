/*
 * What the runs have in common: their options, the directory for spools, the network, the way from
 * words to an exit code.
 */
#ifndef RINGPOST_BENCH_SCENARIO_H
#define RINGPOST_BENCH_SCENARIO_H

#include <stdio.h>

#include "bench/args.h"
#include "bench/floor.h"
#include "bench/plot.h"
#include "bench/report.h"

#define SCENARIO_CONGESTION "cubic"
#define SCENARIO_STEPS_MAX  20u

/* For figures that are shown. */
#define MIB_D 1048576.0
#define GIB_D 1073741824.0

/* A bit each: a row of the options says for which of them it is there. */
enum scenario_kind {
    KIND_FLOOR = 1,
    KIND_RELAY = 2,
    KIND_LATENCY = 4,
    KIND_RESTART = 8,
    KIND_SOAK = 16,
    KIND_BACKLOG = 32,
    KIND_SHARE = 64,
    KIND_IDLE = 128,
    KIND_RATES = 256,
    KIND_TABLE = 512,
    KIND_INJECT = 1024,
    KIND_DOMAINS = 2048,
    KIND_PUBLISH = 4096,
    KIND_REACTION = 8192,
    KIND_DEFERRALS = 16384,
};

struct scenario {
    uint64_t messages;
    uint64_t size;
    uint64_t connections;
    uint64_t shards;
    uint64_t segment_mib;     /* of the spool and of the floor */
    uint64_t rounds;
    uint64_t queues;          /* domains of the mail that stays */
    uint64_t steps;           /* restart: in which the queue grows */
    uint64_t relay_messages;  /* backlog: of each relay beside it */
    uint64_t idle;            /* idle: connections that say nothing */
    uint64_t few;             /* share: messages that others stand in front of */
    uint64_t limit;           /* share: connections to the site */
    uint64_t latency_ms;      /* share: of the site, for each message */
    uint64_t domains;         /* domains: of the recipients */
    uint64_t sites;           /* domains: that these share; reaction: that defer */
    uint64_t per_request;     /* inject: recipients of each request; publish: records */
    uint64_t rules;           /* of automation */
    uint64_t confirmed;       /* publish: records that match one, per mille */
    uint64_t rate;            /* messages a second, open loop; 0: half the relay's; or allowed */
    uint64_t burst;           /* rates: allowed at once */
    uint64_t seconds;         /* of an open loop, or of counting */
    uint64_t minutes;         /* soak: when there are no `seconds` */
    uint64_t defer_per_mille; /* soak, deferrals: of recipients, never delivered */
    const char *mode_name;
    const char *dir;
    const char *bin;      /* directory of ringpostd; null: beside this program */
    const char *baseline; /* directory of another ringpostd; null: none */
    const char *nomalloc;    /* directory of a ringpostd that counts allocations; null: none */
    const char *flush_delay; /* of the server, not of the baseline; null: none */
    bool json;
    enum bench_mode mode;
    const char *congestion; /* for every socket: "" when the namespace sees to it */
    int segment_fd;         /* of the floor; -1 until scenario_segment */
    struct report_head head;
    char bin_path[4096];
};

/* One thing that can be run. */
struct scenario_verb {
    enum scenario_kind kind;
    const char *name;  /* "relay": also of the file its result goes to */
    const char *about; /* a line of help */
    uint64_t messages; /* defaults */
    uint64_t size;
    uint64_t rounds;
    uint64_t seconds;
    /* All of it, its result printed; false with a reason. */
    bool (*run)(struct scenario *scenario, struct buf *reason_out);
};

/* Reads the words, begins, runs; the exit code. `prefix` is what stands before the name: "run ". */
int scenario_main(const struct scenario_verb *verb, const char *prefix, int argc, char **argv);

/* The zeroed segment of the floor, written once. */
MUST_USE bool scenario_segment(struct scenario *scenario, struct buf *reason);
/* Sets a rate that is 0: half of what this server relays now. */
MUST_USE bool scenario_rate(struct scenario *scenario, struct buf *reason);

/* A result: prints itself as JSON, an object and a line end, or as a table. */
struct scenario_result {
    const void *result;
    void (*put_json)(const void *result, struct buf *buf);
    void (*put_table)(const void *result, struct buf *buf);
};
/* Prints it, and leaves the JSON as DIR/NAME.json; false with a reason. */
MUST_USE bool scenario_publish(const struct scenario *scenario,
                               const struct scenario_result *result, struct buf *reason);
/* DIR/NAME.tsv, begun anew, with this first line; null with a reason. */
MUST_USE FILE *scenario_table(const struct scenario *scenario, const char *columns,
                              struct buf *reason);
/* The plot of that table, or why there is none. */
struct scenario_picture {
    char missing[256]; /* "": there is one */
};
void scenario_draw(const struct scenario *scenario, const struct plot *plot,
                   struct scenario_picture *picture_out);
/* For people: where table and plot are. */
void scenario_put_files(struct buf *buf, const struct scenario *scenario,
                        const struct scenario_picture *picture);
/* Into its JSON: the head, and the queue that was filled. */
void scenario_put_filling(struct json *json, const struct scenario *scenario, double seconds);
/* The same for a report of rounds. */
MUST_USE bool scenario_publish_report(const struct scenario *scenario,
                                      const struct report *report, struct buf *reason);

/* One floor run; with `direct` source and sink speak to each other. */
MUST_USE bool floor_run(const struct scenario *scenario, bool direct, struct run *run_out,
                        struct buf *reason);

/* --- the runs --------------------------------------------------------------------------------- */

MUST_USE bool run_floor(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_relay(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_latency(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_restart(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_soak(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_backlog(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_table(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_rates(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_domains(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_inject(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_publish(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_reaction(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_deferrals(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_idle(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_urgent(struct scenario *scenario, struct buf *reason);
MUST_USE bool run_tenants(struct scenario *scenario, struct buf *reason);

#endif
