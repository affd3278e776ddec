/* What was promised, and what came of it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/check.h"
#include "tests/world/world.h"

/* A message that was written and refused is void when two groups more are durable. */
#define REFUSAL_COMMITS 2

/* --- bodies ----------------------------------------------------------------------------------- */

/* Six bits of chance a letter. */
static void letters_put(struct prng *prng, uint8_t *to, uint32_t count)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyz....  =\t\"<>ABCDEFGHIJKLMNOPQRSTUVWXYZ0";
    uint64_t chance = 0;
    for (uint32_t i = 0; i < count; i++) {
        chance = i % 10 == 0 ? prng_next(prng) : chance >> 6;
        to[i] = (uint8_t)letters[chance & 63];
    }
}

/* Lines of any length, many of them beginning with dots; all end with CRLF. */
uint8_t *world_body(const struct world *world, uint32_t number)
{
    uint32_t size = world->messages[number].body_bytes;
    uint8_t *body = malloc(size + 1u);
    struct prng prng;
    CHECK(body != NULL);
    prng_seed(&prng, 0xB0D1ull * (number + 1));
    for (uint32_t at = 0; at < size;) {
        uint32_t left = size - at;
        uint32_t most = prng_below(&prng, 20) == 0 ? 990 : 70;
        uint32_t line = (uint32_t)prng_below(&prng, most + 1) + 2;
        if (line > left || left - line < 2) {
            line = left;
        }
        /* The first line must not look like the rest of the field that is put before it. */
        bool dots = at == 0 || prng_below(&prng, 4) == 0;
        letters_put(&prng, body + at, line - 2);
        if (dots && line > 2) {
            body[at] = '.';
        }
        body[at + line - 2] = '\r';
        body[at + line - 1] = '\n';
        at += line;
    }
    return body;
}

static uint32_t body_size(struct world *world)
{
    uint32_t most = world->body_bytes_max;
    unsigned kind = (unsigned)sim_below(world->sim, 1000);
    uint32_t size;
    if (kind < world->large) {
        size = 2 + (uint32_t)sim_below(world->sim, most);
    } else if (kind < world->large + 100) {
        size = 0;
    } else if (kind < world->large + 200) {
        size = 2 + (uint32_t)sim_below(world->sim, 40);
    } else {
        size = 2 + (uint32_t)sim_below(world->sim, 6000);
    }
    return MIN_OF(size, most);
}

static void message_make(struct world *world, struct world_message *message)
{
    *message = (struct world_message){.body_bytes = body_size(world)};
    message->recipient_count = (uint8_t)(1 + sim_below(world->sim, world->recipients_max));
    for (unsigned i = 0; i < message->recipient_count; i++) {
        message->recipients[i].domain = (uint8_t)sim_below(world->sim, world->domains);
        message->recipients[i].stubborn = sim_chance(world->sim, world->stubborn);
    }
}

void world_mail(struct world *world, unsigned clients, uint32_t count, uint64_t within_ns)
{
    uint32_t first = world->message_count;
    unsigned at = world->client_count;
    if (at > 0 && world_handed_in(world)) {
        at = 0;
        clients = MIN_OF(clients, world->client_count);
    }
    CHECK(at + clients <= WORLD_CLIENTS_MAX);
    world->client_count = MAX_OF(world->client_count, at + clients);
    world->message_count += count;
    world->messages =
        realloc(world->messages, world->message_count * sizeof(struct world_message));
    CHECK(world->messages != NULL);
    for (uint32_t i = first; i < world->message_count; i++) {
        message_make(world, &world->messages[i]);
    }
    for (unsigned i = 0; i < clients; i++) {
        struct world_client *client = &world->clients[at + i];
        *client = (struct world_client){
            .world = world,
            .index = at + i,
            .next = first + count * i / clients,
            .end = first + count * (i + 1) / clients,
            .progress_ns = UINT64_MAX,
        };
        sim_after(world->sim, sim_below(world->sim, within_ns + 1), world_client_start, client);
    }
}

/* --- deliveries ------------------------------------------------------------------------------- */

/*
 * A second delivery needs a reason: the OUTCOME of the first was not durable at a crash (its reply
 * was sent less than the crash's window before it, or not yet: what was on its way still comes), or
 * nobody read its reply.
 */
enum world_cause world_cause_of(struct world *world, const struct world_recipient *recipient)
{
    for (unsigned i = 0; i < world->crash_count; i++) {
        const struct world_crash *crash = &world->crashes[i];
        if (recipient->conn <= crash->conn_count &&
            (recipient->told_ns == 0 || recipient->told_ns + crash->window_ns >= crash->at_ns)) {
            return crash->broken ? CAUSE_BROKEN : CAUSE_CRASH;
        }
    }
    if (recipient->told_ns == 0 || (!recipient->heard && (world->lossy || recipient->cut))) {
        return CAUSE_UNCERTAIN;
    }
    return CAUSES_COUNT;
}

static void count_duplicate(struct world *world, uint32_t number, unsigned index)
{
    const struct world_recipient *recipient = &world->messages[number].recipients[index];
    enum world_cause cause = world_cause_of(world, recipient);
    if (cause < CAUSES_COUNT) {
        world->tally.duplicates[cause]++;
        return;
    }
    uint64_t crash = world->crash_count > 0 ? world->crashes[world->crash_count - 1].at_ns : 0;
    sim_fail(world->sim,
             "message %u is delivered again to recipient %u for no reason: taken at %llu ns, told "
             "at %llu ns, last crash at %llu ns",
             number, index, (unsigned long long)recipient->taken_ns,
             (unsigned long long)recipient->told_ns, (unsigned long long)crash);
}

/* What was refused may come when its process ends before it can have said that it is void. */
static void refusals_over(struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        struct world_message *message = &world->messages[i];
        for (unsigned shard = 0; message->fate == FATE_REFUSED && shard < world->shards; shard++) {
            uint64_t commits = counters_get(&world->node.peers[shard]->counters, COUNTER_commits);
            message->may_come = message->may_come ||
                                (message->refused_life == world->started_ns &&
                                 commits < message->refused_commits[shard] + REFUSAL_COMMITS);
        }
    }
}

void world_counts_add(struct world *world)
{
    struct world_tally *tally = &world->tally;
    tally->checkpoints += world_counter(world, COUNTER_checkpoints);
    tally->rewrites += world_counter(world, COUNTER_messages_rewritten);
    tally->uncertain += world_counter(world, COUNTER_uncertain);
    tally->notices_dropped += world_counter(world, COUNTER_reports_dropped);
    tally->commit_failures += world_counter(world, COUNTER_commit_failures);
    tally->events_replayed += world_counter(world, COUNTER_events_replayed);
    for (unsigned i = 0; i < world->shards; i++) {
        tally->events_behind += world->node.mtas[i].events.refusals;
    }
}

/*
 * 5 ms of waiting for company, the commit under way and its own, the way of the reply: the least
 * window. A disk that is slow or refuses makes it longer, by what the spool itself says.
 */
void world_life_over(struct world *world)
{
    uint64_t now_ns = sim_now_ns(world->sim);
    struct world_crash crash = {
        .at_ns = now_ns, .window_ns = world->window_ns, .conn_count = world->conn_count};
    CHECK(world->crash_count < WORLD_CRASHES_MAX);
    if (node_state(&world->node) == NODE_READY && world->lossy) {
        crash.broken = world_counter(world, COUNTER_commit_failures) > 0;
        for (unsigned i = 0; i < world->shards && !crash.broken; i++) {
            uint64_t age_ns = spool_outcome_age_ns(world->node.mtas[i].spool);
            crash.window_ns = MAX_OF(crash.window_ns, world->window_ns + age_ns);
        }
        if (crash.broken) {
            crash.window_ns += now_ns - world->started_ns;
        }
    }
    refusals_over(world);
    world_counts_add(world);
    world->crashes[world->crash_count++] = crash;
}

void world_life_cut(struct world *world)
{
    for (uint32_t i = 0; i < world->message_count; i++) {
        struct world_message *message = &world->messages[i];
        for (unsigned r = 0; r < message->recipient_count; r++) {
            struct world_recipient *recipient = &message->recipients[r];
            recipient->cut = recipient->cut || recipient->taken_ns >= world->started_ns;
        }
    }
}

void world_life_broken(struct world *world)
{
    uint64_t now_ns = sim_now_ns(world->sim);
    CHECK(world->crash_count < WORLD_CRASHES_MAX);
    world->crashes[world->crash_count++] = (struct world_crash){
        .at_ns = now_ns,
        .window_ns = world->window_ns + now_ns - world->started_ns,
        .conn_count = world->conn_count,
        .broken = true,
    };
}

void world_refused(struct world *world, struct world_message *message, unsigned life)
{
    message->fate = FATE_REFUSED;
    message->may_come = life < world->crash_count; /* the word was on its way when it ended */
    message->refused_life = world->started_ns;
    for (unsigned shard = 0; shard < world->shards && world->running; shard++) {
        message->refused_commits[shard] =
            counters_get(&world->node.peers[shard]->counters, COUNTER_commits);
    }
}

bool world_delivered(struct world *world, uint32_t number, unsigned index, uint32_t conn)
{
    struct world_message *message = &world->messages[number];
    struct world_recipient *recipient = &message->recipients[index];
    bool refused = message->fate == FATE_REFUSED && (world->refused_may_come || message->may_come);
    if (message->fate != FATE_SENT && message->fate != FATE_TAKEN && !refused) {
        sim_fail(world->sim, "message %u is delivered, its fate is %d", number, message->fate);
        return false;
    }
    if (recipient->accepted == WORD_NO) {
        sim_fail(world->sim, "message %u: recipient %u was refused", number, index);
        return false;
    }
    world->tally.deliveries++;
    if (recipient->delivered++ > 0 && conn == 0) {
        world->tally.duplicates[CAUSE_CRASH]++; /* the next life was faster */
        return true;
    }
    if (recipient->delivered > 1) {
        count_duplicate(world, number, index);
    }
    recipient->heard = false;
    recipient->cut = false;
    recipient->told_ns = 0;
    recipient->taken_ns = sim_now_ns(world->sim);
    recipient->conn = conn;
    return true;
}

/* --- the verdict ------------------------------------------------------------------------------ */

bool world_may_end(const struct world *world, const struct world_recipient *recipient)
{
    return recipient->expired || (world->bounced_domains >> recipient->domain & 1) != 0;
}

static void judge_recipient(struct world *world, uint32_t number, unsigned index)
{
    const struct world_recipient *recipient = &world->messages[number].recipients[index];
    if (recipient->accepted != WORD_YES || recipient->delivered > 0 || recipient->bounced > 0 ||
        world_may_end(world, recipient)) {
        return;
    }
    world->tally.lost++;
    if (!world->may_lose) {
        sim_fail(world->sim, "message %u (%u bytes) was taken and is lost to recipient %u", number,
                 world->messages[number].body_bytes, index);
    }
}

void world_judge(struct world *world)
{
    struct world_tally *tally = &world->tally;
    for (uint32_t i = 0; i < world->message_count; i++) {
        const struct world_message *message = &world->messages[i];
        sim_trace(world->sim, (uint64_t)message->fate);
        switch (message->fate) {
        case FATE_NONE:
            break;
        case FATE_PARTIAL:
            tally->partial++;
            break;
        case FATE_SENT:
            tally->unanswered++;
            break;
        case FATE_TAKEN:
            tally->taken++;
            tally->large += message->body_bytes > 300 * KIB;
            break;
        case FATE_REFUSED:
            tally->refused++;
            break;
        }
        for (unsigned r = 0; r < message->recipient_count; r++) {
            sim_trace(world->sim, message->recipients[r].delivered);
            if (message->fate == FATE_TAKEN) {
                judge_recipient(world, i, r);
            } else if (message->fate != FATE_SENT && !world->refused_may_come &&
                       !message->may_come && message->recipients[r].delivered > 0) {
                sim_fail(world->sim, "message %u was not taken, and is delivered", i);
            }
        }
    }
    if (world->notifies) {
        world_notices_judge(world);
    }
    uint64_t uncertain = tally->uncertain + world_counter(world, COUNTER_uncertain);
    if (tally->duplicates[CAUSE_UNCERTAIN] > uncertain) {
        sim_fail(world->sim, "%llu were delivered again because nobody had read the reply, but "
                 "the node knows of %llu", (unsigned long long)tally->duplicates[CAUSE_UNCERTAIN],
                 (unsigned long long)uncertain);
    }
}

void world_tally_add(struct world_tally *sum, const struct world_tally *tally)
{
    /* Nothing but counters. */
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)tally;
    for (size_t i = 0; i < sizeof(*sum) / sizeof(*to); i++) {
        to[i] += from[i];
    }
}

void world_tally_print(const struct world_tally *tally)
{
    printf("taken %llu (large %llu) refused %llu unanswered %llu partial %llu; delivered %llu "
           "bounced %llu deferred %llu; crashes %llu (in recovery %llu) duplicates %llu + %llu + "
           "%llu; events %llu, again %llu\n",
           (unsigned long long)tally->taken, (unsigned long long)tally->large,
           (unsigned long long)tally->refused, (unsigned long long)tally->unanswered,
           (unsigned long long)tally->partial, (unsigned long long)tally->deliveries,
           (unsigned long long)tally->bounces, (unsigned long long)tally->deferrals,
           (unsigned long long)tally->crashes, (unsigned long long)tally->phases[PHASE_START],
           (unsigned long long)tally->duplicates[CAUSE_CRASH],
           (unsigned long long)tally->duplicates[CAUSE_BROKEN],
           (unsigned long long)tally->duplicates[CAUSE_UNCERTAIN],
           (unsigned long long)tally->events, (unsigned long long)tally->events_repeated);
}
