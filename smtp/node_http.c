#include "smtp/node_http.h"

#include <errno.h>
#include <string.h>

#include "smtp/http_routes.h"
#include "smtp/node.h"

#define CONNECTIONS_MAX 4096 /* of a thread */
/* Of a thread's share of memory.limit HTTP may hold one part in so many. */
#define MEMORY_PART 4
#define LISTEN_AGAIN_NS (20 * NS_PER_MS)
#define LISTEN_NS       (5 * NS_PER_S) /* how long a port that is taken is tried */
#define STOP_NS         (2 * NS_PER_S) /* for answers, once all mail shards have stopped */

/* --- boot ----------------------------------------------------------------------------------- */

static void init(struct node *node, struct shard *shard, struct http_server *server,
                 struct boot_pages *pages, void *context)
{
    struct http_options options = {
        .shard = shard,
        .conf = node->options.conf,
        .context = context,
        .tsa = &node->control->http.server,
        .mails = node->https,
        .mail_count = node->shards,
        .connections_max = CONNECTIONS_MAX,
        .memory_max = shard->memory.limit / MEMORY_PART,
        .pages = pages,
    };
    options.routes = http_routes(&options.route_count);
    http_server_init(server, &options);
}

static void listen_again(struct timer *timer);

void node_http_init_tsa(struct node *node)
{
    struct control *control = node->control;
    timer_init(&control->http.again, listen_again);
    init(node, &control->shard, &control->http.server, &control->pages, control);
}

void node_http_init_mail(struct mta *mta)
{
    init(mta->node, &mta->shard, &mta->http, &mta->pages, mta);
    mta->node->https[mta->shard.index] = &mta->http;
}

/* --- start ---------------------------------------------------------------------------------- */

static void listen_again(struct timer *timer)
{
    struct control *control =
        CONTAINER_OF(CONTAINER_OF(timer, struct node_http, again), struct control, http);
    struct node_http *http = &control->http;
    uint8_t memory[ENDPOINT_TEXT_MAX];
    struct buf where;
    buf_init(&where, memory, sizeof(memory));
    int error = http_server_start(&http->server, control->node->http_bound, &where);
    if (error == -EADDRINUSE && control->shard.now_ns < http->until_ns) {
        shard_timer_set(&control->shard, timer, LISTEN_AGAIN_NS);
        return;
    }
    if (error == 0) {
        http->listening(control);
        return;
    }
    uint8_t text[NODE_REASON_BYTES_MAX];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    node_put_listen_error(&reason, buf_slice(&where), error);
    node_fail(control->node, buf_slice(&reason));
}

void node_http_start(struct control *control, void (*listening)(struct control *control))
{
    control->http.listening = listening;
    control->http.until_ns = control->shard.now_ns + LISTEN_NS;
    listen_again(&control->http.again);
}

/* --- every turn ----------------------------------------------------------------------------- */

void node_http_look(struct mta *mta)
{
    enum spool_status status =
        mta->stage == MTA_SERVING ? spool_admission(mta->spool, 0) : SPOOL_STORED;
    atomic_store_explicit(&mta->spool_status, status, memory_order_relaxed);
    http_server_set_takes(&mta->http,
                          mta->stage == MTA_SERVING &&
                              !overload_is(&mta->server.overload, OVERLOAD_CONNECTIONS));
}

void node_http_account(struct control *control)
{
    uint64_t *used = control->shard.memory.used;
    used[ACCOUNT_BUFFERS] = ring_buffers_memory(control->shard.ring);
    used[ACCOUNT_HTTP] = http_server_memory(&control->http.server);
    used[ACCOUNT_DNS] =
        resolver_memory(&control->resolver) + site_finder_memory(&control->sites);
    http_server_set_takes(&control->http.server, true);
}

/* --- the end -------------------------------------------------------------------------------- */

bool node_http_stopped(struct control *control)
{
    struct node_http *http = &control->http;
    uint32_t level = atomic_load_explicit(&control->node->stop_level, memory_order_relaxed);
    if (!http->stopping) {
        http->stopping = true;
        http->until_ns = control->shard.now_ns + STOP_NS;
        http_server_stop(&http->server);
    }
    if (level >= 2 || control->shard.now_ns >= http->until_ns) {
        http_server_cut(&http->server);
    }
    return http_server_open(&http->server) == 0;
}
