/* graph.cu: CUDA graphs. The first call runs the operations directly, so that plans are made and scratch is allocated;
 * the second captures them. A graph holds addresses, so it is captured again when scratch has moved. */
#include "kernels/cuda/num.cuh"
#include <stdlib.h>

/* moves: scratch_moves() when the operations last ran */
struct dev_graph { cudaGraphExec_t exec; uint64_t moves; };

/* Debug builds read every operation's result, for which a graph has no place. */
#ifdef APPO_CHECKS
static const bool possible = false;
#else
static const bool possible = true;
#endif
static bool wanted = possible;
static bool in_capture;
static int64_t captured, launched;

bool capturing(void) { return in_capture; }
bool dev_graph_supported(void) { return wanted; }
void dev_graph_enable(bool on) { wanted = on && possible; }
void graph_counts(struct dev_counts *c) { c->captured = captured, c->launched = launched; }

static void drop(struct dev_graph *g)
{
    if (g->exec) CU(cudaGraphExecDestroy(g->exec));
    g->exec = nullptr;
}

/* Thread-local: other threads (tools, the clock) may call CUDA meanwhile. */
static void capture(struct dev_graph *g, void (*body)(void *), void *ctx)
{
    cudaGraph_t made;
    CU(cudaStreamBeginCapture(queue(), cudaStreamCaptureModeThreadLocal));
    in_capture = true;
    body(ctx);
    in_capture = false;
    CU(cudaStreamEndCapture(queue(), &made));
    CU(cudaGraphInstantiate(&g->exec, made, 0));
    CU(cudaGraphDestroy(made));
}

void dev_graph_run(struct dev_graph **at, void (*body)(void *ctx), void *ctx)
{
    if (!wanted || in_capture || dry_run()) {
        body(ctx);
        return;
    }
    if (!*at) *at = (struct dev_graph *)xcalloc(1, sizeof **at);
    struct dev_graph *g = *at;
    if (g->moves != scratch_moves()) {
        drop(g);
        body(ctx);
        g->moves = scratch_moves();
        return;
    }
    if (!g->exec) {
        capture(g, body, ctx);
        captured++;
    }
    CU(cudaGraphLaunch(g->exec, queue()));
    launched++;
}

void dev_graph_free(struct dev_graph *g)
{
    if (!g) return;
    drop(g);
    free(g);
}
