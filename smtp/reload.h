/*
 * The configuration read again while the node runs, all or nothing. One per node, on the TSA shard,
 * which every call is made on.
 *
 *   asker ─► read and checked by a worker ─► refused: every error; nothing is changed
 *                       │ good
 *                       ▼
 *            differs in what may change ─► every mail shard (reload_part.h) ─► the asker is told
 *
 * What only a restart changes is named, and stays as it is; the rest of the same file comes into
 * force. A snapshot never changes once it is handed out. It is freed when no shard has anything of
 * it any more; the configuration of the start stays, for spool, paths and listeners stand in it.
 *
 * Who asks while a reload is under way waits for one more, which all who wait share: the last files
 * win. Log lines: event=reload, and one for each change or error.
 */
#ifndef RINGPOST_SMTP_RELOAD_H
#define RINGPOST_SMTP_RELOAD_H

#include "core/conf_settings.h"
#include "core/logline.h"
#include "shard/conf_file.h"
#include "smtp/reload_part.h"

#define RELOAD_REQUESTS_MAX  64u
#define RELOAD_MESSAGE_BYTES (64 * KIB)

enum reload_status {
    RELOAD_APPLIED,  /* also when nothing has changed */
    RELOAD_REFUSED,
    RELOAD_STOPPING, /* nothing was done */
};

/* What a reload has come to; good for the length of a call. */
struct reload_result {
    enum reload_status status;
    const struct conf_change *changes; /* those for which a restart is needed are not in force */
    size_t change_count;
    struct slice messages; /* lines: errors, notes; those that had room */
};

/* Embedded in whoever asks. */
struct reload_request {
    struct list link;
    void (*done)(struct reload_request *request, const struct reload_result *result);
};

struct snapshot;

struct reload {
    struct shard *shard;           /* borrowed */
    struct log_sink log;
    /* What of a new configuration is the TSA shard's own: before mail shards have it, for them to
     * ask, and when all have it. */
    void (*begin)(struct reload *reload, const struct conf *conf);
    void (*apply)(struct reload *reload, const struct conf *conf);
    unsigned shards;               /* of mail */
    struct reload_part *parts;     /* one for each of them */
    struct snapshot *current;      /* in force */
    struct snapshot *next;         /* on its way there */
    struct list old;               /* snapshots that some shard still has something of */
    struct list waiting;           /* struct reload_request */
    struct list asked;             /* those that this reload answers */
    unsigned waiting_count;
    bool wanted;                   /* by a signal, which nobody waits for */
    bool reading;
    bool stopping;
    unsigned out;                  /* parts that are not home */
    struct conf_reading conf;
    struct work_job job;
    struct timer retry;            /* the worker was busy */
    struct heap heap;              /* of the difference */
    const struct conf_change *changes;
    size_t change_count;
    uint8_t *text;                 /* RELOAD_MESSAGE_BYTES */
};

/*
 * Boot. `conf` is in force; file and sets are where it came from. All are borrowed until
 * reload_fini. `log`, `begin` and `apply` are set by the caller, and parts by reload_shard_set.
 */
void reload_init(struct reload *reload, struct shard *shard, struct boot_pages *pages,
                 unsigned shards, const struct conf *conf);
void reload_source_set(struct reload *reload, const char *file, const char *const *sets,
                       size_t set_count);
/* Hands the shard its lease of what is in force. */
void reload_shard_set(struct reload *reload, unsigned index, struct delivery *delivery,
                      const struct reload_target *target);

/* False: too many are waiting, and it is not taken. */
MUST_USE bool reload_ask(struct reload *reload, struct reload_request *request);
/* The same for a signal: what there is to say stands in the log. */
void reload_want(struct reload *reload);
const struct conf *reload_conf(const struct reload *reload);
/* Snapshots that are not freed yet, with the one in force. */
unsigned reload_snapshots(const struct reload *reload);

/* Who waits is told so; what is with a worker or a shard comes home. */
void reload_stop(struct reload *reload);
bool reload_idle(const struct reload *reload);
/* After every shard has ended: all snapshots go. */
void reload_fini(struct reload *reload);

#endif
