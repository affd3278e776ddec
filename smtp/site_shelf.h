/*
 * All sites of a node: what is equal is one struct. On the TSA shard; sites themselves are held by
 * any thread, and freed here when nobody holds them any more.
 */
#ifndef RINGPOST_SMTP_SITE_SHELF_H
#define RINGPOST_SMTP_SITE_SHELF_H

#include "core/htab.h"
#include "core/list.h"
#include "shard/boot.h"
#include "shard/metered.h"
#include "smtp/site.h"

struct site_shelf {
    struct metered *memory; /* borrowed */
    struct htab shapes;     /* by what they say */
    struct list sites;      /* all, in the order in which they are looked after */
    unsigned count;
};

/* Boot. `sites_max`: as many are looked for among their equals; more are kept, but not shared. */
void site_shelf_init(struct site_shelf *shelf, struct metered *memory, struct boot_pages *pages,
                     uint32_t sites_max, uint64_t seed);
/*
 * A site that says what `draft` says, held for the caller; the draft's memory stays its own. Null:
 * there is no memory.
 */
struct site *site_shelf_take(struct site_shelf *shelf, const struct site *draft);
/* Looks at the next `most` sites, and frees those that nobody holds. */
void site_shelf_sweep(struct site_shelf *shelf, unsigned most);

#endif
