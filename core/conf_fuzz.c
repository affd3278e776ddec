/* Any bytes as the main file, as a --set, or as a file of traffic shaping, TOML or JSON: a
 * configuration or errors, never a crash. */
#include "core/conf.h"
#include "core/shaping.h"

#include <string.h>

#include "core/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool read_input(void *context, const char *path, struct slice *bytes_out,
                       struct buf *reason_out)
{
    if (strcmp(path, "f.toml") != 0 && strcmp(path, "f") != 0) {
        buf_put_string(reason_out, "no such file");
        return false;
    }
    *bytes_out = *(const struct slice *)context;
    return true;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice bytes = slice_make(data, size);
    char text[4096];
    char set[300];
    size_t set_size = size < sizeof(set) ? size : sizeof(set) - 1;
    const char *sets[] = {set};
    const char *const shaped[] = {"shaping.files=['f','f']", "shaping.default.max_ready=3",
                                  "shaping.default.max_ready=4"};
    struct conf_messages messages = {0};
    struct conf_input input = {
        .file = "f.toml",
        .hostname = SLICE("box.test"),
        .read = read_input,
        .read_context = &bytes,
        .sets = sets,
    };
    memcpy(set, data, set_size);
    set[set_size] = 0;
    buf_init(&messages.text, text, sizeof(text));
    for (unsigned round = 0; round < 3; round++) {
        input.file = round == 0 ? input.file : NULL;
        input.set_count = round < 2 ? round : COUNT_OF(shaped);
        input.sets = round < 2 ? sets : shaped;
        struct conf *conf = conf_load(&input, &messages);
        if (conf != NULL) {
            const struct conf_queue_key key = {
                .campaign = bytes, .tenant = bytes, .domain = SLICE("a.b.c")};
            struct queue_options options;
            conf_queue(conf, &key, &options);
            struct shaping_path path;
            CHECK(shaping_path_of(conf, bytes, bytes, &path)->max_ready > 0 && options.weight > 0);
            (void)conf_relay(conf, &conf->smtp_listeners[0].listen, bytes);
            CHECK(conf_pool(conf, options.egress_pool) != NULL);
            conf_free(conf);
        }
    }
    for (size_t i = 0; i < messages.text.size; i++) {
        CHECK(text[i] == '\n' || (text[i] >= 0x20 && text[i] < 0x7F));
    }
    return 0;
}
