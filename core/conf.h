/*
 * The configuration of a node: read once, immutable afterwards, in one heap of its own; readable by
 * any thread. Without any file the defaults make a working node on loopback. core has no syscalls:
 * whoever loads hands in a function that reads files.
 *
 * Errors are collected, all of them, one line each: FILE:LINE:COLUMN: error: text. What this
 * version has not built yet is an error that says so; what has no effect here by its nature is a
 * note.
 */
#ifndef RINGPOST_CORE_CONF_H
#define RINGPOST_CORE_CONF_H

#include "core/buf.h"
#include "core/endpoint.h"
#include "core/gcra.h"
#include "core/zone.h"

#define CONF_SHARDS_MAX    256
#define CONF_LISTENERS_MAX 16 /* of SMTP; as many of HTTP */
#define CONF_TSA_URLS_MAX  8u /* of [tsa] publish; as many of subscribe */

/* What a change of an option takes in a server that runs. */
enum conf_effect {
    CONF_UNSAID,
    CONF_NOTHING, /* it has no effect here */
    CONF_NOW,     /* a reload */
    CONF_RESTART,
};

/* "10%" of the whole, or a count of bytes or inodes. */
struct conf_amount {
    bool percent;
    uint64_t value;
};

/* [node] */
struct conf_node {
    struct slice hostname;
    bool id_set;
    uint8_t id[16];         /* node.id, when id_set; else state_dir/node.id holds it */
    unsigned shards;        /* 0: one per CPU */
    bool pin;
    const char *state_dir;
    const char *user;       /* "": stay who we are */
    const char *group;
    uint64_t stop_timeout_ns;
    const char *congestion; /* "": the system's */
};

enum conf_sync { CONF_SYNC_COMMIT, CONF_SYNC_NONE };
enum conf_sync_method { CONF_METHOD_AUTO, CONF_METHOD_DSYNC, CONF_METHOD_FDATASYNC };

/* [spool] */
struct conf_spool {
    const char *path;
    enum conf_sync sync;
    enum conf_sync_method method;
    uint64_t segment_bytes;
    struct conf_amount free_space_min;
    uint64_t recovery_spread_ns;
    uint64_t store_deadline_ns;
    uint64_t compact_after_ns; /* an old segment with little in it that is alive */
};

/* [memory] */
struct conf_memory {
    uint64_t limit_bytes;   /* 0: 75 % of the cgroup's limit or of RAM */
    uint64_t staging_bytes; /* per shard: assembly blocks and group buffers */
    uint64_t queued_max;    /* recipients on the node; 0: as memory allows */
};

/* Names that a list in the configuration is about: each whole, or all that begin as one of them
 * does before its `*`. */
struct conf_names {
    const struct slice *names;
    size_t count;
};

MUST_USE bool conf_names_have(const struct conf_names *names, struct slice name);
/* The same without regard to ASCII case. */
MUST_USE bool conf_names_have_nocase(const struct conf_names *names, struct slice name);

/* [log] */
struct conf_log {
    const char *path;
    uint64_t max_file_bytes; /* of text */
    uint64_t max_segment_ns; /* 0: no limit */
    uint64_t flush_ns;
    int level;               /* of zstd; 0: its default */
    uint64_t retention_ns;   /* files whose records are all older are removed */
    uint64_t max_total_bytes; /* of all files; 0: no limit */
    struct conf_amount backlog_max; /* of the spool, not yet in the event log; percent of its
                                       file system */
    struct conf_names meta;    /* what records tell of a message's metadata */
    struct conf_names headers; /* … and of its header fields */
    uint32_t muted;            /* types of which no record is written: a bit for each enum
                                  event_type */
};

#define CONF_DNS_SERVERS_MAX 8

struct conf_dns_server {
    struct endpoint address;
    bool trusted; /* on loopback, and its word that an answer is authentic counts */
};

/* A name of which nothing can be had, or that is to be none. */
struct conf_dns_rcode {
    struct slice name;
    enum dns_status status;
    uint16_t rcode;
};

/* [dns] */
struct conf_dns {
    struct conf_dns_server servers[CONF_DNS_SERVERS_MAX]; /* in their order */
    unsigned server_count;               /* 0: static names alone */
    uint32_t attempts;                   /* rounds over all servers */
    uint64_t timeout_ns;                 /* of one question to one server */
    uint32_t cache_size;                 /* names and types */
    struct zone zone;                    /* `static` */
    const struct conf_dns_rcode *rcodes; /* before the zone; by name */
    size_t rcode_count;
    const struct slice *secure;          /* these and all below them */
    size_t secure_count;
    uint64_t fingerprint;                /* of the last three */
};

/* The header field by which our own mail is known again in reports (smtp/reference.h). */
#define CONF_TRACE_HEADER         "X-KumoRef"
#define CONF_TRACE_NAME_BYTES_MAX 64u
struct conf_trace {
    bool supplemental_header; /* it is written */
    struct slice header_name;
    struct conf_names meta;   /* include_meta_names */
};

/* [[smtp_listener]] */
struct conf_smtp_listener {
    struct endpoint listen;  /* port 0: a free one */
    struct slice hostname;   /* in banner, EHLO and Received */
    struct slice banner;     /* text after the host name */
    const struct network *relay_hosts;
    size_t relay_host_count;
    const struct network *proxies;     /* who speaks the PROXY protocol, and has to */
    size_t proxy_count;
    const struct network *xclient_hosts; /* who may speak for others by XCLIENT */
    size_t xclient_host_count;
    uint64_t message_bytes_max;
    uint32_t connections_max;
    uint32_t connections_per_host_max; /* per IPv4 address or IPv6 /64 */
    uint32_t recipients_max;           /* per message */
    uint32_t messages_max;             /* per connection */
    uint64_t client_timeout_ns;
    uint32_t data_rate_min;            /* bytes a second of content; 0: none */
    bool received_header;
    struct conf_trace trace;
};

/* What a listener takes that is for a domain, or from it, of those who are not in relay_hosts. */
/* What is done with reports that come as mail: log_oob, log_arf. */
enum conf_report {
    CONF_REPORT_IGNORE, /* they are mail like any other */
    CONF_REPORT_RELAY,  /* logged, then relayed */
    CONF_REPORT_DROP,   /* logged, and nothing else */
};

struct relay_options {
    bool relay_to;                    /* mail to the domain, of anybody */
    const struct network *relay_from; /* of whom mail from the domain, to anywhere */
    size_t relay_from_count;
    enum conf_report log_oob;         /* notifications that mail has failed */
    enum conf_report log_arf;         /* complaints */
};

/* [domains.listener."ADDRESS:PORT"] */
struct conf_relay_listener {
    struct endpoint listen;
    const struct conf_domains *blocks; /* of struct relay_options */
};

/* [domains] */
struct conf_relay {
    const struct conf_domains *blocks; /* of all listeners */
    const struct conf_relay_listener *listeners; /* what counts before that at some of them */
    size_t listener_count;
    bool logs_reports; /* any block does */
};

/* [[http_listener]] */
struct conf_http_listener {
    struct endpoint listen;          /* port 0: a free one */
    struct slice hostname;           /* beside addresses and localhost, what Host may say */
    const struct network *trusted_hosts;
    size_t trusted_host_count;
    uint64_t request_body_limit;     /* bytes, decoded */
    struct rate inject_rate;         /* recipients that are injected; may be unset */
};

/* A place to deliver to that the operator wrote. */
struct conf_host {
    struct slice text; /* as written: "[127.0.0.1]:2626" */
    struct slice name; /* without port and brackets */
    bool has_address;  /* `endpoint` holds it; else the name has to be looked up */
    struct endpoint endpoint; /* its port is 0 where none was written: use path_options.smtp_port */
};

enum conf_class { CONF_CLASS_UNSET, CONF_CLASS_BULK, CONF_CLASS_URGENT };

/* Limits that several paths share by name, over the whole node. */
#define CONF_NAMED_MAX 8
struct named_rate {
    struct slice name;
    struct rate rate;
};
struct named_rates {
    const struct named_rate *rows;
    size_t count;
};
struct named_limit {
    struct slice name;
    uint32_t limit;
};
struct named_limits {
    const struct named_limit *rows;
    size_t count;
};

/* The rate of all queues together for which a block of [queues] speaks. */
struct overall_rate {
    struct rate rate;
    struct slice scope; /* "tenant" or "block" */
    struct slice name;  /* TENANT; CAMPAIGN:TENANT@DOMAIN, as far as the block has them */
};
#define CONF_OVERALL_MAX 5 /* blocks that speak for one queue */

/* Options of a scheduled queue, KumoMTA's names: docs/configuration.md. */
struct queue_options {
    uint64_t retry_interval_ns;
    uint64_t max_retry_interval_ns; /* 0: no cap */
    uint64_t max_age_ns;
    struct slice egress_pool;       /* one that there is */
    const struct conf_host *mx_list; /* smart hosts, in their order */
    size_t mx_count;
    struct slice mx_name;           /* "mx_list:a,b": the site's name; empty without mx_list */
    struct slice mx_lookup;         /* those of them that are names, a space before each */
    const struct conf_host *routing_domain; /* null: none */
    const struct hours *hours;      /* in which mail is sent (core/hours.h); null: always */
    enum conf_class class;
    uint32_t weight;                /* 1 … 1000 */
    struct slice provider_name;     /* what metrics call its provider, before that of its path */
    const struct rate *max_message_rate; /* of each queue by itself; null: none */
    const struct overall_rate *overall[CONF_OVERALL_MAX]; /* all of them count; null: no more */
};

/* What something that is amiss takes before a source is left out, and for how long. */
struct source_suspension {
    uint64_t duration_ns;  /* 0: it is not left out for this */
    struct rate threshold; /* so often; unset: the first time */
};

/* Where mail leaves from. */
struct source_options {
    struct slice name;
    uint64_t fingerprint;     /* of all that follows, as written */
    bool has_address;         /* else the system chooses */
    struct endpoint address;  /* one of this host; port 0 */
    struct slice ehlo_domain; /* where the path has none; may be empty */
    uint16_t remote_port;     /* before any other; 0: none */
    struct source_suspension unplumbed; /* the address is none of this host */
};

struct pool_member {
    const struct source_options *source;
    uint32_t weight; /* 0: it has no turn */
};

/* Sources that share mail by their weights. */
struct pool_options {
    struct slice name;
    const struct pool_member *members; /* in the order of their names */
    size_t member_count;
    const uint16_t *turns; /* a cycle (core/turns.h) of indices of members */
    uint32_t turn_count;   /* 0: no member has a weight */
};

/* [sources]: each list in the order of names; "unspecified" is always among them. */
struct conf_sources {
    const struct source_options *sources;
    size_t source_count;
    const struct pool_options *pools;
    size_t pool_count;
};

#define CONF_UNSPECIFIED "unspecified"
#define CONF_SOURCE_BYTES_MAX 128 /* of a name, of a pool's too */

/* What scheduled queues are told apart by; parts may be empty. */
struct conf_queue_key {
    struct slice campaign;
    struct slice tenant;
    struct slice domain;
};

#define CONF_PROVIDER_BYTES_MAX 253 /* of a provider_name */
#define CONF_ROUTING_BYTES_MAX  261 /* of a routing domain, with its port */
#define CONF_TENANT_BYTES_MAX   64
#define CONF_CAMPAIGN_BYTES_MAX 128

/* What a header field of a message says about it. */
enum conf_label_kind {
    CONF_LABEL_TENANT,
    CONF_LABEL_CAMPAIGN,
    CONF_LABEL_CLASS,
    CONF_LABEL_SCHEDULE,
    CONF_LABELS,
};
struct conf_label {
    struct slice header; /* name of the field, lower case; empty: none is looked for */
    bool remove;         /* before the message is sent */
};

enum path_tls {
    PATH_TLS_DISABLED,
    PATH_TLS_OPPORTUNISTIC,
    PATH_TLS_OPPORTUNISTIC_INSECURE,
    PATH_TLS_REQUIRED,
    PATH_TLS_REQUIRED_INSECURE,
};
enum path_reconnect { PATH_CONNECT_NEXT_HOST, PATH_TERMINATE_SESSION, PATH_RECONNECT_SAME_HOST };
enum path_lookup {
    PATH_IPV4_AND_IPV6,
    PATH_IPV4_ONLY,
    PATH_IPV6_ONLY,
    PATH_IPV6_THEN_IPV4,
    PATH_IPV4_THEN_IPV6,
};

/* Options of an egress path, likewise: merged by core/shaping.h. */
struct path_options {
    struct slice block;        /* "default", "example.com", "*.example.com": whose cells count */
    struct slice source;       /* if they are of that alone; empty: of any other, too */
    uint64_t fingerprint;      /* of all that was merged: what differs may be the same */
    uint32_t connection_limit; /* on the node, like the next four */
    struct named_limits additional_connection_limits;
    struct rate max_connection_rate;
    struct rate max_message_rate; /* recipients */
    struct named_rates additional_message_rates; /* additional_message_rate_throttles */
    struct rate source_selection_rate;           /* recipients that a source is chosen for */
    struct named_rates additional_source_selection_rates;
    uint32_t max_deliveries_per_connection;
    uint32_t max_recipients_per_batch;
    uint32_t max_ready;        /* hot messages on the node */
    uint32_t connection_failures_before_delay;
    uint16_t smtp_port;
    uint64_t connect_timeout_ns;
    uint64_t banner_timeout_ns;
    uint64_t ehlo_timeout_ns;
    uint64_t starttls_timeout_ns;
    uint64_t auth_timeout_ns;
    uint64_t mail_from_timeout_ns;
    uint64_t rcpt_to_timeout_ns;
    uint64_t data_timeout_ns;  /* after DATA; each block of content has 180 s of its own */
    uint64_t data_dot_timeout_ns;
    uint64_t rset_timeout_ns;
    uint64_t idle_timeout_ns;
    uint64_t shutdown_timeout_ns; /* system_shutdown_timeout; 0: node.stop_timeout alone counts */
    enum path_tls enable_tls;
    uint64_t remember_broken_tls_ns; /* 0: never */
    bool reconnect_on_failed_handshake;
    struct slice ehlo_domain;  /* empty: node.hostname */
    bool enable_pipelining;
    bool enable_rset;          /* after a success too */
    bool ignore_8bit_checks;
    enum path_reconnect reconnect_strategy;
    bool try_next_host_on_transport_error;
    enum path_lookup ip_lookup_strategy;
    const struct network *prohibited_hosts; /* never for addresses that the operator wrote */
    size_t prohibited_host_count;
    const struct network *skip_hosts;
    size_t skip_host_count;
    bool mx_rollup;
    struct slice provider_name; /* what metrics call the site's provider; may be empty */
};

struct conf_domains; /* options by domain */
struct conf_setting;
struct shaping;

/* [queues] */
struct conf_queues {
    struct conf_label labels[CONF_LABELS];
    struct slice default_tenant; /* of mail that names none; empty: none */
    bool routed;                 /* some queues have a routing_domain */
    bool tenants_route;          /* where mail goes may depend on its tenant */
    const struct conf_domains *blocks;
};

/* The time zones that messages may name: none unless [queues] scheduling_header has a field for
 * that. Sorted by name. */
#define CONF_ZONE_BYTES_MAX 64 /* of a name */
struct time_zone;
struct conf_zone_row {
    struct slice name;
    const struct time_zone *zone;
};
struct conf_zones {
    const struct conf_zone_row *rows;
    size_t count;
};

struct classifier;

struct url;

/* [tsa] */
struct conf_tsa {
    bool off;              /* no rule of automation acts */
    bool judge_reports;    /* rules are asked about signed OOB records, too */
    const struct url *publish; /* core/url.h: who is told of records */
    size_t publish_count;
    const struct url *subscribe; /* … whose effects are obeyed here */
    size_t subscribe_count;
    struct slice token;    /* that they want; empty: none */
    const char *database;  /* file of what automation keeps; null: in node.state_dir */
    uint32_t effects_max;  /* of ringpost-tsad, like the next one: in force at once */
    uint32_t counters_max; /* of thresholds */
};

struct conf {
    const char *file; /* the main file; null without one */
    struct conf_node node;
    struct conf_spool spool;
    struct conf_memory memory;
    struct conf_log log;
    struct conf_tsa tsa;
    struct conf_dns dns;
    const struct conf_smtp_listener *smtp_listeners;
    size_t smtp_listener_count;
    struct conf_relay relay;
    const struct conf_http_listener *http_listeners;
    size_t http_listener_count;
    struct conf_sources sources;
    struct conf_queues queues;
    struct conf_zones zones;
    const struct shaping *shaping;       /* core/shaping.h */
    struct classifier *classifier; /* core/classifier.h; owned; null: there are no rules */
    const struct conf_setting *settings; /* core/conf_settings.h; by key */
    size_t setting_count;
};

#define CONF_REASON_BYTES_MAX 128

/*
 * Reads a whole file: true and its bytes, which live until conf_load returns; else false and a
 * short reason ("No such file or directory") in `reason_out`.
 */
typedef bool conf_read(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out);

/* Whose configuration it is: sections of other programs are errors, and defaults differ. */
enum conf_program { CONF_MTA, CONF_TSAD };

struct conf_input {
    enum conf_program program;
    const char *file;        /* main file, or null: defaults */
    const char *const *sets; /* "section.key=VALUE", applied in order after all files */
    size_t set_count;
    struct slice hostname;   /* the system's: default of node.hostname */
    const char *resolv_file; /* resolv.conf(5): default of dns.servers; null: there is none */
    conf_read *read;         /* of these files, and of what `file` and `sets` name */
    void *read_context;
};

/* What there is to say, a line each. */
struct conf_messages {
    struct buf text;   /* memory is the caller's; a line that does not fit is left out */
    unsigned errors;   /* counted even when left out */
    unsigned notes;
};

/* Null when there was an error. Boot or worker thread. */
MUST_USE struct conf *conf_load(const struct conf_input *input, struct conf_messages *messages);
/* Null is nothing to free. */
void conf_free(struct conf *conf);

/*
 * What [domains] says of a domain (any letter case) at the listener that listens there: the block
 * of the domain, else of the longest wildcard that covers it, of this listener, else of all; "*"
 * covers an empty one, too. It counts as a whole. Null: nothing is said. No allocation.
 */
const struct relay_options *conf_relay(const struct conf *conf, const struct endpoint *listen,
                                       struct slice domain);

/*
 * Options in force for a queue: [queue.default], over it [queue.DOMAIN], [tenant.TENANT],
 * [queue.DOMAIN.TENANT], [queue.DOMAIN.TENANT.CAMPAIGN]. Of the blocks with a domain it is that of
 * the domain itself (any letter case), else of the longest wildcard that covers it
 * ("*.example.com", "*"), each for itself. A tenant that is not defined counts as none. No
 * allocation.
 */
void conf_queue(const struct conf *conf, const struct conf_queue_key *key,
                struct queue_options *options_out);
bool conf_tenant_is_defined(const struct conf *conf, struct slice tenant);
/* Of "UTC", and of those that messages may name; null: there is none. No allocation. */
const struct time_zone *conf_zone(const struct conf *conf, struct slice name);
/* Printable ASCII without ':', '@', '!' and space; text without control characters. */
bool conf_tenant_is_valid(struct slice tenant);
bool conf_campaign_is_valid(struct slice campaign);

/* Of this name; null: there is none. */
const struct source_options *conf_source(const struct conf *conf, struct slice name);
const struct pool_options *conf_pool(const struct conf *conf, struct slice name);

#endif
