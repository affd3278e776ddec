/*
 * Names that a configuration knows without asking anybody: text as in a master file (RFC 1035 5.1)
 * made into a table. Immutable afterwards; readable by any thread. Pure.
 *
 *   OWNER [TTL] [IN] TYPE DATA      MX, A, AAAA, CNAME, TXT, PTR, TLSA; SOA and NS are read over
 *   $ORIGIN NAME, $TTL SECONDS      names without a dot at the end are below the origin, which is
 *                                   the root at first; @ is the origin; ZONE_TTL_S
 *
 * Comments begin with ';', parentheses go on over lines. Space at the beginning of a line has no
 * meaning, but where TTL, class or type follow it: then the owner is that of the line before.
 * "*.example.com" is all names below example.com that are not there otherwise (RFC 4592).
 */
#ifndef RINGPOST_CORE_ZONE_H
#define RINGPOST_CORE_ZONE_H

#include "core/dns.h"
#include "core/heap.h"

#define ZONE_TTL_S 300

/* All records of a name and type. */
struct zone_set {
    enum dns_type type;
    uint32_t ttl_s; /* the smallest of them */
    unsigned count;
    const struct dns_record *records; /* in the order of the text */
};

struct zone_name {
    struct slice name;
    unsigned count; /* 0: there are only names below it */
    const struct zone_set *sets;
};

struct zone {
    size_t count;
    const struct zone_name *names; /* by name */
};

/* What is wrong in a line, which are counted from 1. Comes for every line with an error. */
typedef void zone_wrong(void *context, unsigned line, struct slice why);

/* True: nothing was wrong; else `zone_out` has what was right. What is kept is in `heap`, what was
 * needed on the way in `scratch`. */
bool zone_read(struct slice text, struct heap *heap, struct heap *scratch, zone_wrong *wrong,
               void *context, struct zone *zone_out);

/* The name itself, or the wildcard that covers it; null: it is not there. */
const struct zone_name *zone_find(const struct zone *zone, struct slice name);
/* Null: it has none of this type. */
const struct zone_set *zone_set_find(const struct zone_name *name, enum dns_type type);

#endif
