#include "smtp/site_own.h"

static bool is_name(struct slice own, struct slice name)
{
    return own.size > 0 && slice_equal_nocase(own, name);
}

bool site_own_name(const struct conf *conf, struct slice name)
{
    if (is_name(conf->node.hostname, name)) {
        return true;
    }
    for (size_t i = 0; i < conf->smtp_listener_count; i++) {
        if (is_name(conf->smtp_listeners[i].hostname, name)) {
            return true;
        }
    }
    for (size_t i = 0; i < conf->sources.source_count; i++) {
        if (is_name(conf->sources.sources[i].ehlo_domain, name)) {
            return true;
        }
    }
    return false;
}

/* Nobody is meant by an address that stands for all, nor one alone by loopback. */
static bool names_nobody(const struct endpoint *address)
{
    static const uint8_t all_v6[16] = {0};
    static const uint8_t all_v4[16] = {[10] = 0xff, [11] = 0xff};
    return endpoint_is_loopback(address) || memcmp(address->address, all_v6, 16) == 0 ||
           memcmp(address->address, all_v4, 16) == 0;
}

bool site_own_address(const struct conf *conf, const struct endpoint *address)
{
    if (names_nobody(address)) {
        return false;
    }
    for (size_t i = 0; i < conf->smtp_listener_count; i++) {
        if (endpoint_equal_address(&conf->smtp_listeners[i].listen, address)) {
            return true;
        }
    }
    for (size_t i = 0; i < conf->sources.source_count; i++) {
        const struct source_options *source = &conf->sources.sources[i];
        if (source->has_address && endpoint_equal_address(&source->address, address)) {
            return true;
        }
    }
    return false;
}
