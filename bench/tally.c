#include "bench/tally.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "core/json.h"

#define COUNTS_BYTES  ((uint64_t)TALLY_NUMBERS_MAX * sizeof(uint16_t))
#define REFUSED_BYTES ((uint64_t)TALLY_NUMBERS_MAX / 8)
#define SENDER        "bench-"
#define SENDER_DOMAIN "@source.test"

/* Its pages come as numbers are seen; null: no memory. */
static void *map_by_number(uint64_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

bool tally_init(struct tally *tally, const struct tally_options *options)
{
    void *counts = map_by_number(COUNTS_BYTES);
    if (counts == NULL) {
        return false;
    }
    void *refused = map_by_number(REFUSED_BYTES);
    if (refused == NULL) {
        (void)munmap(counts, COUNTS_BYTES);
        return false;
    }
    *tally = (struct tally){
        .result = options->result,
        .expected = options->expected,
        .copies = MAX_OF(options->copies, 1),
        .counts = counts,
        .refused = refused,
        .arrived_ns = options->arrived_ns,
        .arrived_count = options->arrived_count,
    };
    return true;
}

void tally_fini(struct tally *tally)
{
    (void)munmap(tally->counts, COUNTS_BYTES);
    (void)munmap(tally->refused, REFUSED_BYTES);
    tally->counts = NULL;
    tally->refused = NULL;
}

void tally_put_sender(struct buf *buf, uint64_t number)
{
    buf_put(buf, SLICE(SENDER));
    buf_put_u64(buf, number);
    buf_put(buf, SLICE(SENDER_DOMAIN));
}

void tally_refuse(struct tally *tally, struct slice sender)
{
    uint64_t number;
    if (!slice_starts_with(sender, SLICE(SENDER)) ||
        !slice_ends_with(sender, SLICE(SENDER_DOMAIN))) {
        return;
    }
    struct slice text = slice_skip(sender, strlen(SENDER));
    text = slice_first(text, text.size - strlen(SENDER_DOMAIN));
    if (!slice_parse_u64(text, &number) || number >= TALLY_NUMBERS_MAX) {
        return;
    }
    uint8_t bit = (uint8_t)(1u << number % 8);
    tally->result->tried += (tally->refused[number / 8] & bit) == 0;
    tally->refused[number / 8] |= bit;
}

static void tally_count(struct tally *tally, uint64_t number, unsigned recipients, uint64_t now_ns)
{
    struct sink_result *result = tally->result;
    unsigned before = tally->counts[number];
    unsigned after = MIN_OF(before + recipients, UINT16_MAX);
    tally->counts[number] = (uint16_t)after;
    tally->number_end = MAX_OF(tally->number_end, number + 1);
    result->bodies++;
    result->messages += before < tally->copies && after >= tally->copies;
    if (after > tally->copies) {
        result->duplicates += after - MAX_OF(before, tally->copies);
    }
    if (number < tally->arrived_count && tally->arrived_ns[number] == 0) {
        tally->arrived_ns[number] = now_ns;
    }
}

bool tally_add(struct tally *tally, struct body_check *check, unsigned recipients,
               uint64_t now_ns)
{
    struct sink_result *result = tally->result;
    enum body_verdict verdict = body_check_end(check);
    result->recipients += recipients;
    result->first_ns = result->first_ns == 0 ? now_ns : result->first_ns;
    if (verdict == BODY_FOREIGN) {
        result->foreign++;
        return false;
    }
    bool beyond = check->number >= TALLY_NUMBERS_MAX;
    if (verdict == BODY_DIFFERS || beyond) {
        result->differing++;
        if (result->differing <= TALLY_NAMED_MAX) {
            fprintf(stderr, "event=differs number=%" PRIu64 " size=%" PRIu64 " seen=%" PRIu64 "\n",
                    check->number, check->size, check->seen);
        }
        return false;
    }
    tally_count(tally, check->number, recipients, now_ns);
    return true;
}

bool tally_complete(const struct tally *tally)
{
    return tally->expected > 0 && tally->result->messages >= tally->expected;
}

bool tally_judge(struct tally *tally)
{
    struct sink_result *result = tally->result;
    unsigned missing_named = 0;
    unsigned duplicates_named = 0;
    uint64_t end = MAX_OF(tally->expected, tally->number_end);
    result->missing = 0;
    for (uint64_t number = 0; number < MIN_OF(end, TALLY_NUMBERS_MAX); number++) {
        unsigned count = tally->counts[number];
        if (number < tally->expected && count < tally->copies) {
            result->missing++;
            if (missing_named++ < TALLY_NAMED_MAX) {
                fprintf(stderr, "event=missing number=%" PRIu64 " copies=%u\n", number, count);
            }
        }
        if (count > tally->copies && duplicates_named++ < TALLY_NAMED_MAX) {
            fprintf(stderr, "event=duplicate number=%" PRIu64 " copies=%u\n", number, count);
        }
    }
    return result->missing == 0 && result->differing == 0;
}

struct field {
    const char *name;
    uint64_t value;
};

#define FIELDS_MAX 13

static void fields_of(const struct sink_result *result, struct field fields_out[FIELDS_MAX])
{
    const struct field fields[FIELDS_MAX] = {
        {"messages", result->messages},     {"bodies", result->bodies},
        {"duplicates", result->duplicates}, {"missing", result->missing},
        {"differing", result->differing},   {"foreign", result->foreign},
        {"recipients", result->recipients}, {"rejected", result->rejected},
        {"refused", result->refused},       {"bytes", result->bytes},
        {"connections", result->connections}, {"first_ns", result->first_ns},
        {"last_ns", result->last_ns},
    };
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        fields_out[i] = fields[i];
    }
}

void tally_put_line(const struct sink_result *result, struct buf *buf)
{
    struct field fields[FIELDS_MAX];
    fields_of(result, fields);
    buf_put_string(buf, "event=sink");
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        buf_printf(buf, " %s=%" PRIu64, fields[i].name, fields[i].value);
    }
    buf_put_string(buf, "\n");
}

void tally_put_json(const struct sink_result *result, struct buf *buf)
{
    struct field fields[FIELDS_MAX];
    struct json json;
    fields_of(result, fields);
    json_init(&json, buf);
    json_object(&json);
    for (size_t i = 0; i < FIELDS_MAX; i++) {
        json_key(&json, fields[i].name);
        json_u64(&json, fields[i].value);
    }
    json_object_end(&json);
    buf_put_string(buf, "\n");
}
