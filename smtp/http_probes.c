#include "smtp/http_probes.h"

#include "core/check.h"
#include "smtp/node.h"

/*
 * What is wrong with the spools of the mail shards, as each has said in its last turn: one that has
 * failed comes before all others, else the first that does not store.
 */
static enum spool_status spools(const struct node *node)
{
    enum spool_status found = SPOOL_STORED;
    for (unsigned i = 0; i < node->shards; i++) {
        enum spool_status status = (enum spool_status)atomic_load_explicit(
            &node->mtas[i].spool_status, memory_order_relaxed);
        if (status == SPOOL_FAILED || found == SPOOL_STORED) {
            found = status;
        }
    }
    return found;
}

static void answer(struct http_exchange *exchange, bool good, struct slice line)
{
    http_answer_text(exchange, good ? 200 : 503, line);
}

/* False: answered, the node does not run. */
static bool runs(struct http_exchange *exchange, const struct node *node)
{
    bool stopping = atomic_load_explicit(&node->stop_level, memory_order_relaxed) > 0;
    switch (node_state(node)) {
    case NODE_STARTING:
    case NODE_READY:
        if (!stopping) {
            return true;
        }
        break;
    case NODE_STOPPING:
    case NODE_STOPPED:
    case NODE_FAILED:
        break;
    }
    answer(exchange, false, SLICE("stopping"));
    return false;
}

void http_check_liveness(struct http_exchange *exchange)
{
    const struct node *node = ((struct control *)exchange->context)->node;
    if (!runs(exchange, node)) {
        return;
    }
    bool good = spools(node) != SPOOL_FAILED;
    answer(exchange, good, good ? SLICE("OK") : SLICE("the spool does not accept mail"));
}

void http_check_readiness(struct http_exchange *exchange)
{
    const struct node *node = ((struct control *)exchange->context)->node;
    if (!runs(exchange, node)) {
        return;
    }
    if (node_state(node) != NODE_READY) {
        answer(exchange, false, SLICE("starting"));
        return;
    }
    switch (spools(node)) {
    case SPOOL_STORED:
        answer(exchange, true, SLICE("OK"));
        return;
    case SPOOL_FULL:
        answer(exchange, false, SLICE("the spool is full"));
        return;
    case SPOOL_FAILED:
    case SPOOL_LATE:
        answer(exchange, false, SLICE("the spool does not accept mail"));
        return;
    }
    CHECK(false);
}
