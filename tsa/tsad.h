/*
 * A whole ringpost-tsad, but for its process: one shard with automation (tsa/tsa.h), its database,
 * its rules and its HTTP. It makes no threads: whoever has it calls tsad_turn from one until
 * tsad_finished.
 *
 *   start   what was kept is read → the listeners → TSAD_READY
 *   reload  the configuration is read again by a worker; its rules and what HTTP takes are in force
 *           from one turn to the next. When there is an error all stays as it is
 *   stop    no records and subscribers any more, answers end → the last changes are kept →
 *           TSAD_STOPPED
 *
 * Which rules a record meets: those of the default block, of providers, of the block of its site
 * and of its domain (core/shaping.h). No DNS is asked. What hosts a site has is read from its name
 * (tsa/site_hosts.h).
 */
#ifndef RINGPOST_TSA_TSAD_H
#define RINGPOST_TSA_TSAD_H

#include <stdatomic.h>

#include "core/logline.h"
#include "shard/conf_file.h"
#include "shard/io/http_server.h"
#include "tsa/automation_store.h"
#include "tsa/tsa.h"

#define TSAD_REASON_BYTES_MAX  512
#define TSAD_MESSAGE_BYTES_MAX (64 * KIB) /* of a reload */

enum tsad_state { TSAD_STARTING, TSAD_READY, TSAD_STOPPING, TSAD_STOPPED, TSAD_FAILED };

struct tsad_options {
    const struct conf *conf;      /* of the start; borrowed until tsad_close, like the next ones */
    const char *conf_file;        /* where a reload finds another one */
    const char *const *conf_sets;
    size_t conf_set_count;
    struct log_sink log;
    uint64_t memory_bytes;        /* of the whole */
    void *world;                  /* the simulator's node; null on the real seam */
};

struct tsad {
    struct tsad_options options;
    struct work *work;
    struct shard shard;
    struct shard *peers[1];
    struct boot_pages pages;
    struct tsa tsa;
    struct automation_store store;
    struct http_server http;
    struct http_server *mails[1];  /* there are none */
    struct endpoint bound[HTTP_LISTENERS_MAX]; /* valid when the state is TSAD_READY */
    struct timer again;            /* tries again to listen */
    uint64_t until_ns;             /* … for the last time; of a stop: then what is left is cut */
    const struct conf *conf;       /* in force */
    struct conf *owned;            /* the same, when it came with a reload */
    struct patterns_scratch *scratch;
    struct work_job job;           /* of a reload */
    struct conf_reading reading;
    uint8_t *messages;
    bool begun;
    bool reloading;
    bool store_stopped;            /* has been told to stop */
    _Atomic uint32_t state;        /* enum tsad_state */
    _Atomic uint32_t stop_level;   /* 0: run; 1: stop; 2: stop at once */
    _Atomic bool reload_wanted;
    char reason[TSAD_REASON_BYTES_MAX]; /* of TSAD_FAILED and tsad_open, one line */
};

/* Boot thread. 0, or a negative errno and one line in tsad->reason. */
MUST_USE int tsad_open(struct tsad *tsad, const struct tsad_options *options);
/* After it has finished. */
void tsad_close(struct tsad *tsad);

/* One turn; sleeps at its end unless `poll`. */
void tsad_turn(struct tsad *tsad, bool poll);
bool tsad_finished(const struct tsad *tsad);

/* Any thread. Level 1 asks for a clean stop, 2 for one at once. */
void tsad_stop(struct tsad *tsad, unsigned level);
/* Any thread. */
void tsad_reload(struct tsad *tsad);
enum tsad_state tsad_state(const struct tsad *tsad);

#endif
