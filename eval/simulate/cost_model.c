/* cost_model.c: the constants by name, the cards' rates, the counts, and the times of collectives. */
#include "eval/simulate/cost_model.h"
#include "base/arith.h"
#include "model/model.h"
#include <math.h>
#include <string.h>

#define AT(f) offsetof(struct cost_model, f)
const struct cost_constant cost_constants[] = {
    { "pass", AT(pass), "s", "a pass of the sampler" },
    { "weights", AT(weights), "s", "reading the weights once" },
    { "row", AT(row), "s", "products of a row" },
    { "context", AT(context), "s", "keys and values of a position read by a row" },
    { "pack", AT(pack), "s", "a pack of scoring or training" },
    { "score_row", AT(score_row), "s", "a position scored" },
    { "score_context", AT(score_context), "s", "attention of a position scored, by position read" },
    { "train_row", AT(train_row), "s", "a position trained" },
    { "train_context", AT(train_context), "s", "attention of a position trained, by position read" },
    { "adamw", AT(adamw), "s", "AdamW of all parameters" },
    { "grade", AT(grade), "s", "grading a rollout" },
    { "branch", AT(branch), "s", "choosing and forking a branch" },
    { "credit", AT(credit), "s", "credit and loss of a token of the mini-batch, on every rank" },
    { "update", AT(update), "s", "an update, whatever its size" },
    { "step", AT(step), "s", "a step, whatever its size" },
    { "grad_bytes", AT(grad_bytes), "B", "the gradient" },
    { "weight_bytes", AT(weight_bytes), "B", "the weights" },
    { "token_bytes", AT(token_bytes), "B", "a token of a trajectory that all ranks get" },
    { "inside", AT(inside), "B/s", "out of a rank, within its node" },
    { "between", AT(between), "B/s", "out of a rank, to other nodes" },
    { "latency_inside", AT(latency_inside), "s", "a message within a node" },
    { "latency_between", AT(latency_between), "s", "a message between nodes" },
    { "host", AT(host), "B/s", "gathers in host memory" },
    { "overlap", AT(overlap), "", "share of the last pack's backward pass that hides the reduction" },
    { 0 },
};

/* Data sheets: memory bandwidth, dense bf16 with fp32 sums, half of the NVLink total (which counts both directions). */
const struct cost_card cost_cards[] = {
    { "h100", "H100 SXM", 3.35e12, 989.5e12, 450e9 },
    { "h200", "H200", 4.8e12, 989.5e12, 450e9 },
    { "a100", "A100 SXM 80 GB", 2.039e12, 312e12, 300e9 },
    { 0 },
};

const struct cost_card *cost_card(const char *name)
{
    for (const struct cost_card *c = cost_cards; c->name; c++) if (!strcmp(c->name, name)) return c;
    return NULL;
}

void cost_shape_of(struct cost_shape *s, const struct model_config *c, int elem_bytes, enum recompute recompute)
{
    struct model m;
    double gate_up = 2.0 * c->dim * c->ff, attention = c->dim * (2.0 * c->heads + 2.0 * c->kv_heads) * c->head_dim;
    model_lay_out(&m, c);
    *s = (struct cost_shape){ .parameters = (double)m.count,
                              .layers = c->layers,
                              .width = (double)c->heads * c->head_dim,
                              .kv_bytes = 2.0 * c->layers * c->kv_heads * c->head_dim * elem_bytes,
                              .elem_bytes = elem_bytes };
    for (int i = 0; i < m.params; i++)
        if (m.param[i].cols && (m.param[i].at != m.embed || m.head == m.embed))
            s->matrices += (double)param_count(&m.param[i]);
    if (recompute == RECOMPUTE_CHEAP) s->again = c->layers * gate_up / s->matrices;
    if (recompute == RECOMPUTE_FULL) s->again = c->layers * (gate_up + attention) / s->matrices;
    s->attention_again = recompute == RECOMPUTE_FULL;
    model_free(&m);
}

/* What is assumed of this program beside the stated rates, all by count: no GPU has run it yet. Shares are of the
 * card's data sheet. */
static const struct {
    double copy;                    /* memory bandwidth that a copy reaches: 4.3 of an H200's 4.8 TB/s */
    double paged;                   /* that paged attention reaches: 16 warps, no double buffering, 45 to 60 % */
    double products;                /* large bf16 products reach 720 of 989.5 TFLOP/s, those of a model 75 % of it */
    double attention;               /* training attention, forward and backward, by mma.sync: about 260 TFLOP/s */
    double others;                  /* norms, rotation, SwiGLU, head chunks, beside the products of a training pass */
    double layer, pass;             /* seconds a layer and a pass: small kernels and gaps of a captured graph; host */
    double pack;                    /* the plan of a pack, launches */
    double link, net;               /* share of a link's rate that large messages reach */
    double port;                    /* bytes a second of a card's own network port: 400 Gbit/s */
    double grade, branch, credit;   /* host: a rollout's text; two round trips; some ten numbers and two exp a token */
} assumed = {
    .copy = 0.9, .paged = 0.5, .products = 0.55, .attention = 0.26, .others = 1.15, .layer = 26e-6, .pass = 0.3e-3,
    .pack = 4e-3, .link = 0.8, .net = 0.8, .port = 50e9, .grade = 20e-6, .branch = 160e-6, .credit = 60e-9,
};

void cost_by_count(struct cost_model *m, const struct cost_shape *s, const struct cost_card *card)
{
    double copy = card->memory * assumed.copy, flops = card->flops * assumed.products,
           attention = card->flops * assumed.attention, heads = s->layers * s->width;
    *m = (struct cost_model){
        .pass = assumed.pass + s->layers * assumed.layer,
        .weights = s->parameters * s->elem_bytes / copy,
        .row = 2 * s->matrices / flops,
        .context = s->kv_bytes / (card->memory * assumed.paged),
        .pack = assumed.pack,
        /* forward 2 flops a weight, backward 4, recomputation 2; attention 4 flops a position, layer and width,
         * backward 2.5 times that */
        .score_row = 2 * s->matrices / flops * assumed.others,
        .score_context = 4 * heads / attention,
        .train_row = (6 + 2 * s->again) * s->matrices / flops * assumed.others,
        .train_context = (4 + 10 + 4 * s->attention_again) * heads / attention,
        /* weights, gradient, master copy (fp32) and two moments (bf16), read and written: 26 bytes a parameter */
        .adamw = s->parameters * 26 / copy,
        .grade = assumed.grade,
        .branch = assumed.branch,
        .credit = assumed.credit,
        .update = 5e-3,
        .step = 0.2,
        .grad_bytes = s->parameters * 4,                 /* fp32 */
        .weight_bytes = s->parameters * s->elem_bytes,
        .token_bytes = 13,
        .inside = card->link * assumed.link,
        .between = assumed.port * assumed.net,
        .latency_inside = 5e-6,
        .latency_between = 15e-6,
        .host = 5e9,
        .overlap = 0.5,
        .graphs = true,
        .node = 8,
    };
}

void cost_of_host(struct cost_model *m, const struct cost_shape *s)
{
    *m = (struct cost_model){ .grad_bytes = s->parameters * 4, .weight_bytes = s->parameters * s->elem_bytes,
                              .token_bytes = 13, .inside = 2e9, .between = 2e9, .latency_inside = 10e-6,
                              .latency_between = 10e-6, .host = 2e9, .threads = 1 };
}

double cost_pass(const struct cost_model *m, double rows, double positions)
{
    return m->pass + MAX(m->weights, m->row * rows) + m->context * positions;
}

/* One level: `rounds` times through a ring of n ranks, 2 for a sum and 1 for a gather. */
static double ring(int n, double rounds, double bytes, double rate, double latency)
{
    return n < 2 ? 0 : rounds * ((n - 1) / (double)n * bytes / rate + (n - 1) * latency);
}

static double trees(int n, double rounds, double bytes, double rate, double latency)
{
    return n < 2 ? 0 : rounds * (bytes / rate + ceil(log2(n)) * latency);
}

static double levels(const struct cost_model *m, int ranks, double rounds, double bytes)
{
    int node = m->node > 0 ? MIN(m->node, ranks) : ranks, nodes = (int)ceil_div(ranks, node);
    double share = bytes / node;
    return ring(node, rounds, bytes, m->inside, m->latency_inside) +
           MIN(ring(nodes, rounds, share, m->between, m->latency_between),
               trees(nodes, rounds, share, m->between, m->latency_between));
}

double cost_sum(const struct cost_model *m, int ranks, double bytes) { return levels(m, ranks, 2, bytes); }
double cost_gather(const struct cost_model *m, int ranks, double bytes) { return levels(m, ranks, 1, bytes); }

double cost_host_gather(const struct cost_model *m, int ranks, double bytes)
{
    double latency = ranks > m->node && m->node > 0 ? m->latency_between : m->latency_inside;
    return ring(ranks, 1, bytes, m->host, 0) + (ranks > 1 ? ceil(log2(ranks)) * latency : 0);
}

double cost_adamw(const struct cost_model *m, int ranks) { return m->zero ? m->adamw / ranks : m->adamw; }
