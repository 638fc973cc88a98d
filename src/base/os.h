/* What the operating system gives: files mapped and read, clocks, memory figures. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "base/err.h"

/* A whole regular file mapped read-only. */
struct os_map {
    const uint8_t *data; /* size bytes; borrowed from the mapping */
    size_t size;
    int fd; /* owned, close-on-exec */
};

/* Map PATH.  Refuses anything but a regular file, without ever blocking on a fifo or a device
 * (SECURITY.md F18), and an empty file.  Errors: ERR_NOT_FOUND, ERR_IO, ERR_FORMAT. */
int os_map_open(struct os_map *m, const char *path, struct err *e);
/* The first n bytes of fd, which is taken over; that it is a regular file of that size is known.
 * name begins errors. */
int os_map_fd(struct os_map *m, int fd, size_t n, const char *name, struct err *e);
void os_map_close(struct os_map *m);

/* A process that may open nothing is given files: from now on os_map_open maps fd (taken over,
 * close-on-exec) for PATH, letter by letter the same.  Not while another thread maps.  ERR_NOMEM.
 */
int os_pass_file(const char *path, int fd, struct err *e);
/* Close those; what is mapped stays. */
void os_passed_fini(void);

/* Open PATH for reading as os_map_open does, with its errors, and give the descriptor. */
int os_open_regular(const char *path, struct err *e);

/* n bytes of fd from offset `at` on.  How many were read, fewer only where the file ends; -1 with
 * errno set. */
ssize_t os_read_at(int fd, void *to, size_t n, uint64_t at);

/* Append the whole of a regular file to out; PATH "-" is standard input, whatever that is.
 * Errors: as os_map_open, and ERR_LIMIT over max_bytes. */
int os_read_file(const char *path, size_t max_bytes, struct buf *out, struct err *e);

/* Make PATH where it is missing, so that from its first byte on nobody but its owner reads it: for
 * what a library (SQLite) opens afterwards.  A link is not followed. */
int os_make_private(const char *path, struct err *e);

/* Write bytes to PATH so that a crash leaves either the old file or the new one: a temporary
 * file beside it, fsync, rename, fsync of the folder. */
int os_write_file(const char *path, const void *bytes, size_t n, struct err *e);

/* fsync the folder that holds PATH, so that a rename in it survives a power cut.  0, or -1 with
 * errno set. */
int os_sync_folder(const char *path);

/* Reserve n bytes of zeroed memory that cost nothing until touched; 2 MiB pages are asked for.
 * NULL when the address space is out.  Freed with os_unreserve. */
void *os_reserve(size_t n);
void os_unreserve(void *p, size_t n);

/* Monotonic time. */
int64_t os_now_ns(void);

/* This thread, and those that it will start, leave the processor to others that want it: it gets
 * about a tenth of a core beside one that computes.  Cannot be taken back.  Only where the priority
 * is a thread's own (Linux). */
void os_be_nice(void);

/* The identity that the linker gave to the file this code is in (GNU build id): another build has
 * another one.  Returns its length, at most cap; 0 where there is none. */
size_t os_build_id(uint8_t *out, size_t cap);

/* Peak resident bytes of this process so far; 0 when unknown. */
size_t os_peak_rss_bytes(void);

/* Resident bytes of this process now; 0 when unknown. */
size_t os_rss_bytes(void);

/* From now on blocks of that size and more are the system's again when they are freed, in any
 * thread.  The C library begins with 128 KiB and raises that to what was freed last, up to 32 MiB:
 * a server that read one large request would keep its memory.  Does nothing where the C library is
 * another one than GNU's. */
void os_give_memory_back(int block_bytes);

/* Physical memory of the machine or the limit of our cgroup, the smaller. */
size_t os_memory_bytes(void);

/* The value of CRIA_<name>, else OLLAMA_<name>, else NULL.  Blanks and quotes around it are
 * trimmed into buf; an empty value counts as unset. */
const char *os_setting(const char *name, char *buf, size_t n_buf);

/* A number of bytes: digits, perhaps with a decimal point, then nothing or k, m, g, t (powers of
 * 1024, either case), perhaps followed by b or ib: "512m", "1.5GB".  False when it is none, or
 * more than 2^62. */
bool os_parse_bytes(const char *text, uint64_t *out);

/* A time as Go writes durations: "300ms", "1h30m", "-1.5h"; units ns, us, ms, s, m, h; or a number
 * of seconds alone.  False when it is none, or beyond 9e18 nanoseconds. */
bool os_parse_time(const char *text, int64_t *ns);
