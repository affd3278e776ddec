/* One lane on the real ring, real workers and a real directory under build/. */
#include "shard/spool/spool.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "shard/shard.h"
#include "tests/kit/spool_ledger.h"

#define UUID      0x1234567890ABCDEFull
#define WAIT_NS   (60 * NS_PER_S)

struct rig {
    struct ring *ring;
    struct work *work;
    struct shard shard;
    struct shard *peers[1];
    struct block_pool *pool;
    struct spool *spool;
    struct spool_house house;
    struct ledger ledger;
    char path[128];
    char note[512];
    bool done;
    bool stopped;
    int error;
};

static void rig_note(void *context, struct slice line)
{
    struct rig *rig = context;
    snprintf(rig->note, sizeof(rig->note), "%.*s", (int)line.size, (const char *)line.data);
}

/* Turns until `*flag`; fails when that takes for ever. A turn that slept would sleep after it. */
static void rig_turn_until(struct rig *rig, const bool *flag)
{
    uint64_t end_ns = ring_monotonic_ns(rig->ring) + WAIT_NS;
    while (!*flag && ring_monotonic_ns(rig->ring) < end_ns) {
        shard_turn(&rig->shard, true);
    }
    assert_true(*flag);
}

static void rig_wait(struct rig *rig)
{
    uint64_t end_ns = ring_monotonic_ns(rig->ring) + WAIT_NS;
    while (rig->ledger.in_flight > 0 && ring_monotonic_ns(rig->ring) < end_ns) {
        shard_turn(&rig->shard, true);
    }
    assert_int_equal(rig->ledger.in_flight, 0);
}

static void house_done(struct spool_house *house, int error, struct slice reason)
{
    struct rig *rig = CONTAINER_OF(house, struct rig, house);
    rig->error = error;
    rig->done = true;
    snprintf(rig->note, sizeof(rig->note), "%.*s", (int)reason.size, (const char *)reason.data);
}

static void rig_boot(struct rig *rig)
{
    char text[256];
    struct buf reason;
    buf_init(&reason, text, sizeof(text));
    struct ring_options options = {
        .submit_entries = 64, .complete_entries = 256, .buffer_count = 4, .buffer_bytes = 64};
    assert_int_equal(ring_open(&options, &rig->ring, &reason), 0);
    assert_int_equal(work_open(NULL, 8, &rig->work), 0);
    rig->peers[0] = &rig->shard;
    struct shard_options shard_options = {
        .count = 1, .ring = rig->ring, .work = rig->work, .peers = rig->peers};
    assert_int_equal(shard_init(&rig->shard, &shard_options), 0);
    rig->pool = block_pool_open(8 * MIB);
    assert_non_null(rig->pool);
}

static void rig_house(struct rig *rig)
{
    rig->done = false;
    rig->house = (struct spool_house){.done = house_done};
    spool_house_start(&rig->house, &rig->shard, rig->path, 1);
    rig_turn_until(rig, &rig->done);
}

static void rig_start(struct rig *rig)
{
    rig_house(rig);
    assert_int_equal(rig->error, 0);
    struct spool_options options = {
        .path = rig->path,
        .sync = true,
        .segment_bytes = 1 * MIB,
        .checkpoint_bytes = 4 * MIB,
        .group_bytes = 256 * KIB,
        .deadline_ns = 30 * NS_PER_S,
        .note = rig_note,
        .note_context = rig,
        .pool = rig->pool,
    };
    struct spool_replay replay = ledger_begin(&rig->ledger, &rig->shard, rig->pool);
    assert_int_equal(spool_start(&rig->shard, &options, rig->house.uuid, &replay, &rig->spool), 0);
    rig->ledger.spool = rig->spool;
    rig_turn_until(rig, &rig->ledger.finished);
    assert_int_equal(rig->ledger.error, 0);
    assert_string_equal(rig->ledger.complaint, "");
}

static void stop_done(void *context)
{
    ((struct rig *)context)->stopped = true;
}

static void house_closed(struct spool_house *house)
{
    CONTAINER_OF(house, struct rig, house)->stopped = true;
}

static void rig_stop(struct rig *rig)
{
    rig->stopped = false;
    spool_stop(rig->spool, stop_done, rig);
    rig_turn_until(rig, &rig->stopped);
    spool_close(rig->spool);
    rig->stopped = false;
    spool_house_close(&rig->house, house_closed);
    rig_turn_until(rig, &rig->stopped);
    shard_fini(&rig->shard);
    work_close(rig->work);
    block_pool_close(rig->pool);
}

static void rig_make(struct rig *rig)
{
    *rig = (struct rig){0};
    ledger_init(&rig->ledger);
    (void)mkdir("build", 0755);
    snprintf(rig->path, sizeof(rig->path), "build/spool-XXXXXX");
    assert_non_null(mkdtemp(rig->path));
}

static void rig_free(struct rig *rig)
{
    char name[256];
    for (unsigned i = 0; i < 100; i++) {
        snprintf(name, sizeof(name), "%s/lane-000/segment-%06u", rig->path, i);
        (void)unlink(name);
    }
    static const char *const files[] = {"manifest", "lock", "lane-000/checkpoint-0",
                                        "lane-000/checkpoint-1"};
    for (size_t i = 0; i < COUNT_OF(files); i++) {
        snprintf(name, sizeof(name), "%s/%s", rig->path, files[i]);
        (void)unlink(name);
    }
    snprintf(name, sizeof(name), "%s/lane-000", rig->path);
    (void)rmdir(name);
    assert_int_equal(rmdir(rig->path), 0);
    ledger_fini(&rig->ledger);
}

struct real_load {
    struct spool_load load;
    bool done;
};

static void load_done(struct spool_load *load)
{
    CONTAINER_OF(load, struct real_load, load)->done = true;
}

static void rig_read_all(struct rig *rig)
{
    for (uint32_t i = 0; i < rig->ledger.count; i++) {
        if (!ledger_live(&rig->ledger, i)) {
            continue;
        }
        struct real_load load = {.load = {.done = load_done}};
        spool_load(rig->spool, &load.load, rig->ledger.messages[i].location);
        rig_turn_until(rig, &load.done);
        assert_int_equal(load.load.status, SPOOL_LOADED);
        assert_true(ledger_equal(&rig->ledger, i, &load.load));
        spool_load_drop(rig->spool, &load.load);
    }
}

static void stored_mail_is_found_again_on_a_real_disk(void **state)
{
    (void)state;
    static struct rig rig;
    rig_make(&rig);
    rig_boot(&rig);
    rig_start(&rig);
    for (unsigned i = 0; i < 300; i++) {
        ledger_put(&rig.ledger, i * 173 % 20000, 1);
        if (i % 7 == 0) {
            rig_wait(&rig);
        }
    }
    rig_wait(&rig);
    assert_int_equal(rig.ledger.stored, 300);
    for (uint32_t i = 0; i < 300; i += 3) {
        ledger_deliver(&rig.ledger, i);
    }
    rig_wait(&rig);
    rig_read_all(&rig);
    rig_stop(&rig);

    rig_boot(&rig);
    rig_start(&rig);
    assert_int_equal(spool_recovery(rig.spool)->damaged_records, 0);
    assert_int_equal(spool_recovery(rig.spool)->rows, 200);
    assert_int_equal(spool_recovery(rig.spool)->messages, 0);
    rig_read_all(&rig);
    rig_stop(&rig);
    rig_free(&rig);
}

static void f30_a_second_process_is_refused(void **state)
{
    (void)state;
    static struct rig rig;
    static struct rig other;
    rig_make(&rig);
    rig_boot(&rig);
    rig_start(&rig);
    other = (struct rig){0};
    snprintf(other.path, sizeof(other.path), "%s", rig.path);
    rig_boot(&other);
    rig_house(&other);
    assert_true(other.error < 0);
    assert_non_null(strstr(other.note, "in use by another process"));
    shard_fini(&other.shard);
    work_close(other.work);
    block_pool_close(other.pool);
    rig_stop(&rig);
    rig_free(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stored_mail_is_found_again_on_a_real_disk),
        cmocka_unit_test(f30_a_second_process_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
