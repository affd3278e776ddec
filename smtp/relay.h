/*
 * May a stranger's mail be relayed? Strangers are all who are not in relay_hosts of the listener.
 * The recipient's domain may be one that mail is taken for (relay_to), or the sender's one that the
 * client may send for (relay_from); nobody else sends through us. Pure.
 */
#ifndef RINGPOST_SMTP_RELAY_H
#define RINGPOST_SMTP_RELAY_H

#include "core/conf.h"

struct relay_question {
    const struct conf *conf;
    const struct endpoint *listen; /* where the listener listens, as configured */
    const struct endpoint *peer;   /* the client, whoever speaks for it */
    struct slice sender;           /* domains; empty: "<>", and "postmaster" */
    struct slice recipient;
};

bool relay_is_allowed(const struct relay_question *question);

/* What mail to the recipient's domain may be, and what becomes of reports. */
struct relay_fate {
    bool relays;          /* any mail; else reports that it logs, and nothing else */
    enum conf_report oob;
    enum conf_report arf;
};

/* `trusted`: the client is in relay_hosts. */
struct relay_fate relay_fate(const struct relay_question *question, bool trusted);

#endif
