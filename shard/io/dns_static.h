/*
 * What the configuration knows of names without asking anybody ([dns] static, static_rcode,
 * static_secure): an answer of the same form as a server's, CNAMEs followed. Pure.
 */
#ifndef RINGPOST_SHARD_IO_DNS_STATIC_H
#define RINGPOST_SHARD_IO_DNS_STATIC_H

#include "core/conf.h"
#include "shard/io/dns_message.h"

enum dns_static {
    DNS_STATIC_NONE,   /* the name is not there: ask */
    DNS_STATIC_ALIAS,  /* ask for `alias`; `ttl_s` and `secure` are those of the way there */
    DNS_STATIC_ANSWER,
};

/* The answer's memory is that of `dns`. Without servers it is always an answer. */
enum dns_static dns_static_find(const struct conf_dns *dns, const struct dns_question *question,
                                struct dns_answer *answer_out);

#endif
