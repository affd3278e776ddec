#include "smtp/report_advise.h"

#include "core/event.h"
#include "core/queue_name.h"
#include "core/shaping.h"
#include "smtp/advice_tap.h"
#include "smtp/metadata.h"
#include "smtp/reference.h"
#include "smtp/report_event.h"

/* The record that is valid: event_make tells the same one. */
static bool find_entry(const struct report_event *report, const struct reference *reference,
                       struct report_entry *entry_out)
{
    struct slice said = report->said;
    struct slice reporter;
    if (!report_said_open(&said, &reporter)) {
        return false;
    }
    while (report_said_next(&said, entry_out) == 1) {
        if (slice_equal_nocase(address_domain(entry_out->recipient), reference->domain)) {
            return true;
        }
    }
    return false;
}

static bool find_reference(const struct report_event *report, struct reference *reference_out)
{
    struct metadata metadata;
    return report->kind == REPORT_DELIVERY && metadata_parse(report->metadata, &metadata) &&
           reference_kept(metadata.reference, reference_out) &&
           reference_out->state == REFERENCE_VALID && reference_out->domain.size > 0;
}

static void put_response(struct buf *buf, const struct report_entry *entry)
{
    const struct event event = {
        .code = entry->code,
        .enhanced = {entry->enhanced[0], entry->enhanced[1], entry->enhanced[2]},
        .content = entry->content,
    };
    event_put_reply(buf, &event);
}

void report_advise(const struct delivery *delivery, struct slice payload)
{
    struct advice_tap *tap = delivery->advice;
    uint8_t memory[PATTERNS_TEXT_BYTES_MAX];
    uint32_t groups[ADVICE_GROUPS_MAX];
    struct report_event report;
    struct reference reference;
    struct report_entry entry;
    struct buf response;
    if (!delivery->conf->tsa.judge_reports || !advice_tap_is_on(tap) ||
        !report_event_get(payload, &report) || !find_reference(&report, &reference) ||
        !find_entry(&report, &reference, &entry)) {
        return;
    }
    buf_init(&response, memory, sizeof(memory));
    put_response(&response, &entry);
    const struct shaping_query query = {.domain = reference.domain};
    uint32_t count = shaping_groups(&delivery->paths.view, &query, groups, ADVICE_GROUPS_MAX);
    const struct advice advice = {
        .record = {.wall_ns = report.wall_ns,
                   .response = buf_slice(&response),
                   .source = SLICE(CONF_UNSPECIFIED),
                   .domain = reference.domain,
                   .has_reference = true,
                   .reference = reference.id,
                   .groups = groups,
                   .group_count = MIN_OF(count, ADVICE_GROUPS_MAX)},
        .reply_ns = delivery->shard->now_ns,
    };
    if (advice_tap_scan(tap, advice.record.response) &&
        advice_tap_meets(tap, groups, advice.record.group_count)) {
        advice_tap_put(tap, &advice);
    }
}
