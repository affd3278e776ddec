#include "smtp/address.h"

#include <arpa/inet.h>
#include <string.h>

#include "core/buf.h"

#define LABEL_BYTES_MAX   63 /* RFC 1035 2.3.4 */
#define LITERAL_BYTES_MAX 45 /* INET6_ADDRSTRLEN without its NUL */

_Static_assert(ADDRESS_BYTES_MAX + 2 == 256, "RFC 5321 4.5.3.1.3: a path is 256 octets");

static bool is_letter(uint8_t byte)
{
    return ascii_lower(byte) >= 'a' && ascii_lower(byte) <= 'z';
}

static bool is_digit(uint8_t byte)
{
    return byte >= '0' && byte <= '9';
}

/* atext of RFC 5322 3.2.3, widened by RFC 6531 3.3 to everything above ASCII. */
static bool is_atom(uint8_t byte)
{
    return is_letter(byte) || is_digit(byte) || byte >= 0x80 ||
           (byte != 0 && strchr("!#$%&'*+-/=?^_`{|}~", byte) != NULL);
}

/* Bytes of the dot-string at the start of `text`; 0 when there is none or a dot stands wrong. */
static size_t dot_string_size(struct slice text)
{
    size_t size = 0;
    bool after_dot = true;
    for (; size < text.size; size++) {
        uint8_t byte = text.data[size];
        if (byte != '.' && !is_atom(byte)) {
            break;
        }
        if (byte == '.' && after_dot) {
            return 0;
        }
        after_dot = byte == '.';
    }
    return after_dot ? 0 : size;
}

/* Bytes of the quoted string at the start of `text`, quotes included; 0 when it is not one. */
static size_t quoted_string_size(struct slice text)
{
    for (size_t i = 1; i < text.size; i++) {
        uint8_t byte = text.data[i];
        if (byte < ' ' || byte == 0x7F) {
            return 0;
        }
        if (byte == '"') {
            return i + 1;
        }
        if (byte == '\\') {
            i++;
            if (i == text.size || text.data[i] < ' ' || text.data[i] > '~') {
                return 0;
            }
        }
    }
    return 0;
}

static size_t local_size(struct slice text)
{
    if (text.size > 0 && text.data[0] == '"') {
        return quoted_string_size(text);
    }
    return dot_string_size(text);
}

/*
 * Well-formed UTF-8 without the C1 controls, whose lead byte is C2: they are invisible in logs and
 * some terminals obey them.
 */
static bool is_clean_utf8(struct slice text)
{
    for (size_t i = 0; i + 1 < text.size; i++) {
        if (text.data[i] == 0xC2 && text.data[i + 1] < 0xA0) {
            return false;
        }
    }
    return slice_is_utf8(text);
}

/* Labels as in domain_is_valid; `also` is one more byte that a label may have. */
static bool labels_are_valid(struct slice domain, uint8_t also)
{
    if (domain.size == 0 || domain.size > ADDRESS_DOMAIN_BYTES_MAX || !is_clean_utf8(domain)) {
        return false;
    }
    size_t label = 0;
    for (size_t i = 0; i <= domain.size; i++) {
        if (i == domain.size || domain.data[i] == '.') {
            if (label == 0 || label > LABEL_BYTES_MAX || domain.data[i - 1] == '-' ||
                domain.data[i - label] == '-') {
                return false;
            }
            label = 0;
            continue;
        }
        uint8_t byte = domain.data[i];
        if (!is_letter(byte) && !is_digit(byte) && byte != '-' && byte != also && byte < 0x80) {
            return false;
        }
        label++;
    }
    return true;
}

bool domain_is_valid(struct slice domain)
{
    return labels_are_valid(domain, '-');
}

bool domain_is_hello(struct slice hello)
{
    return domain_is_literal(hello) || (slice_is_ascii(hello) && labels_are_valid(hello, '_'));
}

bool domain_is_literal(struct slice domain)
{
    char text[LITERAL_BYTES_MAX + 1] = "";
    struct in6_addr address;
    if (domain.size < 2 || domain.data[0] != '[' || domain.data[domain.size - 1] != ']') {
        return false;
    }
    struct slice inside = slice_make(domain.data + 1, domain.size - 2);
    int family = AF_INET;
    struct slice tag = SLICE("IPv6:");
    if (inside.size >= tag.size && slice_equal_nocase(slice_first(inside, tag.size), tag)) {
        inside = slice_skip(inside, tag.size);
        family = AF_INET6;
    }
    if (inside.size == 0 || inside.size > LITERAL_BYTES_MAX ||
        slice_find(inside, 0) != inside.size) {
        return false;
    }
    memcpy(text, inside.data, inside.size);
    return inet_pton(family, text, &address) == 1;
}

/* Skips "@a,@b:" at the start of `text` (RFC 5321 4.1.2, A-d-l). False when it is malformed. */
static bool skip_source_route(struct slice *text)
{
    while (text->size > 0 && text->data[0] == '@') {
        size_t end = 1;
        while (end < text->size && text->data[end] != ',' && text->data[end] != ':') {
            end++;
        }
        if (end == text->size || !domain_is_valid(slice_make(text->data + 1, end - 1))) {
            return false;
        }
        bool last = text->data[end] == ':';
        *text = slice_skip(*text, end + 1);
        if (last) {
            return true;
        }
        if (text->size == 0 || text->data[0] != '@') {
            return false;
        }
    }
    return true;
}

/* "local@domain>" at the start of `text`, or "postmaster>". */
static bool parse_mailbox(struct slice text, struct address *address)
{
    size_t local = local_size(text);
    if (local == 0 || local > ADDRESS_LOCAL_BYTES_MAX || local == text.size) {
        return false;
    }
    address->local = slice_first(text, local);
    if (text.data[local] == '>') {
        address->whole = address->local;
        return slice_equal_nocase(address->local, SLICE("postmaster"));
    }
    if (text.data[local] != '@') {
        return false;
    }
    struct slice rest = slice_skip(text, local + 1);
    size_t domain = slice_find(rest, '>');
    if (domain == rest.size) {
        return false;
    }
    address->domain = slice_first(rest, domain);
    address->whole = slice_first(text, local + 1 + domain);
    return domain_is_valid(address->domain) || domain_is_literal(address->domain);
}

bool address_parse_path(struct slice text, bool allow_null, struct address *address_out,
                        struct slice *rest_out)
{
    struct address address = {0};
    struct slice inside = text;
    if (text.size < 2 || text.data[0] != '<') {
        return false;
    }
    inside = slice_skip(inside, 1);
    if (inside.data[0] == '>') {
        address.whole = slice_first(inside, 0);
    } else if (!skip_source_route(&inside) || !parse_mailbox(inside, &address)) {
        return false;
    }
    if (address.whole.size == 0 && !allow_null) {
        return false;
    }
    size_t path = (size_t)(inside.data - text.data) + address.whole.size + 1;
    if (path > ADDRESS_BYTES_MAX + 2 || !is_clean_utf8(address.whole)) {
        return false;
    }
    address.utf8 = !slice_is_ascii(address.whole);
    *address_out = address;
    *rest_out = slice_skip(text, path);
    return true;
}

bool address_parse_bare(struct slice text, bool allow_null, struct address *address_out)
{
    uint8_t path[ADDRESS_BYTES_MAX + 2];
    struct address parsed;
    struct slice rest;
    struct buf buf;
    if (text.size == 0) {
        *address_out = (struct address){.whole = text};
        return allow_null;
    }
    buf_init(&buf, path, sizeof(path));
    buf_put_byte(&buf, '<');
    buf_put(&buf, text);
    buf_put_byte(&buf, '>');
    /* A source route would be dropped: what is taken is what was given. */
    if (buf.overflow || !address_parse_path(buf_slice(&buf), false, &parsed, &rest) ||
        rest.size > 0 || parsed.domain.size == 0 || !slice_equal(parsed.whole, text)) {
        return false;
    }
    *address_out = (struct address){
        .whole = text,
        .local = slice_first(text, parsed.local.size),
        .domain = slice_skip(text, text.size - parsed.domain.size),
        .utf8 = parsed.utf8,
    };
    return true;
}
