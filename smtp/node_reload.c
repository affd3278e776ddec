#include "smtp/node_reload.h"

struct event_log_options node_log_options(const struct conf *conf)
{
    return (struct event_log_options){
        .path = conf->log.path,
        .max_file_bytes = conf->log.max_file_bytes,
        .max_segment_ns = conf->log.max_segment_ns,
        .flush_ns = conf->log.flush_ns,
        .level = conf->log.level,
        .retention_ns = conf->log.retention_ns,
        .max_total_bytes = conf->log.max_total_bytes,
    };
}

static void begin(struct reload *reload, const struct conf *conf)
{
    struct control *control = CONTAINER_OF(reload, struct control, reload);
    resolver_set(&control->resolver, &conf->dns);
    rollup_pause(&control->rollup);
    site_finder_set(&control->sites, conf);
}

static void apply(struct reload *reload, const struct conf *conf)
{
    struct control *control = CONTAINER_OF(reload, struct control, reload);
    const struct event_log_options log = node_log_options(conf);
    http_server_set_conf(&control->http.server, conf);
    event_log_set(control->log, &log);
    rollup_set(&control->rollup, conf);
    advisor_use(&control->advisor, advice_rules(conf));
    publisher_use(&control->publisher, conf->shaping->rules);
}

static const struct conf *conf_in_force(struct explain *explain)
{
    return reload_conf(&CONTAINER_OF(explain, struct control, explain)->reload);
}

static const struct shaping_sites *sites_in_force(struct explain *explain)
{
    return rollup_sites(&CONTAINER_OF(explain, struct control, explain)->rollup);
}

static const struct conf *rebind_conf(struct rebind *rebind)
{
    return reload_conf(&CONTAINER_OF(rebind, struct control, rebind)->reload);
}

void node_reload_init_tsa(struct control *control)
{
    const struct node_options *options = &control->node->options;
    struct reload *reload = &control->reload;
    reload->log = options->log;
    reload->begin = begin;
    reload->apply = apply;
    control->explain.conf = conf_in_force;
    control->explain.sites = sites_in_force;
    control->rebind.conf = rebind_conf;
    reload_init(reload, &control->shard, &control->pages, control->node->shards, options->conf);
    reload_source_set(reload, options->conf_file, options->conf_sets, options->conf_set_count);
}

void node_reload_init_mail(struct mta *mta)
{
    const struct reload_target target = {
        .server = &mta->server,
        .inject = &mta->inject,
        .http = &mta->http,
        .advice = &mta->advice,
    };
    reload_shard_set(&mta->node->control->reload, mta->shard.index, &mta->delivery,
                     &target);
}

void node_reload(struct node *node)
{
    atomic_store_explicit(&node->reload_wanted, true, memory_order_release);
    ring_wake(node->peers[node->shards]->ring);
}

void node_reload_look(struct control *control)
{
    struct node *node = control->node;
    if (node_state(node) == NODE_READY &&
        atomic_exchange_explicit(&node->reload_wanted, false, memory_order_acquire)) {
        reload_want(&control->reload);
    }
}
