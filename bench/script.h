/*
 * Rules that make a sink misbehave on purpose, one a line:
 *
 *   STAGE PATTERN [times=N] [delay=MS] [chance=P%] ACTION
 *
 *   STAGE    connect ehlo mail rcpt data dot quit; dot: the end of content, by DATA or BDAT
 *   PATTERN  * | domain | *.domain | user@domain | user@* | *@domain, of MAIL's or RCPT's address;
 *            at data and dot of any accepted recipient
 *   times    the rule counts for its first N matches; without it always
 *   delay    before the answer, milliseconds
 *   ACTION   a reply ("451 4.7.1 later"; "\n" in it begins a further line), or
 *            drop  close the connection without an answer
 *            hang  never answer again
 *            pass  answer as usual (with a delay)
 *
 * The first rule that matches counts. Empty lines and those that begin with # are skipped.
 * A reply 421 closes the connection. Pure; read at start, then one owner.
 */
#ifndef RINGPOST_BENCH_SCRIPT_H
#define RINGPOST_BENCH_SCRIPT_H

#include "core/buf.h"
#include "core/prng.h"

#define SCRIPT_RULES_MAX 256
#define SCRIPT_REPLY_MAX 512

enum script_stage {
    STAGE_CONNECT,
    STAGE_EHLO,
    STAGE_MAIL,
    STAGE_RCPT,
    STAGE_DATA,
    STAGE_DOT,
    STAGE_QUIT,
    STAGE_COUNT,
};

enum script_action { ACTION_PASS, ACTION_REPLY, ACTION_DROP, ACTION_HANG };

struct script_rule {
    enum script_stage stage;
    enum script_action action;
    bool limited;
    uint64_t times; /* left, when limited */
    uint32_t delay_ms;
    uint32_t chance_per_mille;
    uint16_t pattern_bytes;
    uint16_t reply_bytes;
    uint8_t pattern[320];
    uint8_t reply[SCRIPT_REPLY_MAX]; /* with line ends */
};

struct script {
    struct script_rule *rules; /* owned */
    unsigned count;
};

/* Allocates. False with the line and what is wrong in `reason_out`. */
MUST_USE bool script_read(struct script *script, struct slice text, struct buf *reason_out);
void script_fini(struct script *script);

/* Does `address`, without angle brackets, match? "" is the null reverse-path: only * matches. */
bool script_pattern_matches(struct slice pattern, struct slice address);

/*
 * The rule for this stage; null for none. `addresses` are NUL-ended, one after another; none at all
 * stands for one that only * matches. Counts against `times`.
 */
struct script_rule *script_match(struct script *script, enum script_stage stage,
                                 struct slice addresses, struct prng *prng);

#endif
