/* Datagrams of the simulated network: what a ring sees of them, and what chance does to them. */
#include "tests/sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#include "tests/sim/shards.h"

#define COUNT 200

struct rig {
    struct sim *sim;
    struct sim_shards shards;
    struct endpoint at;
    struct op recv_op;
    struct op send_op;
    struct op cancel_op;
    struct op close_op;
    int fd;
    uint8_t number; /* of the datagram that is sent next */
    struct iovec iovec;
    unsigned received[COUNT];
    unsigned late; /* came after one that was sent later */
    uint8_t newest;
    unsigned refusals;
    bool over;
};

static void received(struct op *op)
{
    struct rig *rig = CONTAINER_OF(op, struct rig, recv_op);
    struct ring *ring = rig->shards.shards[0].ring;
    if ((op->flags & OP_BUFFER) != 0) {
        uint8_t number = *ring_buffer(ring, op->buffer);
        rig->received[number] += 1;
        rig->late += number < rig->newest;
        rig->newest = number;
        ring_buffer_give(ring, op->buffer);
    }
    rig->refusals += op->result == -ECONNREFUSED;
    if (op_idle(op) && !rig->over) {
        ring_recv(ring, op, rig->fd);
    } else if (op_idle(op) && op_idle(&rig->cancel_op)) {
        ring_close_fd(ring, &rig->close_op, rig->fd);
    }
}

static void cancelled(struct op *op)
{
    struct rig *rig = CONTAINER_OF(op, struct rig, cancel_op);
    if (op_idle(&rig->recv_op)) {
        ring_close_fd(rig->shards.shards[0].ring, &rig->close_op, rig->fd);
    }
}

static void ignore(struct op *op)
{
    (void)op;
}

/* The other side says what it hears. */
static void echo(struct sim_udp *udp, const struct endpoint *from, struct slice bytes,
                 void *context)
{
    struct rig *rig = context;
    (void)udp;
    sim_udp_send(rig->sim, &rig->at, from, bytes);
}

static void rig_init(struct rig *rig, struct sim *sim)
{
    *rig = (struct rig){.sim = sim, .at = sim_endpoint(99, 53)};
    sim_shards_boot(&rig->shards, sim_node_open(sim, NULL), 1, 16, 64);
    op_init(&rig->recv_op, received);
    op_init(&rig->send_op, ignore);
    op_init(&rig->cancel_op, cancelled);
    op_init(&rig->close_op, ignore);
    struct ring *ring = rig->shards.shards[0].ring;
    do {
        rig->fd = ring_udp(ring, &rig->at);
    } while (rig->fd < 0);
    ring_recv(ring, &rig->recv_op, rig->fd);
    ring_wake(ring);
}

static void send_one(struct rig *rig, uint8_t number)
{
    struct ring *ring = rig->shards.shards[0].ring;
    rig->number = number;
    rig->iovec = (struct iovec){.iov_base = &rig->number, .iov_len = 1};
    ring_send(ring, &rig->send_op, rig->fd, &rig->iovec, 1);
    ring_wake(ring);
}

static void send_all(struct rig *rig)
{
    for (unsigned i = 0; i < COUNT && !sim_failed(rig->sim); i++) {
        send_one(rig, (uint8_t)i);
        (void)sim_run_for(rig->sim, 100 * NS_PER_MS);
    }
    (void)sim_run_for(rig->sim, 5 * NS_PER_S);
}

static void rig_end(struct rig *rig)
{
    struct ring *ring = rig->shards.shards[0].ring;
    rig->over = true;
    ring_cancel(ring, &rig->cancel_op, rig->fd);
    ring_wake(ring);
    (void)sim_run_for(rig->sim, 5 * NS_PER_S);
    sim_shards_stop(&rig->shards);
}

static unsigned missing(const struct rig *rig)
{
    unsigned count = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        count += rig->received[i] == 0;
    }
    return count;
}

static void without_faults_every_datagram_comes_once_and_in_order(void **state)
{
    (void)state;
    struct rig rig;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 1});
    rig_init(&rig, sim);
    (void)sim_udp_open(sim, &rig.at, echo, &rig);
    send_all(&rig);
    assert_int_equal(missing(&rig), 0);
    assert_int_equal(rig.late, 0);
    rig_end(&rig);
    assert_string_equal(sim_failure(sim), "");
    sim_close(sim);
}

static void chance_loses_doubles_and_overtakes(void **state)
{
    (void)state;
    struct rig rig;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 2});
    unsigned doubled = 0;
    sim_fault_set(sim, SIM_FAULT_datagram_lost, 100);
    sim_fault_set(sim, SIM_FAULT_datagram_twice, 100);
    sim_fault_set(sim, SIM_FAULT_delay, 500);
    rig_init(&rig, sim);
    (void)sim_udp_open(sim, &rig.at, echo, &rig);
    send_all(&rig);
    for (unsigned i = 0; i < COUNT; i++) {
        doubled += rig.received[i] > 1;
    }
    assert_in_range(missing(&rig), 1, COUNT / 2);
    assert_in_range(doubled, 1, COUNT / 2);
    assert_true(rig.late > 0);
    rig_end(&rig);
    assert_string_equal(sim_failure(sim), "");
    sim_close(sim);
}

static void where_nobody_is_a_refusal_comes_and_silence_says_nothing(void **state)
{
    (void)state;
    struct rig rig;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 3});
    rig_init(&rig, sim);
    send_all(&rig);
    assert_int_equal(missing(&rig), COUNT);
    assert_true(rig.refusals > 0);
    unsigned before = rig.refusals;
    sim_reach_set(sim, &rig.at, SIM_REACH_SILENT);
    send_all(&rig);
    assert_int_equal(rig.refusals, before);
    sim_reach_set(sim, &rig.at, SIM_REACH_NONE);
    assert_int_equal(ring_udp(rig.shards.shards[0].ring, &rig.at), -ENETUNREACH);
    rig_end(&rig);
    assert_string_equal(sim_failure(sim), "");
    sim_close(sim);
}

static void strangers_are_not_heard(void **state)
{
    (void)state;
    struct rig rig;
    struct sim *sim = sim_open(&(struct sim_options){.seed = 4});
    rig_init(&rig, sim);
    (void)sim_udp_open(sim, &rig.at, echo, &rig);
    struct endpoint local;
    struct endpoint stranger = sim_endpoint(98, 53);
    assert_int_equal(ring_local(rig.shards.shards[0].ring, rig.fd, &local), 0);
    sim_udp_send(sim, &stranger, &local, SLICE("\x07"));
    (void)sim_run_for(sim, NS_PER_S);
    assert_int_equal(rig.received[7], 0);
    sim_udp_send(sim, &rig.at, &local, SLICE("\x07"));
    (void)sim_run_for(sim, NS_PER_S);
    assert_int_equal(rig.received[7], 1);
    rig_end(&rig);
    assert_string_equal(sim_failure(sim), "");
    sim_close(sim);
}

static void any_faults(struct sim *sim, void *context)
{
    (void)context;
    struct rig rig;
    rig_init(&rig, sim);
    (void)sim_udp_open(sim, &rig.at, echo, &rig);
    for (unsigned i = 0; i < COUNT / 4 && !sim_failed(sim); i++) {
        if (op_idle(&rig.send_op)) {
            send_one(&rig, (uint8_t)i);
        }
        (void)sim_run_for(sim, sim_below(sim, 100 * NS_PER_MS));
    }
    rig_end(&rig);
}

static void whatever_happens_nothing_is_left_behind(void **state)
{
    (void)state;
    struct sim_campaign campaign = {
        .name = "datagrams", .count = 50, .swarm = SIM_FAULTS_ALL, .body = any_faults};
    assert_int_equal(sim_campaign_run(&campaign), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_faults_every_datagram_comes_once_and_in_order),
        cmocka_unit_test(chance_loses_doubles_and_overtakes),
        cmocka_unit_test(where_nobody_is_a_refusal_comes_and_silence_says_nothing),
        cmocka_unit_test(strangers_are_not_heard),
        cmocka_unit_test(whatever_happens_nothing_is_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
