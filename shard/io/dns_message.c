#include "shard/io/dns_message.h"

#include <arpa/nameser.h>

#include "core/check.h"

#define FLAG_RESPONSE  0x8000u
#define FLAG_OPCODE    0x7800u
#define FLAG_TRUNCATED 0x0200u
#define FLAG_RECURSE   0x0100u
#define FLAG_AVAILABLE 0x0080u
#define FLAG_AUTHENTIC 0x0020u
#define FLAG_RCODE     0x000Fu

#define TTL_SIGN       0x80000000u /* with it a TTL is 0 (RFC 2181 8) */
#define MX_BYTES_MIN   3
#define TLSA_BYTES_MIN 4
#define SOA_NUMBERS    20 /* bytes behind its two names */

/* A message whose head and question are those of an answer to us. */
struct reading {
    ns_msg message;
    uint16_t flags;
    const struct dns_question *question;
    struct buf *memory;
    struct dns_answer *answer;
    uint8_t end_bytes[DNS_NAME_BYTES_MAX];
    struct slice end; /* of the aliases, as far as they have been followed */
    unsigned aliases;
    unsigned count;
    struct dns_record records[DNS_RECORDS_MAX];
};

/* --- Names ------------------------------------------------------------------------------------ */

/* The name at `at`, which may be compressed; its bytes there, or 0: it is none. */
static size_t name_read(const ns_msg *message, const uint8_t *at, uint8_t out[DNS_NAME_BYTES_MAX],
                        struct slice *name_out)
{
    char text[NS_MAXDNAME];
    int bytes = ns_name_uncompress(ns_msg_base(*message), ns_msg_end(*message), at, text,
                                   sizeof(text));
    if (bytes <= 0 || !dns_name_normalize(slice_from_string(text), out, name_out)) {
        return 0;
    }
    return (size_t)bytes;
}

static void name_put(struct buf *buf, struct slice name)
{
    while (name.size > 0) {
        size_t size = slice_find(name, '.');
        CHECK(size > 0 && size <= DNS_LABEL_BYTES_MAX);
        buf_put_byte(buf, (uint8_t)size);
        buf_put(buf, slice_first(name, size));
        name = slice_skip(name, MIN_OF(size + 1, name.size));
    }
    buf_put_byte(buf, 0);
}

/* --- A query ---------------------------------------------------------------------------------- */

static void put_u16(struct buf *buf, unsigned value)
{
    buf_put_byte(buf, (uint8_t)(value >> 8));
    buf_put_byte(buf, (uint8_t)value);
}

void dns_query_put(struct buf *buf, const struct dns_question *question, uint16_t id, bool plain)
{
    CHECK(question->name.size <= DNS_NAME_BYTES_MAX);
    put_u16(buf, id);
    put_u16(buf, FLAG_RECURSE | FLAG_AUTHENTIC);
    put_u16(buf, 1); /* questions */
    put_u16(buf, 0);
    put_u16(buf, 0);
    put_u16(buf, plain ? 0 : 1); /* additional: OPT (RFC 6891 6.1) */
    name_put(buf, question->name);
    put_u16(buf, question->type);
    put_u16(buf, ns_c_in);
    if (plain) {
        return;
    }
    buf_put_byte(buf, 0);
    put_u16(buf, ns_t_opt);
    put_u16(buf, DNS_UDP_BYTES);
    put_u16(buf, 0); /* extended RCODE and version */
    put_u16(buf, 0); /* flags: no signatures asked for, the server is to check them */
    put_u16(buf, 0);
}

/* --- Records of an answer --------------------------------------------------------------------- */

static unsigned section_count(const struct reading *reading, ns_sect section)
{
    return MIN_OF((unsigned)ns_msg_count(reading->message, section), DNS_RECORDS_MAX);
}

/* The record at `index`, of class IN; false: none, and the others are still to be had. */
static bool record_at(struct reading *reading, ns_sect section, unsigned index, ns_rr *record_out,
                      uint8_t owner_bytes[DNS_NAME_BYTES_MAX], struct slice *owner_out)
{
    return ns_parserr(&reading->message, section, (int)index, record_out) == 0 &&
           dns_name_normalize(slice_from_string(ns_rr_name(*record_out)), owner_bytes, owner_out);
}

static void ttl_note(struct reading *reading, uint32_t ttl_s)
{
    reading->answer->ttl_s = MIN_OF(reading->answer->ttl_s, (ttl_s & TTL_SIGN) != 0 ? 0 : ttl_s);
}

/* The name that is all the data of a record. */
static bool target_read(const struct reading *reading, const ns_rr *record, size_t skip,
                        uint8_t out[DNS_NAME_BYTES_MAX], struct slice *name_out)
{
    if (ns_rr_rdlen(*record) <= skip) {
        return false;
    }
    size_t bytes = name_read(&reading->message, ns_rr_rdata(*record) + skip, out, name_out);
    return bytes > 0 && bytes + skip == ns_rr_rdlen(*record);
}

static bool keep(struct reading *reading, struct slice bytes, struct slice *kept_out)
{
    if (bytes.size > buf_room(reading->memory)) {
        return false;
    }
    *kept_out = slice_make(reading->memory->data + reading->memory->size, bytes.size);
    buf_put(reading->memory, bytes);
    return true;
}

static bool name_keep(struct reading *reading, const ns_rr *record, size_t skip,
                      struct slice *name_out)
{
    uint8_t bytes[DNS_NAME_BYTES_MAX];
    struct slice name;
    return target_read(reading, record, skip, bytes, &name) && keep(reading, name, name_out);
}

static bool address_keep(const ns_rr *record, size_t size, struct endpoint *address_out)
{
    if (ns_rr_rdlen(*record) != size) {
        return false;
    }
    *address_out = (struct endpoint){0};
    if (size == sizeof(address_out->address)) {
        memcpy(address_out->address, ns_rr_rdata(*record), size);
        return !endpoint_is_v4(address_out); /* mapped ones are never on a wire (RFC 4291 2.5.5) */
    }
    memset(address_out->address + 10, 0xFF, 2);
    memcpy(address_out->address + 12, ns_rr_rdata(*record), size);
    return true;
}

/* Strings, each with its length before it, to the last byte (RFC 1035 3.3.14). */
static bool strings_keep(struct reading *reading, const ns_rr *record, struct slice *bytes_out)
{
    struct slice rest = slice_make(ns_rr_rdata(*record), ns_rr_rdlen(*record));
    size_t begin = reading->memory->size;
    if (rest.size == 0 || rest.size > buf_room(reading->memory)) {
        return false;
    }
    while (rest.size > 0) {
        size_t size = rest.data[0];
        rest = slice_skip(rest, 1);
        if (size > rest.size) {
            reading->memory->size = begin;
            return false;
        }
        buf_put(reading->memory, slice_first(rest, size));
        rest = slice_skip(rest, size);
    }
    *bytes_out = slice_make(reading->memory->data + begin, reading->memory->size - begin);
    return true;
}

/* False: its data is not that of its type. */
static bool record_keep(struct reading *reading, const ns_rr *record, struct dns_record *out)
{
    *out = (struct dns_record){0};
    switch (reading->question->type) {
    case DNS_A:
        return address_keep(record, 4, &out->address);
    case DNS_AAAA:
        return address_keep(record, 16, &out->address);
    case DNS_CNAME:
    case DNS_PTR:
        return name_keep(reading, record, 0, &out->name);
    case DNS_MX:
        if (ns_rr_rdlen(*record) < MX_BYTES_MIN) {
            return false;
        }
        out->preference = ns_get16(ns_rr_rdata(*record)) & 0xFFFF;
        return name_keep(reading, record, 2, &out->name);
    case DNS_TXT:
        return strings_keep(reading, record, &out->bytes);
    case DNS_TLSA:
        return ns_rr_rdlen(*record) >= TLSA_BYTES_MIN &&
               keep(reading, slice_make(ns_rr_rdata(*record), ns_rr_rdlen(*record)), &out->bytes);
    case DNS_SOA:
        return false;
    }
    return false;
}

/* --- The way from the question to the records ------------------------------------------------- */

enum step { STEP_NONE, STEP_ALIAS, STEP_BAD };

/* One CNAME further, if there is one of the name at the end. */
static enum step alias_follow(struct reading *reading)
{
    for (unsigned i = 0; i < section_count(reading, ns_s_an); i++) {
        uint8_t bytes[DNS_NAME_BYTES_MAX];
        struct slice name;
        ns_rr record;
        if (!record_at(reading, ns_s_an, i, &record, bytes, &name) ||
            ns_rr_class(record) != ns_c_in || ns_rr_type(record) != ns_t_cname ||
            !slice_equal(name, reading->end)) {
            continue;
        }
        if (++reading->aliases > DNS_ALIASES_MAX ||
            !target_read(reading, &record, 0, bytes, &name)) {
            return STEP_BAD;
        }
        memcpy(reading->end_bytes, name.data, name.size);
        reading->end = slice_make(reading->end_bytes, name.size);
        ttl_note(reading, ns_rr_ttl(record));
        return STEP_ALIAS;
    }
    return STEP_NONE;
}

/* The records of the name at the end. */
static void records_gather(struct reading *reading)
{
    struct dns_answer *answer = reading->answer;
    unsigned count = section_count(reading, ns_s_an);
    answer->left_out = ns_msg_count(reading->message, ns_s_an) - count;
    for (unsigned i = 0; i < count; i++) {
        uint8_t bytes[DNS_NAME_BYTES_MAX];
        struct slice owner;
        ns_rr record;
        if (!record_at(reading, ns_s_an, i, &record, bytes, &owner)) {
            answer->left_out++;
        } else if (ns_rr_class(record) != ns_c_in ||
                   ns_rr_type(record) != (unsigned)reading->question->type ||
                   !slice_equal(owner, reading->end)) {
            continue;
        } else if (record_keep(reading, &record, &reading->records[reading->count])) {
            reading->count++;
            ttl_note(reading, ns_rr_ttl(record));
        } else {
            answer->left_out++;
        }
    }
}

/* The smaller of its TTL and its last number, MINIMUM (RFC 2308 5). */
static bool soa_read(struct reading *reading, const ns_rr *record)
{
    const uint8_t *at = ns_rr_rdata(*record);
    const uint8_t *end = at + ns_rr_rdlen(*record);
    for (unsigned i = 0; i < 2; i++) {
        if (ns_name_skip(&at, end) != 0) {
            return false;
        }
    }
    if (end - at != SOA_NUMBERS) {
        return false;
    }
    ttl_note(reading, ns_rr_ttl(*record));
    ttl_note(reading, (uint32_t)ns_get32(at + SOA_NUMBERS - 4));
    return true;
}

/* What an answer without records says. Name servers instead of an SOA: ask those (RFC 2308 2.2). */
static enum dns_status no_read(struct reading *reading)
{
    bool soa = false;
    bool referral = false;
    for (unsigned i = 0; i < section_count(reading, ns_s_ns) && !soa; i++) {
        uint8_t bytes[DNS_NAME_BYTES_MAX];
        struct slice owner;
        ns_rr record;
        if (record_at(reading, ns_s_ns, i, &record, bytes, &owner) &&
            ns_rr_class(record) == ns_c_in && dns_name_covers(owner, reading->end)) {
            soa = ns_rr_type(record) == ns_t_soa && soa_read(reading, &record);
            referral = referral || ns_rr_type(record) == ns_t_ns;
        }
    }
    if (!soa) {
        reading->answer->ttl_s = 0;
    }
    if (reading->answer->rcode == ns_r_nxdomain) {
        return DNS_NO_NAME;
    }
    bool cut = reading->aliases > 0 && (reading->flags & FLAG_AVAILABLE) == 0;
    return !soa && (referral || cut) ? DNS_FAILED : DNS_NO_DATA;
}

/* The array follows its names, where such a struct may stand. */
static bool records_keep(struct reading *reading)
{
    struct buf *memory = reading->memory;
    uintptr_t at = (uintptr_t)(memory->data + memory->size);
    size_t gap = -at & (_Alignof(struct dns_record) - 1);
    size_t bytes = reading->count * sizeof(struct dns_record);
    if (buf_reserve(memory, gap) == NULL) {
        return false;
    }
    uint8_t *records = buf_reserve(memory, bytes);
    if (records == NULL) {
        return false;
    }
    memcpy(records, reading->records, bytes);
    reading->answer->records = (const struct dns_record *)(void *)records;
    reading->answer->count = reading->count;
    return true;
}

static enum dns_status records_read(struct reading *reading)
{
    struct dns_answer *answer = reading->answer;
    enum step step = reading->question->type == DNS_CNAME ? STEP_NONE : STEP_ALIAS;
    while (step == STEP_ALIAS) {
        step = alias_follow(reading);
    }
    if (step == STEP_BAD || (reading->aliases > 0 &&
                             !keep(reading, reading->end, &answer->alias))) {
        return DNS_BAD_ANSWER;
    }
    records_gather(reading);
    if (reading->count == 0) {
        return answer->left_out > 0 ? DNS_BAD_ANSWER : no_read(reading);
    }
    bool whole = answer->rcode == ns_r_noerror && records_keep(reading);
    return whole ? DNS_OK : DNS_BAD_ANSWER;
}

/* --- A message -------------------------------------------------------------------------------- */

static uint16_t head_word(struct slice message, unsigned index)
{
    return (uint16_t)(message.data[2 * index] << 8 | message.data[2 * index + 1]);
}

/* Is it our question that stands behind the head? */
static bool question_is_ours(const ns_msg *message, const struct dns_question *question)
{
    const uint8_t *at = ns_msg_base(*message) + DNS_HEAD_BYTES;
    uint8_t bytes[DNS_NAME_BYTES_MAX];
    struct slice name;
    size_t size = name_read(message, at, bytes, &name);
    return size > 0 && ns_msg_end(*message) - at >= (ptrdiff_t)size + 4 &&
           slice_equal(name, question->name) && ns_get16(at + size) == (unsigned)question->type &&
           ns_get16(at + size + 2) == ns_c_in;
}

/* The upper bits of the RCODE, which are in the OPT record (RFC 6891 6.1.3). */
static uint16_t rcode_read(struct reading *reading)
{
    uint16_t rcode = reading->flags & FLAG_RCODE;
    for (unsigned i = 0; i < section_count(reading, ns_s_ar); i++) {
        ns_rr record;
        if (ns_parserr(&reading->message, ns_s_ar, (int)i, &record) == 0 &&
            ns_rr_type(record) == ns_t_opt) {
            return (uint16_t)((ns_rr_ttl(record) >> 24) << 4 | rcode);
        }
    }
    return rcode;
}

bool dns_answer_read(struct slice message, const struct dns_question *question, uint16_t id,
                     struct buf *memory, struct dns_answer *answer_out)
{
    struct reading reading = {.question = question, .memory = memory, .answer = answer_out,
                              .end = question->name};
    *answer_out = (struct dns_answer){.status = DNS_FAILED, .type = question->type};
    if (message.size < DNS_HEAD_BYTES || message.size > DNS_MESSAGE_BYTES_MAX) {
        return false;
    }
    reading.flags = head_word(message, 1);
    answer_out->rcode = reading.flags & FLAG_RCODE;
    if (head_word(message, 0) != id || (reading.flags & FLAG_RESPONSE) == 0 ||
        (reading.flags & FLAG_OPCODE) != 0 || head_word(message, 2) > 1) {
        return false;
    }
    if (head_word(message, 2) == 0) {
        return answer_out->rcode != ns_r_noerror && answer_out->rcode != ns_r_nxdomain;
    }
    /* Only what names are read with: a message that was cut off would not do for ns_initparse. */
    reading.message = (ns_msg){._msg = message.data, ._eom = message.data + message.size};
    if (!question_is_ours(&reading.message, question)) {
        return false;
    }
    answer_out->truncated = (reading.flags & FLAG_TRUNCATED) != 0;
    if (answer_out->truncated) {
        return true;
    }
    if (ns_initparse(message.data, (int)message.size, &reading.message) != 0) {
        answer_out->status = DNS_BAD_ANSWER;
        return true;
    }
    answer_out->rcode = rcode_read(&reading);
    if (answer_out->rcode == ns_r_noerror || answer_out->rcode == ns_r_nxdomain) {
        answer_out->secure = (reading.flags & FLAG_AUTHENTIC) != 0;
        answer_out->ttl_s = UINT32_MAX;
        answer_out->status = records_read(&reading);
    }
    if (answer_out->status > DNS_NO_DATA) {
        answer_out->ttl_s = 0;
        answer_out->secure = false;
    }
    return true;
}
