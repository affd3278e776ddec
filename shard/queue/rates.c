#include "shard/queue/rates.h"

#include "core/check.h"

/* Ahead of the next token: enough for a thread that wakes late, by ticks of the wheel or for its
 * work. More would be unfair to those for whom the horizon is full then. */
#define AHEAD_TOKENS 2
#define AHEAD_NS     (4 * WHEEL_TICK_NS)
#define HORIZON_NS   NS_PER_S

void rates_init(struct rates *rates, struct rate_line *lines, unsigned capacity)
{
    *rates = (struct rates){.lines = lines, .capacity = capacity};
}

void rates_add(struct rates *rates, struct cell *cell, const struct rate *rate)
{
    CHECK(rates->count < rates->capacity && rate_is_set(rate));
    rates->lines[rates->count++] = (struct rate_line){.cell = cell, .rate = rate};
}

static uint64_t held(const struct rate_line *line)
{
    return line->runs[0].count + line->runs[1].count;
}

/* --- tokens in hand --------------------------------------------------------------------------- */

static void line_drop(struct rate_line *line)
{
    if (held(line) > 0) {
        cell_refund(line->cell, line->rate, held(line));
    }
    line->runs[0].count = 0;
    line->runs[1].count = 0;
}

/* The first run is never the empty one of two. */
static void line_close_up(struct rate_line *line)
{
    if (line->runs[0].count == 0) {
        line->runs[0] = line->runs[1];
        line->runs[1].count = 0;
    }
}

static void line_use(struct rate_line *line, uint64_t count)
{
    CHECK(count <= held(line));
    while (count > 0) {
        struct rate_run *run = &line->runs[0];
        uint64_t some = MIN_OF(count, run->count);
        run->count -= some;
        run->first_ns += (int64_t)(some * line->rate->interval_ns);
        count -= some;
        line_close_up(line);
    }
}

/* Those that may be used now. */
static uint64_t line_ready(const struct rate_line *line, uint64_t now_ns)
{
    const struct rate_run *runs = line->runs;
    uint64_t ready = gcra_ready(line->rate, runs[0].first_ns, runs[0].count, now_ns);
    if (ready == runs[0].count) {
        ready += gcra_ready(line->rate, runs[1].first_ns, runs[1].count, now_ns);
    }
    return ready;
}

static void line_forget_stale(struct rate_line *line, uint64_t now_ns)
{
    struct rate_run *run = &line->runs[0];
    while (run->count > 0 && now_ns > run->stale_ns) {
        cell_refund(line->cell, line->rate, run->count);
        run->count = 0;
        line_close_up(line);
    }
}

/* Gives back all but the first token. */
static void line_trim(struct rate_line *line)
{
    if (held(line) > 1) {
        cell_refund(line->cell, line->rate, held(line) - 1);
        line->runs[0].count = 1;
        line->runs[1].count = 0;
    }
}

/* Up to `count` more, when there is room for another run; none that comes after `until_ns`. */
static void line_reserve(struct rate_line *line, uint64_t now_ns, uint64_t until_ns, uint64_t count)
{
    struct rate_run *run = &line->runs[line->runs[0].count > 0];
    if (run->count > 0) {
        return;
    }
    const struct rate *rate = line->rate;
    struct gcra_grant grant = cell_reserve(line->cell, rate, now_ns, until_ns, count);
    if (grant.count == 0) {
        return;
    }
    int64_t last_ns = grant.first_ns + (int64_t)((grant.count - 1) * rate->interval_ns);
    uint64_t from_ns = last_ns > (int64_t)now_ns ? (uint64_t)last_ns : now_ns;
    run->first_ns = grant.first_ns;
    run->count = grant.count;
    run->stale_ns = from_ns + MAX_OF(HORIZON_NS, rate->interval_ns);
}

/* --- all of them ------------------------------------------------------------------------------ */

/* A token of each; the latest of their instants. */
static int64_t first_of_each(struct rates *rates, uint64_t now_ns)
{
    int64_t latest_ns = 0;
    for (unsigned i = 0; i < rates->count; i++) {
        struct rate_line *line = &rates->lines[i];
        line_forget_stale(line, now_ns);
        if (held(line) == 0) {
            line_reserve(line, now_ns, RATE_ANY_TIME, 1);
        }
        latest_ns = MAX_OF(latest_ns, line->runs[0].first_ns);
    }
    return latest_ns;
}

static uint64_t ahead(const struct rate_line *line, uint32_t want)
{
    uint64_t most = AHEAD_TOKENS + AHEAD_NS / line->rate->interval_ns;
    return MIN_OF(want, most);
}

uint32_t rates_ready(struct rates *rates, uint64_t now_ns, uint32_t want, uint64_t *until_out)
{
    uint64_t ready = want;
    int64_t latest_ns = first_of_each(rates, now_ns);
    bool far = latest_ns > (int64_t)(now_ns + HORIZON_NS);
    for (unsigned i = 0; i < rates->count; i++) {
        struct rate_line *line = &rates->lines[i];
        uint64_t most = ahead(line, want);
        if (far) {
            line_trim(line);
        } else if (held(line) <= most / 2) {
            line_reserve(line, now_ns, now_ns + HORIZON_NS, most - held(line));
        }
        ready = MIN_OF(ready, line_ready(line, now_ns));
    }
    if (ready == 0) {
        *until_out = (uint64_t)latest_ns;
    }
    return (uint32_t)ready;
}

void rates_use(struct rates *rates, uint32_t count)
{
    for (unsigned i = 0; i < rates->count; i++) {
        line_use(&rates->lines[i], count);
    }
}

void rates_refund(struct rates *rates, uint32_t count)
{
    for (unsigned i = 0; i < rates->count; i++) {
        cell_refund(rates->lines[i].cell, rates->lines[i].rate, count);
    }
}

bool rates_holds(const struct rates *rates)
{
    uint64_t tokens = 0;
    for (unsigned i = 0; i < rates->count; i++) {
        tokens += held(&rates->lines[i]);
    }
    return tokens > 0;
}

void rates_rest(struct rates *rates)
{
    for (unsigned i = 0; i < rates->count; i++) {
        line_drop(&rates->lines[i]);
    }
}

void rates_clear(struct rates *rates)
{
    rates_rest(rates);
    rates->count = 0;
}
