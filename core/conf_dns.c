#include "core/conf_dns.h"

#include <stdlib.h>
#include <xxhash.h>

#include "core/conf_settings.h"

#define NAMES_MAX 4096 /* of static_rcode, of static_secure */

#define SHOW(slice) (int)(slice).size, (const char *)(slice).data
#define FIELD(text, its_kind, type, field)                                                         \
    .name = (text), .kind = (its_kind), .offset = offsetof(struct type, field)

/* --- servers ---------------------------------------------------------------------------------- */

static bool server_parse(struct slice text, struct endpoint *server_out)
{
    if (endpoint_parse_address(text, server_out)) {
        server_out->port = DNS_PORT;
        return true;
    }
    return endpoint_parse(text, DNS_PORT, server_out);
}

static struct conf_dns_server *server_find(struct conf_dns *dns, const struct endpoint *address)
{
    for (unsigned i = 0; i < dns->server_count; i++) {
        if (endpoint_equal(&dns->servers[i].address, address)) {
            return &dns->servers[i];
        }
    }
    return NULL;
}

static bool server_read(struct conf_load *load, const struct conf_value *value, const char *key,
                        struct endpoint *server_out)
{
    if (value->kind != TOML_STRING || !server_parse(value->as.text, server_out)) {
        conf_error(load, value, "%s wants addresses such as \"127.0.0.1\" or \"[::1]:5353\"",
                   key);
        return false;
    }
    return true;
}

static void apply_servers(struct conf_load *load, const struct conf_option *option,
                          const struct conf_value *value, void *base)
{
    struct conf_dns *dns = base;
    if (!conf_want(load, value, TOML_ARRAY)) {
        return;
    }
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        struct endpoint server;
        if (!server_read(load, at, option->name, &server)) {
            continue;
        }
        if (server_find(dns, &server) != NULL) {
            conf_error(load, at, "%s has %.*s twice", option->name, SHOW(at->as.text));
        } else if (dns->server_count == CONF_DNS_SERVERS_MAX) {
            conf_error(load, at, "%s wants at most %d", option->name, CONF_DNS_SERVERS_MAX);
            return;
        } else {
            dns->servers[dns->server_count++].address = server;
        }
    }
}

/* "nameserver ADDRESS" of resolv.conf(5); what else may stand there has no effect here. */
static void resolv_line(struct conf_load *load, struct slice line, struct conf_dns *dns)
{
    const struct slice word = SLICE("nameserver");
    struct endpoint server;
    if (!slice_starts_with(line, word)) {
        return;
    }
    struct slice text = slice_skip(line, word.size);
    if (text.size == 0 || (text.data[0] != ' ' && text.data[0] != '\t')) {
        return;
    }
    text = slice_trim(text);
    text = slice_first(text, MIN_OF(slice_find(text, ' '), slice_find(text, '\t')));
    if (!server_parse(text, &server)) {
        conf_note(load, NULL, "resolv.conf: nameserver %.*s is no address, and not asked",
                  SHOW(text));
    } else if (server_find(dns, &server) == NULL && dns->server_count < CONF_DNS_SERVERS_MAX) {
        dns->servers[dns->server_count++].address = server;
    }
}

static void servers_default(struct conf_load *load, struct conf_dns *dns)
{
    struct slice rest = load->resolv;
    while (rest.size > 0) {
        struct slice line = slice_first(rest, slice_find(rest, '\n'));
        rest = slice_skip(rest, MIN_OF(line.size + 1, rest.size));
        if (line.size > 0 && line.data[line.size - 1] == '\r') {
            line.size--;
        }
        resolv_line(load, line, dns);
    }
    if (dns->server_count == 0) {
        dns->servers[0].address = (struct endpoint){
            .address = {[10] = 0xFF, [11] = 0xFF, [12] = 127, [15] = 1}, .port = DNS_PORT};
        dns->server_count = 1;
    }
}

/* Servers are known by now. AD is believed where nobody else can write (RFC 4035 4.9.3). */
static void trusted_mark(struct conf_load *load, const struct conf_value *value, bool written,
                         struct conf_dns *dns)
{
    if (!conf_want(load, value, TOML_ARRAY)) {
        return;
    }
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        struct endpoint server;
        if (!server_read(load, at, "trusted", &server)) {
            continue;
        }
        struct conf_dns_server *found = server_find(dns, &server);
        if (!endpoint_is_loopback(&server)) {
            conf_error(load, at, "trusted wants servers on loopback; %.*s is none",
                       SHOW(at->as.text));
        } else if (found != NULL) {
            found->trusted = true;
        } else if (written) {
            conf_error(load, at, "trusted wants some of servers; %.*s is none of them",
                       SHOW(at->as.text));
        } else {
            conf_note(load, at, "resolv.conf does not name %.*s: no server is trusted for it",
                      SHOW(at->as.text));
        }
    }
}

/* When all members of the table have been read: see conf_apply_dns. */
static void apply_later(struct conf_load *load, const struct conf_option *option,
                        const struct conf_value *value, void *base)
{
    (void)load;
    (void)option;
    (void)value;
    (void)base;
}

/* --- static names ----------------------------------------------------------------------------- */

struct zone_place {
    struct conf_load *load;
    const struct conf_value *value;
};

static void zone_error(void *context, unsigned line, struct slice why)
{
    const struct zone_place *place = context;
    conf_error(place->load, place->value, "static, line %u: %.*s", line, SHOW(why));
}

static void apply_static(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *base)
{
    struct conf_dns *dns = base;
    struct zone_place place = {.load = load, .value = value};
    (void)option;
    if (conf_want(load, value, TOML_STRING)) {
        zone_read(value->as.text, load->heap, &load->scratch, zone_error, &place, &dns->zone);
    }
}

static bool name_read(struct conf_load *load, const struct conf_value *at, const char *key,
                      struct slice text, struct slice *name_out)
{
    uint8_t bytes[DNS_NAME_BYTES_MAX];
    struct slice name;
    if (!dns_name_normalize(text, bytes, &name)) {
        conf_error(load, at, "%s wants names of hosts or domains", key);
        return false;
    }
    *name_out = heap_copy(load->heap, name);
    return true;
}

static bool names_fit(struct conf_load *load, const struct conf_value *value, const char *key)
{
    if (value->count > NAMES_MAX) {
        conf_error(load, value, "%s wants at most %d names", key, NAMES_MAX);
    }
    return value->count <= NAMES_MAX;
}

static const struct {
    const char *name;
    enum dns_status status;
    uint16_t rcode;
} rcodes[] = {
    {"SERVFAIL", DNS_FAILED, 2},
    {"NXDOMAIN", DNS_NO_NAME, 3},
    {"REFUSED", DNS_FAILED, 5},
    {"TIMEOUT", DNS_TIMEOUT, 0},
};

static bool rcode_read(struct conf_load *load, const struct conf_value *at,
                       struct conf_dns_rcode *rcode_out)
{
    for (size_t i = 0; at->kind == TOML_STRING && i < COUNT_OF(rcodes); i++) {
        if (slice_equal(at->as.text, slice_from_string(rcodes[i].name))) {
            rcode_out->status = rcodes[i].status;
            rcode_out->rcode = rcodes[i].rcode;
            return name_read(load, at, "static_rcode", at->key, &rcode_out->name);
        }
    }
    conf_error(load, at,
               "%.*s wants one of \"SERVFAIL\", \"NXDOMAIN\", \"REFUSED\", \"TIMEOUT\"",
               SHOW(at->key));
    return false;
}

static int rcode_order(const void *a, const void *b)
{
    return slice_compare(((const struct conf_dns_rcode *)a)->name,
                         ((const struct conf_dns_rcode *)b)->name);
}

static void apply_rcode(struct conf_load *load, const struct conf_option *option,
                        const struct conf_value *value, void *base)
{
    struct conf_dns *dns = base;
    if (!conf_want(load, value, TOML_TABLE) || !names_fit(load, value, option->name)) {
        return;
    }
    struct conf_dns_rcode *rows = heap_take_array(load->heap, value->count + 1, sizeof(*rows));
    size_t count = 0;
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        count += rcode_read(load, at, &rows[count]);
    }
    qsort(rows, count, sizeof(*rows), rcode_order);
    dns->rcodes = rows;
    dns->rcode_count = count;
}

static void apply_secure(struct conf_load *load, const struct conf_option *option,
                         const struct conf_value *value, void *base)
{
    struct conf_dns *dns = base;
    if (!conf_want(load, value, TOML_ARRAY) || !names_fit(load, value, option->name)) {
        return;
    }
    struct slice *names = heap_take_array(load->heap, value->count + 1, sizeof(*names));
    size_t count = 0;
    for (const struct conf_value *at = value->first; at != NULL; at = at->next) {
        if (at->kind != TOML_STRING) {
            conf_error(load, at, "%s wants names of hosts or domains", option->name);
        } else {
            count += name_read(load, at, option->name, at->as.text, &names[count]);
        }
    }
    dns->secure = names;
    dns->secure_count = count;
}

/* --- [dns] ------------------------------------------------------------------------------------ */

static const struct conf_option dns_rows[] = {
    {.name = "servers", .kind = OPTION_OWN, .apply = apply_servers, RELOADS},
    {.name = "trusted", .kind = OPTION_OWN, .apply = apply_later, RELOADS},
    {FIELD("timeout", OPTION_DURATION, conf_dns, timeout_ns),
     .min = 50 * NS_PER_MS, .max = 60 * NS_PER_S, RELOADS},
    {FIELD("attempts", OPTION_COUNT, conf_dns, attempts), .min = 1, .max = 10, RELOADS},
    {FIELD("cache_size", OPTION_COUNT, conf_dns, cache_size),
     .min = 16, .max = 4194304, RESTARTS},
    {.name = "static", .kind = OPTION_OWN, .apply = apply_static, RELOADS},
    {.name = "static_rcode", .kind = OPTION_OWN, .apply = apply_rcode, RELOADS},
    {.name = "static_secure", .kind = OPTION_OWN, .apply = apply_secure, RELOADS},
};
static const struct conf_options dns_options = {.options = dns_rows, .count = COUNT_OF(dns_rows)};

static uint64_t fingerprint(struct conf_load *load, const struct conf_value *table)
{
    static const char *const keys[] = {"static", "static_rcode", "static_secure"};
    uint64_t sum = 0;
    for (size_t i = 0; i < COUNT_OF(keys); i++) {
        struct slice text = conf_value_text(load, conf_tree_member(table, keys[i]));
        sum = XXH3_64bits_withSeed(text.data, text.size, sum + i);
    }
    return sum;
}

void conf_apply_dns(struct conf_load *load, const struct conf_value *table, struct conf *conf)
{
    struct conf_dns *dns = &conf->dns;
    *dns = (struct conf_dns){
        .timeout_ns = 5 * NS_PER_S, .attempts = 2, .cache_size = 32768};
    if (table != NULL) {
        conf_options_apply(load, &dns_options, table, dns);
    }
    bool good = table != NULL && table->kind == TOML_TABLE;
    bool written = good && conf_tree_member(table, "servers") != NULL;
    const struct conf_value *trusted = good ? conf_tree_member(table, "trusted") : NULL;
    if (!written) {
        servers_default(load, dns);
    }
    if (trusted != NULL) {
        trusted_mark(load, trusted, written, dns);
    }
    if (good) {
        dns->fingerprint = fingerprint(load, table);
    }
}

void conf_dns_keep(struct conf *next, const struct conf *running)
{
    conf_options_keep(&dns_options, &next->dns, &running->dns);
}
