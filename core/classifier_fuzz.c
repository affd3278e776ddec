/*
 * Any bytes as a file of rules: rules or errors, never a crash; and what is taken judges any text,
 * itself included, the same way twice.
 */
#include "core/classifier.h"

#include <string.h>

#include "core/check.h"
#include "core/conf.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_input(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    (void)reason_out;
    *bytes_out = strcmp(path, "rules.toml") == 0
                     ? *(const struct slice *)context
                     : SLICE("bounce_classifier.files = [\"rules.toml\"]");
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    uint8_t text[4096];
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = "t.toml",
        .hostname = SLICE("box.test"),
        .read = read_input,
        .read_context = &bytes,
    };
    buf_init(&messages.text, text, sizeof(text));
    struct conf *conf = conf_load(&input, &messages);
    CHECK((conf == NULL) == (messages.errors > 0));
    for (size_t i = 0; i < messages.text.size; i++) {
        CHECK(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7F));
    }
    if (conf != NULL && conf->classifier != NULL) {
        struct patterns_scratch *scratch = patterns_scratch_open(conf->classifier->patterns);
        struct slice label = classifier_label(conf->classifier, scratch, bytes);
        struct slice again = classifier_label(conf->classifier, scratch, bytes);
        CHECK(label.size > 0 && label.size <= CLASSIFIER_LABEL_BYTES_MAX);
        CHECK(slice_equal(label, again));
        patterns_scratch_close(scratch);
    }
    conf_free(conf);
    return 0;
}
