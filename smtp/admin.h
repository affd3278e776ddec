/*
 * What operators order: queues suspended, bounced or flushed, and all of it taken back. One per
 * node, on the TSA shard, which every call is made on and every answer comes from.
 *
 *   asker ─ admin_ask ─► the file (durable) ─► every mail shard obeys ─► done: the answer
 *
 * What is ordered is called an entry: which queues, why, and until when. It holds for queues that
 * come later as well, on every shard, and over restarts: a start reads the file before it reads the
 * spool. One request is dealt with at a time. An entry is in the file before any shard hears of it,
 * and every shard has obeyed before the asker hears that it is done. When it cannot be stored for
 * sure, the file is written as it was, again and again until that is sure. One that has expired is
 * gone from all shards soon afterwards, and from the file when that is written next.
 *
 *   suspend   no attempt begins; nothing is counted and nothing told. What has begun ends as ever.
 *             Mail does not expire meanwhile.
 *   bounce    what is in these queues, and what comes into them, ends with an AdminBounce; before
 *             a suspension of the same queue.
 *   flush     what waits is due now: once, and not over a restart.
 *
 * Rules of automation order suspensions and bounces, too. They say at any time what is in force of
 * theirs, and that stands in the same table, beside what operators have ordered; but not in the
 * file, for automation keeps its own.
 *
 * Everything done is a line in the log: event=admin action=… id=… reason=….
 */
#ifndef RINGPOST_SMTP_ADMIN_H
#define RINGPOST_SMTP_ADMIN_H

#include "core/logline.h"
#include "shard/boot.h"
#include "shard/state_file.h"
#include "smtp/admin_entry.h"
#include "smtp/admin_walk.h"

#define ADMIN_REQUESTS_MAX     64u /* that wait */
#define ADMIN_READS_MAX        5u
#define ADMIN_DURATION_NS      (300 * NS_PER_S) /* when nobody says otherwise */
#define ADMIN_DURATION_NS_MAX  (3650ull * 86400 * NS_PER_S)

enum admin_action {
    ADMIN_DO_SUSPEND,
    ADMIN_DO_SUSPEND_READY, /* criteria: the one name of a ready queue */
    ADMIN_DO_BOUNCE,
    ADMIN_DO_FLUSH,
    ADMIN_DO_CANCEL,
};

enum admin_status {
    ADMIN_DONE,
    ADMIN_INVALID,    /* `problem` says why */
    ADMIN_UNKNOWN,    /* CANCEL: there is no such entry */
    ADMIN_FULL,       /* there are as many entries, names or texts as there may be */
    ADMIN_NOT_STORED, /* the file could not be written: nothing was changed */
    ADMIN_NOT_KNOWN,  /* neither that, nor could it be written as it was: nothing was changed, but a
                         restart before it can may find it done */
    ADMIN_STOPPING,
};

/* Embedded in whoever asks. What it borrows stands until done. */
struct admin_request {
    struct list link;
    enum admin_action action;
    struct admin_criteria criteria;
    struct slice reason;      /* of all but CANCEL; not empty */
    uint64_t duration_ns;     /* 0: ADMIN_DURATION_NS */
    uint64_t expires_ns;      /* wall clock; 0: after the duration */
    bool dry_run;             /* finds, and does nothing */
    struct id id;             /* CANCEL: of the entry; else the answer's */
    enum admin_kind kind;     /* CANCEL: it is one of these */
    void (*done)(struct admin_request *request); /* from the loop */
    enum admin_status status;
    const char *problem;
    struct admin_found found; /* of recipients that are there now; CANCEL: nothing */
};

/*
 * What rules order. `fill` adds to a table all that is in force of it now, whenever one is made;
 * `obeyed`: all shards have obeyed the last one that was filled.
 */
struct admin_rules {
    void (*fill)(struct admin_rules *rules, struct admin_table *table);
    void (*obeyed)(struct admin_rules *rules);
};

struct admin {
    struct shard *shard;       /* borrowed */
    struct log_sink log;
    unsigned shards;           /* of mail */
    void (*loaded)(struct admin *admin, struct slice problem);
    struct admin_rules *rules; /* borrowed; null: there are none */
    uint64_t rules_changes;    /* so often has it been asked for them anew, … */
    uint64_t rules_filled;     /* … as of the table that was made last, … */
    uint64_t rules_obeyed;     /* … and of the one in force */
    bool rules_last;           /* what was done last was theirs: who waits comes first now */
    struct admin_part *parts;  /* one for each of them */
    struct admin_table *table; /* in force */
    struct admin_table *next;  /* being made, or not used */
    struct state_file file;
    uint8_t *data;             /* ADMIN_FILE_BYTES_MAX: of the file */
    struct id_source ids;
    struct list waiting;
    unsigned waiting_count;
    struct admin_request *current; /* null: none, or it is the expiry */
    struct admin_entry entry;  /* the current one's */
    uint8_t stage;             /* its own */
    unsigned out;              /* parts that are not home */
    bool stopping;
    struct timer expiry;
    struct timer retry;        /* to read the file once more, or to write it as it was */
    unsigned reads;            /* tries */
    bool restores;             /* it is to be written as it was, now */
    struct deferred step;
    unsigned slot_next;
    uint64_t slots[ADMIN_ENTRIES_MAX / 64 + 1]; /* of operators: taken */
    uint64_t bounced_before[ADMIN_SLOTS_MAX];   /* by who had the slot before */
};

/*
 * Boot; parts[i].delivery is the caller's to set, by admin_shard_set. `boot` is drawn at random.
 * `loaded`, `rules` and `log` are set by the caller.
 */
void admin_init(struct admin *admin, struct shard *shard, struct boot_pages *pages,
                unsigned shards, const char *dir, uint32_t boot);
void admin_shard_set(struct admin *admin, unsigned index, struct delivery *delivery);
/*
 * Before any shard has a queue: ends in `loaded`, from the loop. Damage is set aside and named, and
 * nothing is suspended; a file that is there and cannot be read, in ADMIN_READS_MAX tries within as
 * many seconds, is a problem: what stands in it holds, and nobody knows it.
 */
void admin_load(struct admin *admin);

/* False: too many are waiting, and it is not taken. */
MUST_USE bool admin_ask(struct admin *admin, struct admin_request *request);

/* What rules order is not what it was: another table goes to the shards. */
void admin_rules_changed(struct admin *admin);
/* A rule has this slot from now on: nobody has been bounced by it yet. */
void admin_slot_begin(struct admin *admin, uint16_t slot);

/* Entries in force, in the order of their coming; good until the next turn. */
unsigned admin_count(const struct admin *admin);
const struct admin_entry *admin_at(const struct admin *admin, unsigned i);
/* Recipients that a bounce has ended, durably, since it was ordered or the process began. */
uint64_t admin_bounced(const struct admin *admin, const struct admin_entry *entry);

/* What waits is refused; what is with the shards comes home. */
void admin_stop(struct admin *admin);
/* Nothing of it is on its way. */
bool admin_idle(const struct admin *admin);
/* After that: no timer and no deferred work of it is left with the shard. */
void admin_fini(struct admin *admin);

#endif
