/* Idempotency keys: what is kept, for how long, and what a journal brings back. */
#include "smtp/inject_keys.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

struct rig {
    struct boot_pages pages;
    struct inject_keys keys;
};

static struct rig *rig_open(void)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    inject_keys_init(&rig->keys, &rig->pages, 1);
    return rig;
}

static void rig_close(struct rig *rig)
{
    inject_keys_fini(&rig->keys);
    boot_pages_give(&rig->pages);
    free(rig);
}

static struct inject_claim claim_of(uint64_t key, uint64_t wall_ns)
{
    struct inject_claim claim = {
        .key = {.low64 = key, .high64 = ~key},
        .body = {.low64 = 7 * key, .high64 = 1},
        .wall_ns = wall_ns,
    };
    for (unsigned i = 0; i < 8; i++) {
        claim.request.bytes[i] = (uint8_t)(key >> (56 - 8 * i));
    }
    return claim;
}

static struct inject_key *add(struct rig *rig, uint64_t key, uint64_t wall_ns, struct slice answer)
{
    struct inject_claim claim = claim_of(key, wall_ns);
    assert_null(inject_keys_find(&rig->keys, claim.key));
    struct inject_key *entry = inject_keys_claim(&rig->keys, &claim);
    if (answer.size > 0) {
        assert_true(inject_keys_done(&rig->keys, entry, answer));
        entry->is_durable = true;
    }
    return entry;
}

static struct inject_key *find(struct rig *rig, uint64_t key)
{
    return inject_keys_find(&rig->keys, claim_of(key, 0).key);
}

static void h15_an_answer_is_kept_for_a_day(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    (void)add(rig, 1, NS_PER_S, SLICE("one"));
    (void)add(rig, 2, 2 * NS_PER_S, SLICE("two"));
    (void)add(rig, 3, 0, SLICE_NONE);
    inject_keys_expire(&rig->keys, INJECT_KEY_NS + NS_PER_S - 1);
    assert_true(slice_equal(inject_key_answer(find(rig, 1)), SLICE("one")));
    inject_keys_expire(&rig->keys, INJECT_KEY_NS + NS_PER_S);
    assert_null(find(rig, 1));
    assert_true(slice_equal(inject_key_answer(find(rig, 2)), SLICE("two")));
    inject_keys_expire(&rig->keys, 9 * INJECT_KEY_NS);
    assert_null(find(rig, 2));
    assert_non_null(find(rig, 3)); /* it is still being worked at */
    assert_int_equal(rig->keys.forgotten, 0);
    rig_close(rig);
}

static void the_oldest_answers_go_first_when_there_are_too_many(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    (void)add(rig, 1, 0, SLICE_NONE);
    for (uint64_t i = 2; i <= INJECT_KEYS_MAX; i++) {
        (void)add(rig, i, i, SLICE("x"));
    }
    find(rig, 2)->readers = 1;
    (void)add(rig, INJECT_KEYS_MAX + 1ull, 0, SLICE_NONE);
    assert_non_null(find(rig, 1));
    assert_non_null(find(rig, 2));
    assert_null(find(rig, 3));
    assert_non_null(find(rig, 4));
    assert_int_equal(rig->keys.forgotten, 1);
    find(rig, 2)->readers = 0;
    rig_close(rig);
}

static void the_oldest_answers_go_first_when_they_are_too_large(void **state)
{
    (void)state;
    struct rig *rig = rig_open();
    size_t size = INJECT_ANSWERS_BYTES / 4 - 4096;
    uint8_t *large = calloc(1, INJECT_ANSWERS_BYTES + 1);
    assert_non_null(large);
    for (uint64_t i = 1; i <= 4; i++) {
        (void)add(rig, i, i, slice_make(large, size));
    }
    (void)add(rig, 5, 5, slice_make(large, size));
    assert_null(find(rig, 1));
    assert_non_null(find(rig, 2));
    struct inject_key *none = add(rig, 6, 6, SLICE_NONE);
    assert_false(inject_keys_done(&rig->keys, none, slice_make(large, INJECT_ANSWERS_BYTES + 1)));
    free(large);
    rig_close(rig);
}

/* A journal as it is written: claims and ends as they come. */
static struct slice journal(struct rig *rig, uint8_t *memory, size_t capacity)
{
    struct buf buf;
    buf_init(&buf, memory, capacity);
    inject_keys_put_all(&buf, &rig->keys);
    struct inject_key *one = add(rig, 1, 11, SLICE_NONE);
    inject_keys_put(&buf, one);
    inject_keys_put(&buf, add(rig, 2, 12, SLICE_NONE));
    assert_true(inject_keys_done(&rig->keys, one, SLICE("the answer")));
    inject_keys_put(&buf, one);
    /* Dropped, and claimed again: the first claim had no end. */
    inject_keys_drop(&rig->keys, find(rig, 2));
    struct inject_claim again = claim_of(2, 13);
    again.request.bytes[15] = 9;
    struct inject_key *two = inject_keys_claim(&rig->keys, &again);
    inject_keys_put(&buf, two);
    assert_true(inject_keys_done(&rig->keys, two, SLICE("2")));
    inject_keys_put(&buf, two);
    inject_keys_put(&buf, add(rig, 3, 14, SLICE_NONE));
    assert_false(buf.overflow);
    return buf_slice(&buf);
}

static bool is_void(struct rig *rig, uint64_t key)
{
    struct inject_claim claim = claim_of(key, 0);
    return inject_voids_have(&rig->keys.voids, &claim.request);
}

static void h15_a_journal_brings_answers_back_and_what_had_none_is_void(void **state)
{
    (void)state;
    uint8_t memory[4096];
    uint8_t copy[4096];
    struct buf buf;
    struct rig *before = rig_open();
    struct slice bytes = journal(before, memory, sizeof(memory));
    buf_init(&buf, copy, sizeof(copy));
    for (unsigned times = 0; times < 2; times++) { /* the second from what the first writes anew */
        struct rig *rig = rig_open();
        assert_true(inject_keys_read(&rig->keys, bytes));
        assert_int_equal(rig->keys.pool.used, 2);
        assert_true(slice_equal(inject_key_answer(find(rig, 1)), SLICE("the answer")));
        assert_int_equal(find(rig, 1)->claim.wall_ns, 11);
        assert_int_equal(find(rig, 1)->claim.body.low64, 7);
        assert_true(slice_equal(inject_key_answer(find(rig, 2)), SLICE("2")));
        assert_null(find(rig, 3));
        assert_true(is_void(rig, 3) && is_void(rig, 2) && !is_void(rig, 1));
        assert_int_equal(rig->keys.voids.count, 2);
        buf_reset(&buf);
        inject_keys_put_all(&buf, &rig->keys);
        assert_true(!buf.overflow && buf.size <= inject_keys_bytes(&rig->keys));
        bytes = buf_slice(&buf);
        rig_close(rig);
    }
    rig_close(before);
}

/* What is known after a journal was read, as one. */
static struct buf known_of(struct slice journal, uint8_t *memory, size_t capacity)
{
    struct buf buf;
    struct rig *rig = rig_open();
    buf_init(&buf, memory, capacity);
    assert_true(inject_keys_read(&rig->keys, journal));
    inject_keys_put_all(&buf, &rig->keys);
    assert_false(buf.overflow);
    rig_close(rig);
    return buf;
}

static void a_journal_is_read_up_to_where_it_is_cut(void **state)
{
    (void)state;
    uint8_t memory[4096];
    struct rig *before = rig_open();
    struct slice bytes = journal(before, memory, sizeof(memory));
    uint32_t seen = 0;
    for (size_t cut = 0; cut <= bytes.size; cut++) {
        struct rig *rig = rig_open();
        bool good = inject_keys_read(&rig->keys, slice_first(bytes, cut));
        assert_true(good == (cut == 0 || cut >= 8));
        uint32_t known = rig->keys.pool.used + rig->keys.voids.count;
        assert_true(known >= seen || known + 1 == seen); /* a claim that got its end */
        seen = known;
        rig_close(rig);
    }
    assert_int_equal(seen, 4);
    rig_close(before);
}

static void a_journal_is_read_up_to_where_it_is_damaged(void **state)
{
    (void)state;
    uint8_t memory[4096];
    uint8_t damaged[4096];
    uint8_t texts[2][4096];
    struct rig *before = rig_open();
    struct slice bytes = journal(before, memory, sizeof(memory));
    for (size_t at = 0; at < bytes.size; at++) {
        memcpy(damaged, bytes.data, bytes.size);
        damaged[at] ^= 0x10;
        struct slice whole = slice_make(damaged, bytes.size);
        if (at < 8) {
            struct rig *rig = rig_open();
            assert_false(inject_keys_read(&rig->keys, whole));
            rig_close(rig);
            continue;
        }
        struct buf known = known_of(whole, texts[0], sizeof(texts[0]));
        struct buf cut = known_of(slice_first(bytes, at), texts[1], sizeof(texts[1]));
        assert_true(slice_equal(buf_slice(&known), buf_slice(&cut)));
    }
    rig_close(before);
}

static void of_too_many_voids_the_newest_are_kept(void **state)
{
    (void)state;
    size_t capacity = (INJECT_VOIDS_MAX + 10ull) * INJECT_RECORD_BYTES + 64;
    uint8_t *memory = malloc(capacity);
    struct buf buf;
    assert_non_null(memory);
    struct rig *before = rig_open();
    buf_init(&buf, memory, capacity);
    inject_keys_put_all(&buf, &before->keys);
    for (uint64_t i = 1; i <= INJECT_VOIDS_MAX + 10ull; i++) {
        inject_keys_put(&buf, add(before, i, i, SLICE_NONE));
    }
    assert_false(buf.overflow);
    struct rig *rig = rig_open();
    assert_true(inject_keys_read(&rig->keys, buf_slice(&buf)));
    assert_false(is_void(rig, 1));
    assert_true(is_void(rig, INJECT_VOIDS_MAX + 10ull));
    assert_true(is_void(rig, INJECT_VOIDS_MAX / 2));
    rig_close(rig);
    rig_close(before);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(h15_an_answer_is_kept_for_a_day),
        cmocka_unit_test(the_oldest_answers_go_first_when_there_are_too_many),
        cmocka_unit_test(the_oldest_answers_go_first_when_they_are_too_large),
        cmocka_unit_test(h15_a_journal_brings_answers_back_and_what_had_none_is_void),
        cmocka_unit_test(a_journal_is_read_up_to_where_it_is_cut),
        cmocka_unit_test(a_journal_is_read_up_to_where_it_is_damaged),
        cmocka_unit_test(of_too_many_voids_the_newest_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
