#include "tests/sim/sim.h"

#include "tests/sim/sim_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WALL_START_NS (1760000000ull * NS_PER_S)
#define WINDOW_BYTES  (64 * KIB)

static const struct {
    const char *name;
    uint16_t rate_max;
} faults[] = {
#define SIM_FAULT_ROW(name, rate) {#name, rate},
    SIM_FAULTS(SIM_FAULT_ROW)
#undef SIM_FAULT_ROW
};

struct sim_call {
    struct list link;
    struct sim_event event;
    void (*run)(void *context);
    void *context;
};

/* --- events: a binary heap by time, then by order of setting ---------------------------------- */

static bool event_before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->sequence < b->sequence;
}

static void heap_place(struct sim *sim, unsigned position, struct sim_event *event)
{
    sim->heap[position] = event;
    event->position = position;
}

static void heap_rise(struct sim *sim, unsigned position)
{
    struct sim_event *event = sim->heap[position];
    while (position > 1 && event_before(event, sim->heap[position / 2])) {
        heap_place(sim, position, sim->heap[position / 2]);
        position /= 2;
    }
    heap_place(sim, position, event);
}

static void heap_sink(struct sim *sim, unsigned position)
{
    struct sim_event *event = sim->heap[position];
    for (;;) {
        unsigned child = position * 2;
        if (child > sim->heap_count) {
            break;
        }
        if (child < sim->heap_count && event_before(sim->heap[child + 1], sim->heap[child])) {
            child += 1;
        }
        if (!event_before(sim->heap[child], event)) {
            break;
        }
        heap_place(sim, position, sim->heap[child]);
        position = child;
    }
    heap_place(sim, position, event);
}

void sim_event_clear(struct sim *sim, struct sim_event *event)
{
    unsigned position = event->position;
    if (position == 0) {
        return;
    }
    event->position = 0;
    struct sim_event *last = sim->heap[sim->heap_count];
    sim->heap_count -= 1;
    if (last == event) {
        return;
    }
    heap_place(sim, position, last);
    heap_rise(sim, position);
    heap_sink(sim, last->position);
}

void sim_event_set(struct sim *sim, struct sim_event *event, uint64_t delay_ns)
{
    CHECK(event->position == 0);
    event->at_ns = sim->now_ns + delay_ns;
    sim->event_sequence += 1;
    event->sequence = sim->event_sequence;
    if (sim->heap_count + 1 >= sim->heap_capacity) {
        sim->heap_capacity = MAX_OF(64, sim->heap_capacity * 2);
        sim->heap = realloc(sim->heap, sim->heap_capacity * sizeof(*sim->heap));
        CHECK(sim->heap != NULL);
    }
    sim->heap_count += 1;
    heap_place(sim, sim->heap_count, event);
    heap_rise(sim, sim->heap_count);
}

/* --- chance ----------------------------------------------------------------------------------- */

void *sim_memory(size_t size)
{
    void *memory = calloc(1, size);
    CHECK(memory != NULL);
    return memory;
}

uint64_t sim_below(struct sim *sim, uint64_t bound)
{
    return prng_below(&sim->prng, bound);
}

bool sim_chance(struct sim *sim, unsigned per_mille)
{
    return prng_chance(&sim->prng, per_mille);
}

bool sim_fault(struct sim *sim, enum sim_fault fault)
{
    if (sim->rates[fault] == 0 || !prng_chance(&sim->prng, sim->rates[fault])) {
        return false;
    }
    sim->counts[fault] += 1;
    return true;
}

uint64_t sim_delay(struct sim *sim, uint64_t ns_max)
{
    unsigned bits = 0;
    while (bits < 63 && (ns_max >> bits) > 1) {
        bits += 1;
    }
    uint64_t mask = (2ull << prng_below(&sim->prng, bits + 1)) - 1;
    uint64_t delay = prng_next(&sim->prng) & mask; /* not in one expression: order is a promise */
    return MIN_OF(delay, ns_max);
}

static void swarm_choose(struct sim *sim, uint64_t allowed)
{
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i += 1) {
        bool power = (SIM_FAULTS_POWER >> i & 1) != 0;
        sim->rates[i] = power ? faults[i].rate_max : 0;
        if ((allowed >> i & 1) != 0 && prng_chance(&sim->prng, 350)) {
            sim->rates[i] = (uint16_t)(1 + prng_below(&sim->prng, faults[i].rate_max));
        }
    }
}

void sim_fault_set(struct sim *sim, enum sim_fault fault, unsigned per_mille)
{
    sim->rates[fault] = (uint16_t)per_mille;
}

unsigned sim_fault_rate(const struct sim *sim, enum sim_fault fault)
{
    return sim->rates[fault];
}

void sim_wall_jumps_small(struct sim *sim)
{
    sim->small_jumps = true;
}

void sim_faults_stop(struct sim *sim)
{
    for (unsigned i = 0; i < SIM_FAULTS_COUNT; i += 1) {
        sim->rates[i] = 0;
    }
}

uint64_t sim_fault_count(const struct sim *sim, enum sim_fault fault)
{
    return sim->counts[fault];
}

const char *sim_fault_name(enum sim_fault fault)
{
    return faults[fault].name;
}

void sim_window_set(struct sim *sim, uint32_t bytes)
{
    sim->window_bytes = bytes == 0 ? WINDOW_BYTES : bytes;
}

void sim_wall_jump(struct sim *sim, int64_t by_ns)
{
    sim->wall_offset_ns += by_ns;
}

/* --- the verdict ------------------------------------------------------------------------------ */

void sim_trace(struct sim *sim, uint64_t value)
{
    sim->hash = (sim->hash ^ value) * 0x9e3779b97f4a7c15ull;
    sim->hash ^= sim->hash >> 29;
}

void sim_fail(struct sim *sim, const char *format, ...)
{
    if (sim->failed) {
        return;
    }
    sim->failed = true;
    int size = snprintf(sim->failure, sizeof(sim->failure), "seed %" PRIu64 " at %" PRIu64 " ns: ",
                        sim->seed, sim->now_ns);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sim->failure + size, sizeof(sim->failure) - (size_t)size, format, arguments);
    va_end(arguments);
    if (sim->verbose) {
        fprintf(stderr, "%s\n", sim->failure);
    }
}

bool sim_failed(const struct sim *sim)
{
    return sim->failed;
}

const char *sim_failure(const struct sim *sim)
{
    return sim->failed ? sim->failure : "";
}

uint64_t sim_hash(const struct sim *sim)
{
    return sim->hash;
}

uint64_t sim_seed(const struct sim *sim)
{
    return sim->seed;
}

uint64_t sim_now_ns(const struct sim *sim)
{
    return sim->now_ns;
}

/* --- the world -------------------------------------------------------------------------------- */

struct sim *sim_open(const struct sim_options *options)
{
    struct sim *sim = sim_memory(sizeof(*sim));
    prng_seed(&sim->prng, options->seed);
    sim->seed = options->seed;
    sim->now_ns = NS_PER_S;
    sim->wall_offset_ns = (int64_t)WALL_START_NS;
    sim->window_bytes = WINDOW_BYTES;
    sim->next_port = 32768;
    sim->next_host = 1;
    sim->verbose = options->verbose;
    struct list *lists[] = {&sim->nodes, &sim->disks, &sim->listeners, &sim->sockets,
                            &sim->peers, &sim->later, &sim->rings,   &sim->datagrams,
                            &sim->udps};
    for (unsigned i = 0; i < COUNT_OF(lists); i += 1) {
        list_init(lists[i]);
    }
    swarm_choose(sim, options->swarm);
    return sim;
}

static void node_free(struct sim_node *node)
{
    while (!list_empty(&node->rings)) {
        sim_ring_free(CONTAINER_OF(node->rings.next, struct ring, node_link));
    }
    if (node->work != NULL) {
        sim_work_free(node->work);
    }
    for (unsigned i = 0; i < node->file_count; i += 1) {
        free(node->files[i]);
    }
    free(node->files);
    list_remove(&node->link);
    free(node);
}

void sim_close(struct sim *sim)
{
    while (!list_empty(&sim->nodes)) {
        node_free(CONTAINER_OF(sim->nodes.next, struct sim_node, link));
    }
    sim_datagrams_free(sim, &sim->datagrams);
    sim_udps_free(sim);
    while (!list_empty(&sim->sockets)) {
        sim_socket_free(CONTAINER_OF(sim->sockets.next, struct sim_socket, link));
    }
    while (!list_empty(&sim->peers)) {
        sim_peer_free(CONTAINER_OF(sim->peers.next, struct sim_peer, link));
    }
    while (!list_empty(&sim->listeners)) {
        struct list *node = list_pop_front(&sim->listeners);
        free(CONTAINER_OF(node, struct sim_listener, link));
    }
    while (!list_empty(&sim->disks)) {
        sim_disk_free(CONTAINER_OF(sim->disks.next, struct sim_disk, link));
    }
    while (!list_empty(&sim->later)) {
        free(CONTAINER_OF(list_pop_front(&sim->later), struct sim_call, link));
    }
    free(sim->heap);
    free(sim);
}

static void call_run(struct sim *sim, struct sim_event *event)
{
    (void)sim;
    struct sim_call *call = CONTAINER_OF(event, struct sim_call, event);
    list_remove(&call->link);
    void (*run)(void *context) = call->run;
    void *context = call->context;
    free(call);
    run(context);
}

void sim_after(struct sim *sim, uint64_t delay_ns, void (*run)(void *context), void *context)
{
    struct sim_call *call = sim_memory(sizeof(*call));
    call->event.run = call_run;
    call->run = run;
    call->context = context;
    list_push_back(&sim->later, &call->link);
    sim_event_set(sim, &call->event, delay_ns);
}

/* --- running ---------------------------------------------------------------------------------- */

/* An actor that can run now, chosen by chance. */
static struct ring *actor_choose(struct sim *sim)
{
    struct ring *chosen = NULL;
    unsigned count = 0;
    for (struct list *node = sim->rings.next; node != &sim->rings; node = node->next) {
        struct ring *ring = CONTAINER_OF(node, struct ring, world_link);
        if (ring->turn == NULL || ring->stalled_until_ns > sim->now_ns || !sim_ring_ready(ring)) {
            continue;
        }
        count += 1;
        if (count == 1 || prng_below(&sim->prng, count) == 0) {
            chosen = ring;
        }
    }
    return chosen;
}

/* When a sleeping or stalled actor goes on by itself. */
static uint64_t actor_next_ns(const struct sim *sim)
{
    uint64_t next = UINT64_MAX;
    for (struct list *node = sim->rings.next; node != &sim->rings; node = node->next) {
        const struct ring *ring = CONTAINER_OF(node, struct ring, world_link);
        if (ring->turn == NULL) {
            continue;
        }
        uint64_t at = sim_ring_ready(ring) ? ring->stalled_until_ns
                                           : MAX_OF(ring->sleep_until_ns, ring->stalled_until_ns);
        next = MIN_OF(next, at);
    }
    return next;
}

static void event_run(struct sim *sim)
{
    struct sim_event *event = sim->heap[1];
    sim->now_ns = MAX_OF(sim->now_ns, event->at_ns);
    sim_event_clear(sim, event);
    sim_trace(sim, event->at_ns);
    event->run(sim, event);
}

bool sim_step(struct sim *sim)
{
    if (sim->failed) {
        return false;
    }
    if (sim->heap_count > 0 && sim->heap[1]->at_ns <= sim->now_ns) {
        event_run(sim);
        return !sim->failed;
    }
    struct ring *ring = actor_choose(sim);
    if (ring != NULL) {
        if (sim_fault(sim, SIM_FAULT_slow_turn)) {
            ring->stalled_until_ns = sim->now_ns + sim_delay(sim, 20 * NS_PER_MS);
            return true;
        }
        sim_ring_run(ring);
        sim->now_ns += 500 + prng_below(&sim->prng, 4500);
        return !sim->failed;
    }
    uint64_t next_ns = actor_next_ns(sim);
    if (sim->heap_count > 0 && sim->heap[1]->at_ns <= next_ns) {
        event_run(sim);
        return !sim->failed;
    }
    if (next_ns == UINT64_MAX) {
        return false;
    }
    sim->now_ns = MAX_OF(sim->now_ns, next_ns);
    return true;
}

bool sim_run_until(struct sim *sim, sim_done *done, void *context, uint64_t limit_ns)
{
    uint64_t end_ns = sim->now_ns + limit_ns;
    while (!sim->failed && !done(context)) {
        if (sim->now_ns >= end_ns || !sim_step(sim)) {
            return !sim->failed && done(context);
        }
    }
    return !sim->failed;
}

bool sim_run_for(struct sim *sim, uint64_t duration_ns)
{
    uint64_t end_ns = sim->now_ns + duration_ns;
    while (sim->now_ns < end_ns && sim_step(sim)) {
    }
    if (!sim->failed && sim->now_ns < end_ns) {
        sim->now_ns = end_ns;
    }
    return !sim->failed;
}

static bool idle_now(void *context)
{
    struct sim *sim = context;
    if (sim->heap_count > 0) {
        return false;
    }
    for (struct list *node = sim->rings.next; node != &sim->rings; node = node->next) {
        const struct ring *ring = CONTAINER_OF(node, struct ring, world_link);
        if (ring->turn != NULL && sim_ring_ready(ring)) {
            return false;
        }
    }
    return true;
}

bool sim_run_idle(struct sim *sim, uint64_t limit_ns)
{
    return sim_run_until(sim, idle_now, sim, limit_ns);
}

/* --- campaigns -------------------------------------------------------------------------------- */

static uint64_t environment_number(const char *name, uint64_t fallback)
{
    const char *text = getenv(name);
    uint64_t value = 0;
    return text != NULL && slice_parse_u64(slice_from_string(text), &value) ? value : fallback;
}

unsigned sim_campaign_run(struct sim_campaign *campaign)
{
    uint64_t first = environment_number("SEED", 1);
    bool asked = getenv("COUNT") != NULL;
    uint64_t count = environment_number("COUNT", getenv("SEED") != NULL ? 1 : campaign->count);
    unsigned failures = 0;
    for (uint64_t i = 0; i < count; i += 1) {
        struct sim_options options = {.seed = first + i,
                                      .swarm = campaign->swarm,
                                      .verbose = getenv("VERBOSE") != NULL};
        struct sim *sim = sim_open(&options);
        campaign->body(sim, campaign->context);
        for (unsigned fault = 0; fault < SIM_FAULTS_COUNT; fault += 1) {
            campaign->totals[fault] += sim->counts[fault];
        }
        if (sim->failed) {
            failures += 1;
            if (failures <= 10 && !campaign->quiet) {
                fprintf(stderr, "%s: %s\n", campaign->name, sim->failure);
            }
        }
        sim_close(sim);
    }
    for (unsigned fault = 0; asked && fault < SIM_FAULTS_COUNT; fault += 1) {
        fprintf(stderr, "%s: %s=%" PRIu64 "\n", campaign->name, faults[fault].name,
                campaign->totals[fault]);
    }
    return failures;
}
