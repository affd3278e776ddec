#include "smtp/header_scan.h"

#include <string.h>

enum {
    LINE_START, /* also where the header section begins */
    NAME,
    GAP,        /* spaces between name and colon */
    VALUE,      /* of a field of ours */
    REST,       /* of a line that says nothing to us */
    EMPTY_LINE, /* its CR has come */
};

#define RECEIVED_BIT (1u << CONF_LABELS)

static struct slice name_of(const struct header_scan *scan, unsigned i)
{
    if (i == CONF_LABELS) {
        return SLICE("received");
    }
    return scan->labels == NULL ? SLICE_NONE : scan->labels[i].header;
}

/* The candidates whose names have this byte here. */
static uint8_t still_possible(const struct header_scan *scan, uint8_t byte)
{
    uint8_t possible = 0;
    byte = ascii_lower(byte);
    for (unsigned i = 0; i <= CONF_LABELS; i++) {
        struct slice name = name_of(scan, i);
        if ((scan->candidates & 1u << i) != 0 && scan->name_bytes < name.size &&
            name.data[scan->name_bytes] == byte) {
            possible |= (uint8_t)(1u << i);
        }
    }
    return possible;
}

/* The candidates whose names end here. */
static uint8_t complete(const struct header_scan *scan)
{
    uint8_t whole = 0;
    for (unsigned i = 0; i <= CONF_LABELS; i++) {
        if ((scan->candidates & 1u << i) != 0 && name_of(scan, i).size == scan->name_bytes) {
            whole |= (uint8_t)(1u << i);
        }
    }
    return whole;
}

/* Where the value of a label has its place in the texts, and how long it may be. */
static const struct {
    uint16_t at;
    uint16_t bytes_max;
} places[CONF_LABELS] = {
    [CONF_LABEL_TENANT] = {0, CONF_TENANT_BYTES_MAX},
    [CONF_LABEL_CAMPAIGN] = {CONF_TENANT_BYTES_MAX, CONF_CAMPAIGN_BYTES_MAX},
    [CONF_LABEL_CLASS] = {CONF_TENANT_BYTES_MAX + CONF_CAMPAIGN_BYTES_MAX, HEADER_CLASS_BYTES_MAX},
    [CONF_LABEL_SCHEDULE] = {HEADER_TEXTS_BYTES - HEADER_SCHEDULE_BYTES_MAX,
                             HEADER_SCHEDULE_BYTES_MAX},
};

struct slice header_scan_value(const struct header_scan *scan, enum conf_label_kind label)
{
    return slice_make(scan->texts + places[label].at, scan->values[label].bytes);
}

/* The field that went on up to here is over. */
static void field_end(struct header_scan *scan)
{
    if (scan->field == CONF_LABELS) {
        return;
    }
    struct header_value *value = &scan->values[scan->field];
    const uint8_t *text = scan->texts + places[scan->field].at;
    while (scan->first && value->bytes > 0 && text[value->bytes - 1] == ' ') {
        value->bytes--;
    }
    if (scan->labels[scan->field].remove) {
        if (scan->cut_count == HEADER_CUTS_MAX) {
            scan->too_many_cuts = true;
        } else {
            scan->cuts[scan->cut_count++] = (struct header_cut){
                scan->field_begin, (uint32_t)scan->bytes - scan->field_begin};
        }
    }
    scan->field = CONF_LABELS;
}

static void value_take(struct header_scan *scan, uint8_t byte)
{
    struct header_value *value = &scan->values[scan->field];
    bool space = byte == ' ' || byte == '\t';
    if (!scan->first || byte == '\r' || (space && value->bytes == 0)) {
        return;
    }
    if (value->bytes == places[scan->field].bytes_max) {
        value->too_long = value->too_long || !space;
        return;
    }
    scan->texts[places[scan->field].at + value->bytes++] = space ? ' ' : byte;
}

static void line_begin(struct header_scan *scan, uint8_t byte)
{
    bool goes_on = byte == ' ' || byte == '\t';
    if (goes_on && scan->field != CONF_LABELS) {
        scan->state = VALUE;
        value_take(scan, byte);
        return;
    }
    field_end(scan);
    scan->field_count += byte != '\r' && !goes_on;
    scan->field_begin = (uint32_t)scan->bytes;
    scan->name_bytes = 0;
    scan->candidates = (uint8_t)(RECEIVED_BIT * 2 - 1);
    scan->candidates = still_possible(scan, byte);
    scan->name_bytes = 1;
    scan->state = byte == '\r' ? EMPTY_LINE : scan->candidates != 0 ? NAME : REST;
}

/* After a name and its colon. */
static void value_begin(struct header_scan *scan)
{
    scan->state = REST;
    if ((scan->candidates & RECEIVED_BIT) != 0) {
        scan->received_count++;
    }
    for (unsigned i = 0; i < CONF_LABELS; i++) {
        if ((scan->candidates & 1u << i) != 0) {
            scan->field = (uint8_t)i;
            scan->first = !scan->values[i].found;
            scan->values[i].found = true;
            scan->state = VALUE;
        }
    }
}

static void name_take(struct header_scan *scan, uint8_t byte)
{
    bool space = byte == ' ' || byte == '\t';
    if (scan->state == GAP) {
        scan->state = space ? GAP : REST;
        if (byte == ':') {
            value_begin(scan);
        }
        return;
    }
    if (byte != ':' && !space) {
        scan->candidates = still_possible(scan, byte);
        scan->name_bytes++;
        scan->state = scan->candidates != 0 ? NAME : REST;
        return;
    }
    scan->candidates = complete(scan);
    if (scan->candidates == 0) {
        scan->state = REST;
    } else if (space) {
        scan->state = GAP;
    } else {
        value_begin(scan);
    }
}

void header_scan_init(struct header_scan *scan, const struct conf_label *labels)
{
    memset(scan, 0, offsetof(struct header_scan, texts));
    scan->labels = labels;
    scan->field = CONF_LABELS;
}

void header_scan_take(struct header_scan *scan, struct slice bytes)
{
    size_t at = 0;
    while (at < bytes.size && !scan->ended) {
        uint8_t byte = bytes.data[at];
        switch (scan->state) {
        case LINE_START:
            line_begin(scan, byte);
            break;
        case NAME:
        case GAP:
            name_take(scan, byte);
            break;
        case VALUE:
            if (byte == '\n') {
                scan->state = LINE_START;
            } else {
                value_take(scan, byte);
            }
            break;
        case REST: {
            size_t end = slice_find(slice_skip(bytes, at), '\n');
            if (at + end < bytes.size) {
                scan->state = LINE_START;
            } else {
                end--;
            }
            at += end;
            scan->bytes += end;
            break;
        }
        case EMPTY_LINE:
            scan->ended = true;
            break;
        }
        at++;
        scan->bytes++;
    }
}

void header_scan_end(struct header_scan *scan)
{
    if (!scan->ended) {
        field_end(scan);
    }
}
