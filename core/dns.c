#include "core/dns.h"

static const struct {
    enum dns_type type;
    const char *name;
} types[] = {
    {DNS_A, "A"},   {DNS_CNAME, "CNAME"}, {DNS_SOA, "SOA"},   {DNS_PTR, "PTR"},
    {DNS_MX, "MX"}, {DNS_TXT, "TXT"},     {DNS_AAAA, "AAAA"}, {DNS_TLSA, "TLSA"},
};

const char *dns_type_name(enum dns_type type)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (types[i].type == type) {
            return types[i].name;
        }
    }
    return "?";
}

bool dns_type_parse(struct slice text, enum dns_type *type_out)
{
    for (size_t i = 0; i < COUNT_OF(types); i++) {
        if (slice_equal_nocase(text, slice_from_string(types[i].name))) {
            *type_out = types[i].type;
            return true;
        }
    }
    return false;
}

const char *dns_status_name(enum dns_status status)
{
    switch (status) {
    case DNS_OK:
        return "found";
    case DNS_NO_NAME:
        return "no such name";
    case DNS_NO_DATA:
        return "no such records";
    case DNS_FAILED:
        return "failed";
    case DNS_TIMEOUT:
        return "timeout";
    case DNS_BAD_ANSWER:
        return "bad answer";
    case DNS_BUSY:
        return "too many questions";
    }
    return "?";
}

static bool name_byte_is_valid(uint8_t byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= '0' && byte <= '9') || byte == '-' ||
           byte == '_';
}

bool dns_name_normalize(struct slice text, uint8_t out[DNS_NAME_BYTES_MAX],
                        struct slice *name_out)
{
    if (text.size > 0 && text.data[text.size - 1] == '.') {
        text.size--;
    }
    if (text.size > DNS_NAME_BYTES_MAX) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = ascii_lower(text.data[i]);
        out[i] = byte;
        if (byte == '.' && label > 0) {
            label = 0;
        } else if (!name_byte_is_valid(byte) || ++label > DNS_LABEL_BYTES_MAX) {
            return false;
        }
    }
    *name_out = slice_make(out, text.size);
    return text.size == 0 || label > 0;
}

bool dns_name_covers(struct slice domain, struct slice name)
{
    return domain.size == 0 || slice_equal(domain, name) ||
           (name.size > domain.size && slice_ends_with(name, domain) &&
            name.data[name.size - domain.size - 1] == '.');
}
