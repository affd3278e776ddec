/*
 * What a mail shard knows of sites: by domain, asked of the TSA shard by mail. A domain that nobody
 * looks up is not asked for again; one whose site has expired is, and its former site holds
 * meanwhile. At most `domains_max` are kept, the least used go first.
 *
 *   find ──► known: the site                       TSA shard
 *     └────► wish ──mail──► site_finder_ask ──► held ──mail──► `changed`, if it is another one
 */
#ifndef RINGPOST_SMTP_SITE_BOOK_H
#define RINGPOST_SMTP_SITE_BOOK_H

#include "smtp/site_finder.h"

struct site_book;

/*
 * From the loop. The first site of a domain has come (`former` is null), or another one that
 * differs from the former in kind, name or order. `domain` is as it was asked for; all are borrowed
 * for the call.
 */
typedef void site_book_changed(void *context, struct slice domain, const struct site *former,
                               struct site *site);

struct site_book_options {
    struct site_finder *finder; /* borrowed: the node's */
    uint32_t domains_max;
    uint64_t memory_max;        /* bytes of all domains */
    site_book_changed *changed;
    void *context;
};

struct site_book {
    struct shard *shard;       /* borrowed: a mail shard */
    struct site_book_options options;
    struct metered memory;     /* of wishes */
    struct htab domains;       /* wishes by domain */
    struct list used;          /* wishes, least used first */
    struct list leaving;       /* sites that have been lent in this turn, … */
    struct list left;          /* … in the one before */
    struct deferred release;
    struct site scarce;        /* what is said when there is no memory */
    struct mail stop_mail;
    unsigned away;             /* wishes, and the stop, that are with the TSA shard */
    bool stopping;
    struct list pending;       /* wishes there; of the TSA shard alone */
};

/* Boot. */
void site_book_init(struct site_book *book, struct shard *shard, struct boot_pages *pages,
                    const struct site_book_options *options);
/* What is being asked for comes home without an answer. */
void site_book_stop(struct site_book *book);
/* Another configuration is in force: all that is known is asked for again when it is looked up. */
void site_book_expire(struct site_book *book);
uint64_t site_book_memory(const struct site_book *book);
bool site_book_idle(const struct site_book *book);
/* Stopped and idle. Releases all that it holds. */
void site_book_fini(struct site_book *book);

/*
 * The site of a domain (lower case, without a dot at the end; or of a list of hosts, see
 * site_search.h) as it is known, borrowed until the
 * turn ends unless it is held (site_hold); or null: it is asked for. That a domain had no site, or
 * DNS trouble, is known no longer than it holds: what has expired of that is asked for, too.
 */
struct site *site_book_find(struct site_book *book, struct slice domain);

#endif
