/* What a worker thread does for a job, start to end. Blocks; worker threads only. */
#ifndef RINGPOST_SHARD_WORK_JOBS_H
#define RINGPOST_SHARD_WORK_JOBS_H

#include "shard/work.h"

enum work_class work_class_of(enum work_kind kind);
/* Does the job and sets its result. */
void work_job_run(struct work_job *job);

#endif
