"""attention.py: SDPA and FlexAttention over packed sequences and trees, SDPA over a cache of keys and values.

For SDPA a tree is its rollouts unrolled."""
from common import DEVICE, GPU, Peers, torch

try:
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention
except ImportError:
    flex_attention = None

sdpa = torch.nn.functional.scaled_dot_product_attention


def tree_of(shape):
    """Tokens that the 8 rollouts of a tree share, further tokens of each, tokens of a tree: as in
    eval/bench/bench_attn.c."""
    shared = shape["ctx"] * 4 // 5 if shape["kind"] == "tree" else 0
    own = shape["ctx"] - shared
    return shared, own, shared + 8 * own if shared else shape["ctx"]


def ends(shape):
    """q sees k iff k <= q < end[k]."""
    shared, own, tree = tree_of(shape)
    i = torch.arange(shape["n"], device=DEVICE)
    start, at = i // tree * tree, i % tree
    end = torch.where(at < shared, start + tree, start + shared + ((at - shared) // own + 1) * own)
    return end.clamp(max=shape["n"])


def heads(p, shape, sequences, length, grad):
    q = p.random(sequences, shape["heads"], length, shape["hd"], scale=2)
    k, v = (p.random(sequences, shape["kv"], length, shape["hd"], scale=2) for _ in range(2))
    return [x.requires_grad_(grad) for x in (q, k, v)]


def back(run, inputs):
    out = run()
    dout = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)


def packed(p, name, shape, grad):
    _, _, tree = tree_of(shape)
    unrolled = shape["n"] // tree * 8 if shape["kind"] == "tree" else shape["n"] // shape["ctx"]
    qkv = heads(p, shape, max(unrolled, 1), shape["ctx"], grad)

    def by_sdpa():
        return sdpa(*qkv, is_causal=True, enable_gqa=True)
    p.measure(name, shape, "SDPA unrolled" if shape["kind"] == "tree" else "SDPA",
          lambda: back(by_sdpa, qkv) if grad else by_sdpa)
    if flex_attention is None:
        p.left_out(name, shape, "FlexAttention", "this torch has none")
        return
    one = heads(p, shape, 1, shape["n"], grad)
    end = ends(shape)

    def make():
        torch._dynamo.reset()
        mask = create_block_mask(lambda b, h, q, k: (k <= q) & (q < end[k]), None, None, shape["n"], shape["n"],
                                 device=DEVICE)
        # on a CPU only its eager form has a backward pass
        flex = torch.compile(flex_attention, dynamic=False) if GPU else flex_attention

        def run():
            return flex(*one, block_mask=mask, enable_gqa=True)
        return back(run, one) if grad else run
    p.measure(name, shape, "FlexAttention", make)


def main():
    p = Peers(__doc__)
    for shape, _ in p.cases("attn"):
        packed(p, "attn", shape, False)
    for shape, _ in p.cases("attn_back"):
        packed(p, "attn_back", shape, True)
    for shape, _ in p.cases("attn_paged"):
        q = p.random(shape["n"], shape["heads"], 1, shape["hd"])
        k, v = (p.random(shape["n"], shape["kv"], shape["ctx"], shape["hd"]) for _ in range(2))
        p.measure("attn_paged", shape, "SDPA, a cache a row", lambda: lambda: sdpa(q, k, v, enable_gqa=True))


if __name__ == "__main__":
    main()
