"""rows.py: products, norm, SwiGLU, embedding, sampling and AdamW by torch, eager and compiled; AdamW fused."""
from common import DEVICE, Peers, compiled, torch

F = torch.nn.functional


def gemm(p):
    for shape, _ in p.cases("gemm"):
        n, m, k = shape["n"], shape["m"], shape["k"]
        if shape["kind"] == "NT":
            a, w = p.random(n, k), p.random(m, k)
            run = lambda: F.linear(a, w)                        # noqa: E731
        elif shape["kind"] == "NN":
            a, w = p.random(n, k), p.random(k, m)
            run = lambda: a @ w                                 # noqa: E731
        else:
            a, w = p.random(k, n), p.random(k, m)
            run = lambda: a.t() @ w                             # noqa: E731
        p.measure("gemm", shape, "torch", lambda: run)


def add_norm(x, add, w):
    res = x + add
    return res, F.rms_norm(res, (res.shape[-1],), w, 1e-5)


def gated(x):
    gate, up = x.chunk(2, dim=-1)
    return F.silu(gate) * up


def both(p, name, f, inputs):
    """Forward, eager and compiled, of every case of an operation."""
    for shape, _ in p.cases(name):
        args = inputs(shape)
        p.measure(name, shape, "torch eager", lambda: lambda: f(*args))
        p.measure(name, shape, "torch.compile", lambda: (lambda g: lambda: g(*args))(compiled(f)))


def backward(p, name, f, inputs):
    for shape, _ in p.cases(name):
        args = [a.requires_grad_() for a in inputs(shape)]

        def make(g):
            out = g(*args)
            out = out if isinstance(out, tuple) else (out,)
            d = [torch.randn_like(o) for o in out]
            return lambda: torch.autograd.grad(out, args, d, retain_graph=True)
        p.measure(name, shape, "torch autograd", lambda: make(f))
        p.measure(name, shape, "torch.compile", lambda: make(compiled(f)))


def sampled(x):
    """As trainers sample: probabilities, a token, its logp and the entropy."""
    logp = torch.log_softmax(x.float(), dim=-1)
    q = logp.exp()
    # the exponential race: no synchronisation, unlike multinomial
    ids = (q / torch.empty_like(q).exponential_()).argmax(-1)
    return ids, logp.gather(1, ids[:, None]), -(q * logp).sum(-1)


def sampled_top_p(x, p=0.95):
    sorted_logits, order = x.float().sort(dim=-1, descending=True)
    q = sorted_logits.softmax(-1)
    q = torch.where(q.cumsum(-1) - q < p, q, 0.0)
    return order.gather(1, (q / torch.empty_like(q).exponential_()).argmax(-1)[:, None])


def sample(p):
    for shape, _ in p.cases("sample"):
        f = sampled_top_p if shape.get("kind") == "top_p" else sampled
        x = p.random(shape["n"], shape["vocab"], scale=16)
        if shape.get("kind") == "top_k":
            continue
        p.measure("sample", shape, "torch eager", lambda: lambda: f(x))
        p.measure("sample", shape, "torch.compile", lambda: (lambda g: lambda: g(x))(compiled(f)))


def adamw(p):
    for shape, _ in p.cases("adamw"):
        w = torch.randn(shape["n"], device=DEVICE, requires_grad=True)
        w.grad = torch.randn_like(w) * 1e-3
        for fused in (False, True):
            p.measure("adamw", shape, "torch fused" if fused else "torch for-each",
                  lambda: torch.optim.AdamW([w], lr=1e-6, fused=fused, foreach=not fused).step)


def main():
    p = Peers(__doc__)
    gemm(p)
    both(p, "norm", add_norm, lambda s: (p.random(s["n"], s["dim"]), p.random(s["n"], s["dim"]), p.random(s["dim"])))
    backward(p, "norm_back", add_norm, lambda s: (p.random(s["n"], s["dim"]), p.random(s["n"], s["dim"]),
                                                  p.random(s["dim"])))
    both(p, "swiglu", gated, lambda s: (p.random(s["n"], 2 * s["ff"]),))
    backward(p, "swiglu_back", gated, lambda s: (p.random(s["n"], 2 * s["ff"]),))
    both(p, "embed", F.embedding, lambda s: (torch.randint(s["vocab"], (s["n"],), device=DEVICE),
                                             p.random(s["vocab"], s["dim"])))
    sample(p)
    adamw(p)


if __name__ == "__main__":
    main()
