#include "tests/kit/conf_kit.h"

#include <string.h>

#include "core/check.h"

bool conf_kit_read(void *context, const char *path, struct slice *bytes_out,
                   struct buf *reason_out)
{
    const char *const *files = context;
    for (size_t i = 0; files[i] != NULL; i += 2) {
        if (strcmp(files[i], path) == 0) {
            *bytes_out = slice_from_string(files[i + 1]);
            return true;
        }
    }
    buf_put_string(reason_out, "No such file or directory");
    return false;
}

struct conf *conf_kit_load(const char *const *files, const char *const *sets, size_t set_count,
                           char *said, size_t capacity)
{
    static const char *const nothing[] = {NULL};
    struct conf_messages messages = {0};
    const struct conf_input input = {
        .file = files == NULL ? NULL : files[0],
        .sets = sets,
        .set_count = set_count,
        .hostname = SLICE("box.test"),
        .read = conf_kit_read,
        .read_context = (void *)(uintptr_t)(files == NULL ? nothing : files),
    };
    buf_init(&messages.text, said, capacity - 1);
    struct conf *conf = conf_load(&input, &messages);
    said[messages.text.size] = '\0';
    CHECK((conf == NULL) == (messages.errors > 0));
    return conf;
}

const struct path_options *conf_kit_path(const struct conf *conf, struct slice domain,
                                         struct slice source)
{
    static struct shaping_path paths[8];
    static unsigned next;
    return shaping_path_of(conf, domain, source, &paths[next++ % COUNT_OF(paths)]);
}
