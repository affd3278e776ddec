#include "shard/work_decompress.h"

#include <errno.h>
#include <zstd.h>
#include <zstd_errors.h>

int work_decompress(struct work_job *job)
{
    job->used = 0;
    size_t used = ZSTD_findFrameCompressedSize(job->data, job->data_size);
    if (ZSTD_isError(used)) {
        return ZSTD_getErrorCode(used) == ZSTD_error_srcSize_wrong ? -EAGAIN : -EBADMSG;
    }
    job->used = used;
    size_t size = ZSTD_decompress(job->output, job->output_capacity, job->data, used);
    if (ZSTD_isError(size)) {
        return -EBADMSG;
    }
    job->size = size;
    return 0;
}
