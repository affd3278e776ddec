#include "smtp/overload.h"

#include "core/check.h"

/* Between two lines in the log. */
#define LEAST_NS NS_PER_S

static const struct line {
    const char *name;
    enum counter counter;
    uint8_t begin_percent;
    uint8_t end_percent;
} lines[OVERLOAD_LINES] = {
    [OVERLOAD_CONNECTIONS] = {"memory_connections", COUNTER_overload_connections, 80, 75},
    [OVERLOAD_MAIL] = {"memory_mail", COUNTER_overload_mail, 90, 85},
    [OVERLOAD_READING] = {"memory_reading", COUNTER_overload_reading, 97, 92},
    [OVERLOAD_BLOCKS] = {"staging", COUNTER_overload_staging, 90, 85},
    [OVERLOAD_SLOTS] = {"max_connections", COUNTER_overload_slots, 90, 80},
    [OVERLOAD_BUFFERS] = {"receive_buffers", COUNTER_overload_buffers, 75, 50},
};

static void say(const struct overload *overload, enum overload_line line, uint64_t used,
                uint64_t limit)
{
    struct logline text;
    bool told = overload->lines[line].told;
    logline_begin(&text, told ? "overload" : "overload_over");
    logline_u64(&text, "shard", overload->shard->index);
    logline_string(&text, "of", lines[line].name);
    logline_u64(&text, "used", used);
    logline_u64(&text, "limit", limit);
    logline_end(&text, &overload->log);
}

bool overload_set(struct overload *overload, enum overload_line line, uint64_t used,
                  uint64_t limit)
{
    CHECK(line < OVERLOAD_LINES);
    const struct line *rule = &lines[line];
    uint64_t now_ns = overload->shard->now_ns;
    bool was = overload->lines[line].over;
    bool over = used * 100 >= limit * (was ? rule->end_percent : rule->begin_percent);
    uint64_t told_ns = overload->lines[line].told_ns;
    overload->lines[line].over = over;
    if (over != overload->lines[line].told && (told_ns == 0 || now_ns - told_ns >= LEAST_NS)) {
        overload->lines[line].told = over;
        overload->lines[line].told_ns = now_ns;
        counters_add(&overload->shard->counters, rule->counter, over ? 1 : 0);
        say(overload, line, used, limit);
    }
    return over != was;
}

bool overload_is(const struct overload *overload, enum overload_line line)
{
    return overload->lines[line].over;
}

bool overload_any(const struct overload *overload)
{
    bool any = false;
    for (unsigned i = 0; i < OVERLOAD_LINES; i++) {
        any = any || overload->lines[i].over;
    }
    return any;
}
