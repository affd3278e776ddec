#include "bench/filling.h"

#include <inttypes.h>
#include <stdio.h>

#define POLL_MS   20
#define STILL_MS  60000u
#define LOOK_MS   1000u
#define SETTLE_MS 1000 /* outcomes of the last attempts become durable within milliseconds */

/* The sink counts those of earlier sources as well. */
static uint64_t tried_when_done(const struct cast *cast)
{
    return cast->options.first + cast->options.messages;
}

static void say_progress(struct progress *progress, const struct cast_counts *counts,
                         uint64_t accepted_before, uint64_t messages)
{
    if (progress_due(progress, clock_now_ns())) {
        fprintf(stderr, progress->terminal
                ? "\rfilling: %" PRIu64 " accepted, %" PRIu64 " tried of %" PRIu64 " "
                : "event=progress accepted=%" PRIu64 " tried=%" PRIu64 " of=%" PRIu64 "\n",
                accepted_before + counts->source.accepted, counts->sink.tried, messages);
    }
}

static bool wait_tried(struct filling *filling, struct cast_counts *counts, struct buf *reason)
{
    struct cast *cast = filling->cast;
    uint64_t tried = tried_when_done(cast);
    uint64_t before = UINT64_MAX;
    unsigned still_ms = 0;
    uint64_t look_ns = clock_now_ns();
    struct progress progress;
    bool good = true;
    progress_init(&progress, look_ns);
    while (good && still_ms < STILL_MS && counts->sink.tried < tried) {
        if (mta_ended(&cast->mta, reason) || !cast_look(cast, counts)) {
            break;
        }
        say_progress(&progress, counts, cast->options.first, tried);
        if (filling->look != NULL && clock_now_ns() >= look_ns) {
            look_ns += LOOK_MS * NS_PER_MS;
            good = filling->look(filling, counts, reason);
        }
        uint64_t sum = counts->sink.tried + counts->source.accepted;
        still_ms = sum == before ? still_ms + POLL_MS : 0;
        before = sum;
        clock_sleep_ms(POLL_MS);
    }
    progress_end(&progress);
    return good;
}

bool filling_run(struct filling *filling, struct buf *reason_out)
{
    struct cast *cast = filling->cast;
    struct cast_counts counts = {0};
    uint64_t began_ns = clock_now_ns();
    if (!cast_start_source(cast, reason_out) || !wait_tried(filling, &counts, reason_out)) {
        return false;
    }
    if (counts.sink.tried < tried_when_done(cast)) {
        if (cast->mta.child.pid != 0) {
            buf_printf(reason_out, "of %" PRIu64 " messages %" PRIu64 " were accepted, %" PRIu64
                       " tried; %s", tried_when_done(cast),
                       cast->options.first + counts.source.accepted, counts.sink.tried,
                       counts.source.trouble);
        }
        return false;
    }
    if (!cast_wait_sent(cast, reason_out)) {
        return false;
    }
    filling->seconds = (double)(clock_now_ns() - began_ns) / 1e9;
    clock_sleep_ms(SETTLE_MS);
    return filling->look == NULL || filling->look(filling, &counts, reason_out);
}
