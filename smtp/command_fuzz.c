/* Command lines and the parameters behind their paths: slices stay inside their line. */
#include "smtp/command.h"

#include "smtp/address.h"
#include "smtp/params.h"
#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_inside(struct slice part, struct slice whole)
{
    CHECK(part.data >= whole.data && part.data + part.size <= whole.data + whole.size);
}

/* What is kept can be said to the next server as it stands. */
static void check_dsn(const struct envelope_dsn *dsn, struct slice line)
{
    if (dsn->text.size > 0) {
        check_inside(dsn->text, line);
    }
    for (size_t i = 0; i < dsn->text.size; i++) {
        CHECK(dsn->text.data[i] > ' ' && dsn->text.data[i] != 0x7F);
    }
}

static void check_path(const struct command *command, struct slice keyword)
{
    struct slice path;
    struct slice rest;
    struct address address;
    struct mail_params params;
    struct envelope_dsn dsn;
    if (!command_path(command->argument, keyword, &path) ||
        !address_parse_path(path, true, &address, &rest)) {
        return;
    }
    check_inside(address.whole, command->line);
    check_inside(rest, command->line);
    if (params_parse_mail(rest, true, &params) == PARAMS_OK) {
        CHECK(params.size_given || params.size == 0);
        CHECK(params.dsn.text.size <= DSN_ENVID_BYTES_MAX);
        check_dsn(&params.dsn, command->line);
    }
    if (params_parse_rcpt(rest, true, &dsn) == PARAMS_OK) {
        CHECK(dsn.word <= ENVELOPE_NOTIFY_ALL && dsn.text.size <= DSN_ORCPT_BYTES_MAX);
        CHECK(dsn.word == ENVELOPE_NOTIFY_NEVER || (dsn.word & ENVELOPE_NOTIFY_NEVER) == 0);
        check_dsn(&dsn, command->line);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = slice_make(data, size);
    struct command command;
    enum command_fault fault = command_parse(line, &command);
    check_inside(command.line, line);
    check_inside(command.argument, line);
    CHECK(command.verb < VERB_COUNT);
    if (fault != COMMAND_OK) {
        return 0;
    }
    CHECK(slice_is_utf8(command.line));
    if (command.verb == VERB_MAIL) {
        check_path(&command, SLICE("FROM:"));
    } else if (command.verb == VERB_RCPT) {
        check_path(&command, SLICE("TO:"));
    } else if (command.verb == VERB_BDAT) {
        bool sized;
        bool last;
        uint64_t octets;
        bool valid = command_chunk(command.argument, &sized, &octets, &last);
        CHECK(sized || !valid);
    } else if (command.verb == VERB_XCLIENT) {
        struct xclient_params client;
        if (params_parse_xclient(command.argument, &client) == PARAMS_OK) {
            CHECK(client.has_port == (client.client.port != 0));
            CHECK(client.has_local_port == (client.local.port != 0));
        }
    }
    return 0;
}
