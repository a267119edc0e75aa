/* libcuda.so.1 without a GPU, for tests of the real pycuda and cuda-python: memory of the GPU is memory of the host, copies copy, a captured
 * stream records, a launched graph replays, and the one kernel that is known, edgeexit_decide, compares. What the bindings look up and nothing
 * here needs answers success.
 *
 * The environment sets what it claims to be: STUB_CUDA_VERSION (13000), STUB_CUDA_PTX (newest PTX ISA x 10: 90), STUB_CUDA_INTEGRATED (1).
 * Rules that it checks: a stream that captures is not waited for or launched on; PTX is not newer than the driver; a graph is destroyed once.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_VALUE = 1, NO_MEMORY = 2, INVALID_DEVICE = 101, INVALID_CONTEXT = 201, UNSUPPORTED_PTX = 222, NOT_FOUND = 500,
       CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901 };

typedef struct Graph Graph;
typedef struct Step {
    void (*run)(struct Step *);
    void *to; const void *from; size_t size;          /* a copy */
    float *score, *threshold; int *exit; int number;  /* a decision */
    uint64_t condition; Graph *body;                  /* what it sets, and what an IF node runs */
    struct Step *next;
} Step;
struct Graph { Step *first, **end; uint64_t handles[8]; int count; };
typedef struct { Graph *capture; Step *last; } Stream;

static int setting(const char *name, int otherwise) { const char *found = getenv(name); return found ? atoi(found) : otherwise; }
static _Thread_local void *contexts[64];
static _Thread_local int depth;
static int primary, retained;
static unsigned context_flags;
static _Thread_local unsigned conditions[4096];
static uint64_t last_condition;
#define NEEDS_CONTEXT if (!depth || !contexts[depth - 1]) return INVALID_CONTEXT

/* -- the device and its primary context ------------------------------------------------------------------------------------------ */
int cuInit(unsigned flags) { return OK; }
int cuDriverGetVersion(int *version) { *version = setting("STUB_CUDA_VERSION", 13000); return OK; }
int cuDeviceGetCount(int *count) { *count = 1; return OK; }
int cuDeviceGet(int *device, int ordinal) { *device = 0; return ordinal ? INVALID_DEVICE : OK; }
int cuDeviceGetName(char *name, int length, int device) { snprintf(name, length, "No GPU"); return OK; }
int cuDeviceTotalMem_v2(size_t *size, int device) { *size = (size_t)8 << 30; return OK; }
int cuDeviceComputeCapability(int *major, int *minor, int device) { *major = 8; *minor = 7; return OK; }
int cuDeviceGetAttribute(int *value, int attribute, int device)
{
    switch (attribute) {
    case 16: *value = 8; break;                                    /* multiprocessors */
    case 18: *value = setting("STUB_CUDA_INTEGRATED", 1); break;
    case 19: *value = 1; break;                                    /* can map host memory */
    case 37: *value = 128; break;                                  /* bus width */
    case 38: *value = 2 << 20; break;                              /* L2 */
    case 75: *value = 8; break;
    case 76: *value = 7; break;
    case 81: *value = 100 << 10; break;                            /* shared memory */
    default: *value = 0;
    }
    return OK;
}
int cuDevicePrimaryCtxRetain(void **context, int device) { retained++; *context = &primary; return OK; }
int cuDevicePrimaryCtxRelease_v2(int device) { return --retained < 0 ? INVALID_CONTEXT : OK; }
int cuDevicePrimaryCtxSetFlags_v2(int device, unsigned flags) { context_flags = flags; return OK; }
int cuDevicePrimaryCtxGetState(int device, unsigned *flags, int *active) { *flags = context_flags; *active = retained > 0; return OK; }
int stub_retained(void) { return retained; }
int cuCtxPushCurrent_v2(void *context) { contexts[depth++] = context; return OK; }
int cuCtxPopCurrent_v2(void **context) { if (!depth) return INVALID_CONTEXT; depth--; if (context) *context = contexts[depth]; return OK; }
int cuCtxSetCurrent(void *context) { if (!depth) depth = 1; contexts[depth - 1] = context; return OK; }
int cuCtxGetCurrent(void **context) { *context = depth ? contexts[depth - 1] : 0; return OK; }
int cuCtxGetDevice(int *device) { NEEDS_CONTEXT; *device = 0; return OK; }
int cuCtxGetApiVersion(void *context, unsigned *version) { *version = 3020; return OK; }

/* -- memory -------------------------------------------------------------------------------------------------------------------------- */
static int allocate(void **at, size_t size)
{
    NEEDS_CONTEXT;
    if (posix_memalign(at, 4096, size ? size : 1)) return NO_MEMORY;
    memset(*at, 0xA5, size);
    return OK;
}
int cuMemAlloc_v2(void **at, size_t size) { return allocate(at, size); }
int cuMemHostAlloc(void **at, size_t size, unsigned flags) { return allocate(at, size); }
int cuMemFree_v2(void *at) { NEEDS_CONTEXT; free(at); return OK; }
int cuMemFreeHost(void *at) { free(at); return OK; }
int cuMemHostGetDevicePointer_v2(void **address, void *host, unsigned flags) { *address = host; return OK; }

/* -- streams, captures, graphs ------------------------------------------------------------------------------------------------------- */
static Graph *make_graph(void) { Graph *graph = calloc(1, sizeof *graph); graph->end = &graph->first; return graph; }
static void run_graph(Graph *graph)
{
    for (int i = 0; i < graph->count; i++) conditions[graph->handles[i] % 4096] = 0;
    for (Step *step = graph->first; step; step = step->next) step->run(step);
}
static void run_copy(Step *step) { memcpy(step->to, step->from, step->size); }
static void run_decision(Step *step)
{
    unsigned unsure = !(*step->score >= *step->threshold);
    *step->exit = step->number + (int)unsure;
    conditions[step->condition % 4096] = unsure;
}
static void run_if(Step *step) { if (conditions[step->condition % 4096]) run_graph(step->body); }
static int enqueue(Stream *stream, Step step)
{
    NEEDS_CONTEXT;
    if (!stream->capture) { step.run(&step); return OK; }
    Step *kept = malloc(sizeof *kept);
    *kept = step;
    kept->next = 0;
    *stream->capture->end = kept;
    stream->capture->end = &kept->next;
    stream->last = kept;
    return OK;
}
int cuStreamCreate(Stream **stream, unsigned flags) { NEEDS_CONTEXT; *stream = calloc(1, sizeof **stream); return OK; }
int cuStreamDestroy_v2(Stream *stream) { free(stream); return OK; }
int cuStreamSynchronize(Stream *stream) { NEEDS_CONTEXT; return stream->capture ? CAPTURE_UNSUPPORTED : OK; }
int cuMemcpyHtoDAsync_v2(void *to, const void *from, size_t size, Stream *stream)
{
    return enqueue(stream, (Step){.run = run_copy, .to = to, .from = from, .size = size});
}
int cuMemcpyDtoHAsync_v2(void *to, const void *from, size_t size, Stream *stream)
{
    return enqueue(stream, (Step){.run = run_copy, .to = to, .from = from, .size = size});
}
static int begin(Stream *stream, Graph *graph)
{
    NEEDS_CONTEXT;
    if (stream->capture || !graph) return CAPTURE_INVALIDATED;
    stream->capture = graph;
    stream->last = 0;
    return OK;
}
int cuStreamBeginCapture_v2(Stream *stream, int mode) { return begin(stream, make_graph()); }
int cuStreamBeginCaptureToGraph(Stream *stream, Graph *graph, void *after, void *edges, size_t count, int mode) { return begin(stream, graph); }
int cuStreamEndCapture(Stream *stream, Graph **graph)
{
    *graph = stream->capture;
    stream->capture = 0;
    return *graph ? OK : CAPTURE_INVALIDATED;
}
static int describe(Stream *stream, int *status, uint64_t *id, Graph **graph, void ***after, size_t *count)
{
    static _Thread_local void *last;
    last = stream->last;
    *status = stream->capture ? 1 : 0;
    if (id) *id = 1;
    if (graph) *graph = stream->capture;
    if (after) *after = &last;
    if (count) *count = last ? 1 : 0;
    return OK;
}
int cuStreamGetCaptureInfo_v2(Stream *stream, int *status, uint64_t *id, Graph **graph, void ***after, size_t *count)
{
    return describe(stream, status, id, graph, after, count);
}
int cuStreamGetCaptureInfo_v3(Stream *stream, int *status, uint64_t *id, Graph **graph, void ***after, void **edges, size_t *count)
{
    static uint64_t plain; /* CUgraphEdgeData of a plain edge: all zeros */
    if (edges) *edges = &plain;
    return describe(stream, status, id, graph, after, count);
}
int cuGraphCreate(Graph **graph, unsigned flags) { NEEDS_CONTEXT; *graph = make_graph(); return OK; }
int cuGraphDestroy(Graph *graph) { return graph ? OK : INVALID_VALUE; }
int cuGraphInstantiateWithFlags(Graph **launchable, Graph *graph, unsigned long long flags) { *launchable = graph; return graph ? OK : INVALID_VALUE; }
int cuGraphExecDestroy(Graph *launchable) { return launchable ? OK : INVALID_VALUE; }
int cuGraphLaunch(Graph *launchable, Stream *stream)
{
    NEEDS_CONTEXT;
    if (stream->capture) return CAPTURE_UNSUPPORTED;
    run_graph(launchable);
    return OK;
}
int cuGraphConditionalHandleCreate(uint64_t *handle, Graph *graph, void *context, unsigned otherwise, unsigned flags)
{
    if (context != &primary || flags != 1) return INVALID_VALUE;
    *handle = __atomic_add_fetch(&last_condition, 1, __ATOMIC_SEQ_CST);
    graph->handles[graph->count++] = *handle;
    return OK;
}
/* CUgraphNodeParams, as far as a conditional node goes (cuda.h): kind, padding, then handle, type, size, the bodies, the context. */
struct conditional { uint64_t handle; int type; unsigned size; Graph **bodies; void *context; };
int cuGraphAddNode_v2(Step **node, Graph *graph, void *after, void *edges, size_t count, void *parameters)
{
    struct conditional *found = (struct conditional *)((char *)parameters + 16);
    if (*(int *)parameters != 13 || found->type != 0 || found->size != 1 || found->context != &primary || !count) return INVALID_VALUE;
    Step *step = calloc(1, sizeof *step);
    step->run = run_if;
    step->condition = found->handle;
    step->body = make_graph();
    found->bodies = malloc(sizeof(Graph *));
    *found->bodies = step->body;
    *graph->end = step;
    graph->end = &step->next;
    *node = step;
    return OK;
}
int cuGraphAddNode(Step **node, Graph *graph, void *after, size_t count, void *parameters)
{
    return cuGraphAddNode_v2(node, graph, after, 0, count, parameters);
}

/* -- the kernel ---------------------------------------------------------------------------------------------------------------------- */
int cuModuleLoadData(void **module, const char *image)
{
    NEEDS_CONTEXT;
    const char *version = strstr(image, ".version ");
    if (!version || (int)(atof(version + 9) * 10 + 0.5) > setting("STUB_CUDA_PTX", 90)) return UNSUPPORTED_PTX;
    *module = strdup(image);
    return OK;
}
int cuModuleUnload(void *module) { free(module); return OK; }
int cuModuleGetFunction(void **function, char *module, const char *name) { *function = strstr(module, name); return *function ? OK : NOT_FOUND; }
int cuLaunchKernel(void *function, unsigned a, unsigned b, unsigned c, unsigned d, unsigned e, unsigned f, unsigned shared, Stream *stream,
                   void **values, void **extra)
{
    return enqueue(stream, (Step){.run = run_decision, .score = *(float **)values[0], .threshold = *(float **)values[1],
                                  .exit = *(int **)values[2], .number = *(int *)values[3], .condition = *(uint64_t *)values[4]});
}

/* -- how bindings find all this -------------------------------------------------------------------------------------------------------- */
int cuGetErrorName(int error, const char **name)
{
    static _Thread_local char text[32];
    snprintf(text, sizeof text, error == UNSUPPORTED_PTX ? "CUDA_ERROR_UNSUPPORTED_PTX_VERSION" : "CUDA_ERROR_%d", error);
    *name = text;
    return OK;
}
int cuGetErrorString(int error, const char **name) { return cuGetErrorName(error, name); }
static int succeed(void) { return OK; }
static int find(const char *name, void **at, int version)
{
    static void *here;
    char text[128];
    if (!here) {
        Dl_info info;
        dladdr((void *)cuInit, &info);
        here = dlopen(info.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    }
    int newest = strcmp(name, "cuGraphAddNode") && strcmp(name, "cuStreamGetCaptureInfo") ? 4 : version >= 12030 ? 3 : 2;
    if (strcmp(name, "cuGraphAddNode") == 0) newest--;
    *at = 0;
    for (int k = newest; k >= 2 && !*at; k--) {
        snprintf(text, sizeof text, "%s_v%d", name, k);
        *at = dlsym(here, text);
    }
    if (!*at) *at = dlsym(here, strcmp(name, "cuGraphInstantiate") ? name : "cuGraphInstantiateWithFlags");
    if (!*at) *at = (void *)succeed;
    return OK;
}
int cuGetProcAddress(const char *name, void **at, int version, uint64_t flags) { return find(name, at, version); }
int cuGetProcAddress_v2(const char *name, void **at, int version, uint64_t flags, int *status)
{
    if (status) *status = 0;
    return find(name, at, version);
}
