/*
 * What operators, and rules of automation, have ordered for queues, until it expires: entries, and
 * the table of all of them. A table is made on the TSA shard, and from the moment it is handed out
 * it does not change: mail shards read it (smtp/admin.h). Pure but for that. Entries of rules have
 * room of their own: they never take that of operators.
 *
 * The stored form of those of operators, in one file of node.state_dir, little-endian:
 *
 *   "RPADMIN1", checksum of the rest (XXH3-64), u32 count, u32 0; then for each entry
 *   u8 kind, u8 everything, u16 names, u32 0, id (16 bytes), u64 created, u64 expires (both
 *   nanoseconds since 1970), and u16 size with that many bytes each of domain, routing_domain,
 *   tenant, campaign, reason and every name
 */
#ifndef RINGPOST_SMTP_ADMIN_ENTRY_H
#define RINGPOST_SMTP_ADMIN_ENTRY_H

#include "core/buf.h"
#include "core/conf.h"
#include "core/htab.h"
#include "core/id.h"

#define ADMIN_ENTRIES_MAX      1000u /* of operators; and as many of rules */
#define ADMIN_NAMES_MAX        4096u /* of all entries of operators; those of rules have one each */
#define ADMIN_TEXT_BYTES_MAX   (1u * MIB) /* of operators; and as many of rules */
#define ADMIN_SLOTS_MAX        (2 * ADMIN_ENTRIES_MAX)
#define ADMIN_READY_SLOTS      4096u      /* htab_slots_for(ADMIN_SLOTS_MAX) */
#define ADMIN_REASON_BYTES_MAX 512u
#define ADMIN_COMPARISONS_MAX  8192u /* of names, in one turn */
#define ADMIN_FILE_BYTES_MAX                                                                       \
    (ADMIN_TEXT_BYTES_MAX + ADMIN_ENTRIES_MAX * 64u + ADMIN_NAMES_MAX * 2u + 64u)

/* Which queues: those for which everything that is given is true. */
struct admin_criteria {
    bool everything;             /* then nothing else is given, and else something is */
    struct slice domain;         /* in any letter case, as the next one */
    struct slice routing_domain;
    struct slice tenant;
    struct slice campaign;
    const struct slice *names;   /* the queue is one of these */
    unsigned name_count;
};

/* Null: they are sound; else what is wrong with them. */
const char *admin_criteria_problem(const struct admin_criteria *criteria);
/* Is it one of these? `queue` is the name of a scheduled queue. */
bool admin_criteria_match(const struct admin_criteria *criteria, struct slice queue);

enum admin_kind {
    ADMIN_SUSPEND = 1,       /* scheduled queues */
    ADMIN_SUSPEND_READY = 2, /* a ready queue, by its name */
    ADMIN_BOUNCE = 3,        /* what is in scheduled queues, and what comes later */
};

struct admin_entry {
    enum admin_kind kind;
    struct id id;
    struct admin_criteria criteria;
    struct slice reason;
    uint64_t created_ns; /* wall clock */
    uint64_t expires_ns; /* wall clock; what is stored */
    uint64_t until_ns;   /* monotonic; what is obeyed */
    uint16_t slot;       /* its own as long as it is there: below ADMIN_ENTRIES_MAX, of a rule not
                            below, but below ADMIN_SLOTS_MAX */
    uint64_t effect;     /* of a rule that ordered it: its id (tsa/automation.h); 0: an operator */
};

/* Null: it is sound; else what is wrong with its kind, criteria and reason. */
const char *admin_entry_problem(const struct admin_entry *entry);

/* What has been used of a table, by operators or by rules. */
struct admin_room {
    unsigned count;
    unsigned name_count;
    struct buf text;
};

struct admin_table {
    unsigned count;           /* of entries, whoever ordered them, in the order of their coming */
    struct admin_room rooms[2]; /* of operators, of rules */
    struct admin_entry entries[ADMIN_SLOTS_MAX];
    struct slice names[2][ADMIN_NAMES_MAX];
    uint8_t memory[2][ADMIN_TEXT_BYTES_MAX];
    struct htab ready;        /* entry that counts for a ready queue, by its name */
    struct htab_slot ready_slots[ADMIN_READY_SLOTS];
    unsigned sched_count;     /* entries for scheduled queues, … */
    unsigned sched_names;     /* … their names, … */
    uint16_t sched[ADMIN_SLOTS_MAX]; /* … and which they are */
};

/* Before all else, and again. The table stays where it is. */
void admin_table_clear(struct admin_table *table);
/* A copy of it, texts included. False: there is no room, and nothing was added. */
MUST_USE bool admin_table_add(struct admin_table *table, const struct admin_entry *entry);
/*
 * The entry that counts for a scheduled queue; null: there is none. A bounce comes before a
 * suspension, and of several of a kind the one that lasts longest.
 */
const struct admin_entry *admin_table_find(const struct admin_table *table, struct slice queue);
/* The same for a ready queue. */
const struct admin_entry *admin_table_find_ready(const struct admin_table *table,
                                                 struct slice name);
/* How many of these one turn may hold, each with `more` comparisons; without a table only those. At
 * least one. A ready queue is found at once, however many entries there are; a scheduled queue is
 * compared with all that are for scheduled queues. */
unsigned admin_turn_budget(const struct admin_table *table, unsigned more);

/* Into ADMIN_FILE_BYTES_MAX. */
void admin_table_encode(const struct admin_table *table, struct buf *buf);
/*
 * Adds what stands there; until_ns and slot are the caller's. False: it is damaged, and the table
 * is empty.
 */
MUST_USE bool admin_table_decode(struct admin_table *table, struct slice bytes);

#endif
