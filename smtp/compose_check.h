/*
 * Whether what is given is fit for a message: the half of composing that may refuse. Pure.
 */
#ifndef RINGPOST_SMTP_COMPOSE_CHECK_H
#define RINGPOST_SMTP_COMPOSE_CHECK_H

#include "smtp/compose.h"

#define COMPOSE_ID_BYTES_MAX           40
#define COMPOSE_NAME_BYTES_MAX         1024 /* of a mailbox */
#define COMPOSE_CONTENT_ID_BYTES_MAX   255
#define COMPOSE_CONTENT_TYPE_BYTES_MAX 255
#define COMPOSE_FILE_NAME_BYTES_MAX    1024

static inline bool compose_is_given(struct slice text)
{
    return text.data != NULL;
}

/* False with the problem. What passes can be written without a further look. */
MUST_USE bool compose_check(const struct compose *compose, struct compose_problem *problem);
MUST_USE bool compose_check_mailbox(const struct compose_mailbox *mailbox, const char *field,
                                    struct compose_problem *problem);

/* Of all attachments, which many messages may share: once is enough (attachments_are_checked). */
MUST_USE bool compose_check_attachments(const struct compose *compose,
                                        struct compose_problem *problem);

/* ftext of RFC 5322 3.6.8, at most COMPOSE_HEADER_NAME_BYTES. */
bool compose_is_field_name(struct slice name);
/* Does a field of this name hold mailboxes? */
bool compose_is_address_field(struct slice name);
/* Is there a word that no line has room for? */
bool compose_has_long_word(struct slice value, size_t bytes_max);

/* The first header of this name; null when there is none. */
const struct compose_header *compose_find_header(const struct compose *compose, const char *name);
/* Without its angle brackets. */
struct slice compose_content_id(struct slice id);

#endif
