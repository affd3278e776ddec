/* Between smtp/content.c and its AVX2 kernel; nobody else includes it. */
#ifndef RINGPOST_SMTP_CONTENT_INTERNAL_H
#define RINGPOST_SMTP_CONTENT_INTERNAL_H

#include "smtp/content.h"

/* One stretch of the pass: as much input as one block has room for, or all of it after a fault. */
struct content_pass {
    const uint8_t *in;
    const uint8_t *in_end;
    uint8_t *out; /* null after a fault; else has room for all that is left of the input */
    bool unstuff; /* DATA, not BDAT */
};

/* Raises the fault when `fault` ranks higher than what there is, and stops the storing. */
void content_fail(struct content *content, struct content_pass *pass, enum content_fault fault);

/*
 * Stores ordinary bytes up to one that needs the state machine: a dot at line start, an LF without
 * CR before it, or what follows a CR and is no LF; up to the end when there is none. Only without
 * fault and with nothing held back. content_avx2_supported() must have said yes.
 */
void content_run_avx2(struct content *content, struct content_pass *pass);
bool content_avx2_supported(void);

#endif
