#include "core/queue_name.h"

#include <assert.h>

static_assert(CONF_CAMPAIGN_BYTES_MAX + CONF_TENANT_BYTES_MAX + 255 + CONF_ROUTING_BYTES_MAX + 3 <=
                  QUEUE_NAME_BYTES_MAX,
              "every queue has a name");

struct slice address_domain(struct slice address)
{
    size_t at = address.size;
    while (at > 0 && address.data[at - 1] != '@') {
        at--;
    }
    return at == 0 ? SLICE_NONE : slice_skip(address, at);
}

struct slice queue_name(const struct conf *conf, const struct conf_queue_key *key,
                        struct queue_name_memory *memory)
{
    struct buf buf;
    bool labelled = key->campaign.size > 0 || key->tenant.size > 0;
    bool routed = conf != NULL && conf->queues.routed;
    if (!labelled && !routed && key->domain.size > 0) {
        return key->domain;
    }
    buf_init(&buf, memory->bytes, sizeof(memory->bytes));
    if (key->campaign.size > 0) {
        buf_put(&buf, key->campaign);
        buf_put_byte(&buf, ':');
    }
    buf_put(&buf, key->tenant);
    if (labelled || key->domain.size == 0) {
        buf_put_byte(&buf, '@');
    }
    buf_put(&buf, key->domain);
    if (routed) {
        struct queue_options options;
        conf_queue(conf, key, &options);
        if (options.routing_domain != NULL) {
            buf_put_byte(&buf, '!');
            buf_put(&buf, options.routing_domain->text);
        }
    }
    /* No domain that a client can give is so long. */
    return buf.overflow ? key->domain : buf_slice(&buf);
}

/* What stands behind the labels: the domain, and the routing domain after a mark. */
static struct slice without_labels(struct slice name)
{
    struct slice domain = address_domain(name);
    bool labelled = domain.size < name.size && name.data[name.size - domain.size - 1] == '@';
    return labelled ? domain : name;
}

/* Neither domains nor tenants have the marks; a campaign may have any of them. */
struct conf_queue_key queue_name_parse(struct slice name)
{
    struct conf_queue_key key = {.domain = without_labels(name)};
    if (key.domain.size < name.size) {
        struct slice labels = slice_first(name, name.size - key.domain.size - 1);
        size_t colon = labels.size;
        while (colon > 0 && labels.data[colon - 1] != ':') {
            colon--;
        }
        key.tenant = slice_skip(labels, colon);
        key.campaign = slice_first(labels, colon > 0 ? colon - 1 : 0);
    }
    key.domain = slice_first(key.domain, slice_find(key.domain, '!'));
    return key;
}

struct slice queue_name_routing(struct slice name)
{
    struct slice domain = without_labels(name);
    size_t mark = slice_find(domain, '!');
    return mark < domain.size ? slice_skip(domain, mark + 1) : SLICE_NONE;
}
