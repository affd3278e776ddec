#include "core/shaping.h"

#include <string.h>

/* What is put behind each other; without memory it is only counted. */
struct copying {
    uint8_t *memory;
    size_t bytes;
};

static void *put(struct copying *copying, const void *data, size_t bytes)
{
    void *to = copying->memory == NULL ? NULL : copying->memory + copying->bytes;
    if (to != NULL && bytes > 0) {
        memcpy(to, data, bytes);
    }
    copying->bytes += (bytes + 7) / 8 * 8;
    return to;
}

static struct slice put_text(struct copying *copying, struct slice text)
{
    return slice_make(put(copying, text.data, text.size), text.size);
}

static const struct network *put_networks(struct copying *copying, const struct network *networks,
                                          size_t count)
{
    return put(copying, networks, count * sizeof(*networks));
}

static struct named_rates put_rates(struct copying *copying, struct named_rates rates)
{
    struct named_rate *rows = put(copying, rates.rows, rates.count * sizeof(*rows));
    for (size_t i = 0; i < rates.count; i++) {
        struct slice name = put_text(copying, rates.rows[i].name);
        if (rows != NULL) {
            rows[i].name = name;
        }
    }
    return (struct named_rates){rows, rates.count};
}

static struct named_limits put_limits(struct copying *copying, struct named_limits limits)
{
    struct named_limit *rows = put(copying, limits.rows, limits.count * sizeof(*rows));
    for (size_t i = 0; i < limits.count; i++) {
        struct slice name = put_text(copying, limits.rows[i].name);
        if (rows != NULL) {
            rows[i].name = name;
        }
    }
    return (struct named_limits){rows, limits.count};
}

/* Returns its bytes. */
static size_t path_put(const struct path_options *path, void *memory)
{
    struct copying copying = {.memory = memory};
    struct path_options none;
    struct path_options *copy = put(&copying, path, sizeof(*path));
    if (copy == NULL) {
        copy = &none;
    }
    copy->block = put_text(&copying, path->block);
    copy->source = put_text(&copying, path->source);
    copy->ehlo_domain = put_text(&copying, path->ehlo_domain);
    copy->provider_name = put_text(&copying, path->provider_name);
    copy->prohibited_hosts =
        put_networks(&copying, path->prohibited_hosts, path->prohibited_host_count);
    copy->skip_hosts = put_networks(&copying, path->skip_hosts, path->skip_host_count);
    copy->additional_connection_limits =
        put_limits(&copying, path->additional_connection_limits);
    copy->additional_message_rates = put_rates(&copying, path->additional_message_rates);
    copy->additional_source_selection_rates =
        put_rates(&copying, path->additional_source_selection_rates);
    return copying.bytes;
}

size_t shaping_path_bytes(const struct path_options *path)
{
    return path_put(path, NULL);
}

struct path_options *shaping_path_copy(const struct path_options *path, void *memory)
{
    (void)path_put(path, memory);
    return memory;
}
