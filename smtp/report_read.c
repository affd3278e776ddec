#include "smtp/report_read.h"

#include "smtp/mime_part.h"

#define TYPE_BYTES_MAX 64 /* of report-type */

static bool is_one_of(struct slice content_type, const struct slice *types, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (mime_value_is(content_type, types[i])) {
            return true;
        }
    }
    return false;
}

/* Of a part that programs read. */
static enum report_kind kind_of_part(struct slice content_type)
{
    const struct slice delivery[] = {SLICE("message/delivery-status"),
                                     SLICE("message/global-delivery-status")};
    if (is_one_of(content_type, delivery, COUNT_OF(delivery))) {
        return REPORT_DELIVERY;
    }
    return mime_value_is(content_type, SLICE("message/feedback-report")) ? REPORT_FEEDBACK
                                                                         : REPORT_NONE;
}

static bool is_original(struct slice content_type)
{
    const struct slice types[] = {SLICE("message/rfc822"), SLICE("text/rfc822-headers"),
                                  SLICE("message/global"), SLICE("message/global-headers")};
    return is_one_of(content_type, types, COUNT_OF(types));
}

/* What the report says of itself; REPORT_NONE, and true, when it does not say. */
static bool kind_of_report(struct slice content_type, enum report_kind *kind_out)
{
    uint8_t memory[TYPE_BYTES_MAX];
    struct buf type;
    buf_init(&type, memory, sizeof(memory));
    *kind_out = REPORT_NONE;
    switch (mime_parameter(content_type, SLICE("report-type"), &type)) {
    case MIME_ABSENT:
        return true;
    case MIME_BROKEN:
        return false;
    case MIME_FOUND:
        break;
    }
    if (slice_equal_nocase(buf_slice(&type), SLICE("delivery-status"))) {
        *kind_out = REPORT_DELIVERY;
    } else if (slice_equal_nocase(buf_slice(&type), SLICE("feedback-report"))) {
        *kind_out = REPORT_FEEDBACK;
    }
    return *kind_out != REPORT_NONE;
}

/* A part; the first of each sort counts. False: the report cannot be used. */
static bool take_part(struct report *report, const struct mime_part *part, bool whole_message,
                      struct buf *scratch)
{
    struct slice content_type;
    if (!mime_field_find(part->header, SLICE("content-type"), &content_type)) {
        return true;
    }
    enum report_kind kind = kind_of_part(content_type);
    if (kind != REPORT_NONE && report->fields.data == NULL &&
        (report->kind == REPORT_NONE || report->kind == kind)) {
        report->kind = kind;
        return mime_part_decode(part, scratch, &report->fields) && (whole_message || !part->cut);
    }
    if (is_original(content_type) && report->original.data == NULL) {
        bool overflow = scratch->overflow;
        if (!mime_part_decode(part, scratch, &report->original)) {
            report->original = SLICE_NONE;
            scratch->overflow = overflow;
        }
    }
    return true;
}

bool report_read(struct slice message, bool whole, struct buf *scratch, struct report *report_out)
{
    struct slice header;
    struct slice body;
    struct slice content_type;
    struct mime_parts parts;
    struct mime_part part;
    whole = whole && message.size <= REPORT_BYTES_MAX;
    *report_out = (struct report){0};
    mime_split(slice_first(message, MIN_OF(message.size, (size_t)REPORT_BYTES_MAX)), &header,
               &body);
    if (!mime_field_find(header, SLICE("content-type"), &content_type) ||
        !mime_value_is(content_type, SLICE("multipart/report")) ||
        !kind_of_report(content_type, &report_out->kind) ||
        !mime_parts_open(&parts, content_type, body)) {
        return false;
    }
    while (mime_parts_next(&parts, &part)) {
        if (!take_part(report_out, &part, whole, scratch)) {
            return false;
        }
    }
    return report_out->fields.data != NULL;
}
