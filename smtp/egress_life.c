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

static void init_limits(struct egress *egress, const struct route *route)
{
    struct egress_limits *limits = &egress->limits;
    const struct delivery *delivery = egress->delivery;
    cell_set_init(&limits->set, delivery->shard, delivery->registry, delivery->registrar);
    limits->set.settled = cells_settled;
    limits->granted = egress_slot_granted;
    limits->asked = egress_slot_asked;
    egress_limits_init(limits, slice_make(egress->name, egress->name_bytes), route->shared,
                       egress->path);
}

static void put_name(struct egress *egress, const struct source_options *source,
                     struct slice site)
{
    struct buf name;
    buf_init(&name, egress->name, sizeof(egress->name));
    egress_name_put(&name, source->name, site);
    CHECK(!name.overflow);
    egress->source_bytes = (uint16_t)source->name.size;
    egress->name_bytes = (uint16_t)name.size;
}

struct egress *egress_new(struct egress_pool *pool, unsigned member,
                          const struct egress_way *way)
{
    struct delivery *delivery = pool->delivery;
    const struct source_options *source = way->pool->members[member].source;
    const struct path_options *path =
        path_book_find(&delivery->paths, way->domain, way->site, source->name);
    struct egress *egress = path == NULL ? NULL : pool_take(&delivery->egresses);
    if (egress == NULL) {
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
    put_name(egress, source, buf_slice(&way->route.site));
    egress->remote_port = source->remote_port;
    egress_aim(egress);
    fill_client_options(&egress->client, ehlo_name(egress, source), path);
    init_limits(egress, &way->route);
    list_push_back(&delivery->all, &egress->link);
    admin_local_site(egress);
    cell_set_ask(&egress->limits.set);
    return egress;
}

void egress_join(struct egress *egress)
{
    struct delivery *delivery = egress->delivery;
    bool wanted = egress->pool->ready.queues > 0 && !delivery->stopping;
    if (wanted || egress->connections > 0 || egress->away > 0 || egress->window.hot > 0 ||
        egress->limits.set.in_flight > 0) {
        return;
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
    if (egress->pool->ready.queues == 0) {
        delivery_forget(delivery, egress);
    }
}

static void cells_settled(struct cell_set *set)
{
    struct egress *egress = CONTAINER_OF(set, struct egress, limits.set);
    if (cell_set_whole(set) && egress->path != NULL) {
        egress_limits_begin(&egress->limits);
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
