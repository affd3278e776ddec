#include "smtp/site.h"

#include "core/check.h"

struct site *site_hold(struct site *site)
{
    atomic_fetch_add_explicit(&site->holders, 1, memory_order_relaxed);
    return site;
}

/* Release: what the holder has read is read before the finder frees it. */
void site_release(struct site *site)
{
    uint32_t before = atomic_fetch_sub_explicit(&site->holders, 1, memory_order_release);
    CHECK(before > 0);
}

struct verdict site_verdict(const struct site *site)
{
    switch (site->kind) {
    case SITE_OK:
        return VERDICT_ACCEPT;
    case SITE_NO_DOMAIN:
        return (struct verdict){550, "5.1.2 There is no such domain"};
    case SITE_NULL_MX:
        return (struct verdict){556, "5.1.10 The domain takes no mail"};
    case SITE_NO_ADDRESS:
        return (struct verdict){451, "4.4.4 The hosts of the domain have no address"};
    case SITE_LOOP:
        return (struct verdict){550, "5.4.6 Mail of the domain would come back to this host"};
    case SITE_TROUBLE:
        return (struct verdict){451, "4.4.3 DNS has not answered for the domain"};
    }
    return VERDICT_ACCEPT;
}

const char *site_kind_name(enum site_kind kind)
{
    static const char *const names[] = {
        [SITE_OK] = "site",
        [SITE_NO_DOMAIN] = "no such domain",
        [SITE_NULL_MX] = "null MX",
        [SITE_NO_ADDRESS] = "no address",
        [SITE_LOOP] = "loop",
        [SITE_TROUBLE] = "no answer of DNS",
    };
    return names[kind];
}
