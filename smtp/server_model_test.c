/*
 * S-90: random dialogues, legal and illegal, against a second opinion on the state table: the model
 * below, written from RFC 5321, 1870, 3030 and 6531 and not from the session. Both must give the
 * same codes and accept the same envelopes with the same content.
 *
 * MODEL_STEPS: commands to try (200,000); MODEL_SEED: to repeat a run.
 */
#include "smtp/server_session.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/prng.h"
#include "tests/kit/server_dialogue.h"

#define MESSAGE_BYTES_MAX 200
#define RECIPIENTS_MAX    3
#define POOL_BYTES        (4ull * MIB)

/* ------------------------------------------------------------------------------ the model */

enum model_state {
    MODEL_START,
    MODEL_IDLE,
    MODEL_SENDER,
    MODEL_RECIPIENTS,
    MODEL_CHUNKS,
    MODEL_GONE,
};

struct model {
    enum model_state state;
    bool extended;
    bool utf8;
    bool trusted;
    unsigned errors;
    unsigned junk;
    unsigned recipients;
    size_t body_bytes;
    char body[MESSAGE_BYTES_MAX + 1];
    char envelope[256];
    /* What the session should have said and taken. */
    char replies[512];
    char accepted[2048];
};

static void model_reset(struct model *model)
{
    model->recipients = 0;
    model->body_bytes = 0;
    model->envelope[0] = 0;
    model->utf8 = false;
    if (model->state != MODEL_START) {
        model->state = MODEL_IDLE;
    }
}

static void model_reply(struct model *model, unsigned code)
{
    size_t size = strlen(model->replies);
    snprintf(model->replies + size, sizeof(model->replies) - size, "%u\n", code);
    if (code >= 500 && !model->trusted) {
        model->errors++;
    }
    if (code == 421 || code == 221) {
        model->state = MODEL_GONE;
    }
}

/* Every command begins here. False when it is not to be looked at any more. */
static bool model_command(struct model *model, bool junk)
{
    if (model->state == MODEL_GONE) {
        return false;
    }
    if (model->errors >= 20 || model->junk >= 100) {
        model_reply(model, 421);
        return false;
    }
    model->junk += junk && !model->trusted;
    return true;
}

static void model_hello(struct model *model, bool extended, bool valid)
{
    if (!model_command(model, true)) {
        return;
    }
    if (valid) {
        model->state = MODEL_IDLE;
        model_reset(model);
        model->extended = extended;
    }
    model_reply(model, valid ? 250 : 501);
}

/* `code` is the answer to a MAIL in its place; parameters are refused after HELO. */
static void model_mail(struct model *model, const char *sender, unsigned code, bool has_params,
                       bool utf8)
{
    if (!model_command(model, false)) {
        return;
    }
    if (model->state != MODEL_IDLE) {
        code = 503;
    } else if (has_params && !model->extended) {
        code = 555;
    }
    if (code == 250) {
        model->state = MODEL_SENDER;
        model->utf8 = utf8;
        snprintf(model->envelope, sizeof(model->envelope), "%s", sender);
    }
    model_reply(model, code);
}

static void model_rcpt(struct model *model, const char *recipient, unsigned code, bool needs_utf8)
{
    if (!model_command(model, false)) {
        return;
    }
    if (model->state != MODEL_SENDER && model->state != MODEL_RECIPIENTS) {
        code = 503;
    } else if (code != 501 && code != 555 && needs_utf8 && !model->utf8) {
        code = 553;
    } else if (code != 501 && code != 555 && model->recipients == RECIPIENTS_MAX) {
        code = 452;
    }
    if (code == 250) {
        size_t size = strlen(model->envelope);
        snprintf(model->envelope + size, sizeof(model->envelope) - size, "%c%s",
                 model->recipients == 0 ? '>' : ',', recipient);
        model->recipients++;
        model->state = MODEL_RECIPIENTS;
    }
    model_reply(model, code);
}

static void model_accept(struct model *model)
{
    size_t size = strlen(model->accepted);
    model->body[model->body_bytes] = 0;
    if (model->body_bytes > DIALOGUE_BODY_SHOWN) {
        snprintf(model->accepted + size, sizeof(model->accepted) - size, "%s#%zu\n",
                 model->envelope, model->body_bytes);
    } else {
        snprintf(model->accepted + size, sizeof(model->accepted) - size, "%s=%s\n",
                 model->envelope, model->body);
    }
    model->errors = 0;
    model->junk = 0;
    model_reset(model);
    model_reply(model, 250);
}

/* True when the client may send content. */
static bool model_data(struct model *model)
{
    if (!model_command(model, false)) {
        return false;
    }
    bool legal = model->state == MODEL_RECIPIENTS;
    model_reply(model, legal ? 354 : 503);
    return legal;
}

/* Content: by DATA all of it, by BDAT one chunk. `flawed`: it has a bare CR or LF. */
static void model_content(struct model *model, const char *bytes, bool flawed, bool last)
{
    size_t size = strlen(bytes);
    bool too_large = model->body_bytes + size > MESSAGE_BYTES_MAX;
    if (too_large || flawed) {
        model_reset(model);
        model_reply(model, too_large ? 552 : 550);
        return;
    }
    memcpy(model->body + model->body_bytes, bytes, size);
    model->body_bytes += size;
    if (last) {
        model_accept(model);
        return;
    }
    model->state = MODEL_CHUNKS;
    model_reply(model, 250);
}

static void model_bdat(struct model *model, const char *bytes, bool flawed, bool last)
{
    if (!model_command(model, false)) {
        return;
    }
    if (model->state != MODEL_RECIPIENTS && model->state != MODEL_CHUNKS) {
        model_reply(model, 503);
        return;
    }
    model_content(model, bytes, flawed, last);
}

/* BDAT whose octets nobody can count: the dialogue is over. */
static void model_bdat_malformed(struct model *model)
{
    if (model_command(model, false)) {
        model_reply(model, 501);
        model->state = MODEL_GONE;
    }
}

static void model_simple(struct model *model, unsigned code, bool junk, bool resets)
{
    if (!model_command(model, junk)) {
        return;
    }
    if (resets) {
        model_reset(model);
    }
    model_reply(model, code);
}

/* ----------------------------------------------------------------- the client that misbehaves */

struct client {
    struct prng prng;
    struct model model;
    char bytes[4096]; /* of this batch */
    size_t size;
};

static void client_write(struct client *client, const char *text)
{
    size_t size = strlen(text);
    assert_true(client->size + size < sizeof(client->bytes));
    memcpy(client->bytes + client->size, text, size);
    client->size += size;
}

/* A body of whole lines, perhaps with a flaw; some look like commands or end marks. */
static bool make_body(struct client *client, char *body, size_t lines)
{
    static const char *const good[] = {"hi\r\n", "QUIT\r\n", ".\r\n", "..\r\n", "\r\n",
                                       "RCPT TO:<evil@d.test>\r\n", "DATA\r\n"};
    static const char *const flawed[] = {"a\nb\r\n", "a\rb\r\n", "\n.\r\n", "\r.\r\n"};
    bool flaw = false;
    body[0] = 0;
    for (size_t i = 0; i < lines; i++) {
        bool bad = prng_chance(&client->prng, 40);
        const char *line = bad ? flawed[prng_below(&client->prng, COUNT_OF(flawed))]
                               : good[prng_below(&client->prng, COUNT_OF(good))];
        strncat(body, line, 64);
        flaw = flaw || bad;
    }
    return flaw;
}

static void client_hello(struct client *client)
{
    static const struct {
        const char *line;
        bool extended;
        bool valid;
    } rows[] = {
        {"EHLO c.test\r\n", true, true},     {"ehlo [IPv6:::1]\r\n", true, true},
        {"HELO c.test\r\n", false, true},    {"EHLO\r\n", true, false},
        {"HELO a..b\r\n", false, false},     {"EHLO a b\r\n", true, false},
        {"EHLO c.test \r\n", true, true},
    };
    size_t i = prng_below(&client->prng, COUNT_OF(rows));
    client_write(client, rows[i].line);
    model_hello(&client->model, rows[i].extended, rows[i].valid);
}

static void client_mail(struct client *client)
{
    static const struct {
        const char *line;
        const char *sender;
        unsigned code;
        bool has_params;
        bool utf8;
    } rows[] = {
        {"MAIL FROM:<a@b.test>\r\n", "a@b.test", 250, false, false},
        {"MAIL FROM:<>\r\n", "", 250, false, false},
        {"mail from:<A@B> SIZE=100 RET=FULL ENVID=x\r\n", "A@b", 250, true, false},
        {"MAIL FROM:<a@b> BODY=8BITMIME SMTPUTF8\r\n", "a@b", 250, true, true},
        {"MAIL FROM:<\xC3\xA9@b> SMTPUTF8\r\n", "\xC3\xA9@b", 250, true, true},
        {"MAIL FROM:<\xC3\xA9@b>\r\n", "", 550, false, false},
        {"MAIL FROM:<a@b> SIZE=201\r\n", "", 552, true, false},
        {"MAIL FROM:<a@b> AUTH=<>\r\n", "", 555, true, false},
        {"MAIL FROM:<a@b> RET=NONE\r\n", "", 501, true, false},
        {"MAIL FROM:<a@b> BODY=X\r\n", "", 501, true, false},
        {"MAIL FROM:<a>\r\n", "", 501, false, false},
        {"MAIL FROM:a@b\r\n", "", 501, false, false},
        {"MAIL FROM:<a@denied.test>\r\n", "", 550, false, false},
        {"MAIL FROM:<a@full.test>\r\n", "", 452, false, false},
    };
    size_t i = prng_chance(&client->prng, 700) ? prng_below(&client->prng, 5)
                                               : prng_below(&client->prng, COUNT_OF(rows));
    client_write(client, rows[i].line);
    model_mail(&client->model, rows[i].sender, rows[i].code, rows[i].has_params, rows[i].utf8);
}

static void client_rcpt(struct client *client)
{
    static const struct {
        const char *line;
        const char *recipient;
        unsigned code;
        bool needs_utf8;
    } rows[] = {
        {"RCPT TO:<u@d.test>\r\n", "u@d.test", 250, false},
        {"RCPT TO:<\"a@b\"@D.test>\r\n", "\"a@b\"@d.test", 250, false},
        {"RCPT TO:<@r:v@[192.0.2.1]>\r\n", "v@[192.0.2.1]", 250, false},
        {"rcpt to:<postmaster>\r\n", "postmaster", 250, false},
        {"RCPT TO:<\xC3\xA9@d>\r\n", "\xC3\xA9@d", 250, true},
        {"RCPT TO:<u@denied.test>\r\n", "", 550, false},
        {"RCPT TO:<u@later.test>\r\n", "", 451, false},
        {"RCPT TO:<>\r\n", "", 501, false},
        {"RCPT TO:<u@d:25>\r\n", "", 501, false},
        {"RCPT TO:<u@d> X-Y=1\r\n", "", 555, false},
        {"RCPT TO:<u@d> NOTIFY==\r\n", "", 501, false},
    };
    size_t i = prng_chance(&client->prng, 700) ? prng_below(&client->prng, 5)
                                               : prng_below(&client->prng, COUNT_OF(rows));
    client_write(client, rows[i].line);
    model_rcpt(&client->model, rows[i].recipient, rows[i].code, rows[i].needs_utf8);
}

static void client_data(struct client *client)
{
    char body[1024];
    client_write(client, "DATA\r\n");
    if (!model_data(&client->model)) {
        return;
    }
    bool flaw = make_body(client, body, prng_below(&client->prng, 12));
    for (const char *line = body; *line != 0;) {
        const char *next = strstr(line, "\r\n") + 2;
        char text[80];
        snprintf(text, sizeof(text), "%s%.*s", *line == '.' ? "." : "", (int)(next - line), line);
        client_write(client, text);
        line = next;
    }
    client_write(client, ".\r\n");
    model_content(&client->model, body, flaw, true);
}

static void client_bdat(struct client *client)
{
    static const char *const malformed[] = {"BDAT\r\n", "BDAT x\r\n", "BDAT -1\r\n",
                                            "BDAT 18446744073709551616\r\n"};
    char body[1024];
    char line[64];
    if (prng_chance(&client->prng, 20)) {
        client_write(client, malformed[prng_below(&client->prng, COUNT_OF(malformed))]);
        model_bdat_malformed(&client->model);
        return;
    }
    bool last = prng_chance(&client->prng, 400);
    bool flaw = make_body(client, body, prng_below(&client->prng, 6));
    snprintf(line, sizeof(line), "BDAT %zu%s\r\n", strlen(body), last ? " LAST" : "");
    client_write(client, line);
    client_write(client, body);
    model_bdat(&client->model, body, flaw, last);
}

static void client_other(struct client *client)
{
    static const struct {
        const char *line;
        unsigned code;
        bool junk;
        bool resets;
    } rows[] = {
        {"RSET\r\n", 250, true, true},       {"RSET x\r\n", 501, true, false},
        {"NOOP\r\n", 250, true, false},      {"NOOP x\r\n", 250, true, false},
        {"VRFY u\r\n", 252, true, false},    {"VRFY\r\n", 501, true, false},
        {"HELP\r\n", 502, true, false},      {"STARTTLS\r\n", 502, true, false},
        {"XYZZY\r\n", 500, true, false},     {"\r\n", 500, true, false},
        {"NOOP\n", 500, true, false},        {"RSET\rRSET\r\n", 500, true, false},
        {"DATA x\r\n", 0, false, false},     {"QUIT\r\n", 221, false, false},
        {"GET / HTTP/1.1\r\n", 421, false, false},
    };
    size_t i = prng_below(&client->prng, COUNT_OF(rows));
    if (rows[i].code == 421 && client->model.state != MODEL_GONE) {
        client_write(client, rows[i].line);
        model_reply(&client->model, 421);
        return;
    }
    unsigned code = rows[i].code;
    if (code == 0) {
        code = client->model.state == MODEL_RECIPIENTS ? 501 : 503;
    }
    client_write(client, rows[i].line);
    model_simple(&client->model, code, rows[i].junk, rows[i].resets);
}

static void client_step(struct client *client)
{
    uint64_t dice = prng_below(&client->prng, 100);
    if (dice < 12 || (client->model.state == MODEL_START && dice < 80)) {
        client_hello(client);
    } else if (dice < 35) {
        client_mail(client);
    } else if (dice < 60) {
        client_rcpt(client);
    } else if (dice < 72) {
        client_data(client);
    } else if (dice < 88) {
        client_bdat(client);
    } else {
        client_other(client);
    }
}

static void assert_same(const struct client *client, struct slice seen, const char *expected,
                        const char *what, uint64_t seed)
{
    if (!slice_equal(seen, slice_from_string(expected))) {
        fail_msg("seed %llu: %s are\n%.*sexpected\n%safter\n%.*s", (unsigned long long)seed, what,
                 (int)seen.size, (const char *)seen.data, expected, (int)client->size,
                 client->bytes);
    }
}

/* The codes of the summary, a line each. */
static struct slice summary_codes(const struct dialogue *dialogue, struct buf *codes)
{
    struct slice rest = buf_slice(&dialogue->summary);
    while (rest.size > 0) {
        size_t end = slice_find(rest, '\n');
        buf_put(codes, slice_first(rest, 3));
        buf_put_byte(codes, '\n');
        rest = slice_skip(rest, end + 1);
    }
    return buf_slice(codes);
}

/* One connection, until it is over or has had 200 commands, which it counts. */
static uint64_t run_connection(struct block_pool *pool, uint64_t seed, uint64_t *messages)
{
    static const size_t pieces[] = {0, 0, 0, 1, 2, 3, 7, 64};
    struct client client = {0};
    struct dialogue dialogue;
    uint64_t steps = 0;
    prng_seed(&client.prng, seed);
    dialogue_init(&dialogue, pool);
    client.model.trusted = prng_chance(&client.prng, 500);
    dialogue.options.trusted = client.model.trusted;
    dialogue.options.message_bytes_max = MESSAGE_BYTES_MAX;
    dialogue.options.recipients_max = RECIPIENTS_MAX;
    dialogue_greet(&dialogue);
    while (steps < 200 && client.model.state != MODEL_GONE) {
        uint8_t memory[512];
        struct buf codes;
        uint64_t batch = 1 + prng_below(&client.prng, 5);
        client.size = 0;
        client.model.replies[0] = 0;
        client.model.accepted[0] = 0;
        dialogue_clear_logs(&dialogue);
        for (uint64_t i = 0; i < batch; i++) {
            client_step(&client);
        }
        dialogue_send(&dialogue, slice_make(client.bytes, client.size),
                      pieces[prng_below(&client.prng, COUNT_OF(pieces))]);
        buf_init(&codes, memory, sizeof(memory));
        assert_same(&client, summary_codes(&dialogue, &codes), client.model.replies, "replies",
                    seed);
        assert_same(&client, buf_slice(&dialogue.accepted), client.model.accepted, "messages",
                    seed);
        assert_int_equal(dialogue.closed, client.model.state == MODEL_GONE);
        steps += batch;
    }
    *messages += dialogue.messages;
    dialogue_fini(&dialogue);
    return steps;
}

static uint64_t number_from_environment(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);
    uint64_t value = otherwise;
    if (text != NULL && !slice_parse_u64(slice_from_string(text), &value)) {
        fail_msg("%s is no number", name);
    }
    return value;
}

static void s90_random_dialogues_agree_with_the_model(void **state)
{
    (void)state;
    uint64_t steps_wanted = number_from_environment("MODEL_STEPS", 200000);
    uint64_t seed = number_from_environment("MODEL_SEED", 1);
    uint64_t steps = 0;
    uint64_t messages = 0;
    struct block_pool *pool = block_pool_open(POOL_BYTES);
    assert_non_null(pool);
    printf("MODEL_SEED=%llu\n", (unsigned long long)seed);
    for (; steps < steps_wanted; seed++) {
        steps += run_connection(pool, seed, &messages);
    }
    printf("%llu commands, %llu messages, last seed %llu\n", (unsigned long long)steps,
           (unsigned long long)messages, (unsigned long long)(seed - 1));
    /* A client that hardly ever gets through would prove little. */
    assert_true(messages > steps / 50);
    block_pool_close(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(s90_random_dialogues_agree_with_the_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
