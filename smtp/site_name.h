/*
 * The name of a set of hosts: short, readable, the same whatever their order, and never that of
 * another set. Labels are aligned from the right, and each position has its alternatives, as in
 * KumoMTA: alt1.mx.example.com, alt2.mx.example.com and mx.example.com are
 * "(alt1|alt2)?.mx.example.com". Where that would stand for other sets as well a hash of the set
 * follows: {a.x.com, b.y.com} is "(a|b).(x|y).com#6c1b…"; and where it would be longer than
 * SITE_NAME_BYTES_MAX the first host, how many follow it, and the hash. Pure.
 */
#ifndef RINGPOST_SMTP_SITE_NAME_H
#define RINGPOST_SMTP_SITE_NAME_H

#include "core/buf.h"
#include "smtp/site.h"

/*
 * Names in lower case, without a dot at the end, perhaps with ":PORT"; 1 to SITE_HOSTS_MAX. One
 * that stands there twice counts once. At most SITE_NAME_BYTES_MAX bytes.
 */
void site_name_put(struct buf *buf, const struct slice *hosts, unsigned count);

/* 64 bits of SHA-1 over what is put, each part with its size before it. */
struct site_hash {
    uint8_t digest[20]; /* of what has gone before */
};
void site_hash_init(struct site_hash *hash);
void site_hash_put(struct site_hash *hash, struct slice part);
uint64_t site_hash_value(const struct site_hash *hash);

#endif
