/* A stub of libnvidia-ml.so.1, driven by a file that both sides map into memory; see tests/support/nvml_stub.py.

   With -DOLD_DRIVER it has only what a driver of before 450 had. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CARDS 16
#define INSTANCES 7
#define PROCESSES 16
#define OK 0
#define UNINITIALIZED 1
#define INVALID 2
#define NOT_SUPPORTED 3
#define NOT_FOUND 6
#define INSUFFICIENT_SIZE 7
#define ABSENT 0xffffffffu
typedef unsigned long long u64;
typedef unsigned int u32;

typedef struct { u64 used_bytes; u32 pid, instance; } Process;
typedef struct {
    char uuid[96], model[96], instance_uuid[INSTANCES][96];
    u64 total_bytes, used_bytes, instance_bytes, throttles, ecc;
    u32 error, temperature, utilisation, power_mw, limit_mw, least_mw, most_mw, major, minor;
    u32 mig, mig_pending, instances, processes, hang_ms, may_cap;
    Process process[PROCESSES];
} CardState;
typedef struct {
    u32 count, init_error, delay_ms, hang_ms, calls, inits;
    char driver[80];
    u32 cuda;
    CardState card[CARDS];
} State;

static State *state;

int stub_open(const char *path) {
    int file = open(path, O_RDWR);
    if (file < 0) return -1;
    /* The machine before stays mapped: a call that hangs may still look at it. */
    state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    return state == MAP_FAILED ? -1 : 0;
}

static void wait_ms(u32 ms) {
    struct timespec left = {ms / 1000, (ms % 1000) * 1000000L};
    while (nanosleep(&left, &left)) continue;
}

/* Hangs as long as the state says so, looking again every 10 ms: a test can end it. */
static void enter(volatile u32 *hang_ms) {
    __sync_fetch_and_add(&state->calls, 1);
    if (state->delay_ms) wait_ms(state->delay_ms);
    for (u32 waited = 0; waited < *hang_ms; waited += 10) wait_ms(10);
}

/* A handle is the address of a card, or within it of an instance's name. */
static CardState *card_of(void *device, int *instance) {
    size_t at = (char *)device - (char *)state->card;
    CardState *card = &state->card[at / sizeof *card];
    size_t inside = at % sizeof *card, first = (size_t)&((CardState *)0)->instance_uuid;
    *instance = inside >= first ? (int)((inside - first) / 96) : -1;
    return card;
}

#define CARD(device) \
    int instance; \
    CardState *card = card_of(device, &instance); \
    (void)instance; \
    enter(&card->hang_ms); \
    if (card->error) return (int)card->error;

#define VALUE(name, field, type) \
    int name(void *device, type *out) { \
        CARD(device) \
        if ((u32)card->field == ABSENT) return NOT_SUPPORTED; \
        *out = (type)card->field; \
        return OK; \
    }

int nvmlInitWithFlags(u32 flags) {
    (void)flags;
    if (!state) {
        const char *path = getenv("NVML_STUB_STATE");
        if (!path || stub_open(path)) return 999;
    }
    enter(&state->hang_ms);
    if (!state->init_error) state->inits++;
    return (int)state->init_error;
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int error) { (void)error; return "stub error"; }
int nvmlSystemGetDriverVersion(char *out, u32 size) {
    enter(&state->hang_ms);
    snprintf(out, size, "%s", state->driver);
    return OK;
}
int nvmlDeviceGetCount_v2(u32 *count) {
    enter(&state->hang_ms);
    if (state->init_error) return (int)state->init_error;
    *count = state->count;
    return OK;
}
int nvmlDeviceGetHandleByIndex_v2(u32 index, void **device) {
    if (index >= state->count) return INVALID;
    *device = &state->card[index];
    CARD(*device)
    return OK;
}
int nvmlDeviceGetUUID(void *device, char *out, u32 size) {
    CARD(device)
    snprintf(out, size, "%s", instance < 0 ? card->uuid : card->instance_uuid[instance]);
    return OK;
}
int nvmlDeviceGetName(void *device, char *out, u32 size) {
    CARD(device)
    snprintf(out, size, instance < 0 ? "%s" : "%s MIG 1g", card->model);
    return OK;
}
typedef struct { u64 total, free, used; } Memory;
int nvmlDeviceGetMemoryInfo(void *device, Memory *out) {
    CARD(device)
    u64 used = card->used_bytes, total = card->total_bytes;
    if (instance >= 0) {
        total = card->instance_bytes, used = 0;
        for (u32 i = 0; i < card->processes; i++)
            if ((int)card->process[i].instance == instance) used += card->process[i].used_bytes;
    }
    out->total = total, out->used = used, out->free = total - used;
    return OK;
}
typedef struct { u32 gpu, memory; } Use;
int nvmlDeviceGetUtilizationRates(void *device, Use *out) {
    CARD(device)
    if (instance >= 0 || card->utilisation == ABSENT) return NOT_SUPPORTED;
    out->gpu = out->memory = card->utilisation;
    return OK;
}
int nvmlDeviceGetTemperature(void *device, u32 sensor, u32 *out) {
    CARD(device)
    if (sensor || card->temperature == ABSENT) return NOT_SUPPORTED;
    *out = card->temperature;
    return OK;
}
VALUE(nvmlDeviceGetPowerUsage, power_mw, u32)
VALUE(nvmlDeviceGetEnforcedPowerLimit, limit_mw, u32)
VALUE(nvmlDeviceGetCurrentClocksThrottleReasons, throttles, u64)
int nvmlDeviceGetTotalEccErrors(void *device, u32 kind, u32 counter, u64 *out) {
    CARD(device)
    if (card->ecc == ABSENT) return NOT_SUPPORTED;
    *out = kind == 1 && counter == 0 ? card->ecc : 0;
    return OK;
}
int nvmlDeviceGetPowerManagementLimitConstraints(void *device, u32 *least, u32 *most) {
    CARD(device)
    *least = card->least_mw, *most = card->most_mw;
    return OK;
}
int nvmlDeviceSetPowerManagementLimit(void *device, u32 limit_mw) {
    CARD(device)
    if (!card->may_cap) return 4;
    card->limit_mw = limit_mw;
    return OK;
}
#ifndef OLD_DRIVER
int nvmlSystemGetCudaDriverVersion_v2(int *out) { enter(&state->hang_ms); *out = (int)state->cuda; return OK; }
int nvmlDeviceGetCudaComputeCapability(void *device, int *major, int *minor) {
    CARD(device)
    *major = (int)card->major, *minor = (int)card->minor;
    return OK;
}
int nvmlDeviceGetMigMode(void *device, u32 *current, u32 *pending) {
    CARD(device)
    if (card->mig == ABSENT) return NOT_SUPPORTED;
    *current = card->mig, *pending = card->mig_pending;
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(void *device, u32 *count) { CARD(device) *count = INSTANCES; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(void *device, u32 index, void **out) {
    CARD(device)
    if (index >= card->instances) return NOT_FOUND;
    *out = card->instance_uuid[index];
    return OK;
}
typedef struct { u32 pid; u64 used; u32 gpu_instance, compute_instance; } ProcessRow;
int nvmlDeviceGetComputeRunningProcesses_v3(void *device, u32 *count, ProcessRow *out) {
    CARD(device)
    u32 room = *count, found = 0;
    for (u32 i = 0; i < card->processes; i++) {
        if (instance >= 0 && (int)card->process[i].instance != instance) continue;
        if (out && found < room) {
            out[found].pid = card->process[i].pid;
            out[found].used = card->process[i].used_bytes;
            out[found].gpu_instance = card->process[i].instance;
            out[found].compute_instance = 0;
        }
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}
#endif
