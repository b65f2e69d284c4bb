"""loss.py: log-probability of the target and entropy of each row of logits.

torch eager, compiled, in chunks, and a Triton kernel of one pass."""
import os

from common import DEVICE, GPU, Peers, compiled, torch

if not GPU:
    # before triton is imported: it then runs on the CPU, slowly
    os.environ.setdefault("TRITON_INTERPRET", "1")
try:
    import triton
    import triton.language as tl
except ImportError:
    triton = None

# rows at once: 600 MB of fp32 logits at a vocabulary of 151,936
CHUNK = 1024


def stats(x, target):
    """logp of the target and entropy in nats, in fp32 as every trainer computes them."""
    logp = torch.log_softmax(x.float(), dim=-1)
    return logp.gather(1, target[:, None])[:, 0], -(logp.exp() * logp).sum(-1)


def chunked(f, x, target):
    return [f(x[i:i + CHUNK], target[i:i + CHUNK]) for i in range(0, x.shape[0], CHUNK)]


if triton:
    @triton.jit
    def online_softmax(x, target, logp, entropy, vocab, ld, BLOCK: tl.constexpr):
        """One row a program: running maximum, sum of exponentials and of their products with the logits (Milakov and
        Gimelshein 2018)."""
        row = tl.program_id(0).to(tl.int64)
        at = tl.arange(0, BLOCK)
        peak = tl.full((BLOCK,), float("-inf"), tl.float32)
        total = tl.zeros((BLOCK,), tl.float32)
        weighted = tl.zeros((BLOCK,), tl.float32)
        for start in range(0, vocab, BLOCK):
            z = tl.load(x + row * ld + start + at, mask=start + at < vocab, other=float("-inf")).to(tl.float32)
            new = tl.maximum(peak, z)
            safe = tl.where(new == float("-inf"), 0.0, new)
            shrink = tl.exp(peak - safe)
            e = tl.exp(z - safe)
            total = total * shrink + e
            weighted = weighted * shrink + tl.where(z == float("-inf"), 0.0, z) * e
            peak = new
        top = tl.max(peak, 0)
        shrink = tl.exp(peak - top)
        total = tl.sum(total * shrink, 0)
        lse = top + tl.log(total)
        z = tl.load(x + row * ld + tl.load(target + row)).to(tl.float32)
        tl.store(logp + row, z - lse)
        tl.store(entropy + row, lse - tl.sum(weighted * shrink, 0) / total)


def by_triton(x, target, logp, entropy):
    online_softmax[(x.shape[0],)](x, target, logp, entropy, x.shape[1], x.stride(0), BLOCK=4096 if GPU else 128,
                                  num_warps=8)


def check(p):
    """The kernel against torch on a small case: a fast wrong peer proves nothing."""
    x, target = p.random(5, 131, scale=8), torch.randint(131, (5,), device=DEVICE)
    logp, entropy = torch.empty(5, device=DEVICE), torch.empty(5, device=DEVICE)
    by_triton(x, target, logp, entropy)
    want = stats(x, target)
    torch.testing.assert_close(logp, want[0], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropy, want[1], atol=1e-4, rtol=1e-4)


def block(p, shape, f, rows):
    """The output matrix, logp, entropy and the backward pass, `rows` rows at a time; gradients of hidden rows and
    matrix add up over the chunks."""
    n, vocab, dim = shape["n"], shape["vocab"], shape["dim"]
    x, w = p.random(n, dim, scale=2).requires_grad_(), p.random(vocab, dim, scale=0.1).requires_grad_()
    target, g = torch.randint(vocab, (n,), device=DEVICE), torch.randn(n, device=DEVICE) * 1e-3

    def run():
        x.grad = w.grad = None
        for i in range(0, n, rows):
            f(x[i:i + rows], w, target[i:i + rows], g[i:i + rows]).backward()
    return run


def block_loss(x, w, target, g):
    logp, entropy = stats(x @ w.t(), target)
    return (g * logp).sum() + 1e-3 * entropy.sum()


def main():
    p = Peers(__doc__)
    if triton:
        check(p)
    for shape, _ in p.cases("row_stats"):
        n, vocab = shape["n"], shape["vocab"]
        x, target = p.random(n, vocab, scale=16), torch.randint(vocab, (n,), device=DEVICE)
        logp, entropy = torch.empty(n, device=DEVICE), torch.empty(n, device=DEVICE)
        p.measure("row_stats", shape, "torch eager", lambda: lambda: stats(x, target))
        p.measure("row_stats", shape, "torch chunked", lambda: lambda: chunked(stats, x, target))
        f = compiled(stats)
        p.measure("row_stats", shape, "torch.compile", lambda: lambda: f(x, target))
        p.measure("row_stats", shape, "torch.compile chunked", lambda: lambda: chunked(f, x, target))
        if triton:
            p.measure("row_stats", shape, "triton one pass", lambda: lambda: by_triton(x, target, logp, entropy))
        else:
            p.left_out("row_stats", shape, "triton one pass", "no triton here")
    for shape, _ in p.cases("dlogits"):
        n, vocab = shape["n"], shape["vocab"]
        x, target = p.random(n, vocab, scale=16).requires_grad_(), torch.randint(vocab, (n,), device=DEVICE)
        g = torch.randn(n, device=DEVICE) * 1e-3

        def back(f):
            logp, entropy = f(x, target)
            loss = (g * logp).sum() + 1e-3 * entropy.sum()
            return lambda: torch.autograd.grad(loss, x, retain_graph=True)
        p.measure("dlogits", shape, "torch autograd", lambda: back(stats))
        p.measure("dlogits", shape, "torch.compile", lambda: back(compiled(stats)))
    for shape, _ in p.cases("loss_block"):
        p.measure("loss_block", shape, "torch eager", lambda: block(p, shape, block_loss, shape["n"]))
        p.measure("loss_block", shape, "torch chunked", lambda: block(p, shape, block_loss, CHUNK))
        p.measure("loss_block", shape, "torch.compile chunked", lambda: block(p, shape, compiled(block_loss), CHUNK))


if __name__ == "__main__":
    main()
