/* What policy says of a sender or a recipient. */
#ifndef RINGPOST_SMTP_VERDICT_H
#define RINGPOST_SMTP_VERDICT_H

#include "core/base.h"

/* A refusal by policy; code 0 accepts. `text` begins with the enhanced code and is constant. */
struct verdict {
    uint16_t code;
    const char *text;
};

#define VERDICT_ACCEPT ((struct verdict){0})

#endif
