#include "core/zone.h"

#include <stdlib.h>
#include <string.h>

#include "core/check.h"

#define TOKENS_MAX    128
#define WHY_BYTES     160
#define SHOWN_BYTES   64
#define TTL_MAX       0x7FFFFFFFu
#define WILDCARD      SLICE("*.")
#define LABELS_MAX    128 /* of a name */
#define TLSA_HEAD     3
#define TLSA_BYTES_MAX 512

struct token {
    struct slice text;
    bool quoted;
};

/* A record with its owner. */
struct row {
    struct row *next;
    struct slice owner;
    enum dns_type type;
    uint32_t ttl_s;
    unsigned line;
    unsigned index; /* keeps their order */
    struct dns_record record;
};

struct reader {
    struct slice rest;
    unsigned next_line;
    unsigned line;     /* where the entry began */
    bool indented;
    bool good;         /* of this entry */
    bool all_good;
    unsigned count;
    struct token tokens[TOKENS_MAX];
    unsigned at;       /* token that is read next */
    struct slice origin;
    struct slice owner; /* null data: there was none */
    uint32_t ttl_s;
    struct heap *heap;
    struct heap *scratch;
    struct row *rows;  /* the last one first */
    unsigned row_count;
    zone_wrong *wrong;
    void *context;
};

/* Once an entry: what follows from a mistake is none. */
static void complain(struct reader *reader, const char *why, struct slice shown)
{
    uint8_t text[WHY_BYTES];
    struct buf buf;
    if (!reader->good) {
        return;
    }
    reader->good = false;
    reader->all_good = false;
    buf_init(&buf, text, sizeof(text));
    buf_put_string(&buf, why);
    if (shown.size > 0) {
        buf_put_string(&buf, ": ");
        buf_put_shown(&buf, shown, SHOWN_BYTES);
    }
    reader->wrong(reader->context, reader->line, buf_slice(&buf));
}

/* --- Entries ---------------------------------------------------------------------------------- */

static bool is_space(uint8_t byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r';
}

static bool ends_token(uint8_t byte)
{
    return is_space(byte) || byte == '\n' || byte == ';' || byte == '(' || byte == ')' ||
           byte == '"';
}

/* The token at the beginning of the rest. */
static void token_read(struct reader *reader)
{
    struct slice rest = reader->rest;
    bool quoted = rest.data[0] == '"';
    size_t begin = quoted ? 1 : 0;
    size_t size = begin;
    while (size < rest.size && rest.data[size] != '\n' &&
           (quoted ? rest.data[size] != '"' : !ends_token(rest.data[size]))) {
        size += rest.data[size] == '\\' && size + 1 < rest.size && rest.data[size + 1] != '\n' ? 2
                                                                                              : 1;
    }
    bool closed = quoted && size < rest.size && rest.data[size] == '"';
    if (quoted && !closed) {
        complain(reader, "a quote is not closed", SLICE_NONE);
    }
    if (reader->count == TOKENS_MAX) {
        complain(reader, "too many words", SLICE_NONE);
    } else {
        reader->tokens[reader->count++] = (struct token){
            .text = slice_make(rest.data + begin, size - begin), .quoted = quoted};
    }
    reader->rest = slice_skip(rest, size + (closed ? 1 : 0));
}

/* The words of the next entry; none of an empty line. */
static void entry_read(struct reader *reader)
{
    bool open = false;
    reader->good = true;
    reader->count = 0;
    reader->at = 0;
    reader->line = reader->next_line;
    reader->indented = is_space(reader->rest.data[0]);
    while (reader->rest.size > 0) {
        uint8_t byte = reader->rest.data[0];
        if (byte == ';') {
            reader->rest = slice_skip(reader->rest, slice_find(reader->rest, '\n'));
            continue;
        }
        if (byte != '\n' && byte != '(' && byte != ')' && !is_space(byte)) {
            token_read(reader);
            continue;
        }
        reader->rest = slice_skip(reader->rest, 1);
        reader->next_line += byte == '\n';
        if (byte == '\n' && !open) {
            return;
        }
        if ((byte == '(' && open) || (byte == ')' && !open)) {
            complain(reader, "a parenthesis too many", SLICE_NONE);
        }
        open = byte == '(' || (open && byte != ')');
    }
    if (open) {
        complain(reader, "a parenthesis is not closed", SLICE_NONE);
    }
}

/* The next word; empty: there is none, which is told. */
static struct slice word(struct reader *reader, const char *what)
{
    if (reader->at == reader->count || reader->tokens[reader->at].quoted) {
        complain(reader, what, SLICE_NONE);
        return SLICE_NONE;
    }
    return reader->tokens[reader->at++].text;
}

/* --- Names and numbers ------------------------------------------------------------------------ */

/* "a.test.", "a", "@", "*.a" where it may; in the heap. */
static struct slice name_of(struct reader *reader, struct slice text, bool wildcard)
{
    uint8_t whole_bytes[2 * DNS_NAME_BYTES_MAX + 2];
    uint8_t bytes[2 + DNS_NAME_BYTES_MAX];
    struct buf whole;
    struct slice name;
    struct slice rest = slice_equal(text, SLICE("*")) ? SLICE("*.@") : text;
    size_t star = wildcard && slice_starts_with(rest, WILDCARD) ? WILDCARD.size : 0;
    rest = slice_skip(rest, star);
    buf_init(&whole, whole_bytes, sizeof(whole_bytes));
    if (slice_equal(rest, SLICE("@"))) {
        rest = SLICE_NONE;
    }
    buf_put(&whole, rest);
    if (rest.size == 0 || rest.data[rest.size - 1] != '.') {
        buf_put(&whole, rest.size > 0 && reader->origin.size > 0 ? SLICE(".") : SLICE_NONE);
        buf_put(&whole, reader->origin);
    }
    bool good = text.size > 0 && !whole.overflow &&
                dns_name_normalize(buf_slice(&whole), bytes + star, &name) &&
                star + name.size <= DNS_NAME_BYTES_MAX;
    if (!good) {
        complain(reader, "no name of a host or domain", text);
        return SLICE("");
    }
    memcpy(bytes, WILDCARD.data, star);
    return heap_copy(reader->heap, slice_make(bytes, star + name.size));
}

/* "300", "5m", "1h30m". */
static bool ttl_parse(struct slice text, uint32_t *ttl_out)
{
    static const struct {
        uint8_t unit;
        uint32_t seconds;
    } units[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}, {'w', 604800}};
    uint64_t sum = 0;
    while (text.size > 0) {
        size_t digits = 0;
        uint64_t value;
        uint64_t seconds = 1;
        while (digits < text.size && text.data[digits] >= '0' && text.data[digits] <= '9') {
            digits++;
        }
        if (digits > 10 || !slice_parse_u64(slice_first(text, digits), &value)) {
            return false;
        }
        text = slice_skip(text, digits);
        for (size_t i = 0; text.size > 0 && i < COUNT_OF(units) + 1; i++) {
            if (i == COUNT_OF(units)) {
                return false;
            }
            if (ascii_lower(text.data[0]) == units[i].unit) {
                seconds = units[i].seconds;
                text = slice_skip(text, 1);
                break;
            }
        }
        sum += value * seconds;
        if (sum > TTL_MAX) {
            return false;
        }
    }
    *ttl_out = (uint32_t)sum;
    return true;
}

static unsigned number(struct reader *reader, const char *what, unsigned most)
{
    uint64_t value = 0;
    struct slice text = word(reader, what);
    if (reader->good && (!slice_parse_u64(text, &value) || value > most)) {
        complain(reader, what, text);
        return 0;
    }
    return (unsigned)value;
}

/* --- Data of records -------------------------------------------------------------------------- */

static void read_address(struct reader *reader, bool v4, struct endpoint *address_out)
{
    const char *what = v4 ? "A wants an address such as 192.0.2.1"
                          : "AAAA wants an address such as 2001:db8::1";
    struct slice text = word(reader, what);
    if (reader->good && (!endpoint_parse_address(text, address_out) ||
                         endpoint_is_v4(address_out) != v4)) {
        complain(reader, what, text);
    }
}

/* Backslashes: "\"" and "\097". */
static void put_unescaped(struct reader *reader, struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        uint64_t value;
        uint8_t byte = text.data[i];
        if (byte == '\\' && i + 3 < text.size &&
            slice_parse_u64(slice_make(text.data + i + 1, 3), &value)) {
            i += 3;
            if (value > 255) {
                complain(reader, "an escape above \\255", text);
            }
            byte = (uint8_t)value;
        } else if (byte == '\\' && i + 1 < text.size) {
            byte = text.data[++i];
        }
        buf_put_byte(out, byte);
    }
}

static struct slice read_strings(struct reader *reader)
{
    size_t room = TOKENS_MAX * DNS_STRING_BYTES_MAX;
    struct buf strings;
    buf_init(&strings, heap_take(reader->scratch, room), room);
    if (reader->at == reader->count) {
        complain(reader, "TXT wants strings", SLICE_NONE);
    }
    while (reader->at < reader->count && reader->good) {
        size_t before = strings.size;
        put_unescaped(reader, &strings, reader->tokens[reader->at++].text);
        if (strings.overflow || strings.size - before > DNS_STRING_BYTES_MAX) {
            complain(reader, "a string of TXT has more than 255 bytes", SLICE_NONE);
        }
    }
    return heap_copy(reader->heap, buf_slice(&strings));
}

static void put_hex_bytes(struct reader *reader, struct buf *out, struct slice text)
{
    for (size_t i = 0; i < text.size; i += 2) {
        int high = ascii_hex_value(text.data[i]);
        int low = i + 1 < text.size ? ascii_hex_value(text.data[i + 1]) : -1;
        if (high < 0 || low < 0) {
            complain(reader, "TLSA wants data in hexadecimal digits", text);
            return;
        }
        buf_put_byte(out, (uint8_t)(high << 4 | low));
    }
}

static struct slice read_tlsa(struct reader *reader)
{
    static const char *const wanted[TLSA_HEAD] = {
        "TLSA wants a usage, 0 to 255", "TLSA wants a selector, 0 to 255",
        "TLSA wants a matching type, 0 to 255"};
    uint8_t bytes[TLSA_BYTES_MAX];
    struct buf data;
    buf_init(&data, bytes, sizeof(bytes));
    for (unsigned i = 0; i < TLSA_HEAD; i++) {
        buf_put_byte(&data, (uint8_t)number(reader, wanted[i], 255));
    }
    while (reader->at < reader->count && reader->good) {
        put_hex_bytes(reader, &data, word(reader, "TLSA wants data in hexadecimal digits"));
    }
    if (data.overflow || data.size == TLSA_HEAD) {
        complain(reader, "TLSA wants data in hexadecimal digits, at most 509 bytes", SLICE_NONE);
    }
    return heap_copy(reader->heap, buf_slice(&data));
}

static void read_data(struct reader *reader, enum dns_type type, struct dns_record *record)
{
    switch (type) {
    case DNS_A:
    case DNS_AAAA:
        read_address(reader, type == DNS_A, &record->address);
        return;
    case DNS_MX:
        record->preference =
            (uint16_t)number(reader, "MX wants a preference, 0 to 65535", UINT16_MAX);
        record->name = name_of(reader, word(reader, "MX wants the name of a host"), false);
        return;
    case DNS_CNAME:
        record->name = name_of(reader, word(reader, "CNAME wants a name"), false);
        return;
    case DNS_PTR:
        record->name = name_of(reader, word(reader, "PTR wants a name"), false);
        return;
    case DNS_TXT:
        record->bytes = read_strings(reader);
        return;
    case DNS_TLSA:
        record->bytes = read_tlsa(reader);
        return;
    case DNS_SOA:
        break;
    }
    CHECK(false);
}

/* --- From entries to rows --------------------------------------------------------------------- */

static void directive(struct reader *reader, struct slice name)
{
    struct slice text = word(reader, "a value is missing");
    if (!reader->good) {
        return;
    }
    if (slice_equal_nocase(name, SLICE("$ORIGIN"))) {
        reader->origin = name_of(reader, text, false);
    } else if (!slice_equal_nocase(name, SLICE("$TTL"))) {
        complain(reader, "only $ORIGIN and $TTL are known", name);
    } else if (!ttl_parse(text, &reader->ttl_s)) {
        complain(reader, "$TTL wants seconds, at most 2147483647", text);
    }
    if (reader->at < reader->count) {
        complain(reader, "too much", reader->tokens[reader->at].text);
    }
}

static bool is_ignored(struct slice text)
{
    return slice_equal_nocase(text, SLICE("SOA")) || slice_equal_nocase(text, SLICE("NS"));
}

/* What may stand before a type, and types. */
static bool is_middle(struct slice text)
{
    uint32_t ttl_s;
    enum dns_type type;
    return slice_equal_nocase(text, SLICE("IN")) || is_ignored(text) ||
           dns_type_parse(text, &type) ||
           (text.size > 0 && text.data[0] >= '0' && text.data[0] <= '9' &&
            ttl_parse(text, &ttl_s));
}

/* [TTL] [IN] TYPE, the first two in any order; empty: it is told what is wrong. */
static struct slice type_word(struct reader *reader, uint32_t *ttl_out)
{
    static const char *const what = "a type is missing";
    bool ttl = false;
    bool class = false;
    struct slice text = word(reader, what);
    while (reader->good) {
        if (!ttl && text.data[0] >= '0' && text.data[0] <= '9') {
            ttl = true;
            if (!ttl_parse(text, ttl_out)) {
                complain(reader, "a TTL wants seconds, at most 2147483647", text);
            }
        } else if (!class && slice_equal_nocase(text, SLICE("IN"))) {
            class = true;
        } else {
            return text;
        }
        text = word(reader, what);
    }
    return SLICE_NONE;
}

static void record_entry(struct reader *reader)
{
    struct row *row = heap_take(reader->scratch, sizeof(*row));
    uint32_t ttl_s = reader->ttl_s;
    if (!reader->indented || reader->owner.data == NULL ||
        !is_middle(reader->tokens[0].text)) {
        reader->owner = name_of(reader, word(reader, "an owner is missing"), true);
    }
    struct slice type = type_word(reader, &ttl_s);
    if (!reader->good || is_ignored(type)) {
        return;
    }
    if (!dns_type_parse(type, &row->type) || row->type == DNS_SOA) {
        complain(reader, "no type of MX, A, AAAA, CNAME, TXT, PTR, TLSA", type);
        return;
    }
    read_data(reader, row->type, &row->record);
    if (reader->at < reader->count) {
        complain(reader, "too much", reader->tokens[reader->at].text);
    }
    if (!reader->good) {
        return;
    }
    row->owner = reader->owner;
    row->ttl_s = ttl_s;
    row->line = reader->line;
    row->index = reader->row_count++;
    row->next = reader->rows;
    reader->rows = row;
}

/* --- From rows to a table --------------------------------------------------------------------- */

static int row_order(const void *a, const void *b)
{
    const struct row *first = *(struct row *const *)a;
    const struct row *second = *(struct row *const *)b;
    int compared = slice_compare(first->owner, second->owner);
    if (compared == 0) {
        compared = (first->type > second->type) - (first->type < second->type);
    }
    return compared != 0 ? compared
                         : (first->index > second->index) - (first->index < second->index);
}

static int zone_name_order(const void *a, const void *b)
{
    return slice_compare(((const struct zone_name *)a)->name, ((const struct zone_name *)b)->name);
}

/* Owners and all above them, each once and in order. */
static size_t names_collect(struct reader *reader, struct row *const *rows,
                            struct zone_name **names_out)
{
    size_t most = 1;
    for (unsigned i = 0; i < reader->row_count; i++) {
        for (size_t at = 0; at < rows[i]->owner.size; at++) {
            most += rows[i]->owner.data[at] == '.';
        }
        most++;
    }
    struct zone_name *names = heap_take_array(reader->scratch, most, sizeof(*names));
    size_t count = 0;
    for (unsigned i = 0; i < reader->row_count; i++) {
        struct slice name = rows[i]->owner;
        bool more = i == 0 || !slice_equal(name, rows[i - 1]->owner);
        while (more) {
            names[count++].name = name;
            size_t label = slice_find(name, '.');
            more = label < name.size;
            name = slice_skip(name, MIN_OF(label + 1, name.size));
        }
    }
    qsort(names, count, sizeof(*names), zone_name_order);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        if (kept == 0 || !slice_equal(names[i].name, names[kept - 1].name)) {
            names[kept++] = names[i];
        }
    }
    *names_out = names;
    return kept;
}

/* The sets of rows that have the name of the first one; returns how many rows these are. */
static unsigned sets_make(struct reader *reader, struct row *const *rows, unsigned count,
                          struct zone_name *name)
{
    struct zone_set *sets = NULL;
    struct dns_record *records = NULL;
    unsigned used = 0;
    while (used < count && slice_equal(rows[used]->owner, name->name)) {
        used++;
    }
    if (used > 0) {
        sets = heap_take_array(reader->heap, used, sizeof(*sets));
        records = heap_take_array(reader->heap, used, sizeof(*records));
    }
    for (unsigned i = 0; i < used; i++) {
        struct zone_set *set = name->count > 0 ? &sets[name->count - 1] : NULL;
        records[i] = rows[i]->record;
        if (set == NULL || set->type != rows[i]->type) {
            set = &sets[name->count++];
            *set = (struct zone_set){
                .type = rows[i]->type, .ttl_s = rows[i]->ttl_s, .records = &records[i]};
        }
        set->count++;
        set->ttl_s = MIN_OF(set->ttl_s, rows[i]->ttl_s);
    }
    name->sets = sets;
    const struct zone_set *alias = zone_set_find(name, DNS_CNAME);
    if (alias != NULL && used > 1) {
        reader->good = true;
        reader->line = rows[used - 1]->line;
        complain(reader, "a CNAME has no other records beside it (RFC 1034 3.6.2)", name->name);
    }
    return used;
}

static void table_make(struct reader *reader, struct zone *zone)
{
    struct zone_name *found;
    unsigned count = reader->row_count;
    struct row **rows = heap_take_array(reader->scratch, count + 1u, sizeof(struct row *));
    for (struct row *at = reader->rows; at != NULL; at = at->next) {
        rows[at->index] = at;
    }
    qsort(rows, count, sizeof(struct row *), row_order);
    zone->count = names_collect(reader, rows, &found);
    struct zone_name *names = heap_take_array(reader->heap, zone->count + 1, sizeof(*names));
    unsigned used = 0;
    for (size_t i = 0; i < zone->count; i++) {
        names[i] = found[i];
        used += sets_make(reader, rows + used, count - used, &names[i]);
    }
    zone->names = names;
}

bool zone_read(struct slice text, struct heap *heap, struct heap *scratch, zone_wrong *wrong,
               void *context, struct zone *zone_out)
{
    struct reader *reader = heap_take(scratch, sizeof(*reader));
    *reader = (struct reader){.rest = text, .next_line = 1, .all_good = true, .ttl_s = ZONE_TTL_S,
                              .heap = heap, .scratch = scratch, .wrong = wrong,
                              .context = context};
    while (reader->rest.size > 0) {
        entry_read(reader);
        if (!reader->good || reader->count == 0) {
            continue;
        }
        if (reader->tokens[0].text.size > 0 && reader->tokens[0].text.data[0] == '$') {
            reader->at = 1;
            directive(reader, reader->tokens[0].text);
        } else {
            record_entry(reader);
        }
    }
    table_make(reader, zone_out);
    return reader->all_good;
}

/* --- Looking ---------------------------------------------------------------------------------- */

static const struct zone_name *name_find(const struct zone *zone, struct slice name)
{
    const struct zone_name wanted = {.name = name};
    return zone->count == 0 ? NULL
                            : bsearch(&wanted, zone->names, zone->count, sizeof(wanted),
                                      zone_name_order);
}

const struct zone_name *zone_find(const struct zone *zone, struct slice name)
{
    const struct zone_name *found = name_find(zone, name);
    struct slice above = name;
    for (unsigned i = 0; i < LABELS_MAX && found == NULL && above.size > 0; i++) {
        uint8_t bytes[2 + DNS_NAME_BYTES_MAX];
        struct buf wildcard;
        size_t label = slice_find(above, '.');
        above = slice_skip(above, MIN_OF(label + 1, above.size));
        buf_init(&wildcard, bytes, sizeof(bytes));
        buf_put(&wildcard, WILDCARD);
        buf_put(&wildcard, above);
        found = name_find(zone, buf_slice(&wildcard));
        if (name_find(zone, above) != NULL) {
            break; /* the closest that is there: nothing above it counts (RFC 4592 3.3.1) */
        }
    }
    return found;
}

const struct zone_set *zone_set_find(const struct zone_name *name, enum dns_type type)
{
    for (unsigned i = 0; i < name->count; i++) {
        if (name->sets[i].type == type) {
            return &name->sets[i];
        }
    }
    return NULL;
}
