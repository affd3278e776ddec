#include "shard/io/dns_static.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static const char servers_none[] = "servers = []\n";
static const char servers_some[] = "servers = [\"127.0.0.1\"]\n";

static const char names[] =
    "static = \"\"\"\n"
    "a.test. 60 MX 20 mx2.test.\na.test. 90 MX 10 mx1.test.\n"
    "mx1.test. 3600 A 192.0.2.1\n"
    "alias.test. 30 CNAME next.test.\nnext.test. 50 CNAME a.test.\n"
    "far.test. 40 CNAME elsewhere.example.\n"
    "loop.test. CNAME pool.test.\npool.test. CNAME loop.test.\n"
    "sick.test. CNAME x.test.\nx.test. A 192.0.2.2\n"
    "deep.b.test. A 192.0.2.3\n"
    "signed.test. MX 10 mx.signed.test.\nmx.signed.test. A 192.0.2.4\n"
    "away.signed.test. CNAME a.test.\ninto.test. CNAME signed.test.\n"
    "*.wild.test. MX 5 mx1.test.\n"
    "\"\"\"\n"
    "static_rcode = {\"x.test\" = \"SERVFAIL\", \"r.test\" = \"REFUSED\", "
    "\"t.test\" = \"TIMEOUT\", \"n.test\" = \"NXDOMAIN\"}\n"
    "static_secure = [\"signed.test\", \"n.test\"]\n";

static bool read_bytes(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    (void)path;
    (void)reason_out;
    *bytes_out = slice_from_string(context);
    return true;
}

static struct conf *load(const char *servers)
{
    char text[4096];
    char said[1024] = "";
    struct conf_messages messages = {0};
    const struct conf_input input = {.file = "t.toml", .hostname = SLICE("box.test"),
                                     .read = read_bytes, .read_context = text};
    buf_init(&messages.text, said, sizeof(said) - 1);
    snprintf(text, sizeof(text), "[dns]\n%s%s", servers, names);
    struct conf *conf = conf_load(&input, &messages);
    if (conf == NULL) {
        fail_msg("%s", said);
    }
    return conf;
}

static void put_answer(struct buf *out, const struct dns_answer *answer)
{
    buf_put_string(out, dns_status_name(answer->status));
    buf_printf(out, " %us", answer->ttl_s);
    buf_put_string(out, answer->secure ? " secure" : "");
    if (answer->alias.data != NULL) {
        buf_put_string(out, " ->");
        buf_put(out, answer->alias);
    }
    for (unsigned i = 0; i < answer->count; i++) {
        buf_put_string(out, " | ");
        buf_put(out, answer->records[i].name);
        if (answer->type == DNS_A) {
            endpoint_put_address(out, &answer->records[i].address);
        }
    }
}

static void static_names_are_answered_and_others_are_not(void **state)
{
    (void)state;
    static const struct {
        const char *servers;
        const char *name;
        enum dns_type type;
        const char *expected;
    } rows[] = {
        {servers_some, "a.test", DNS_MX, "found 60s | mx2.test | mx1.test"},
        {servers_some, "mx1.test", DNS_A, "found 3600s | 192.0.2.1"},
        {servers_some, "a.test", DNS_A, "no such records 300s"},
        {servers_some, "alias.test", DNS_MX, "found 30s ->a.test | mx2.test | mx1.test"},
        {servers_some, "alias.test", DNS_A, "no such records 30s ->a.test"},
        {servers_some, "alias.test", DNS_CNAME, "found 30s | next.test"},
        {servers_some, "far.test", DNS_A, "ask elsewhere.example 40s"},
        {servers_none, "far.test", DNS_A, "no such name 40s ->elsewhere.example"},
        {servers_some, "loop.test", DNS_A, "bad answer 300s ->pool.test"},
        {servers_some, "x.test", DNS_A, "failed 300s"},
        {servers_some, "sick.test", DNS_A, "failed 300s ->x.test"},
        {servers_some, "r.test", DNS_MX, "failed 300s"},
        {servers_some, "t.test", DNS_MX, "timeout 300s"},
        {servers_some, "n.test", DNS_MX, "no such name 300s secure"},
        {servers_some, "m.x.test", DNS_A, "ask"},
        {servers_some, "other.test", DNS_MX, "ask"},
        {servers_none, "other.test", DNS_MX, "no such name 300s"},
        {servers_some, "b.test", DNS_MX, "ask"},
        {servers_none, "b.test", DNS_MX, "no such records 300s"},
        {servers_some, "signed.test", DNS_MX, "found 300s secure | mx.signed.test"},
        {servers_some, "mx.signed.test", DNS_A, "found 300s secure | 192.0.2.4"},
        {servers_some, "mx.signed.test", DNS_TLSA, "no such records 300s secure"},
        {servers_none, "_25._tcp.mx.signed.test", DNS_TLSA, "no such name 300s secure"},
        {servers_some, "_25._tcp.mx.signed.test", DNS_TLSA, "ask"},
        {servers_some, "away.signed.test", DNS_MX,
         "found 60s ->a.test | mx2.test | mx1.test"},
        {servers_some, "into.test", DNS_MX, "found 300s ->signed.test | mx.signed.test"},
        {servers_some, "any.wild.test", DNS_MX, "found 300s | mx1.test"},
        {servers_some, "wild.test", DNS_MX, "ask"},
    };
    for (size_t i = 0; i < COUNT_OF(rows); i++) {
        struct conf *conf = load(rows[i].servers);
        struct dns_question question = {slice_from_string(rows[i].name), rows[i].type};
        struct dns_answer answer;
        uint8_t bytes[512];
        struct buf out;
        buf_init(&out, bytes, sizeof(bytes));
        switch (dns_static_find(&conf->dns, &question, &answer)) {
        case DNS_STATIC_NONE:
            buf_put_string(&out, "ask");
            break;
        case DNS_STATIC_ALIAS:
            buf_put_string(&out, "ask ");
            buf_put(&out, answer.alias);
            buf_printf(&out, " %us", answer.ttl_s);
            break;
        case DNS_STATIC_ANSWER:
            put_answer(&out, &answer);
            break;
        }
        if (!slice_equal(buf_slice(&out), slice_from_string(rows[i].expected))) {
            fail_msg("%s: %.*s, not %s", rows[i].name, (int)out.size, (const char *)bytes,
                     rows[i].expected);
        }
        conf_free(conf);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(static_names_are_answered_and_others_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
