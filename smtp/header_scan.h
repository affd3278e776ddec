/*
 * The header section of a message, as its content comes in: where it ends, how many fields and how
 * many Received fields it has (RFC 5321 6.3), and the fields that say to which queue the message
 * belongs: their values, and where they stand when they are to be left out.
 *
 * Fields are found by name in any letter case, with or without spaces before the colon (RFC 5322
 * 4.5), folded or not. Of several of one name the first counts and all are left out. Bytes come in
 * any pieces; those behind the section are not looked at, and of other fields the beginning of each
 * line. A message without an empty line is all header section. Pure; part of a content.
 */
#ifndef RINGPOST_SMTP_HEADER_SCAN_H
#define RINGPOST_SMTP_HEADER_SCAN_H

#include "core/conf.h"

#define HEADER_CLASS_BYTES_MAX    16  /* any longer one is none */
#define HEADER_SCHEDULE_BYTES_MAX 304
#define HEADER_TEXTS_BYTES                                                                         \
    (CONF_TENANT_BYTES_MAX + CONF_CAMPAIGN_BYTES_MAX + HEADER_CLASS_BYTES_MAX +                    \
     HEADER_SCHEDULE_BYTES_MAX)
#define HEADER_CUTS_MAX           16

/* Unfolded, without the spaces around it. */
struct header_value {
    bool found;
    bool too_long; /* for a value of its label: what is there is its beginning */
    uint16_t bytes;
};

/* Whole lines of the body that are not to be sent. */
struct header_cut {
    uint32_t offset;
    uint32_t bytes;
};

struct header_scan {
    const struct conf_label *labels; /* CONF_LABELS of them, borrowed; null: only Received counts */
    uint64_t bytes;          /* of the section so far, with the empty line that ends it */
    uint32_t field_count;    /* in it so far; a line that is folded on is none */
    uint32_t received_count;
    bool ended;              /* by the empty line */
    bool too_many_cuts;      /* more than HEADER_CUTS_MAX: some are missing */
    uint8_t state;
    uint8_t candidates;      /* names that the line may still have, a bit each */
    uint8_t name_bytes;      /* of the line's name so far */
    uint8_t field;           /* label of the field that goes on; CONF_LABELS: none of ours */
    bool first;              /* that field is the first of its name */
    uint32_t field_begin;
    uint32_t cut_count;
    struct header_cut cuts[HEADER_CUTS_MAX];
    struct header_value values[CONF_LABELS];
    uint8_t texts[HEADER_TEXTS_BYTES]; /* of the values; last, for it is not cleared */
};

void header_scan_init(struct header_scan *scan, const struct conf_label *labels);
/* The next bytes of the content. Only while the section has not ended. */
void header_scan_take(struct header_scan *scan, struct slice bytes);
/* The content is over. */
void header_scan_end(struct header_scan *scan);

struct slice header_scan_value(const struct header_scan *scan, enum conf_label_kind label);

#endif
