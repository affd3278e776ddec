/*
 * A resolver that says what a table says, after a while and in any order. It takes the place of
 * shard/io/resolver.h at link time in a test that uses it.
 */
#ifndef RINGPOST_TESTS_DNS_DNS_TABLE_H
#define RINGPOST_TESTS_DNS_DNS_TABLE_H

#include "shard/io/resolver.h"

#define DNS_TABLE_ROWS_MAX 400

/* What DNS says of a name and type. */
struct dns_row {
    const char *name;
    enum dns_type type;
    /* "10 mx1.test,20 mx2.test", "192.0.2.1,192.0.2.2"; or !no, !nodata, !failed, !timeout, !bad,
     * !busy. Names are as a resolver gives them: the null MX is "0 ". */
    const char *data;
    unsigned ttl_s; /* 0: 300 */
};

struct dns_table {
    struct resolver resolver; /* only its address, for those who ask */
    struct shard *shard;
    struct timer timer;
    struct list pending;
    struct dns_row rows[DNS_TABLE_ROWS_MAX];
    unsigned row_count;
    unsigned asked;
    bool secure;       /* all answers are */
    unsigned left_out; /* of each answer */
};

void dns_table_init(struct dns_table *table, struct shard *shard);
/* Instead of what was said before. A name with any row is there. The strings stay. */
void dns_table_say(struct dns_table *table, const char *name, enum dns_type type,
                   const char *data);

#endif
