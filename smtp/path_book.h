/*
 * The options of egress paths as a mail shard has them: merged once (core/shaping.h) for all who
 * find the same layers, and kept as long as they are in force or somebody holds them. A path is by
 * itself: it borrows from no configuration. One for each delivery; all calls on the shard.
 *
 * When another view comes into force nobody finds the former paths any more; those that are held
 * stay as they are. Whoever holds one finds his own anew, and has the same options where the
 * fingerprint is the same. That takes no time, however many paths there are: the former ones go by
 * the time that others are merged, some for each, and are found again when it is their view again.
 */
#ifndef RINGPOST_SMTP_PATH_BOOK_H
#define RINGPOST_SMTP_PATH_BOOK_H

#include "core/htab.h"
#include "core/list.h"
#include "core/shaping.h"
#include "shard/boot.h"
#include "shard/metered.h"
#include "smtp/site.h"

struct path_book {
    struct shaping_view view; /* in force; borrowed */
    uint64_t digest;          /* of it */
    uint32_t turn;            /* views that have come into force */
    struct metered memory;
    struct htab paths;        /* by their view and their layers */
    struct list current;      /* those of the view; … */
    struct list former;       /* … of others, which are to go, the oldest first */
    uint64_t merged;          /* since the start */
};

/* Boot. */
void path_book_init(struct path_book *book, struct boot_pages *pages);
/* Another view is in force. */
void path_book_set(struct path_book *book, const struct shaping_view *view);
void path_book_fini(struct path_book *book);

/*
 * The question to shaping about a domain whose mail goes to this site (null: that is not known, or
 * none) from this source (empty: whatever one). Borrows all of it; not to be copied.
 */
struct path_query {
    struct shaping_query query;
    struct slice hosts[SITE_HOSTS_MAX];
};
void path_query_set(struct path_query *path, struct slice domain, const struct site *site,
                    struct slice source);
/*
 * The path of a domain whose mail goes to this site (null: that is not known, or none) from this
 * source (empty: whatever one). Borrowed until the turn ends, or the view changes, unless it is
 * held. Null: no memory.
 */
const struct path_options *path_book_find(struct path_book *book, struct slice domain,
                                          const struct site *site, struct slice source);
const struct path_options *path_hold(const struct path_options *path);
/* `*held`, which may be null, is not the caller's any more. */
void path_drop(struct path_book *book, const struct path_options **held);
/* What it was merged of, and in which view (shaping_view_digest). */
void path_selection(const struct path_options *path, struct shaping_selection *selection_out,
                    uint64_t *view_digest_out);

#endif
