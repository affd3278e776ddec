/* `ringpost spool …`: a look into the spool of a server that is stopped. */
#ifndef RINGPOST_TOOLS_CMD_SPOOL_H
#define RINGPOST_TOOLS_CMD_SPOOL_H

#include "core/json.h"
#include "tools/spool_checkpoint.h"
#include "tools/spool_reader.h"

/* Arguments from the verb on; returns the exit code. */
int cmd_spool(int count, char **arguments);

#define SPOOL_TEXT_BYTES (256 * KIB)

/* What was asked for, and how it is said. */
struct spool_run {
    const char *path;
    bool as_json;
    bool one_lane;
    bool one_segment;
    bool one_message;
    uint64_t lane;
    uint64_t segment;
    struct id message;
    const char *domain; /* null: all */
    uint64_t seconds;   /* of a measurement */
    struct spool_reader reader; /* open, but for a measurement */
    uint64_t read_bytes;
    uint64_t total_bytes; /* of all to be read, about; 0: not known */
    uint64_t told_ns;     /* when progress was told last */
    uint64_t damages;
    bool found;         /* the message that was asked for */
    struct buf text;      /* room for a line of output */
    uint8_t bytes[SPOOL_TEXT_BYTES];
};

/* The parts of the verb; each returns the exit code. */
int spool_check(struct spool_run *run);
int spool_dump(struct spool_run *run);
int spool_list(struct spool_run *run);
int spool_measure(struct spool_run *run);

/* Calls `work` for every lane that was asked for. False, said on stderr: one cannot be read. */
bool spool_run_lanes(struct spool_run *run,
                     void (*work)(struct spool_run *run, struct spool_lane *lane));
/* Progress on stderr: on a terminal now and then, elsewhere every 10 s. */
void spool_run_progress(struct spool_run *run, uint64_t bytes);
/* One damage, as a line on stdout; `what` is plain. Counted. */
void spool_run_damage(struct spool_run *run, unsigned lane, uint32_t segment, uint64_t offset,
                      const char *what);
/* The same for checkpoints that cannot be used, and for segments of adopted lanes that are gone. */
void spool_run_begin_damage(struct spool_run *run, const struct spool_lane *lane,
                            const struct spool_begin *begin);
/* The same for what a parser says: LOG_DAMAGE or LOG_NEWER. */
void spool_run_item_damage(struct spool_run *run, unsigned lane, const struct log_item *item);

/* A JSON object for one line of output; spool_run_json_end writes it. */
void spool_run_json(struct spool_run *run, struct json *json, const char *type);
void spool_run_json_end(struct spool_run *run, struct json *json);
void spool_json_text(struct json *json, const char *key, struct slice text);
void spool_json_number(struct json *json, const char *key, uint64_t value);
void spool_json_id(struct json *json, const struct id *id);

#endif
