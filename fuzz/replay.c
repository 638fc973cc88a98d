/* Run a fuzz target over files without a fuzzer: FOLDER_OR_FILE...; the last line counts them. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static int n_file;

static int replay_file(const char *path) {
    struct stat st;
    FILE *f = fopen(path, "rb");
    if (!f || fstat(fileno(f), &st) != 0) {
        perror(path);
        return -1;
    }
    const size_t n = (size_t)st.st_size;
    uint8_t *bytes = malloc(n ? n : 1);
    if (!bytes || fread(bytes, 1, n, f) != n) {
        perror(path);
        return -1;
    }
    fclose(f);
    fprintf(stderr, "%s\n", path); /* the last one named is the one that crashed */
    LLVMFuzzerTestOneInput(bytes, n);
    free(bytes);
    n_file++;
    return 0;
}

static int replay_folder(const char *path) {
    DIR *d = opendir(path);
    if (!d) return replay_file(path);
    for (struct dirent *x; (x = readdir(d));) {
        char file[4096];
        if (x->d_name[0] == '.') continue;
        snprintf(file, sizeof file, "%s/%s", path, x->d_name);
        if (replay_file(file) != 0) return -1;
    }
    closedir(d);
    return 0;
}

int main(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (replay_folder(argv[i]) != 0) return 1;
    printf("%d files\n", n_file);
    return n_file ? 0 : 1;
}
