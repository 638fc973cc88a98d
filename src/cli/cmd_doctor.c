/* `cria doctor`: what this machine, this build and this set-up look like.  One JSON object is
 * filled section by section; people see it as a list, programs (--json) as it is. */
#include "cli/commands.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <histedit.h>
#define PCRE2_CODE_UNIT_WIDTH 8
#include <openssl/crypto.h>
#include <pcre2.h>
#include <utf8proc.h>

#include "base/cores.h"
#include "base/cpu.h"
#include "base/os.h"
#include "base/sandbox.h"
#include "base/version.h"
#include "cpu/cpu.h"
#include "policy/isolation.h"

extern char **environ;

static bool as_json;

const struct opt *cmd_doctor_options(void) {
    static const struct opt table[] = {
        {"json", 0, OPT_FLAG, &as_json, 0, 0, NULL, "one JSON object"},
        {0},
    };
    return table;
}

static json_t *build_section(void) {
#if defined(__clang__)
    const char *compiler = "clang " __clang_version__;
#else
    const char *compiler = "gcc " __VERSION__;
#endif
#if defined(__SANITIZE_ADDRESS__)
    const char *sanitizer = "address";
#elif defined(__SANITIZE_THREAD__)
    const char *sanitizer = "thread";
#else
    const char *sanitizer = "none";
#endif
    return json_pack("{s:s, s:s}", "compiler", compiler, "sanitizer", sanitizer);
}

static json_t *system_section(void) {
    struct utsname u;
    if (uname(&u) != 0) return json_object();
    return json_pack("{s:s, s:s, s:s}", "kernel", u.sysname, "release", u.release, "machine",
                     u.machine);
}

/* Threads of a model that is opened now, why, and where. */
static json_t *threads_section(void) {
    const struct cores *c = cores_here();
    struct err e;
    const int set = cores_setting_threads(&e);
    char why[96], place[96] = "wherever there is room";
    cores_explain(c, why, sizeof why);
    if (set > 0) snprintf(why, sizeof why, "CRIA_THREADS or OLLAMA_NUM_THREADS");
    const int n = set > 0 ? set : cores_threads(c);
    if (cores_setting_pin(&e) == 1)
        for (int i = 0, at = 0; i < n && c->n_cpu && at < (int)sizeof place - 8; i++)
            at += snprintf(place + at, 8, i ? " %d" : "%d", c->cpu[i % c->n_cpu]);
    json_t *o =
        json_pack("{s:i, s:s, s:s, s:i, s:i, s:i}", "count", n, "because", why, "processors", place,
                  "logical", c->n_logical, "cores", c->n_core, "performance_cores", c->n_fast);
    if (c->n_quota) json_object_set_new(o, "quota", json_integer(c->n_quota));
    return o;
}

static json_t *cpu_section(void) {
    const struct cpu_info *c = cpu_info();
    const struct {
        const char *name;
        bool here;
    } feature[] = {{"avx2", c->avx2},
                   {"avx_vnni", c->avx_vnni},
                   {"avx512", c->avx512},
                   {"avx512_vnni", c->avx512_vnni},
                   {"avx512_bf16", c->avx512_bf16},
                   {"avx512_fp16", c->avx512_fp16},
                   {"avx512_vbmi", c->avx512_vbmi},
                   {"neon", c->neon},
                   {"dotprod", c->dotprod},
                   {"i8mm", c->i8mm}};
    json_t *features = json_array();
    for (size_t i = 0; i < sizeof feature / sizeof *feature; i++)
        if (feature[i].here) json_array_append_new(features, json_string(feature[i].name));
    return json_pack("{s:s, s:o, s:s}", "name", c->name, "features", features, "kernels",
                     cpu_isa());
}

/* A number of kB after `key` in /proc/meminfo, in bytes; 0 when there is none. */
static json_int_t meminfo_bytes(const char *key) {
    FILE *f = fopen("/proc/meminfo", "re");
    char line[256];
    unsigned long long kb = 0;
    if (!f) return 0;
    while (fgets(line, sizeof line, f))
        if (strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), ": %llu", &kb) == 1)
            break;
    fclose(f);
    return (json_int_t)(kb * 1024);
}

static json_t *memory_section(void) {
    return json_pack("{s:I, s:I, s:I, s:I}", "usable_bytes", (json_int_t)os_memory_bytes(),
                     "available_bytes", meminfo_bytes("MemAvailable"), "swap_bytes",
                     meminfo_bytes("SwapTotal"), "page_bytes", (json_int_t)sysconf(_SC_PAGESIZE));
}

static json_t *limit(int resource) {
    struct rlimit r;
    if (getrlimit(resource, &r) != 0) return json_null();
    return r.rlim_cur == RLIM_INFINITY ? json_string("none") : json_integer((json_int_t)r.rlim_cur);
}

static json_t *limits_section(void) {
    return json_pack("{s:o, s:o, s:o}", "open_files", limit(RLIMIT_NOFILE), "address_space_bytes",
                     limit(RLIMIT_AS), "locked_memory_bytes", limit(RLIMIT_MEMLOCK));
}

static json_t *libraries_section(void) {
    char pcre[64] = "?", edit[32];
    uint32_t jit = 0;
    pcre2_config(PCRE2_CONFIG_VERSION, pcre);
    pcre2_config(PCRE2_CONFIG_JIT, &jit);
    snprintf(edit, sizeof edit, "%d.%d", LIBEDIT_MAJOR, LIBEDIT_MINOR);
    return json_pack("{s:s, s:s, s:b, s:s, s:s, s:s}", "jansson", jansson_version_str(), "pcre2",
                     pcre, "pcre2_jit", (int)jit, "utf8proc", utf8proc_version(), "libedit", edit,
                     "openssl", OpenSSL_version(OPENSSL_VERSION_STRING));
}

/* What holds an engine child, the process that reads a model for `cria serve`. */
static json_t *isolation_section(void) {
    const struct sandbox_state s = sandbox_offered();
    char walls[64];
    sandbox_explain(&s, walls, sizeof walls);
    json_t *o = json_pack("{s:s, s:i, s:b}", "engine_process", walls, "landlock_abi",
                          s.landlock_abi, "seccomp", (int)s.seccomp);
    /* Of a server that nothing may leave. */
    char missing[200];
    isolation_missing(&s, missing, sizeof missing);
    json_object_set_new(o, "serve_isolated",
                        json_sprintf("%s%s", *missing ? "missing: " : "yes", missing));
    json_object_set_new(o, "empty_network", json_boolean(sandbox_network_offered()));
    if (!s.landlock_abi)
        json_object_set_new(o, "without_landlock",
                            json_string("no prompts are cached on disk by the server"));
    return o;
}

/* A report is pasted into issues: what is secret stays at home. */
static bool is_secret(const char *name, size_t n) {
    static const char *const part[] = {"KEY", "TOKEN", "SECRET", "PASSWORD"};
    for (size_t i = 0; i < sizeof part / sizeof *part; i++)
        if (memmem(name, n, part[i], strlen(part[i]))) return true;
    return false;
}

/* What the environment sets, as it is. */
static json_t *settings_section(void) {
    json_t *o = json_object();
    for (char **v = environ; *v; v++) {
        const char *eq = strchr(*v, '=');
        if (!eq || (strncmp(*v, "CRIA_", 5) != 0 && strncmp(*v, "OLLAMA_", 7) != 0)) continue;
        const bool secret = is_secret(*v, (size_t)(eq - *v));
        json_t *value = json_string(secret ? "(set)" : eq + 1); /* NULL when it is no UTF-8 */
        json_object_setn_new(o, *v, (size_t)(eq - *v), value ? value : json_string("(not UTF-8)"));
    }
    return o;
}

static const char *reference_data(void) {
    if (access("../shared/golden/README.md", R_OK) == 0) return "../shared/golden (all)";
    if (access("tests/golden", R_OK) == 0) return "tests/golden (the small part)";
    return "none beside this folder; only the tests need it";
}

static json_t *problems_section(void) {
    json_t *list = json_array();
    struct err e;
    if (cli_check_settings(&e) != 0) json_array_append_new(list, json_string(e.msg));
#if defined(__x86_64__)
    if (!cpu_info()->avx2)
        json_array_append_new(list, json_string("no AVX2: the plain C kernels will be slow"));
#endif
#ifdef __linux__
    const struct sandbox_state s = sandbox_offered();
    if (!s.landlock_abi && !s.seccomp)
        json_array_append_new(list, json_string("neither seccomp nor Landlock: what reads models "
                                                "is a process of its own, but not locked in"));
#endif
    return list;
}

static void print_bytes(double v) {
    if (v >= 1e9)
        printf("%.1f GB\n", v / 1e9);
    else if (v >= 1e6)
        printf("%.1f MB\n", v / 1e6);
    else
        printf("%.0f B\n", v);
}

static void print_value(const char *key, json_t *v) {
    const size_t n = strlen(key);
    const bool bytes = n > 6 && strcmp(key + n - 6, "_bytes") == 0;
    printf("  %-22.*s", (int)(bytes ? n - 6 : n), key);
    if (json_is_integer(v) && bytes)
        print_bytes((double)json_integer_value(v));
    else if (json_is_integer(v))
        printf("%lld\n", (long long)json_integer_value(v));
    else if (json_is_boolean(v))
        puts(json_is_true(v) ? "yes" : "no");
    else
        puts(json_is_string(v) ? json_string_value(v) : "unknown");
}

static void print_list(const char *key, json_t *list, const char *separator) {
    if (key) printf("  %-22s", key);
    for (size_t i = 0; i < json_array_size(list); i++)
        printf("%s%s", i ? separator : "", json_string_value(json_array_get(list, i)));
    puts(json_array_size(list) ? "" : "none");
}

static void print_report(json_t *report) {
    const char *section, *key;
    json_t *body, *v;
    json_object_foreach(report, section, body) {
        if (json_is_string(body)) {
            printf("%-24s%s\n", section, json_string_value(body));
            continue;
        }
        if (json_is_object(body) && json_object_size(body) == 0) continue;
        printf("%s\n", section);
        if (json_is_array(body)) {
            fputs("  ", stdout);
            print_list(NULL, body, "\n  ");
        }
        json_object_foreach(body, key, v) {
            if (json_is_array(v))
                print_list(key, v, " ");
            else
                print_value(key, v);
        }
    }
}

int cmd_doctor(int argc, char **argv, struct err *e) {
    const char *args[CLI_MAX_ARGS];
    int n_args;
    if (cli_parse(argc, argv, cmd_doctor_options(), args, &n_args, e) != 0) return -1;
    if (n_args) return err_set(e, ERR_USAGE, "doctor: found \"%s\"; it takes no argument", args[0]);
    json_t *report = json_pack(
        "{s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:s, s:o}", "version", CRIA_VERSION,
        "build", build_section(), "system", system_section(), "cpu", cpu_section(), "threads",
        threads_section(), "memory", memory_section(), "limits", limits_section(), "isolation",
        isolation_section(), "libraries", libraries_section(), "settings", settings_section(),
        "reference_data", reference_data(), "problems", problems_section());
    if (!report) return err_nomem(e, "doctor");
    if (as_json) {
        cli_print_json(report);
        return 0;
    }
    print_report(report);
    json_decref(report);
    return 0;
}
