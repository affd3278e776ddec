#include "smtp/queue_of.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include "tests/kit/conf_kit.h"
#include "tests/sim/shards.h"

static struct ready_queue *no_route(void *context, struct sched_queue *queue,
                                    enum hold_reason *reason_out)
{
    (void)context;
    (void)queue;
    (void)reason_out;
    return NULL;
}

static const struct queues_user user = {.route = no_route};

static const char *const sets[] = {
    "queues.queue.\"slow.test\".retry_interval=1h",
    "queues.tenant.acme.weight=300",
    "queues.queue.\"slow.test\".acme.sale.weight=500",
};

static uint32_t find(struct queues *queues, const struct conf *conf, const char *campaign,
                     const char *tenant, const char *domain)
{
    const struct conf_queue_key key = {
        .campaign = slice_from_string(campaign),
        .tenant = slice_from_string(tenant),
        .domain = slice_from_string(domain),
    };
    return queue_of(queues, conf, &key);
}

static void a_queue_has_the_options_of_its_name(void **state)
{
    (void)state;
    char said[1024];
    struct conf *conf = conf_kit_load(NULL, sets, COUNT_OF(sets), said, sizeof(said));
    assert_non_null(conf);
    struct sim *sim = sim_open(&(struct sim_options){.seed = 1});
    struct sim_shards shards = {0};
    struct queues queues;
    sim_shards_boot(&shards, sim_node_open(sim, NULL), 1, 16, 4096);
    const struct queues_options options = {
        .rows_max = 100, .queues_max = 4, .idle_ns = NS_PER_S,
        .options_bytes = sizeof(struct queue_options), .user = &user};
    assert_int_equal(queues_init(&queues, &shards.shards[0], &options), 0);

    uint32_t slow = find(&queues, conf, "", "", "slow.test");
    assert_int_not_equal(slow, QUEUE_NONE);
    assert_int_equal(find(&queues, conf, "", "", "slow.test"), slow);
    uint32_t other = find(&queues, conf, "", "", "other.test");
    uint32_t acme = find(&queues, conf, "", "acme", "slow.test");
    uint32_t sale = find(&queues, conf, "sale", "acme", "slow.test");
    assert_int_equal(find(&queues, conf, "", "", "third.test"), QUEUE_NONE);
    assert_int_equal(queues.sched.used, 4);
    const struct queue_options *found = queue_options_of(&queues, slow);
    assert_int_equal(found->retry_interval_ns, 3600 * NS_PER_S);
    assert_int_equal(queues_at(&queues, slow)->flows[QUEUE_BULK].weight, 100);
    assert_int_equal(queue_options_of(&queues, other)->retry_interval_ns, 1200 * NS_PER_S);
    assert_int_equal(queue_options_of(&queues, acme)->retry_interval_ns, 3600 * NS_PER_S);
    assert_int_equal(queues_at(&queues, acme)->flows[QUEUE_BULK].weight, 300);
    assert_int_equal(queues_at(&queues, sale)->flows[QUEUE_URGENT].weight, 500);

    queues_fini(&queues);
    sim_shards_stop(&shards);
    assert_false(sim_failed(sim));
    sim_close(sim);
    conf_free(conf);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_queue_has_the_options_of_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
