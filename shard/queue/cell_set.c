#include "shard/queue/cell_set.h"

#include "core/check.h"

/* A rate over less than this need not outlive the process: its bucket is soon full again. */
#define LASTING_NS     (60 * NS_PER_S)
#define NAME_PARTS_MAX 4

void cell_set_init(struct cell_set *set, struct shard *shard, struct cell_registry *registry,
                   unsigned registrar)
{
    set->shard = shard;
    set->registry = registry;
    set->registrar = registrar;
    set->count = 0;
    set->held = 0;
    set->in_flight = 0;
}

static void request_done(struct cell_request *request)
{
    struct cell_set *set = request->context;
    set->held += request->cell != NULL;
    if (--set->in_flight == 0) {
        set->settled(set);
    }
}

static struct cell_request *add(struct cell_set *set, enum cell_kind kind)
{
    CHECK(set->count < set->capacity && set->held == 0 && set->in_flight == 0);
    struct cell_request *request = &set->requests[set->count++];
    *request = (struct cell_request){
        .done = request_done,
        .context = set,
        .registry = set->registry,
        .kind = (uint8_t)kind,
    };
    return request;
}

unsigned cell_set_count(struct cell_set *set, const struct cell_key *key)
{
    add(set, CELL_COUNT)->key = *key;
    return set->count - 1;
}

unsigned cell_set_tickets(struct cell_set *set, const struct cell_key *key)
{
    add(set, CELL_TICKETS)->key = *key;
    return set->count - 1;
}

struct cell_key cell_set_rate_key(const struct slice *name, unsigned parts,
                                  const struct rate *rate)
{
    uint8_t text[RATE_TEXT_MAX];
    struct slice all[NAME_PARTS_MAX + 2] = {SLICE("rate")};
    struct buf buf;
    CHECK(parts <= NAME_PARTS_MAX);
    buf_init(&buf, text, sizeof(text));
    rate_put(&buf, rate);
    CHECK(!buf.overflow);
    for (unsigned i = 0; i < parts; i++) {
        all[1 + i] = name[i];
    }
    all[1 + parts] = buf_slice(&buf);
    return cell_key_of(all, parts + 2);
}

unsigned cell_set_rate(struct cell_set *set, const struct slice *name, unsigned parts,
                       const struct rate *rate)
{
    struct cell_request *request = add(set, CELL_RATE);
    request->key = cell_set_rate_key(name, parts, rate);
    request->span_ns = rate_span_ns(rate);
    request->lasting = rate->period_ns >= LASTING_NS;
    return set->count - 1;
}

void cell_set_ask(struct cell_set *set)
{
    CHECK(set->in_flight == 0 && set->held < set->count);
    for (unsigned i = 0; i < set->count; i++) {
        if (set->requests[i].cell == NULL) {
            set->in_flight++;
            cell_ask(set->shard, set->registrar, &set->requests[i]);
        }
    }
}

void cell_set_return(struct cell_set *set)
{
    CHECK(set->in_flight == 0 && set->held > 0);
    for (unsigned i = 0; i < set->count; i++) {
        if (set->requests[i].cell != NULL) {
            set->held--;
            set->in_flight++;
            cell_return(set->shard, set->registrar, &set->requests[i]);
        }
    }
}
