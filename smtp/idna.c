#include "smtp/idna.h"

#include <string.h>

#include <idn2.h>

#define DOMAIN_BYTES_MAX 255 /* RFC 5321 4.5.3.1.2 */

static bool is_ascii(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] >= 0x80) {
            return false;
        }
    }
    return true;
}

/* The root is no domain of mail: dots of other scripts alone, or what disappears, would be it. */
static bool normalize(struct slice ascii, uint8_t out[DNS_NAME_BYTES_MAX], struct slice *name_out)
{
    return dns_name_normalize(ascii, out, name_out) && name_out->size > 0;
}

bool idna_to_ascii(struct slice domain, uint8_t out[DNS_NAME_BYTES_MAX], struct slice *name_out)
{
    uint8_t text[DOMAIN_BYTES_MAX + 1];
    uint8_t *ascii = NULL;
    if (is_ascii(domain)) {
        return normalize(domain, out, name_out);
    }
    if (domain.size > DOMAIN_BYTES_MAX || memchr(domain.data, '\0', domain.size) != NULL) {
        return false;
    }
    memcpy(text, domain.data, domain.size);
    text[domain.size] = '\0';
    if (idn2_lookup_u8(text, &ascii, IDN2_NFC_INPUT | IDN2_NONTRANSITIONAL) != IDN2_OK) {
        return false;
    }
    bool good = normalize(slice_from_string((const char *)ascii), out, name_out);
    idn2_free(ascii);
    return good;
}
