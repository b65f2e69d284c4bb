"""common.py: code that the peers share: cases of `appo bench --shapes`, timing as in eval/bench/bench.c, results.

A peer is other software doing the same work on the same shapes in the same run; its results have bench's format and the
key "peer". `appo bench --table OURS PEERS` prints both with ratios.
Every script: python3 NAME.py --shapes FILE [--json FILE]. Status 77: cannot run here; its last line gives the reason.
"""
import argparse
import json
import platform
import sys
import time

WARM, TIMES, WARM_S, TIME_S, FEWEST = 10, 50, 1.0, 3.0, 5
LEFT_OUT = 77


def leave(why):
    """Ends the script: none of it can run here."""
    print(why)
    sys.exit(LEFT_OUT)


try:
    import torch
except ImportError as e:
    leave(f"no torch here: {e}")

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"


class Peers:
    """The cases of a file and their results."""

    def __init__(self, what):
        p = argparse.ArgumentParser(description=what)
        p.add_argument("--shapes", required=True,
                       help="cases, as `appo bench --shapes FILE` writes them; results may follow them")
        p.add_argument("--json", help="file for the results (default: standard output only)")
        a = p.parse_args()
        with open(a.shapes) as f:
            self.lines = [json.loads(line) for line in f if line.strip()]
        self.out = open(a.json, "w") if a.json else None
        self.flush = torch.empty(256 << 20, dtype=torch.uint8, device=DEVICE) if GPU else None
        processor = platform.processor() or platform.machine()
        self.device = torch.cuda.get_device_name() if GPU else f"{processor}, {torch.get_num_threads()} threads"
        torch.manual_seed(1)

    def cases(self, name):
        """(shape, case) of an operation, each shape once, measured ones first; a case has the keys of the plan and of
        our result."""
        found = {}
        for c in sorted((c for c in self.lines if c["name"] == name), key=lambda c: "us" not in c):
            case = found.setdefault(json.dumps(c["shape"], sort_keys=True), {})
            case.update({k: v for k, v in c.items() if k != "real"})
        return [(c["shape"], c) for c in found.values()]

    def config(self, name, shape):
        """The configuration of a model, which only the plan has: our run may have been sized down to fit the memory."""
        return next((c["config"] for c in self.lines if c["name"] == name and "config" in c
                     and c["shape"]["model"] == shape["model"]), None)

    def dtype(self):
        real = next((c["real"] for c in self.lines if "real" in c), "bf16")
        return torch.bfloat16 if real == "bf16" else torch.float32

    def time(self, run, reset=None):
        """Median seconds of run() with the caches flushed before each, and how many runs."""
        def once():
            if reset:
                reset()
            if not GPU:
                t = time.perf_counter()
                run()
                return time.perf_counter() - t
            self.flush.zero_()
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            run()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) * 1e-3

        start, i = time.perf_counter(), 0
        while i < WARM and (i == 0 or time.perf_counter() - start < WARM_S):
            once()
            i += 1
        start, t = time.perf_counter(), []
        while len(t) < TIMES and (len(t) < FEWEST or time.perf_counter() - start < TIME_S):
            t.append(once())
        return sorted(t)[len(t) // 2], len(t)

    def put(self, result):
        result.update(seed=1, device=self.device, torch=torch.__version__,
                      real="bf16" if self.dtype() == torch.bfloat16 else "float",
                      command=" ".join(sys.argv), date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
        text = json.dumps(result, separators=(",", ":"))
        print(text, flush=True)
        if self.out:
            print(text, file=self.out, flush=True)

    def left_out(self, name, shape, peer, why):
        self.put({"name": name, "shape": shape, "peer": peer, "left_out": str(why).strip().split("\n")[0][:200]})

    def measure(self, name, shape, peer, make, case=None):
        """make() returns run, or (run, reset). A failure is a result too: the reason why there is no time."""
        case = case or next((c for s, c in self.cases(name) if s == shape), {})
        try:
            made = make()
            run, reset = made if isinstance(made, tuple) else (made, None)
            t, runs = self.time(run, reset)
        except Exception as e:                                  # noqa: BLE001: a peer that fails is a result
            self.left_out(name, shape, peer, f"{type(e).__name__}: {e}")
            return
        finally:
            if GPU:
                torch.cuda.empty_cache()
        flops, moved = case.get("flops", 0), case.get("bytes", 0)
        # 200 flops a byte: where an H200 is bound by its products
        by_flops = case["unit"] == "TFLOP/s" if "unit" in case else flops / 200 > moved
        rate, unit = (flops / t * 1e-12, "TFLOP/s") if by_flops else (moved / t * 1e-9, "GB/s")
        self.put({"name": name, "shape": shape, "peer": peer, "us": t * 1e6, "rate": rate, "unit": unit, "runs": runs})

    def tokens(self, name, shape, peer, tokens, seconds, runs):
        self.put({"name": name, "shape": shape, "peer": peer, "us": seconds * 1e6, "rate": tokens / seconds,
                  "unit": "tokens/s", "runs": runs})

    def random(self, *size, scale=1.0, dtype=None):
        return ((torch.rand(*size, device=DEVICE) - 0.5) * scale).to(dtype or self.dtype())


def compiled(f):
    """torch.compile, one graph for one shape."""
    torch._dynamo.reset()
    return torch.compile(f, dynamic=False)
