#include "core/url.h"

#define SCHEME     SLICE("http://")
#define PORT_USUAL 80

static const char wanted[] = "wants URLs such as \"http://tsa.example.com:8008\"";

/* Splits "HOST:PORT"; an IPv6 address stands in brackets. False: the port is none. */
static bool take_port(struct slice where, struct slice *host_out, uint16_t *port_out)
{
    uint64_t port = PORT_USUAL;
    bool bracket = where.size > 0 && where.data[0] == '[';
    size_t end = slice_find(where, bracket ? ']' : ':');
    end += bracket && end < where.size;
    *host_out = slice_first(where, end);
    if (end < where.size &&
        (where.data[end] != ':' || !slice_parse_u64(slice_skip(where, end + 1), &port) ||
         port == 0 || port > UINT16_MAX)) {
        return false;
    }
    *port_out = (uint16_t)port;
    return true;
}

/* Digits and dots alone are meant for an address. */
static bool is_like_address(struct slice host)
{
    for (size_t i = 0; i < host.size; i++) {
        if (host.data[i] != '.' && (host.data[i] < '0' || host.data[i] > '9')) {
            return false;
        }
    }
    return true;
}

static bool take_host(struct slice host, uint8_t name[DNS_NAME_BYTES_MAX], struct url *url,
                      struct slice *shown_out)
{
    uint16_t port = url->address.port;
    struct slice inner = host;
    bool bracket = host.size > 2 && host.data[0] == '[' && host.data[host.size - 1] == ']';
    if (bracket) {
        inner = slice_first(slice_skip(host, 1), host.size - 2);
    }
    *shown_out = host;
    bool is_address = endpoint_parse_address(inner, &url->address);
    url->address.port = port;
    if (is_address) {
        return bracket != endpoint_is_v4(&url->address);
    }
    return !bracket && host.size > 0 && !is_like_address(host) &&
           dns_name_normalize(host, name, shown_out) && shown_out->size > 0;
}

const char *url_parse(struct slice text, uint8_t text_out[URL_BYTES_MAX], struct url *url_out)
{
    struct buf buf;
    uint8_t name[DNS_NAME_BYTES_MAX];
    struct slice host;
    *url_out = (struct url){0};
    if (slice_starts_with(text, SLICE("https://"))) {
        return "URLs with TLS are not built yet: name one with http://";
    }
    if (!slice_starts_with(text, SCHEME)) {
        return wanted;
    }
    struct slice where = slice_skip(text, SCHEME.size);
    where = slice_ends_with(where, SLICE("/")) ? slice_first(where, where.size - 1) : where;
    if (!take_port(where, &host, &url_out->address.port) ||
        !take_host(host, name, url_out, &host)) {
        return wanted;
    }
    buf_init(&buf, text_out, URL_BYTES_MAX);
    buf_put(&buf, SCHEME);
    buf_put(&buf, host);
    buf_put_byte(&buf, ':');
    buf_put_u64(&buf, url_out->address.port);
    if (buf.overflow) {
        return wanted;
    }
    bool named = host.data == name;
    url_out->text = buf_slice(&buf);
    url_out->where = slice_skip(url_out->text, SCHEME.size);
    url_out->host = named ? slice_first(url_out->where, host.size) : SLICE_NONE;
    return NULL;
}
