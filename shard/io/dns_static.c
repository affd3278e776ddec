#include "shard/io/dns_static.h"

static const struct conf_dns_rcode *rcode_find(const struct conf_dns *dns, struct slice name)
{
    size_t first = 0;
    size_t end = dns->rcode_count;
    while (first < end) {
        size_t middle = first + (end - first) / 2;
        int compared = slice_compare(name, dns->rcodes[middle].name);
        if (compared == 0) {
            return &dns->rcodes[middle];
        }
        if (compared < 0) {
            end = middle;
        } else {
            first = middle + 1;
        }
    }
    return NULL;
}

static bool is_secure(const struct conf_dns *dns, struct slice name)
{
    for (size_t i = 0; i < dns->secure_count; i++) {
        if (dns_name_covers(dns->secure[i], name)) {
            return true;
        }
    }
    return false;
}

static enum dns_static answer(struct dns_answer *answer, enum dns_status status)
{
    answer->status = status;
    answer->ttl_s = status == DNS_OK ? answer->ttl_s : MIN_OF(answer->ttl_s, ZONE_TTL_S);
    answer->secure = answer->secure && status <= DNS_NO_DATA;
    return DNS_STATIC_ANSWER;
}

/* The name has no records here: it is asked for, if there is anybody to ask. */
static enum dns_static foreign(const struct conf_dns *dns, bool above, struct dns_answer *out)
{
    if (dns->server_count > 0) {
        return out->alias.data == NULL ? DNS_STATIC_NONE : DNS_STATIC_ALIAS;
    }
    out->rcode = above ? 0 : 3;
    return answer(out, above ? DNS_NO_DATA : DNS_NO_NAME);
}

enum dns_static dns_static_find(const struct conf_dns *dns, const struct dns_question *question,
                                struct dns_answer *answer_out)
{
    struct slice name = question->name;
    *answer_out =
        (struct dns_answer){.type = question->type, .secure = true, .ttl_s = UINT32_MAX};
    for (unsigned i = 0; i <= DNS_ALIASES_MAX; i++) {
        const struct conf_dns_rcode *rcode = rcode_find(dns, name);
        if (rcode != NULL) {
            answer_out->rcode = rcode->rcode;
            answer_out->secure = answer_out->secure && is_secure(dns, name);
            return answer(answer_out, rcode->status);
        }
        const struct zone_name *found = zone_find(&dns->zone, name);
        if (found == NULL || found->count == 0) {
            answer_out->secure =
                answer_out->secure && (dns->server_count > 0 || is_secure(dns, name));
            return foreign(dns, found != NULL, answer_out);
        }
        answer_out->secure = answer_out->secure && is_secure(dns, name);
        const struct zone_set *set = zone_set_find(found, question->type);
        const struct zone_set *alias = zone_set_find(found, DNS_CNAME);
        if (set == NULL && alias == NULL) {
            return answer(answer_out, DNS_NO_DATA);
        }
        if (set != NULL) {
            answer_out->ttl_s = MIN_OF(answer_out->ttl_s, set->ttl_s);
            answer_out->count = set->count;
            answer_out->records = set->records;
            return answer(answer_out, DNS_OK);
        }
        answer_out->ttl_s = MIN_OF(answer_out->ttl_s, alias->ttl_s);
        name = alias->records[0].name;
        answer_out->alias = name;
    }
    return answer(answer_out, DNS_BAD_ANSWER);
}
