#include "shard/io/http_route.h"

#include "core/endpoint.h"
#include "shard/io/http_server.h"

/* Without ":port". */
static struct slice host_name(struct slice host)
{
    size_t end = 0;
    if (host.size > 0 && host.data[0] == '[') {
        size_t bracket = slice_find(host, ']');
        return slice_first(host, MIN_OF(bracket + 1, host.size));
    }
    end = slice_find(host, ':');
    return slice_first(host, end);
}

static bool is_address(struct slice name)
{
    struct endpoint endpoint;
    if (name.size > 2 && name.data[0] == '[' && name.data[name.size - 1] == ']') {
        name = slice_make(name.data + 1, name.size - 2);
    }
    return endpoint_parse_address(name, &endpoint);
}

bool http_host_is_ours(const struct http_head *head, struct slice hostname)
{
    struct slice origin;
    struct slice name = host_name(head->host);
    bool ours = head->host.size == 0 || is_address(name) ||
                slice_equal_nocase(name, SLICE("localhost")) ||
                (hostname.size > 0 && slice_equal_nocase(name, hostname));
    if (!ours) {
        return false;
    }
    if (http_head_count(head, SLICE("Origin")) == 0) {
        return true;
    }
    if (!http_head_field(head, SLICE("Origin"), &origin)) {
        return false;
    }
    struct slice schemes[] = {SLICE("http://"), SLICE("https://")};
    for (size_t i = 0; i < COUNT_OF(schemes); i++) {
        if (slice_starts_with(origin, schemes[i])) {
            return head->host.size > 0 &&
                   slice_equal_nocase(slice_skip(origin, schemes[i].size), head->host);
        }
    }
    return false;
}

/* The media type, without parameters. */
static struct slice media_type(struct slice value)
{
    return slice_trim(slice_first(value, slice_find(value, ';')));
}

enum http_carries http_type_of(const struct http_head *head)
{
    struct slice value;
    if (!http_head_field(head, SLICE("Content-Type"), &value)) {
        return HTTP_CARRIES_NOTHING;
    }
    if (slice_equal_nocase(media_type(value), SLICE("application/json"))) {
        return HTTP_CARRIES_JSON;
    }
    bool lines = slice_equal_nocase(media_type(value), SLICE("application/x-ndjson"));
    return lines ? HTTP_CARRIES_LINES : HTTP_CARRIES_NOTHING;
}

bool http_type_is_taken(const struct http_head *head, uint8_t carries)
{
    return carries == HTTP_CARRIES_NOTHING || (http_type_of(head) & carries) != 0;
}

/* What a route for these methods answers: HEAD with GET, OPTIONS always. */
static uint8_t methods_of(const struct http_route *route)
{
    uint8_t methods = route->methods | HTTP_METHOD_OPTIONS;
    return (methods & HTTP_METHOD_GET) != 0 ? methods | HTTP_METHOD_HEAD : methods;
}

struct http_found http_route_find(const struct http_route *routes, size_t count,
                                  const struct http_head *head)
{
    struct http_found found = {0};
    if (slice_equal(head->path, SLICE("*"))) {
        for (size_t i = 0; i < count; i++) {
            found.allow |= methods_of(&routes[i]);
        }
        return found;
    }
    for (size_t i = 0; i < count; i++) {
        if (!slice_equal(head->path, slice_from_string(routes[i].path))) {
            continue;
        }
        found.allow |= methods_of(&routes[i]);
        if (found.route == NULL && (methods_of(&routes[i]) & head->method) != 0) {
            found.route = &routes[i];
        }
    }
    return found;
}
