/*
 * Values of templates as text, and what is done with text: truth, the printing of numbers, HTML
 * escapes, the case of letters. Pure.
 */
#ifndef RINGPOST_SMTP_TEMPLATE_TEXT_H
#define RINGPOST_SMTP_TEMPLATE_TEXT_H

#include "smtp/template.h"

/* Room for any number, boolean or none. */
#define TEMPLATE_SCALAR_BYTES_MAX 40

/* Work that is no operation, in steps: of texts that are looked through, and of numbers printed. */
#define TEMPLATE_BYTES_A_STEP     64u
#define TEMPLATE_STEPS_OF_A_DOUBLE 32u

/* Objects are true in Handlebars, and in Jinja when they have members. */
bool template_truth(enum template_dialect dialect, const struct json_value *value);

/*
 * The text of a value, in `memory` where it is not a string's own. False for arrays and objects,
 * which have none.
 */
bool template_text_of(enum template_dialect dialect, const struct json_value *value,
                      uint8_t memory[static TEMPLATE_SCALAR_BYTES_MAX], struct slice *text_out);

/*
 * Text in which the characters that mean something in HTML are written as references: & < > " ' /
 * in Jinja as MiniJinja does, & < > " ' ` = in Handlebars.
 */
void template_put_escaped(struct buf *buf, enum template_dialect dialect, struct slice text);
#define TEMPLATE_ESCAPE_GROWTH 6

/* One character of UTF-8 text (a byte that is none counts as one), and its bytes. */
uint32_t template_decode(struct slice text, size_t *bytes_out);
#define TEMPLATE_POINT_BYTES_MAX 4
void template_put_point(struct buf *buf, uint32_t point);
size_t template_count_points(struct slice text);

uint32_t template_upper(uint32_t point);
uint32_t template_lower(uint32_t point);
bool template_is_blank(uint32_t point);
/* Without the space on both sides. */
struct slice template_trim(struct slice text);

#endif
