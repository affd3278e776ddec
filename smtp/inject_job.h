/*
 * One request of injection at work; between the inject_*.c files, nobody else includes it.
 *
 *   READING    the worker reads the body
 *   CLAIMING   the book is asked about its Idempotency-Key
 *   MAKING     the next message is made for its first recipient
 *   FEEDING    what was made goes through the content pass
 *   SPILLING   a piece of a large body is being stored
 *   GATHERING  more recipients of the same message
 *   WAITING    no room, or too many under way: until a message of its own has reached the disk, or,
 *              when all of those have, for a moment
 *   ENDING     all are made, and the last ones are on their way
 *   KEEPING    the answer goes into the book; then the rows that are held are due
 *   ANSWERING  the answer goes out
 */
#ifndef RINGPOST_SMTP_INJECT_JOB_H
#define RINGPOST_SMTP_INJECT_JOB_H

#include "smtp/inject.h"
#include "smtp/inject_message.h"
#include "smtp/spill.h"

enum inject_state {
    INJECT_MAKING,
    INJECT_FEEDING,
    INJECT_SPILLING,
    INJECT_GATHERING,
    INJECT_WAITING,
    INJECT_ENDING,
    INJECT_READING,
    INJECT_CLAIMING,
    INJECT_KEEPING,
    INJECT_ANSWERING,
};

/* How a request ends that is not carried out; `status` 0: it is. */
struct inject_refusal {
    unsigned status;
    uint32_t retry_after_s; /* of 503; 0: soon */
    struct inject_problem problem;
};

/* What became of a recipient. */
struct inject_outcome {
    const char *error; /* constant, or in the job's arena; null: none so far */
    struct id id;      /* of a message, at its first recipient */
    uint32_t count;    /* recipients of that message; 0: none begins here */
    bool is_content;   /* the error is one of the content */
};

/* A message on its way to the disk; of the pool. */
struct inject_put {
    struct inject_job *job;
    uint32_t first; /* recipients [first, end), without those that have an error */
    uint32_t end;
};

struct inject_job {
    struct inject *inject;          /* borrowed, like the exchange */
    struct http_exchange *exchange;
    struct list link;               /* in inject->ready while its state is ready, else in none */
    enum inject_state state;
    uint8_t *memory;                /* owned, metered: the arena's */
    struct arena arena;             /* the worker's while it reads, like all that is read */
    unsigned arena_factor;
    struct work_job reading;
    struct inject_refusal refusal;
    struct inject_request request;
    struct inject_templates templates;
    struct inject_problem problem;  /* of the first content that could not be made */
    bool is_shared;                 /* the content is the same for all recipients */
    struct inject_outcome *outcomes; /* one for each recipient */
    uint32_t next;                  /* recipient that is looked at next */
    uint32_t first;                 /* of the message in hand */
    uint32_t open;                  /* messages on their way */
    bool is_begun;                  /* one of them has been stored */
    uint64_t short_ns;              /* since when there is no room for the next; 0: there was */
    const char *last_error;
    /* The message in hand. */
    struct inject_put *put;         /* of the pool, for when it is stored */
    struct transaction transaction;
    struct conf_lease *lease;    /* what it looks for in the header stands there; null: nothing */
    uint8_t *rest;                  /* owned, metered: what is not fed yet */
    size_t rest_bytes;
    size_t rest_at;
    struct spill spill;
    struct timer again;             /* there was no room, for a message or for the answer */
    /* With an Idempotency-Key. */
    struct slice key;               /* empty: it has none */
    bool is_keyed;                  /* it is the first with this key */
    struct inject_ask ask;
    struct row_list held;           /* rows of what is stored, due when the answer is kept */
    uint8_t *kept;                  /* owned, metered: the answer, `kept_bytes` */
    size_t kept_bytes;
    /* The answer. */
    uint32_t answered;              /* recipients of the list that is being written */
    uint32_t successes;
    uint8_t answer_part;
    bool is_first;                  /* no element of that list stands there yet */
};

void inject_refuse(struct inject_refusal *refusal, unsigned status, const char *text);
/* Reads the body of a new job, now or in a while: then inject_job_was_read goes on. */
void inject_job_read(struct inject_job *job);
void inject_job_was_read(struct inject_job *job);
/* One step of the message in hand; the job is in a state that is ready. */
void inject_job_step(struct inject_job *job);
/* A piece of the body in hand is stored, or is not. */
void inject_job_spilled(struct spill *spill, bool kept);
/* The only one that changes the state: where that is one that is ready, the job takes its turn. */
void inject_job_set_state(struct inject_job *job, enum inject_state state);
/* The text as an error that lives as long as the job. */
const char *inject_job_error(struct inject_job *job, struct slice text);
/* All messages are home: answers, and ends. */
void inject_job_answer(struct inject_job *job);
/* The next part of the answer, as far as there is room; true at its end. */
bool inject_job_put_answer(struct inject_job *job, struct buf *room);
/* Is it the first with this key? Then it is begun. */
void inject_job_claim(struct inject_job *job);
/* All messages of a request with a key are home: the answer is kept, then given. */
void inject_job_keep(struct inject_job *job);
/* The answer, whether it was kept or not: to whoever asked, and the end. */
void inject_job_answer_now(struct inject_job *job);
/* Gives everything back. */
void inject_job_end(struct inject_job *job);

#endif
