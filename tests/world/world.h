/*
 * A whole MTA in the simulator, and the judge of it: scripted clients hand in mail, a scripted sink
 * takes it, the node between them is killed, cut off from power, stopped and started again, and a
 * ledger knows what was promised.
 *
 *   client   several connections; plain, pipelined or BDAT; goes away in the middle of things
 *   node     smtp/node.h over one simulated disk: 1 … 8 mail shards, small pools
 *   sink     answers 250, 4xx, 5xx, late, never or unasked, and drops connections at any stage
 *   notices  where notifications go that the clients ask for
 *   ledger   every message: how far it came, and what became of each recipient
 *
 * Messages are numbered; sender, recipients and body follow from the number, so a byte that changed
 * is noticed. A breach ends the run by sim_fail.
 */
#ifndef RINGPOST_TESTS_WORLD_WORLD_H
#define RINGPOST_TESTS_WORLD_WORLD_H

#include "smtp/node.h"
#include "tests/sim/sim.h"

#define WORLD_SETS_MAX       48
#define WORLD_SET_BYTES      192
#define WORLD_CLIENTS_MAX    16
#define WORLD_RECIPIENTS_MAX 16
#define WORLD_CRASHES_MAX    2048
#define WORLD_DOMAINS        3 /* d0.test … d2.test; "nowhere.test" has no route */
#define WORLD_SINKS          2
#define WORLD_RCPTS_MAX      32
#define WORLD_NOTICES_MAX    8
#define WORLD_SHARDS_MAX     8
#define WORLD_LANES_MAX      64 /* numbers of lanes; each is given once in the life of a spool */

/* Of a network that loses connections, not bytes. */
#define WORLD_FAULTS_NETWORK                                                                       \
    (SIM_FAULTS_HARMLESS | SIM_FAULT_BIT(reset) | SIM_FAULT_BIT(black_hole) |                      \
     SIM_FAULT_BIT(refuse) | SIM_FAULT_BIT(unreachable) | SIM_FAULT_BIT(connect_silence) |         \
     SIM_FAULT_BIT(no_descriptors) | SIM_FAULT_BIT(wall_jump))
/* Of a disk that stores in the end what it is given. */
#define WORLD_FAULTS_DISK (SIM_FAULTS_POWER | SIM_FAULT_BIT(slow_disk) | SIM_FAULT_BIT(job_refused))

/* What the node is in the middle of; several at once. */
enum world_phase {
    PHASE_START,    /* it does not listen yet: recovery */
    PHASE_ACCEPT,   /* a client is in a transaction */
    PHASE_COMMIT,   /* a group is being written */
    PHASE_DELIVERY, /* the sink is in a transaction */
    PHASE_OUTCOME,  /* an outcome is not durable */
    PHASE_CHECKPOINT,
    PHASE_REWRITE,  /* messages are written again elsewhere */
    PHASE_REST,     /* none of these */
    PHASES_COUNT,
};

/* --- ledger ----------------------------------------------------------------------------------- */

enum world_fate {
    FATE_NONE,    /* not offered */
    FATE_PARTIAL, /* begun; its end was never sent */
    FATE_SENT,    /* its end was sent, no answer read */
    FATE_TAKEN,   /* "250 … ids=" read */
    FATE_REFUSED, /* another answer read */
};

enum world_word { WORD_NONE, WORD_YES, WORD_NO };

/* Why a recipient got a message once more. */
enum world_cause {
    CAUSE_CRASH,     /* the final reply came too shortly before a crash, or not before it */
    CAUSE_BROKEN,    /* the same, and its outcome could not be stored: the disk refused */
    CAUSE_UNCERTAIN, /* the final reply was never read */
    CAUSES_COUNT,
};

struct world_recipient {
    uint8_t domain;
    uint8_t accepted;     /* enum world_word: the reply to its RCPT */
    bool heard;           /* the last delivery's reply was read: a command followed */
    bool cut;             /* else: a stop that does not wait cut connections meanwhile */
    bool expired;         /* the test says so */
    bool stubborn;        /* the sink defers it until the world settles */
    uint8_t rows;         /* of the node, at the last look */
    uint16_t attempts_stored; /* that no crash may take back */
    uint16_t delivered;   /* times the sink took it */
    uint16_t bounced;     /* times the sink answered 5xx */
    uint16_t attempts;    /* times the sink saw its RCPT */
    uint32_t conn;        /* of the last delivery */
    uint64_t taken_ns;    /* of the last delivery */
    uint64_t told_ns;     /* when its 250 was sent; 0: never */
    uint8_t notice_count; /* of it: notifications that were sent, … */
    uint64_t notices[WORLD_NOTICES_MAX]; /* … and what they are known by */
};

struct world_message {
    enum world_fate fate;
    uint32_t body_bytes;
    uint8_t recipient_count;
    bool may_come;        /* refused, and the node ended before it had said so on the disk */
    bool keyed;           /* injected with an Idempotency-Key: asked for until it is answered */
    bool apart;           /* each recipient has a message of its own */
    bool late;            /* refused because storing took too long: stored, and voided then */
    struct id id;         /* taken: of its first recipient, as the client was told */
    uint64_t content_bytes; /* as the sink had it, trace field included; 0: it never had */
    uint64_t refused_life; /* when the node began that refused it */
    uint64_t refused_commits[WORLD_SHARDS_MAX]; /* there were then */
    struct world_recipient recipients[WORLD_RECIPIENTS_MAX];
};

/* What happened in one run, or in all of a campaign. Nothing but counters. */
struct world_tally {
    uint64_t taken;
    uint64_t refused;
    uint64_t unanswered;
    uint64_t partial;
    uint64_t deliveries;
    uint64_t bounces;
    uint64_t no_room;       /* replies 452 */
    uint64_t deferrals;     /* by the sink */
    uint64_t drops;         /* connections, by the sink */
    uint64_t unasked;       /* replies to no command, by the sink */
    uint64_t hurried;       /* mail taken whose late 250 came with a 421 behind it */
    uint64_t large;         /* bodies that were spilled, taken */
    uint64_t duplicates[CAUSES_COUNT];
    uint64_t uncertain;     /* recipients of which the node said so, in all lives */
    uint64_t crashes;
    uint64_t power_cuts;    /* of the crashes */
    uint64_t broken;        /* crashes because a lane stored nothing any more */
    uint64_t phases[PHASES_COUNT]; /* crashes in it */
    uint64_t taken_recipients;
    uint64_t lost;          /* recipients of taken messages; only with `may_lose` */
    uint64_t looks;         /* at the rows */
    uint64_t rows;          /* seen there */
    uint64_t checkpoints;   /* durable, in all lives */
    uint64_t rewrites;      /* messages, the same */
    uint64_t commit_failures; /* the same */
    uint64_t events;        /* distinct, in the event log at the end */
    uint64_t events_repeated; /* copies of these */
    uint64_t events_rebound;  /* AdminRebinds among these */
    uint64_t events_unknown; /* whose message the disk did not give back */
    uint64_t events_replayed; /* made from the spool, in all lives */
    uint64_t events_behind; /* times that the event log could not keep up */
    uint64_t asked_again;   /* requests with a key */
    uint64_t notices;       /* recipients of whom their sender was told */
    uint64_t notices_doubled; /* once more, by another notification */
    uint64_t notices_repeated; /* by one that was delivered twice */
    uint64_t notices_dropped; /* that the node did not store, in all lives */
    uint64_t voided;        /* recipients of what a crash had left of such a request */
};

/* --- world ------------------------------------------------------------------------------------ */

enum sink_stage { STAGE_BANNER, STAGE_MAIL, STAGE_RCPT, STAGE_DATA, STAGE_DOT };

/* In a thousand chances, at each stage of a transaction. */
struct sink_mood {
    bool one_stage;     /* only at this one */
    enum sink_stage stage;
    unsigned defer;
    unsigned bounce;
    unsigned drop;
    unsigned slow;
    uint64_t slow_ns;   /* at most */
    unsigned unasked;   /* more is said than was asked, and the connection is of no use then */
    unsigned plain;     /* connections without PIPELINING and CHUNKING */
};

struct world_client {
    struct world *world;
    unsigned index;
    struct sim_peer *peer;
    uint32_t number;       /* message being handed in */
    uint32_t next;         /* … and the one after; its own, up to `end` */
    uint32_t end;
    unsigned mode;
    unsigned life;         /* crashes before its connection was opened */
    bool talking;          /* a message has begun */
    bool quitting;
    bool http;             /* it injects; else it speaks SMTP */
    bool done;
    unsigned left;         /* messages on this connection */
    uint64_t progress_ns;
    unsigned expected_count;
    uint8_t expected[4 * WORLD_RECIPIENTS_MAX + 16]; /* replies to come, oldest first */
    unsigned rcpt_at;      /* recipient of the next reply to RCPT */
};

struct world {
    struct sim *sim;
    struct sim_disk *disk;
    struct sim_node *process;
    struct conf *conf;
    struct node node;
    bool running;
    struct turner {
        struct world *world;
        unsigned index;
    } turners[SHARDS_MAX];

    /* set before world_open */
    unsigned shards;
    uint64_t memory_bytes;
    struct sink_mood mood;
    unsigned injected;      /* connections of clients that inject over HTTP, in a thousand */
    unsigned keyed;         /* requests with a key, in a thousand; then all clients inject */
    unsigned aborts;        /* clients leave in the middle of a message: in a thousand */
    uint64_t think_ns;      /* between messages, at most */
    uint32_t body_bytes_max;
    unsigned large;         /* bodies of any size up to that, in a thousand; most are below 6 KB */
    unsigned recipients_max;
    unsigned domains;       /* that recipients have: the first of them */
    unsigned stubborn;      /* recipients whom the sink defers until the end, in a thousand */
    unsigned bounced_domains; /* a bit for each whose mail an operator may bounce */
    bool notifies;          /* clients ask for notifications, which are judged; not those of HTTP */
    bool rebinds;           /* an operator may give mail another campaign */
    bool lossy;             /* the network may lose the last reply */
    bool may_lose;
    bool refused_may_come;  /* a lane broke: it could not write that what it refused is void */
    const char *conf_file;  /* that a reload reads, on the disk; null: none */
    unsigned sets_kept;     /* over it a reload has so many of `sets` */
    unsigned set_count;
    const char *sets[WORLD_SETS_MAX];
    char set_texts[WORLD_SETS_MAX][WORLD_SET_BYTES];

    struct world_message *messages;
    uint32_t message_count;
    struct world_client clients[WORLD_CLIENTS_MAX];
    unsigned client_count;
    struct sim_listener *listeners[WORLD_SINKS];
    struct list notice_conns; /* struct notice_conn */
    struct list conns;      /* struct sink_conn, all there ever were */
    uint32_t conn_count;
    /* The test's: a recipient was taken, from there; null: nobody asks. */
    void (*taken_from)(struct world *world, const struct endpoint *from);
    void *watcher;          /* the test's own */
    unsigned sink_open;     /* connections at the sink now */
    unsigned sink_open_max;
    unsigned sink_busy;     /* of these, in a transaction */
    uint32_t taken_recipients; /* acknowledged so far */
    uint64_t rcpts_ns[WORLD_RCPTS_MAX]; /* when the sink heard the first RCPT commands */
    unsigned rcpt_count;
    struct world_crash {
        uint64_t at_ns;
        uint32_t conn_count; /* the sink had met by then */
        uint64_t window_ns; /* what was delivered in it before may come again */
        bool broken;        /* a write had failed since the start */
    } crashes[WORLD_CRASHES_MAX];
    unsigned crash_count;
    uint64_t window_ns;     /* of a crash, at least */
    uint64_t segment_bytes; /* 0: as configured; smaller than that may be */
    uint64_t settle_ns;     /* for the mail that is left at the end; 2 hours */
    uint64_t started_ns;    /* this life of the node */
    unsigned shards_least;  /* of all lives */
    unsigned shards_most;
    uint64_t spool_uuid;    /* 0: not known yet */
    struct world_tally tally;
    char log_line[512];     /* the node's last */
};

/* A world with defaults: 1 shard, 4 MiB of blocks, 2 MiB segments, retry after 1 … 4 s. */
void world_init(struct world *world, struct sim *sim);
/* One more configuration value, before world_open; later ones win. */
void world_set(struct world *world, const char *format, ...) PRINTF(2, 3);
/* Delivery gives up on a silent peer after seconds, not minutes. */
void world_short_timeouts(struct world *world);
/* The event log is flushed from at once to hardly, and its files may end early. */
void world_log_vary(struct world *world);
/* Loads the configuration, makes disk and sink. Nothing runs yet. */
void world_open(struct world *world);
/* Everything goes, whatever state it is in. */
void world_close(struct world *world);

/* Starts the process. */
void world_boot(struct world *world);
/* Boots, and runs until the node listens. False: the run failed. */
bool world_start(struct world *world);
/* The process ends at once, by a kill or for want of power. */
void world_crash(struct world *world, bool power);
/* The crash that a lane is waiting for that stores nothing any more, as a supervisor does it. */
bool world_broken(const struct world *world);
/* Is the node in this phase now? */
bool world_phase(const struct world *world, enum world_phase phase);
const char *world_phase_name(enum world_phase phase);
/*
 * Rows against the ledger, while the node is ready: one for every recipient that was promised and
 * has no end, none for one that has; attempts only grow.
 */
void world_rows_check(struct world *world);
/* A clean stop: runs until it is over, checks that nothing is left, frees the node. */
void world_stop(struct world *world, unsigned level);
/* The end of a stop that was asked for. */
void world_stopped(struct world *world);

/* `count` messages more, handed in by `clients` connections beginning within `within_ns`; when all
 * there are have finished, by the same ones. */
void world_mail(struct world *world, unsigned clients, uint32_t count, uint64_t within_ns);
/* A dialogue of its own: says each line after the reply to the one before; all replies, in text. */
void world_talk(struct world *world, const char *const *lines, char *text, size_t capacity);
/* A request to inject on a connection of its own; the whole answer, in text. */
void world_inject(struct world *world, const char *json, char *text, size_t capacity);
/* Clients are done. */
bool world_handed_in(void *context);
/* Clients are done and no row is left. */
bool world_drained(void *context);
uint32_t world_rows(const struct world *world);
/* From here on no faults, no bad mood; runs until drained and judges. */
void world_settle(struct world *world);
/* Every promise about mail was kept, at the end of a run. */
void world_judge(struct world *world);
/*
 * The same about events, after a clean stop with nothing left: every recipient that was taken has
 * one Reception, a TransientFailure for each attempt that was stored, and one end, in this order
 * and under ids of their own; what stands there twice is the same to the byte; everything is as
 * the client said and the sink saw it; and of what was not taken there is nothing.
 */
void world_events_judge(struct world *world);
/* The end of a good run: settles, judges the mail, stops, judges the events. */
void world_finish(struct world *world);
void world_tally_print(const struct world_tally *tally);
void world_tally_add(struct world_tally *sum, const struct world_tally *tally);
/* Every line of the event log on the disk, file by file in the order of their names. */
typedef void world_log_line(void *context, unsigned file, struct slice line);
void world_log_read(struct world *world, world_log_line *line, void *context);
/* The same as one text; the caller frees it. */
char *world_log(struct world *world);
/* How often a segment file was begun again, by the numbers in their first pages. */
uint64_t world_segments_reused(struct world *world);
uint64_t world_counter(const struct world *world, enum counter counter);

/* --- for its parts ---------------------------------------------------------------------------- */

/* The body of a message; the caller frees it. */
uint8_t *world_body(const struct world *world, uint32_t number);
void world_client_start(void *client);
/* Its connection is over, or a message on it is. */
void world_client_gone(struct world_client *client);
void world_client_over(struct world_client *client);
/* What a client says that injects, and what it hears. */
#define WORLD_INJECTED "Subject: injected\r\n\r\n" /* stands before the body of the message */
void world_http_begin(struct world_client *client);
void world_http_event(struct world_client *client);
/* Its connection is gone without a word. */
void world_client_cut(struct world_client *client);
/* A client that has waited too long gives its connection up. */
void world_client_watch(struct world_client *client);
void world_sink_open(struct world *world);
void world_sink_cut(struct world *world);
void world_sink_free(struct world *world);
/* The end of a RCPT command: what this recipient's sender wants to be told. */
const char *world_notify_word(uint32_t number, unsigned index);
void world_notices_open(struct world *world);
void world_notices_cut(struct world *world);
void world_notices_free(struct world *world);
/* When all mail has ended. */
void world_notices_judge(struct world *world);
/* May it end without the sink: it has expired, or an operator may have bounced it? */
bool world_may_end(const struct world *world, const struct world_recipient *recipient);
/* Why may the node know of a recipient that the sink has taken? CAUSES_COUNT: it may not. */
enum world_cause world_cause_of(struct world *world, const struct world_recipient *recipient);
/* The client was told that it is not taken, by the life of the node it had connected to. */
void world_refused(struct world *world, struct world_message *message, unsigned life);
/* What the node counted in the life that ends, into the tally. */
void world_counts_add(struct world *world);
/* This life of the node ends at once: what follows from it for the ledger. */
void world_life_over(struct world *world);
/* The same of a stop that does not wait: replies on their way to it were not read. */
void world_life_cut(struct world *world);
/* … and of a disk that has refused commits of it: what they had is as after a crash. */
void world_life_broken(struct world *world);
/* The sink has a whole message for a recipient; false: it must not have it. `conn` 0: it had been
 * on its way when its process ended. */
bool world_delivered(struct world *world, uint32_t number, unsigned recipient, uint32_t conn);

#endif
