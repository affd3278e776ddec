/* DATA and BDAT: the content, and what is wrong with it at its true end. */
#include "smtp/server_cmd.h"

#include "core/check.h"
#include "smtp/limits.h"

static void refuse_content(struct server_session *session, enum verb verb, const char *reply,
                           struct buf *replies)
{
    struct slice line = verb == VERB_BDAT ? SLICE("BDAT") : SLICE("DATA");
    server_refuse(session, verb, line, slice_from_string(reply), replies);
}

/* The content is whole: it goes to the spool, or is refused and forgotten. */
static void end_content(struct server_session *session, enum verb verb, struct buf *replies)
{
    const char *reply =
        content_refusal(&session->transaction.content, session->options->received_max);
    if (reply == NULL) {
        server_set_state(session, SERVER_COMMITTING);
        return;
    }
    refuse_content(session, verb, reply, replies);
    server_forget_transaction(session);
}

/* Before the first octet; for each further chunk, too. */
static void begin_content(struct server_session *session)
{
    const struct server_options *options = session->options;
    transaction_begin_content(&session->transaction, options->message_bytes_max, options->labels);
    content_pick(&session->transaction.content, options->header_names);
}

void server_data(struct server_session *session, const struct command *command,
                 struct buf *replies)
{
    (void)command;
    begin_content(session);
    server_set_state(session, SERVER_DATA);
    server_accept("354 Send the message, then CR LF dot CR LF", replies);
}

void server_take_data(struct server_session *session, struct slice *input, struct buf *replies)
{
    if (content_data(&session->transaction.content, input)) {
        end_content(session, VERB_DATA, replies);
    }
}

/* A chunk that was refused is over: its octets are gone, here is the answer. */
static void end_refused_chunk(struct server_session *session, struct buf *replies)
{
    struct server_chunk *chunk = &session->chunk;
    refuse_content(session, VERB_BDAT, chunk->refusal, replies);
    if (session->state == SERVER_CLOSED) {
        return;
    }
    server_set_state(session, chunk->after);
    if (chunk->after == SERVER_READY) {
        transaction_reset(&session->transaction);
    }
}

/* RFC 3030 3: a chunk that fails ends the transaction; those sent after it get 503. */
static void end_chunk(struct server_session *session, struct buf *replies)
{
    const struct server_chunk *chunk = &session->chunk;
    struct content *content = &session->transaction.content;
    if (chunk->refusal != NULL) {
        end_refused_chunk(session, replies);
        return;
    }
    if (chunk->last) {
        content_bdat_end(content);
        end_content(session, VERB_BDAT, replies);
        return;
    }
    const char *reply = content_fault_reply(content->fault);
    if (reply != NULL) {
        refuse_content(session, VERB_BDAT, reply, replies);
        server_forget_transaction(session);
        return;
    }
    server_set_state(session, SERVER_CHUNKS);
    buf_put(replies, SLICE("250 2.0.0 "));
    buf_put_u64(replies, chunk->size);
    buf_put(replies, SLICE(" octets received\r\n"));
}

void server_take_chunk(struct server_session *session, struct slice *input, struct buf *replies)
{
    struct server_chunk *chunk = &session->chunk;
    size_t count = (size_t)MIN_OF(chunk->left, input->size);
    if (chunk->refusal == NULL) {
        content_bdat(&session->transaction.content, slice_first(*input, count));
    }
    *input = slice_skip(*input, count);
    chunk->left -= count;
    if (chunk->left == 0) {
        end_chunk(session, replies);
    }
}

/* Why the octets of a chunk that may come now are to be thrown away; null when they are not. */
static const char *chunk_reply(struct server_session *session, bool valid, uint64_t size)
{
    struct transaction *transaction = &session->transaction;
    if (!valid) {
        return "501 5.5.4 The form is BDAT octets or BDAT octets LAST";
    }
    transaction->chunks++;
    if (transaction->chunks > SERVER_CHUNKS_MAX) {
        return "421 4.7.0 Too many chunks";
    }
    begin_content(session);
    const struct content *content = &transaction->content;
    CHECK(content->size <= session->options->message_bytes_max);
    return size > session->options->message_bytes_max - content->size
               ? content_fault_reply(CONTENT_TOO_LARGE)
               : NULL;
}

void server_bdat(struct server_session *session, const struct command *command, bool legal,
                 struct buf *replies)
{
    struct server_chunk chunk = {.after = legal ? SERVER_READY : session->state};
    bool sized;
    bool valid = command_chunk(command->argument, &sized, &chunk.size, &chunk.last);
    if (!sized) {
        server_refuse_command(session, command,
                              "501 5.5.4 The form is BDAT octets or BDAT octets LAST", replies);
        /* Octets of unknown number may follow, and they must not be read as commands. */
        server_set_state(session, SERVER_CLOSED);
        return;
    }
    chunk.refusal = legal ? chunk_reply(session, valid, chunk.size)
                          : "503 5.5.1 Bad sequence of commands";
    chunk.left = chunk.size;
    session->chunk = chunk;
    server_set_state(session, SERVER_BDAT);
    if (chunk.left == 0) {
        end_chunk(session, replies);
    }
}
