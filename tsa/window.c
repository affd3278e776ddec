#include "tsa/window.h"

static bool add_exact(struct window *window, uint64_t event_ns, uint32_t count,
                      uint64_t period_ns)
{
    uint64_t *times = window->as.times;
    uint32_t at = count;
    while (at > 0 && times[at - 1] < event_ns) {
        at--;
    }
    for (uint32_t i = count - 1; at < count && i > at; i--) {
        times[i] = times[i - 1];
    }
    if (at < count) {
        times[at] = event_ns;
    }
    return times[count - 1] > 0 && times[0] - times[count - 1] < period_ns;
}

static bool add_spans(struct window *window, uint64_t event_ns, uint32_t count,
                      uint64_t period_ns)
{
    uint32_t *spans = window->as.spans;
    uint64_t width = period_ns / (WINDOW_SPANS - 1) + 1;
    uint64_t newest = window->newest_ns / width;
    uint64_t number = event_ns / width;
    for (uint64_t i = 1; number > newest && i <= MIN_OF(number - newest, WINDOW_SPANS); i++) {
        spans[(newest + i) % WINDOW_SPANS] = 0;
    }
    bool late = number + WINDOW_SPANS <= newest;
    if (!late && spans[number % WINDOW_SPANS] < UINT32_MAX) {
        spans[number % WINDOW_SPANS]++;
    }
    uint64_t sum = 0;
    for (uint32_t i = 0; i < WINDOW_SPANS; i++) {
        sum += spans[i];
    }
    return sum >= count;
}

bool window_add(struct window *window, uint64_t event_ns, uint32_t count, uint64_t period_ns)
{
    bool reached = count <= WINDOW_EXACT_MAX ? add_exact(window, event_ns, count, period_ns)
                                             : add_spans(window, event_ns, count, period_ns);
    window->newest_ns = MAX_OF(window->newest_ns, event_ns);
    return reached;
}
