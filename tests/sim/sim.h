/*
 * The simulated seam: shard/ring.h and shard/work.h over one seed, virtual time, a network and
 * disks that misbehave. One thread. The same seed gives the same run: everything random comes from
 * the world's generator, and nothing depends on addresses or on the clock.
 *
 *   sim         the world: time, events, faults, trace hash, the verdict
 *   sim_disk    a file system that outlives processes
 *   sim_node    a process: descriptors, rings, workers; can be killed and started again
 *   sim_peer    a scripted client or server on the network, outside any shard
 *   sim_udp     the same for datagrams
 *
 * A node's rings are opened with ring_options.world = its sim_node (work_open likewise) and get an
 * actor: what runs when the ring wakes, usually shard_turn. ring_turn never blocks here: it notes
 * how long the actor may sleep and returns; the world calls the actor again. The clock moves
 * between turns, so a shard must read it at the beginning of a turn.
 *
 * What the code under test does against the contract of the seam (submitting an op that is not
 * idle, closing a descriptor with operations in flight, giving a buffer twice, …) ends the run as a
 * failure: sim_failed says so, every runner stops, sim_failure has the first reason and the seed.
 */
#ifndef RINGPOST_TESTS_SIM_SIM_H
#define RINGPOST_TESTS_SIM_SIM_H

#include "core/endpoint.h"
#include "core/slice.h"
#include "shard/ring.h"

struct sim;
struct sim_node;
struct sim_disk;
struct sim_peer;
struct sim_listener;
struct sim_udp;

/* name, the highest rate a swarm run uses, in a thousand chances */
#define SIM_FAULTS(X)                                                                              \
    X(late_completion, 300)   /* a completion becomes visible up to 50 ms after the fact */        \
    X(slow_turn, 200)         /* a shard that could run does not, up to 20 ms */                   \
    X(split, 500)             /* bytes arrive or are received in small pieces, down to one */      \
    X(delay, 200)             /* bytes on the way take up to 500 ms */                             \
    X(small_window, 300)      /* a connection whose buffers hold 1 … 512 bytes */                  \
    X(reset, 100)             /* a connection is broken at some moment */                          \
    X(black_hole, 50)         /* a connection goes silent at some moment; times out in minutes */  \
    X(refuse, 100)            /* connect: refused */                                               \
    X(unreachable, 50)        /* connect: no route */                                              \
    X(connect_silence, 50)    /* connect: no answer, times out after 130 s */                      \
    X(source_missing, 30)     /* socket: the source address is not ours */                         \
    X(no_descriptors, 30)     /* socket and accept: EMFILE */                                      \
    X(accept_aborted, 100)    /* accept: ECONNABORTED */                                           \
    X(multishot_end, 100)     /* a multishot ends with a success */                                \
    X(no_buffers, 100)        /* receive: ENOBUFS though there is one */                           \
    X(interrupted, 50)        /* EINTR or EAGAIN as a result of send, receive, accept */           \
    X(short_send, 300)        /* send: fewer bytes than asked */                                   \
    X(cancel_loses, 500)      /* a cancelled operation does its work all the same */               \
    X(short_write, 200)       /* file write or read: fewer bytes than asked, whole sectors */      \
    X(short_read, 100)                                                                             \
    X(slow_disk, 100)         /* a file operation takes 100 ms … 10 s */                           \
    X(read_error, 30)         /* EIO */                                                            \
    X(write_error, 30)                                                                             \
    X(sync_error, 30)         /* EIO; what was unsynced never becomes durable by a later sync */   \
    X(no_space, 30)           /* ENOSPC though there is room */                                    \
    X(slow_job, 100)          /* a worker's step takes up to 2 s */                                \
    X(job_refused, 30)        /* work_submit: the class is full */                                 \
    X(lock_lingers, 300)      /* a lock outlives its killed process by up to a second */           \
    X(wall_jump, 20)          /* the wall clock jumps up to an hour, seldom ten years */           \
    X(sector_lost, 600)       /* at a power cut: an unsynced sector has its old content */         \
    X(sector_torn, 100)       /* … has some of each */                                             \
    X(sector_junk, 300)       /* … has anything, when its file had ended before it */              \
    X(name_lost, 500)         /* … an unsynced directory change did not happen, nor later ones */  \
    X(datagram_lost, 300)                                                                          \
    X(datagram_twice, 200)

enum sim_fault {
#define SIM_FAULT_ENUM(name, rate) SIM_FAULT_##name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
    SIM_FAULTS_COUNT
};

#define SIM_FAULT_BIT(name) (1ull << SIM_FAULT_##name)
#define SIM_FAULTS_ALL      ((1ull << SIM_FAULTS_COUNT) - 1)
/* Those under which a connection still carries every byte, in order. */
#define SIM_FAULTS_HARMLESS                                                                        \
    (SIM_FAULT_BIT(late_completion) | SIM_FAULT_BIT(slow_turn) | SIM_FAULT_BIT(split) |            \
     SIM_FAULT_BIT(delay) | SIM_FAULT_BIT(small_window) | SIM_FAULT_BIT(multishot_end) |           \
     SIM_FAULT_BIT(no_buffers) | SIM_FAULT_BIT(interrupted) | SIM_FAULT_BIT(short_send) |          \
     SIM_FAULT_BIT(cancel_loses) | SIM_FAULT_BIT(short_write) | SIM_FAULT_BIT(short_read) |        \
     SIM_FAULT_BIT(slow_job) | SIM_FAULT_BIT(lock_lingers) | SIM_FAULT_BIT(accept_aborted))

/* What a power cut always decides by chance, also when no fault is enabled. */
#define SIM_FAULTS_POWER                                                                           \
    (SIM_FAULT_BIT(sector_lost) | SIM_FAULT_BIT(sector_torn) | SIM_FAULT_BIT(sector_junk) |        \
     SIM_FAULT_BIT(name_lost))

struct sim_options {
    uint64_t seed;
    uint64_t swarm; /* faults of which this run enables a random subset at random rates; 0: none */
    bool verbose;   /* print the failure when it happens */
};

/* --- world ------------------------------------------------------------------------------------ */

struct sim *sim_open(const struct sim_options *options);
/* Frees everything the world made, rings and workers that were not closed included. */
void sim_close(struct sim *sim);

uint64_t sim_seed(const struct sim *sim);
uint64_t sim_now_ns(const struct sim *sim);
/* Random numbers of the run, for what a test chooses. */
uint64_t sim_below(struct sim *sim, uint64_t bound);
bool sim_chance(struct sim *sim, unsigned per_mille);
/* Over every event and result so far. */
uint64_t sim_hash(const struct sim *sim);
/* Adds something of the test's own to the hash. */
void sim_trace(struct sim *sim, uint64_t value);

/* Sets one fault's rate, in a thousand chances. */
void sim_fault_set(struct sim *sim, enum sim_fault fault, unsigned per_mille);
unsigned sim_fault_rate(const struct sim *sim, enum sim_fault fault);
/* No more faults from here on: progress must follow. */
void sim_faults_stop(struct sim *sim);
/* Every further connection's buffer size; 0 goes back to 64 KiB. */
void sim_window_set(struct sim *sim, uint32_t bytes);
/* How often the fault has struck. */
uint64_t sim_fault_count(const struct sim *sim, enum sim_fault fault);
const char *sim_fault_name(enum sim_fault fault);
void sim_wall_jump(struct sim *sim, int64_t by_ns);
/* The fault wall_jump: never ten years, for runs in which nothing may expire. */
void sim_wall_jumps_small(struct sim *sim);

/* The first failure of this run wins; the run is over. */
void sim_fail(struct sim *sim, const char *format, ...) PRINTF(2, 3);
bool sim_failed(const struct sim *sim);
const char *sim_failure(const struct sim *sim);

/* --- running ---------------------------------------------------------------------------------- */

typedef bool sim_done(void *context);

/* One event or one turn of one actor. False when nothing is left to happen, or the run failed. */
bool sim_step(struct sim *sim);
/* Until done(context). False when `limit_ns` of virtual time went by first, or the run failed. */
bool sim_run_until(struct sim *sim, sim_done *done, void *context, uint64_t limit_ns);
/* False when the run failed. */
bool sim_run_for(struct sim *sim, uint64_t duration_ns);
/* Until no event is left and every actor sleeps; timers of actors do not count. */
bool sim_run_idle(struct sim *sim, uint64_t limit_ns);
/* Calls `run` in the world's time, once. */
void sim_after(struct sim *sim, uint64_t delay_ns, void (*run)(void *context), void *context);

/*
 * A campaign: `body` for the seeds SEED, SEED + 1, … (environment, default 1), COUNT of them
 * (default `count`), each in a world of its own. Prints every failing seed (at most 10), and the
 * totals of every fault when COUNT is set. Returns the number of failed runs.
 */
typedef void sim_body(struct sim *sim, void *context);
struct sim_campaign {
    const char *name;
    unsigned count;
    uint64_t swarm;
    sim_body *body;
    void *context;
    uint64_t totals[SIM_FAULTS_COUNT]; /* out */
    bool quiet;                        /* failures are expected: only count them */
};
unsigned sim_campaign_run(struct sim_campaign *campaign);

/* --- nodes ------------------------------------------------------------------------------------ */

/* A process on a machine of its own; `disk` may be null, and may be shared with other nodes. */
struct sim_node *sim_node_open(struct sim *sim, struct sim_disk *disk);
struct sim *sim_node_sim(struct sim_node *node);
/* What runs when the ring wakes. Without one, the test itself calls ring_turn and ring_dispatch. */
void sim_actor_set(struct ring *ring, void (*turn)(void *context), void *context);
/*
 * SIGKILL: rings and workers are gone, operations in flight may or may not have landed, connections
 * end as the kernel ends them. The test frees what the shards held. Open again on the same node.
 */
void sim_node_kill(struct sim_node *node);
/* The machine loses power: peers hear nothing, and the disk forgets as it may. */
void sim_node_power_cut(struct sim_node *node);
/* True when rings and workers are closed, and no descriptor is open; else says what is left. */
bool sim_node_idle(struct sim_node *node, const char **what_out);
unsigned sim_node_descriptors(const struct sim_node *node);
/* Writes and syncs in flight on files whose names begin like this. */
unsigned sim_node_writing(const struct sim_node *node, const char *name);
/* Every provided buffer of the ring is the ring's, and nothing is in flight. */
bool sim_ring_idle(const struct ring *ring, const char **what_out);

/* --- network ---------------------------------------------------------------------------------- */

/* 10.0.x.y of host number x * 256 + y; nodes have the hosts 1, 2, … in order of opening. */
struct endpoint sim_endpoint(unsigned host, uint16_t port);
struct endpoint sim_node_endpoint(const struct sim_node *node, uint16_t port);

/* What happens to connects to this address from now on (any port). */
enum sim_reach { SIM_REACH, SIM_REACH_REFUSED, SIM_REACH_NONE, SIM_REACH_SILENT };
void sim_reach_set(struct sim *sim, const struct endpoint *address, enum sim_reach reach);

enum sim_peer_state {
    SIM_PEER_CONNECTING,
    SIM_PEER_OPEN,
    SIM_PEER_EOF,     /* the other side has sent its last byte; ours may still go */
    SIM_PEER_ENDED,   /* reset, refused, timed out, or closed by both */
};

/* Bytes came, the state changed, or output has drained. May call everything but the runners. */
typedef void sim_peer_event(struct sim_peer *peer, void *context);

/* A listener outside any node. `event` and `context` are those of accepted peers. */
struct sim_listener *sim_peer_listen(struct sim *sim, const struct endpoint *endpoint,
                                     sim_peer_event *event, void *context);
void sim_listener_close(struct sim_listener *listener);
struct sim_peer *sim_peer_connect(struct sim *sim, const struct endpoint *from,
                                  const struct endpoint *to, sim_peer_event *event, void *context);
enum sim_peer_state sim_peer_state(const struct sim_peer *peer);
/* The endpoint of the other side. */
const struct endpoint *sim_peer_remote(const struct sim_peer *peer);
/* A pointer of the test's own, null at first. */
void *sim_peer_tag(const struct sim_peer *peer);
void sim_peer_tag_set(struct sim_peer *peer, void *tag);
/* Copies; goes out as the window allows. */
void sim_peer_send(struct sim_peer *peer, struct slice bytes);
size_t sim_peer_unsent(const struct sim_peer *peer);
struct slice sim_peer_input(const struct sim_peer *peer);
void sim_peer_consume(struct sim_peer *peer, size_t count);
/* FIN after what is unsent; input goes on. */
void sim_peer_finish(struct sim_peer *peer);
void sim_peer_reset(struct sim_peer *peer);
/* FIN, and nobody reads any more. No event follows; the handle stays valid until sim_close. */
void sim_peer_close(struct sim_peer *peer);

/* --- datagrams -------------------------------------------------------------------------------- */

/* One has come. May call everything but the runners. */
typedef void sim_udp_event(struct sim_udp *udp, const struct endpoint *from, struct slice bytes,
                           void *context);
/* Datagrams to `endpoint` come here. */
struct sim_udp *sim_udp_open(struct sim *sim, const struct endpoint *endpoint,
                             sim_udp_event *event, void *context);
void sim_udp_close(struct sim_udp *udp);
/* Copies. `from` may be a lie. */
void sim_udp_send(struct sim *sim, const struct endpoint *from, const struct endpoint *to,
                  struct slice bytes);

/* --- disks ------------------------------------------------------------------------------------ */

/* What the system of every simulated node is called. */
#define SIM_HOSTNAME "box.test"
struct sim_disk *sim_disk_open(struct sim *sim, uint64_t bytes);
/* 512 or 4096: what O_DIRECT demands of addresses, sizes and offsets. Default 512. */
void sim_disk_alignment_set(struct sim_disk *disk, uint32_t alignment);
void sim_disk_size_set(struct sim_disk *disk, uint64_t bytes);
void sim_disk_read_only_set(struct sim_disk *disk, bool read_only);
/* Every write / sync (a durable write's own included) / read fails with EIO while set. */
void sim_disk_failing_set(struct sim_disk *disk, bool writes, bool syncs, bool reads);
/* Every file operation takes this much longer. */
void sim_disk_latency_set(struct sim_disk *disk, uint64_t ns);

/* For tests, at once and without faults: durable directories and files; -errno as a result. */
int sim_disk_make_dir(struct sim_disk *disk, const char *path);
int sim_disk_put(struct sim_disk *disk, const char *path, struct slice bytes);
/* Bytes read, or -errno. `offset` and sizes are free of alignment. */
int64_t sim_disk_get(struct sim_disk *disk, const char *path, uint64_t offset, void *data,
                     size_t size);
int sim_disk_overwrite(struct sim_disk *disk, const char *path, uint64_t offset,
                       struct slice bytes);
int64_t sim_disk_file_size(struct sim_disk *disk, const char *path);
bool sim_disk_exists(struct sim_disk *disk, const char *path);
/* Names in a directory, sorted, NUL-ended, one after another; their count. */
unsigned sim_disk_list(struct sim_disk *disk, const char *path, char *names, size_t capacity);

#endif
