/*
 * How an egress begins, follows the configuration, and ends: its connections and what is hot first,
 * then its cells, which go home, then itself.
 */
#include "smtp/egress.h"

#include <string.h>

#include "core/check.h"
#include "smtp/admin_local.h"

static_assert(EGRESS_NAME_BYTES_MAX >= CONF_SOURCE_BYTES_MAX + sizeof("->") +
                                           ROUTE_SITE_BYTES_MAX + sizeof("@smtp_client"),
              "every site has a name");

/* How long an egress stays that has nothing to do; not at all, while there are many. */
#define REST_NS (10 * NS_PER_S)

static_assert(BATCH_ROWS_MAX <= -INT8_MIN, "a debt is less than a batch");

static void cells_settled(struct cell_set *set);

static void fill_client_options(struct client_options *client, struct slice name,
                                const struct path_options *path)
{
    client_options_init(client, name);
    client->connect_timeout_ns = path->connect_timeout_ns;
    client->banner_timeout_ns = path->banner_timeout_ns;
    client->ehlo_timeout_ns = path->ehlo_timeout_ns;
    client->mail_from_timeout_ns = path->mail_from_timeout_ns;
    client->rcpt_to_timeout_ns = path->rcpt_to_timeout_ns;
    client->data_timeout_ns = path->data_timeout_ns;
    client->data_dot_timeout_ns = path->data_dot_timeout_ns;
    client->rset_timeout_ns = path->rset_timeout_ns;
    client->idle_timeout_ns = path->idle_timeout_ns;
    client->enable_pipelining = path->enable_pipelining;
    client->enable_rset = path->enable_rset;
    client->ignore_8bit_checks = path->ignore_8bit_checks;
}

/* Its own copy: it outlives the snapshot. */
static struct slice ehlo_name(struct egress *egress, const struct source_options *source)
{
    struct slice name = egress->delivery->conf->node.hostname;
    if (egress->path->ehlo_domain.size > 0) {
        name = egress->path->ehlo_domain;
    } else if (source->ehlo_domain.size > 0) {
        name = source->ehlo_domain;
    }
    CHECK(name.size <= sizeof(egress->ehlo_memory));
    memcpy(egress->ehlo_memory, name.data, name.size);
    return slice_make(egress->ehlo_memory, name.size);
}

void egress_aim(struct egress *egress)
{
    egress->reach = egress_hosts_reach(&egress->pool->hosts, &egress->source);
    egress_kick(egress);
}

static void init_limits(struct egress *egress)
{
    struct egress_limits *limits = &egress->limits;
    const struct delivery *delivery = egress->delivery;
    cell_set_init(&limits->set, delivery->shard, delivery->registry, delivery->registrar);
    limits->set.settled = cells_settled;
    limits->granted = egress_slot_granted;
    limits->asked = egress_slot_asked;
    egress_limits_init(limits, slice_make(egress->name, egress->name_bytes),
                       egress->pool->shared, egress->path);
}

static void put_name(struct egress *egress, const struct source_options *source)
{
    struct buf name;
    buf_init(&name, egress->name, sizeof(egress->name));
    egress_pool_member_name(egress->pool, egress->member, &name);
    CHECK(!name.overflow);
    egress->source_bytes = (uint16_t)source->name.size;
    egress->name_bytes = (uint16_t)name.size;
}

struct egress *egress_new(struct egress_pool *pool, unsigned member)
{
    struct delivery *delivery = pool->delivery;
    const struct source_options *source = pool->options->members[member].source;
    struct egress *egress = pool_take(&delivery->egresses);
    const struct path_options *path = egress == NULL ? NULL : egress_pool_member_path(pool, member);
    if (path == NULL) {
        if (egress != NULL) {
            pool_give(&delivery->egresses, egress);
        }
        return NULL;
    }
    *egress = (struct egress){
        .pool = pool,
        .delivery = delivery,
        .member = (uint16_t)member,
        .path = path_hold(path),
        .hold = {.since_ns = delivery->shard->now_ns},
    };
    if (source->has_address) {
        egress->source = source->address;
    }
    hold_clock_init(&egress->clock, HOLD_none, delivery->shard->now_ns);
    list_init(&egress->link);
    list_init(&egress->idle);
    list_init(&egress->conns);
    for (unsigned i = 0; i < QUEUE_CLASSES; i++) {
        list_init(&egress->ahead[i]);
    }
    egress_work_init(egress);
    put_name(egress, source);
    egress->remote_port = source->remote_port;
    egress_aim(egress);
    fill_client_options(&egress->client, ehlo_name(egress, source), path);
    init_limits(egress);
    list_push_back(&delivery->all, &egress->link);
    admin_local_site(egress);
    cell_set_ask(&egress->limits.set);
    return egress;
}

/* Something refers to it. */
static bool is_held(const struct egress *egress)
{
    return egress->connections > 0 || egress->away > 0 || egress->window.hot > 0 ||
           egress->limits.set.in_flight > 0;
}

/* Whoever has work there again gets another one: this does not come back. */
static void leave(struct egress *egress)
{
    egress->leaves = true;
    egress_pool_part(egress);
    egress_limits_retire(&egress->limits);
    path_drop(&egress->delivery->paths, &egress->path);
}

void egress_join(struct egress *egress)
{
    struct delivery *delivery = egress->delivery;
    bool unused = egress->pool->ready.queues == 0;
    if ((!unused && !egress->leaves && !delivery->stopping) || is_held(egress)) {
        return;
    }
    if (unused && !egress->leaves) {
        leave(egress);
    }
    if (egress->limits.set.held > 0) {
        egress_limits_rest(&egress->limits);
        egress_limits_spare(&egress->limits, false);
        if (egress_limits_mail_out(&egress->limits)) {
            return; /* a tick comes back here */
        }
        egress_limits_end(&egress->limits);
        cell_set_return(&egress->limits.set);
        return;
    }
    if (egress->leaves) {
        delivery_forget(delivery, egress);
    }
}

/* Would what is asked of it, or of others, be another answer without it? A debt is kept by the
 * pool; but one of who has rates of selection is paid with every turn. */
static bool is_remembered(const struct egress *egress)
{
    const struct egress_limits *limits = &egress->limits;
    bool selects = limits->select_count > 0;
    return egress->suspended || egress->failures > 0 ||
           (selects && egress->owed < 0) ||
           (egress->pool->ready.due > 0 && rates_holds(&limits->selects));
}

void egress_rest(struct egress *egress)
{
    const struct pool *egresses = &egress->delivery->egresses;
    uint64_t rest_ns = egresses->used > egresses->capacity / 2 ? 0 : REST_NS;
    uint64_t since_ns = egress->delivery->shard->now_ns - egress->clock.since_ns;
    if (since_ns < rest_ns || egress->leaves || egress->path == NULL ||
        egress->delivery->stopping || egress_due(egress) > 0 || is_held(egress) ||
        is_remembered(egress)) {
        return;
    }
    leave(egress);
    egress_join(egress);
}

static void cells_settled(struct cell_set *set)
{
    struct egress *egress = CONTAINER_OF(set, struct egress, limits.set);
    if (cell_set_whole(set) && egress->path != NULL) {
        egress_limits_begin(&egress->limits);
        egress_pool_pay(egress);
    }
    if (!egress->delivery->stopping) {
        egress_kick(egress);
    }
    egress_join(egress);
}

void egress_unused(struct egress *egress)
{
    while (!list_empty(&egress->idle)) {
        struct list *link = list_pop_front(&egress->idle);
        list_push_back(&egress->conns, link);
        client_conn_close(CONTAINER_OF(link, struct client_conn, link));
    }
    egress_kick(egress);
}

void egress_follow(struct egress *egress, const struct path_options *path)
{
    const struct path_options *former = egress->path;
    egress->path = path_hold(path);
    egress_limits_follow(&egress->limits, path);
    path_drop(&egress->delivery->paths, &former);
}

void egress_retire(struct egress *egress)
{
    CHECK(egress->pool->ready.queues == 0);
    egress_ahead_drop_stopped(egress);
    egress_limits_retire(&egress->limits);
    path_drop(&egress->delivery->paths, &egress->path);
    egress_kick(egress);
}
