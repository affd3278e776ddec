/*
 * Answers of any server to a question of ours (its type is the first byte's): what is found is in
 * the memory that was given, is all names and data that there may be, and is the same every time;
 * trouble has no records, and what has them no left-overs of another status.
 */
#include "shard/io/dns_message.h"

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct slice part, const struct buf *memory)
{
    CHECK(part.size == 0 || (part.data >= memory->data &&
                             part.data + part.size <= memory->data + memory->size));
}

static void check_name(struct slice name, const struct buf *memory)
{
    uint8_t bytes[DNS_NAME_BYTES_MAX];
    struct slice again;
    check_inside(name, memory);
    CHECK(dns_name_normalize(name, bytes, &again) && slice_equal(name, again));
}

static void check_answer(const struct dns_answer *answer, const struct buf *memory)
{
    CHECK(answer->count <= DNS_RECORDS_MAX && !memory->overflow);
    CHECK((answer->status == DNS_OK) == (answer->count > 0));
    CHECK(!answer->truncated || answer->count == 0);
    CHECK(!answer->secure || answer->status <= DNS_NO_DATA);
    CHECK(answer->status > DNS_NO_DATA || answer->ttl_s <= INT32_MAX);
    if (answer->alias.data != NULL) {
        check_name(answer->alias, memory);
    }
    for (unsigned i = 0; i < answer->count; i++) {
        const struct dns_record *record = &answer->records[i];
        check_name(record->name, memory);
        check_inside(record->bytes, memory);
        CHECK(answer->type != DNS_TLSA || record->bytes.size >= 4);
        CHECK(answer->type != DNS_A || endpoint_is_v4(&record->address));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum dns_type types[] = {DNS_A,   DNS_CNAME, DNS_PTR, DNS_MX,
                                          DNS_TXT, DNS_AAAA,  DNS_TLSA};
    static uint8_t bytes[DNS_ANSWER_BYTES_MAX];
    if (size < 3) {
        return 0;
    }
    struct dns_question question = {.name = SLICE("a.test"),
                                    .type = types[data[0] % COUNT_OF(types)]};
    uint16_t id = (uint16_t)(data[1] << 8 | data[2]);
    struct dns_answer answers[2];
    for (unsigned i = 0; i < COUNT_OF(answers); i++) {
        struct buf memory;
        buf_init(&memory, bytes, sizeof(bytes));
        if (!dns_answer_read(slice_make(data + 1, size - 1), &question, id, &memory, &answers[i])) {
            return 0;
        }
        check_answer(&answers[i], &memory);
    }
    CHECK(answers[0].status == answers[1].status && answers[0].count == answers[1].count &&
          answers[0].ttl_s == answers[1].ttl_s && answers[0].left_out == answers[1].left_out);
    return 0;
}
