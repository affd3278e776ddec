/*
 * A name server on the simulated network: a zone as text, by UDP and TCP, and ways to be of no use.
 * It answers as a resolver does: with the whole chain of aliases.
 */
#ifndef RINGPOST_TESTS_KIT_NAME_SERVER_H
#define RINGPOST_TESTS_KIT_NAME_SERVER_H

#include "shard/io/dns_message.h"
#include "tests/sim/sim.h"

enum name_server_mood {
    NAME_SERVER_WORKS,
    NAME_SERVER_DEAD,      /* says nothing */
    NAME_SERVER_FAILS,     /* SERVFAIL */
    NAME_SERVER_REFUSES,   /* REFUSED */
    NAME_SERVER_LIES,      /* answers to other ids and other questions, and no others */
    NAME_SERVER_JESTS,     /* a lie, then the truth */
    NAME_SERVER_BABBLES,   /* the right head, then junk */
    NAME_SERVER_TRUNCATES, /* TC by UDP; all of it by TCP */
    NAME_SERVER_HANGS_UP,  /* TC by UDP; by TCP half an answer and the end */
    NAME_SERVER_PLAIN,     /* FORMERR to what has EDNS; else the truth */
    NAME_SERVER_PUZZLED,   /* FORMERR to everything */
};

struct name_server {
    struct sim *sim;
    struct endpoint endpoint;
    struct sim_udp *udp;
    struct sim_listener *listener;
    enum name_server_mood mood;
    const char *zone;      /* lines "NAME TTL TYPE DATA"; types A, AAAA, CNAME, MX, TXT */
    uint64_t delay_ns;     /* of each answer by UDP */
    bool secure;           /* sets AD */
    unsigned asked;        /* queries that came */
    unsigned asked_by_tcp; /* … of these */
    unsigned asked_plainly; /* … without EDNS */
    uint16_t last_port;    /* from which the last one came by UDP */
    uint16_t last_id;
};

/* Lasts until sim_close; the struct is the test's until then. */
void name_server_open(struct name_server *server, struct sim *sim,
                      const struct endpoint *endpoint, const char *zone);

#endif
