/* What the files of the simulator share. Nobody else includes it. */
#ifndef RINGPOST_TESTS_SIM_SIM_INTERNAL_H
#define RINGPOST_TESTS_SIM_SIM_INTERNAL_H

#include "core/check.h"
#include "core/list.h"
#include "core/prng.h"
#include "tests/sim/sim.h"

#define SIM_SECTOR       512u
#define SIM_PAGE         4096u
#define SIM_PAGE_SECTORS (SIM_PAGE / SIM_SECTOR)
#define SIM_FIRST_FD     3

/* Something that will happen: embedded, in the world's heap while set. */
struct sim_event {
    uint64_t at_ns;
    uint64_t sequence;
    unsigned position; /* in the heap, from 1; 0 = not set */
    void (*run)(struct sim *sim, struct sim_event *event);
};

struct sim_block {
    uint8_t address[16];
    enum sim_reach reach;
};

struct sim {
    struct prng prng;
    uint64_t seed;
    uint64_t now_ns;
    int64_t wall_offset_ns;
    bool small_jumps; /* of the wall clock: an hour at most */
    uint64_t hash;
    uint64_t event_sequence;
    struct sim_event **heap; /* from index 1 */
    unsigned heap_count;
    unsigned heap_capacity;
    uint16_t rates[SIM_FAULTS_COUNT];
    uint64_t counts[SIM_FAULTS_COUNT];
    uint32_t window_bytes;
    uint16_t next_port;
    unsigned next_host;
    bool verbose;
    bool failed;
    char failure[256];
    struct list nodes;
    struct list disks;
    struct list listeners;
    struct list sockets;
    struct list datagrams; /* on their way */
    struct list udps;      /* scripted ends of datagrams */
    struct list peers;
    struct list later;
    struct list rings; /* all open rings, in order of opening */
    struct sim_block blocks[16];
    unsigned block_count;
};

enum sim_file_kind {
    SIM_FILE_FREE,
    SIM_FILE_SOCKET,
    SIM_FILE_LISTENER,
    SIM_FILE_DISK,
    SIM_FILE_SPARE,
};

/* An open descriptor of a node. */
struct sim_file {
    enum sim_file_kind kind;
    int fd;
    struct sim_node *node;
    struct list requests; /* in flight on it, oldest first */
    struct sim_socket *socket;
    struct sim_listener *listener;
    struct sim_inode *inode;
    char name[32]; /* last part of the path it was opened by, cut */
    bool direct;
    bool writable;
    bool locked;
};

struct sim_node {
    struct list link;
    struct sim *sim;
    struct sim_disk *disk;
    unsigned host;
    struct sim_file **files; /* by descriptor - SIM_FIRST_FD */
    unsigned file_count;
    struct work *work;
    struct list rings;
};

enum sim_request_kind {
    SIM_ACCEPT,
    SIM_CONNECT,
    SIM_RECV,
    SIM_SEND,
    SIM_CANCEL,
    SIM_CLOSE,
    SIM_READ,
    SIM_WRITE,
    SIM_SYNC,
    SIM_DEFER,
};

/* The kernel's side of one op. */
struct sim_request {
    struct sim_event event;
    struct list link;      /* ring: submitted, or in flight */
    struct list file_link; /* in its file, while not ended */
    struct ring *ring;
    struct op *op;
    struct sim_file *file;
    enum sim_request_kind kind;
    const struct op *target; /* cancel: only this one; null: all on the descriptor */
    bool ended;   /* its last completion is made */
    bool applied; /* write: the disk has it */
    bool durable;
    const struct iovec *iovecs;
    unsigned count;
    uint8_t *data;
    uint64_t offset;
    uint64_t size;      /* bytes asked for */
    uint64_t size_stop; /* bytes after which it completes */
    uint64_t size_done;
    struct endpoint endpoint;
    uint64_t visible_ns; /* of its latest completion */
    unsigned late;       /* completions not yet visible */
};

struct sim_cqe {
    struct sim_event event;
    struct list link; /* ring: visible, or collected, or free */
    struct sim_request *request;
    int32_t result;
    uint16_t flags;
    uint16_t buffer;
};

struct ring {
    struct list world_link;
    struct list node_link;
    struct sim *sim;
    struct sim_node *node;
    struct ring_options options;
    struct ring_counts counts;
    struct list queued;    /* requests since the last turn */
    struct list in_flight; /* requests */
    struct list visible;   /* completions to collect */
    struct list collected; /* completions to dispatch */
    struct list late;      /* completions not yet visible */
    struct list free_cqes;
    struct list free_requests;
    unsigned visible_count;
    uint8_t **buffers; /* each made when it is taken for the first time */
    uint16_t *buffers_free;
    bool *buffer_taken;
    struct ring_note *buffer_notes;
    unsigned buffers_free_count;
    unsigned buffers_waiting; /* in completions nobody has seen */
    void (*turn)(void *context);
    void *context;
    uint64_t sleep_until_ns;
    uint64_t stalled_until_ns;
    bool woken;
};

/* Bytes towards one socket. */
struct sim_pipe {
    struct sim_event event; /* the next arrival */
    uint8_t *data;
    uint32_t capacity;
    uint32_t first;
    uint32_t size;    /* bytes in it */
    uint32_t arrived; /* of these, readable */
    bool fin;
    bool fin_arrived;
};

struct sim_socket {
    struct list link;    /* world */
    struct list backlog; /* listener, until accepted */
    struct sim *sim;
    struct sim_file *file; /* or */
    struct sim_peer *peer; /* whose it is; neither while in a backlog */
    struct sim_socket *other;
    struct sim_pipe in;
    struct list datagrams; /* arrived, not received */
    struct sim_event break_event;
    struct sim_event connect_event;
    struct endpoint local;
    struct endpoint remote;
    uint32_t window;
    int32_t error; /* broken: what the next operations say */
    int32_t error_next; /* what break_event does: break with this, or 0: go silent */
    bool open;
    bool connecting;
    bool silent;   /* nothing arrives at it any more */
    bool shut;     /* no receive any more */
    bool finished; /* no send any more */
    bool datagram; /* of ring_udp; it has no other end */
    bool refused;  /* datagram: the next operation hears that nobody is there */
    struct sim_request *recv;
    struct sim_request *send;
    struct sim_request *connect;
};

struct sim_listener {
    struct list link;
    struct sim *sim;
    struct endpoint endpoint;
    struct sim_node *node; /* null: scripted */
    struct sim_file *file;
    struct sim_request *accept;
    struct list backlog;
    unsigned backlog_count;
    unsigned backlog_max;
    sim_peer_event *event;
    void *context;
    bool closed;
};

struct sim_peer {
    struct list link;
    struct sim *sim;
    struct sim_socket *socket; /* null when ended */
    enum sim_peer_state state;
    sim_peer_event *event;
    void *context;
    void *tag;
    struct endpoint remote;
    uint8_t *out;
    size_t out_size;
    size_t out_capacity;
    bool finishing;
    bool closed;
    struct sim_event notify;
};

struct sim_page {
    struct list link; /* inode's dirty pages */
    uint64_t index;
    uint8_t *old;     /* durable content of its dirty sectors */
    uint8_t dirty;    /* bit per sector */
    uint8_t poisoned; /* a sync failed: no later sync writes it */
    uint8_t data[SIM_PAGE];
};

struct sim_inode {
    struct list link;
    struct sim_disk *disk;
    uint64_t size;
    uint64_t size_durable;
    struct sim_page **pages;
    uint64_t page_count;
    struct list dirty;
    unsigned names; /* current names */
    unsigned opens;
    unsigned mode;
    struct sim_node *locker;
    uint64_t locked_until_ns; /* a killed process's lock; 0: free */
};

/* A name in a table of names: the current one or the durable one. */
struct sim_name {
    struct list link;
    struct sim_inode *inode; /* null: a directory */
    char path[];
};

/* A directory change that is not durable yet. Removes `path`, then names `inode` `path_to`. */
struct sim_change {
    struct list link;
    char *remove; /* or null */
    char *add;    /* or null */
    struct sim_inode *inode;
};

struct sim_disk {
    struct list link;
    struct sim *sim;
    uint64_t bytes;
    uint64_t latency_ns;
    uint32_t alignment;
    bool read_only;
    bool writes_fail;
    bool syncs_fail;
    bool reads_fail;
    struct list inodes;
    struct list names;
    struct list names_durable;
    struct list changes;
};

/* sim.c */
void sim_event_set(struct sim *sim, struct sim_event *event, uint64_t delay_ns);
void sim_event_clear(struct sim *sim, struct sim_event *event);
bool sim_fault(struct sim *sim, enum sim_fault fault);
/* Log-uniform: mostly short, seldom near `ns_max`. */
uint64_t sim_delay(struct sim *sim, uint64_t ns_max);
void *sim_memory(size_t size);
struct sim_file *sim_file_open(struct sim_node *node, enum sim_file_kind kind);
struct sim_file *sim_file_find(struct sim_node *node, int fd);
void sim_file_free(struct sim_file *file);

/* sim_ring.c */
void sim_complete(struct sim_request *request, int32_t result, uint16_t flags, uint16_t buffer);
/* The last completion. */
void sim_end(struct sim_request *request, int32_t result);
/* A free provided buffer, or -1. */
int sim_buffer_take(struct ring *ring);
/* The kernel's write into a buffer that is not the application's yet. */
void sim_buffer_fill(struct ring *ring, int buffer, const void *bytes, size_t size);
bool sim_ring_ready(const struct ring *ring);
/* Collects what is visible and calls the actor. */
void sim_ring_run(struct ring *ring);
void sim_ring_free(struct ring *ring);

/* sim_net.c */
void sim_socket_accept(struct sim_request *request);
void sim_socket_connect(struct sim_request *request);
void sim_socket_recv(struct sim_request *request);
void sim_socket_send(struct sim_request *request);
void sim_socket_cancel(struct sim_request *request);
/* Lets go of a socket: FIN or RST to the other side, or nothing when the power went. */
void sim_socket_close(struct sim_socket *socket, bool silent);
void sim_socket_free(struct sim_socket *socket);
void sim_listener_drop(struct sim_listener *listener, bool silent);
struct sim_socket *sim_socket_new(struct sim *sim);
/* Begins to connect to socket->remote; its owner hears how it went. */
void sim_connect_start(struct sim_socket *socket);
/* What the receiving side has room for goes from the socket's owner into the other's pipe. */
void sim_pump(struct sim_socket *socket);
/* Owner of `socket` has taken bytes off: the sender may go on. */
void sim_pipe_consume(struct sim_socket *socket, uint32_t count);
uint32_t sim_pipe_put(struct sim_socket *to, const uint8_t *bytes, size_t size);
void sim_socket_finish(struct sim_socket *socket);
/* Both ends, this one at once. */
void sim_socket_reset(struct sim_socket *socket);

enum sim_reach sim_reach_find(const struct sim *sim, const struct endpoint *address);

/* sim_udp.c */
/* To a receive on the socket goes what has arrived. */
void sim_datagram_recv_pump(struct sim_socket *socket);
void sim_datagram_send(struct sim_request *request);
void sim_datagrams_free(struct sim *sim, struct list *datagrams);
void sim_udps_free(struct sim *sim);

/* sim_peer.c */
void sim_peer_changed(struct sim_peer *peer);
struct sim_peer *sim_peer_accept(struct sim_listener *listener, struct sim_socket *socket);
void sim_peer_pump(struct sim_peer *peer);
void sim_peer_free(struct sim_peer *peer);

/* sim_disk.c */
void sim_file_read(struct sim_request *request);
void sim_file_write(struct sim_request *request);
void sim_file_sync(struct sim_request *request);
void sim_disk_free(struct sim_disk *disk);
/* A write in flight when its process or machine ended: none, some or all of it lands. */
void sim_write_abandon(struct sim_request *request);
void sim_disk_power_cut(struct sim_disk *disk);
/* After a kill: what a failed sync left unwritten may be gone from the cache. */
void sim_disk_evict(struct sim_disk *disk);
uint64_t sim_disk_delay(struct sim_disk *disk);

/* sim_names.c: paths are made canonical by the caller (sim_path) */
#define SIM_PATH_MAX 256
/* Without "./", doubled and trailing slashes. False when it is too long. */
bool sim_path(const char *path, char out[SIM_PATH_MAX]);
struct sim_name *sim_name_find(struct sim_disk *disk, const char *path);
bool sim_parent_exists(struct sim_disk *disk, const char *path);
void sim_name_add(struct sim_disk *disk, const char *path, struct sim_inode *inode);
void sim_name_remove(struct sim_disk *disk, const char *path);
void sim_name_move(struct sim_disk *disk, const char *path, const char *path_to);
/* Everything done to names of the directory that holds `path` is durable. */
void sim_parent_sync(struct sim_disk *disk, const char *path);
void sim_names_power_cut(struct sim_disk *disk);
void sim_names_free(struct sim_disk *disk);

/* sim_disk.c, for jobs */
struct sim_inode *sim_inode_new(struct sim_disk *disk);
/* Applied, not durable. */
void sim_inode_write(struct sim_inode *inode, uint64_t offset, const void *data, uint64_t size);
void sim_inode_read(const struct sim_inode *inode, uint64_t offset, void *data, uint64_t size);
void sim_inode_sync(struct sim_inode *inode);
void sim_inode_poison(struct sim_inode *inode);
void sim_inode_truncate(struct sim_inode *inode);
/* Bytes that may still be written to the file system. */
uint64_t sim_disk_space(struct sim_disk *disk);

/* sim_work.c */
void sim_work_free(struct work *work);
bool sim_work_idle(const struct work *work);

#endif
