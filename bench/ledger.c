#include "bench/ledger.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

FILE *ledger_open(const char *path, struct buf *reason_out)
{
    FILE *ledger = fopen(path, "ae");
    if (ledger == NULL) {
        buf_printf(reason_out, "%s: %s", path, strerror(errno));
        return NULL;
    }
    (void)setvbuf(ledger, NULL, _IOLBF, 0);
    return ledger;
}

bool ledger_close(FILE *ledger, const char *path)
{
    if (ledger == NULL) {
        return true;
    }
    bool good = ferror(ledger) == 0;
    good = fclose(ledger) == 0 && good;
    if (!good) {
        fprintf(stderr, "ringpost-bench: %s: could not be written\n", path);
    }
    return good;
}

/* A peer chose these bytes: what would end a line, or a word of it, is a question mark. */
static void put_text(FILE *ledger, struct slice text, uint8_t lowest)
{
    for (size_t i = 0; i < text.size; i++) {
        bool plain = text.data[i] >= lowest && text.data[i] != 0x7f &&
                     (lowest == ' ' || text.data[i] != ',');
        fputc(plain ? text.data[i] : '?', ledger);
    }
}

void ledger_put_entry(FILE *ledger, const struct ledger_entry *entry)
{
    fprintf(ledger, "%" PRIu64 " %016" PRIx64 " %" PRIu64 " %" PRIu64 " ", entry->number,
            entry->hash, entry->begun_ns, entry->ended_ns);
}

void ledger_put_recipient(FILE *ledger, unsigned index, struct slice address)
{
    if (index > 0) {
        fputc(',', ledger);
    }
    put_text(ledger, address, ' ' + 1);
}

void ledger_put_reply(FILE *ledger, unsigned code, struct slice text)
{
    fprintf(ledger, " %u ", code);
    put_text(ledger, text, ' ');
}

void ledger_put_end(FILE *ledger)
{
    fputc('\n', ledger);
}
