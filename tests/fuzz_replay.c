/*
 * Runs a fuzz target over a committed corpus, so that every finding stays a test. Each file is
 * copied into a block of exactly its size: a sanitizer then sees a read one byte past the end.
 *
 * usage: x_fuzz CORPUS_FOLDER      exit 1 when the folder is missing or holds no file
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int replay(const char *path, size_t size)
{
    uint8_t *data = malloc(size);
    FILE *file = fopen(path, "rb");
    if ((data == NULL && size > 0) || file == NULL || fread(data, 1, size, file) != size) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        abort();
    }
    fclose(file);
    int result = LLVMFuzzerTestOneInput(data, size);
    free(data);
    return result;
}

/* Number of files replayed, or -1 when one of them was refused or the folder cannot be read. */
static int replay_folder(const char *folder)
{
    DIR *dir = opendir(folder);
    if (dir == NULL) {
        fprintf(stderr, "%s: %s\n", folder, strerror(errno));
        return -1;
    }
    int count = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        char path[4096];
        struct stat status;
        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        if (stat(path, &status) != 0 || !S_ISREG(status.st_mode)) {
            continue;
        }
        if (replay(path, (size_t)status.st_size) != 0) {
            fprintf(stderr, "%s: the target did not return 0\n", path);
            closedir(dir);
            return -1;
        }
        count++;
    }
    closedir(dir);
    return count;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_FOLDER\n", argv[0]);
        return 2;
    }
    int count = replay_folder(argv[1]);
    if (count <= 0) {
        fprintf(stderr, "%s: %s\n", argv[1], count == 0 ? "empty corpus" : "failed");
        return 1;
    }
    printf("%d inputs\n", count);
    return 0;
}
