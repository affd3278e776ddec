/*
 * Options of the verbs that talk to a running server: read, and explained by --help, from one
 * table. Values are borrowed from the arguments. Pure but for what it prints; one thread.
 */
#ifndef RINGPOST_TOOLS_VERB_OPTIONS_H
#define RINGPOST_TOOLS_VERB_OPTIONS_H

#include <stdio.h>

#include "core/slice.h"

/*     id             name              argument     what it does */
#define VERB_OPTIONS(X)                                                                            \
    X(QUEUE,          "queue",          "NAME",                                                    \
      "the scheduled queue of this name; repeated where several are meant")              \
    X(DOMAIN,         "domain",         "DOMAIN",   "queues of this recipient domain")             \
    X(ROUTING_DOMAIN, "routing-domain", "DOMAIN",   "queues with this routing domain")             \
    X(TENANT,         "tenant",         "TENANT",   "queues of this tenant")                       \
    X(CAMPAIGN,       "campaign",       "CAMPAIGN", "queues of this campaign")                     \
    X(EVERYTHING,     "everything",     NULL,       "all queues")                                  \
    X(READY_QUEUE,    "ready-queue",    "NAME",     "the ready queue of this name")                \
    X(ID,             "id",             "ID",                                                      \
      "32 hexadecimal digits: a recipient's message; for resume an order")                         \
    X(REASON,         "reason",         "TEXT",     "why; it is logged and shown to others")       \
    X(DURATION,       "duration",       "TIME",     "for how long, like 2h (5m)")                  \
    X(DRY_RUN,        "dry-run",        NULL,       "only counts what is meant, and names five")   \
    X(YES,            "yes",            NULL,       "does not ask")                                \
    X(LIST,           "list",           NULL,       "shows what is in force")                      \
    X(BODY,           "body",           NULL,       "shows the content, up to 64 KiB of it")       \
    X(LIMIT,          "limit",          "N",        "at most so many")                             \
    X(READY,          "ready",          NULL,       "ready queues, not scheduled ones")            \
    X(THREADS,        "threads",        NULL,       "threads of the server, not queues")           \
    X(ONCE,           "once",           NULL,       "prints one frame as text, and ends")          \
    X(SET,            "set",            "KEY=VALUE,…",                                             \
      "what is to be: tenant=, campaign= and class=urgent or bulk; no value: none")      \
    X(DATA,           "data",           "JSON",                                                    \
      "the same as an object, as KumoMTA has it; null: none")                            \
    X(ALWAYS_FLUSH,   "always-flush",   NULL,       "what is moved is due now, too")               \
    X(ENDPOINT,       "endpoint",       "URL",                                                     \
      "where the server listens ($RINGPOST_ENDPOINT; http://127.0.0.1:8000)")             \
    X(JSON,           "json",           NULL,                                                      \
      "the server's answer as it is; of top a line for each reading")

enum verb_option {
#define VERB_OPTION_ENUM(id, name, argument, help) OPTION_##id,
    VERB_OPTIONS(VERB_OPTION_ENUM)
#undef VERB_OPTION_ENUM
    VERB_OPTIONS_COUNT
};

#define OPTION_BIT(id) (1u << OPTION_##id)
/* Every verb that talks to a server has these. */
#define OPTIONS_COMMON (OPTION_BIT(ENDPOINT) | OPTION_BIT(JSON))
/* Which queues. */
#define OPTIONS_CRITERIA                                                                           \
    (OPTION_BIT(QUEUE) | OPTION_BIT(DOMAIN) | OPTION_BIT(ROUTING_DOMAIN) | OPTION_BIT(TENANT) |    \
     OPTION_BIT(CAMPAIGN) | OPTION_BIT(EVERYTHING))

#define VERB_QUEUES_MAX 100u

struct verb_options {
    const char *verb;
    const char *values[VERB_OPTIONS_COUNT]; /* null: not given; "" of what takes no argument */
    const char *queues[VERB_QUEUES_MAX];    /* all of --queue */
    unsigned queue_count;
    const char *positional;                 /* null: none */
};

/* `allowed` are bits; arguments from the verb on. False: it makes no sense, and has been said. */
MUST_USE bool verb_options_read(struct verb_options *options, uint32_t allowed, bool positional,
                                int count, char **arguments);
/* A line for each of the allowed ones. */
void verb_options_help(FILE *out, uint32_t allowed);

static inline bool verb_options_given(const struct verb_options *options, enum verb_option option)
{
    return options->values[option] != NULL;
}
/* How many of these are given. */
unsigned verb_options_count(const struct verb_options *options, uint32_t of);
/* From 1 to `max`; `otherwise` when it is not given. False: it is none, and has been said. */
MUST_USE bool verb_options_limit(const struct verb_options *options, unsigned max,
                                 unsigned otherwise, unsigned *limit_out);

#endif
