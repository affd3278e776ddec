/* Recipient domains with weights: "domain" or "domain:weight" a line, # for comments. */
#ifndef RINGPOST_BENCH_DOMAINS_H
#define RINGPOST_BENCH_DOMAINS_H

#include "core/buf.h"
#include "core/prng.h"

#define DOMAINS_MAX 1000000u

struct domains {
    char *text;           /* owned */
    struct slice *names;  /* owned */
    uint64_t *weight_end; /* owned: sum of the weights up to and with this one */
    unsigned count;
};

/* Copies; false with a reason. No domain at all is an error. */
MUST_USE bool domains_read(struct domains *domains, struct slice text, struct buf *reason_out);
/*
 * `count` domains that the rule below answers 450 for ever, of this weight each, in turn of each
 * of the groups *.g00.later.test …; a line takes DOMAINS_LATER_BYTES at most.
 */
#define DOMAINS_LATER_GROUPS 60u
#define DOMAINS_LATER_BYTES 40u
#define DOMAINS_LATER_RULE  "rcpt *.later.test 450 4.2.1 not now\n"
void domains_put_later(struct buf *buf, uint64_t count, uint64_t weight);
/*
 * `count` domains, each in turn of one of these sites, whose MX is that of *.s0.test, *.s1.test …;
 * a line takes DOMAINS_SITE_BYTES at most.
 */
#define DOMAINS_SITE_BYTES 24u
void domains_put_sites(struct buf *buf, uint64_t count, uint64_t sites);
void domains_fini(struct domains *domains);
struct slice domains_pick(const struct domains *domains, struct prng *prng);

#endif
