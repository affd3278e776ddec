#include "core/check.h"

#include <stdio.h>
#include <stdlib.h>

void check_failed(const char *expression, const char *file, int line)
{
    fprintf(stderr, "event=bug check=\"%s\" at=%s:%d\n", expression, file, line);
    abort();
}
