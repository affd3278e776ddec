#include "shard/account.h"

#include "core/check.h"

uint64_t account_used(const struct account *account)
{
    uint64_t used = 0;
    for (unsigned i = 0; i < ACCOUNT_CONSUMERS; i++) {
        used += account->used[i];
    }
    return used;
}

bool account_take(struct account *account, enum account_consumer consumer, uint64_t bytes)
{
    CHECK(consumer < ACCOUNT_CONSUMERS);
    uint64_t used = account_used(account);
    if (used > account->limit || bytes > account->limit - used) {
        return false;
    }
    account->used[consumer] += bytes;
    return true;
}

void account_give(struct account *account, enum account_consumer consumer, uint64_t bytes)
{
    CHECK(consumer < ACCOUNT_CONSUMERS);
    CHECK(account->used[consumer] >= bytes);
    account->used[consumer] -= bytes;
}

const char *account_consumer_name(enum account_consumer consumer)
{
    static const char *const names[ACCOUNT_CONSUMERS] = {
        [ACCOUNT_BLOCKS] = "blocks",   [ACCOUNT_GROUPS] = "groups",
        [ACCOUNT_BUFFERS] = "buffers", [ACCOUNT_CONNECTIONS] = "connections",
        [ACCOUNT_ROWS] = "rows",       [ACCOUNT_QUEUES] = "queues",
        [ACCOUNT_EVENTS] = "events",   [ACCOUNT_HTTP] = "http",
        [ACCOUNT_DNS] = "dns",
    };
    CHECK(consumer < ACCOUNT_CONSUMERS);
    return names[consumer];
}
