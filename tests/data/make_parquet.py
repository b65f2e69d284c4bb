#!/usr/bin/env python3
"""Makes tests/data/parquet/*.parquet with the records they must read as beside them (.jsonl), and the small seeds of
tests/fuzz/corpus.

Needs pyarrow and pandas; the tests themselves do not. Made with Python 3.11.7, pyarrow 26.0.1, pandas 3.1.1:
python3 tests/data/make_parquet.py
"""
import datetime
import decimal
import json
import math
import os
import random
import struct

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

here = os.path.dirname(os.path.abspath(__file__))
out = os.path.join(here, "parquet")
seeds = os.path.join(here, "..", "fuzz", "corpus")
rng = random.Random(7)


def plain(v):
    """A Python value as the reader shows it in JSON."""
    if isinstance(v, dict):
        return {k: plain(x) for k, x in v.items()}
    if isinstance(v, list):
        return [plain(x) for x in v]
    if isinstance(v, tuple):                     # of a map
        return {"key": v[0], "value": plain(v[1])}
    if isinstance(v, bytes):
        return v.decode()
    if isinstance(v, decimal.Decimal):
        return float(v) if v.as_tuple().exponent < 0 else int(v)
    if isinstance(v, float) and not math.isfinite(v):
        return None
    return v


def want(name, rows):
    with open(os.path.join(out, name + ".jsonl"), "w", encoding="utf-8") as f:
        for r in rows:
            f.write(json.dumps(plain(r), ensure_ascii=False, sort_keys=True) + "\n")


def verl(n):
    rows = []
    for i in range(n):
        system = [{"content": "Think, then answer in <answer>.", "role": "system"}] if i % 3 else []
        rows.append({
            "data_source": ["gsm8k", "hotpotqa", "MATH \u2115"][i % 3],
            "prompt": system + [{"content": f"What is {i} + {i * i}? \u00e9 \U0001d54f\n" + "why " * (i % 5),
                                 "role": "user"}],
            "ability": None if i % 7 == 3 else ["math", "qa"][i % 2],
            "reward_model": {"ground_truth": str(i + i * i), "style": "rule"},
            "extra_info": {"index": i, "need_tools_kwargs": i % 2 == 0, "score": i / 4, "split": "train",
                           "tags": [None, [], ["a"], ["a", None, "b"]][i % 4],
                           "more": None if i % 5 == 0 else {"deep": {"level": i}}},
            "metadata": None,
        })
    return rows


def nested(n):
    def text():
        return rng.choice([None, "", "x", "\u4e16\u754c", "long " * 9])

    def item():
        if rng.random() < 0.2:
            return None
        return {"a": rng.choice([None, [], [1], [2, None, 3]]),
                "b": rng.choice([None, [], [("k", ["v", None])], [("k", None), ("l", []), ("m", ["w"])]]), "c": text()}

    def pick(f, depth):
        if rng.random() < 0.15:
            return None
        return [f() if depth == 1 else pick(f, depth - 1) for _ in range(rng.choice([0, 0, 1, 1, 2, 3]))]

    return [{"deep": pick(item, 2), "deeper": pick(text, 5),
             "s": None if i % 4 == 0 else {"t": {"u": pick(text, 1)}}} for i in range(n)]


nested_schema = pa.schema([
    ("deep", pa.list_(pa.list_(pa.struct([("a", pa.list_(pa.int64())),
                                          ("b", pa.map_(pa.string(), pa.list_(pa.string()))), ("c", pa.string())])))),
    ("deeper", pa.list_(pa.list_(pa.list_(pa.list_(pa.list_(pa.string())))))),
    ("s", pa.struct([("t", pa.struct([("u", pa.list_(pa.string()))]))])),
])


def single(x):
    return struct.unpack("f", struct.pack("f", x))[0]


def types(n):
    rows = []
    for i in range(n):
        r = {"i8": i % 256 - 128, "i32": rng.choice([-2**31, 2**31 - 1, i]),
             "i64": rng.choice([-2**63, 2**63 - 1, -i]), "u32": rng.choice([2**32 - 1, i]),
             "u64": rng.choice([2**63 - 1, i]),
             "f32": single(rng.choice([0.1, -1e-30, 3e38, math.nan, math.inf, i / 3])),
             "f64": rng.choice([0.1, -1e300, math.nan, i / 3]), "flag": i % 3 == 0,
             "text": f"common prefix {i // 3} {'z' * (i % 4)}",
             "fixed": b"%04d" % i, "money": decimal.Decimal(i - 20).scaleb(-2),
             "big": decimal.Decimal((-7)**(i % 44)), "kind": f"kind {i % 4}"}
        rows.append({k: None if rng.random() < 0.1 else v for k, v in r.items()})
    return rows


types_schema = pa.schema([
    ("i8", pa.int8()), ("i32", pa.int32()), ("i64", pa.int64()), ("u32", pa.uint32()), ("u64", pa.uint64()),
    ("f32", pa.float32()), ("f64", pa.float64()),
    ("flag", pa.bool_()), ("text", pa.string()), ("fixed", pa.binary(4)), ("money", pa.decimal128(9, 2)),
    ("big", pa.decimal128(38, 0)),
    ("kind", pa.dictionary(pa.int32(), pa.string()))])


def shown(rows):
    """A float32 is shown with the fewest digits."""
    import numpy as np
    return [{k: float(str(np.float32(v))) if k == "f32" and v is not None and math.isfinite(v) else v
             for k, v in r.items()} for r in rows]


delta = {"i8": "DELTA_BINARY_PACKED", "i32": "DELTA_BINARY_PACKED", "i64": "DELTA_BINARY_PACKED",
         "u32": "BYTE_STREAM_SPLIT", "u64": "PLAIN",
         "f32": "BYTE_STREAM_SPLIT", "f64": "BYTE_STREAM_SPLIT", "flag": "RLE", "text": "DELTA_BYTE_ARRAY",
         "fixed": "DELTA_BYTE_ARRAY",
         "big": "BYTE_STREAM_SPLIT", "kind": "DELTA_LENGTH_BYTE_ARRAY"}


def write(name, rows, schema=None, **how):
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), os.path.join(out, name + ".parquet"), **how)
    want(name, rows)


def answers():
    """One answer of every type that a column of answers comes in, and unread columns of types that cannot be read."""
    columns = {
        "question": pa.array(["a", "b"]), "half": pa.array(np.array([0.1, -65504], np.float16)),
        "single": pa.array(np.array([0.1, 16777216], np.float32)),
        "double": pa.array([7.0, 0.5]), "big": pa.array([2**64 - 1, 2**63], pa.uint64()),
        "flag": pa.array([True, False]),
        "money": pa.array([decimal.Decimal("1.50"), decimal.Decimal("-0.02")]),
        "day": pa.array([datetime.date(2024, 2, 29), datetime.date(1599, 12, 31)]),
        "category": pa.array(["x", "y"]).dictionary_encode(), "bytes": pa.array([b"x", b"\xff"]),
        "list": pa.array([[1, 2], [3]]), "mixed": pa.array([["a", None], ["b"]]),
        "struct": pa.array([{"target": ["a", "b"], "pad": None}, {"target": ["c"], "pad": None}]),
        "two": pa.array([{"a": "1", "b": "2"}] * 2),
        "label": pa.array([datetime.time(1)] * 2), "solution": pa.array([datetime.datetime(2024, 2, 29)] * 2),
        "nothing": pa.nulls(2),
    }
    pq.write_table(pa.table(columns), os.path.join(out, "answers.parquet"), compression="snappy",
                   write_statistics=False, store_schema=False)


def main():
    os.makedirs(out, exist_ok=True)
    rows = verl(60)
    pd.DataFrame(rows).to_parquet(os.path.join(out, "verl_pandas.parquet"))
    want("verl_pandas", rows)
    rows = verl(90)
    write("verl_v2", rows, compression="zstd", data_page_version="2.0", row_group_size=40, data_page_size=200,
          write_page_checksum=True, use_dictionary=["data_source"],
          column_encoding={"prompt.list.element.content": "DELTA_BYTE_ARRAY",
                           "prompt.list.element.role": "DELTA_LENGTH_BYTE_ARRAY",
                           "extra_info.index": "DELTA_BINARY_PACKED"}, write_batch_size=8)
    rows = nested(120)
    write("nested", rows, nested_schema, compression="gzip", data_page_size=64, write_batch_size=8, row_group_size=70,
          dictionary_pagesize_limit=20)
    rows = types(70)
    table = pa.Table.from_pylist(rows, schema=types_schema)
    pq.write_table(table, os.path.join(out, "types_delta.parquet"), compression="snappy", data_page_version="2.0",
                   use_dictionary=False, column_encoding=delta,
                   data_page_size=100, write_batch_size=16)
    want("types_delta", shown(rows))
    pq.write_table(table, os.path.join(out, "types_plain.parquet"), compression="none", store_schema=False)
    want("types_plain", shown(rows))
    plain_qa = pa.schema([pa.field("question", pa.string(), nullable=False),
                          pa.field("answer", pa.list_(pa.string())), pa.field("asked", pa.timestamp("ms")),
                          pa.field("photo", pa.binary())])
    rows = [{"question": f"Who wrote number {i}?", "answer": [f"Author {i}", "Anon"][:1 + i % 2],
             "asked": 1700000000000 + i, "photo": b"\xff\0" * i} for i in range(30)]
    pq.write_table(pa.Table.from_pylist(rows, schema=plain_qa), os.path.join(out, "question.parquet"),
                   compression="zstd")
    want("question", [{k: r[k] for k in ("question", "answer")} for r in rows])
    write("messages", [{"messages": [{"role": "system", "content": "Be brief."},
                                     {"role": "user", "content": f"Say {i}."},
                                     {"role": "assistant", "content": None if i % 2 else "Let me see."},
                                     {"role": "tool", "content": "..."},
                                     {"role": "assistant", "content": f"It is {i}."}]} for i in range(20)],
          compression="snappy", data_page_version="2.0")
    answers()
    small()


def small():
    """Seeds: files under 4096 bytes, the length the fuzzer tries."""
    for target in ("fuzz_parquet", "fuzz_dataset"):
        os.makedirs(os.path.join(seeds, target), exist_ok=True)
    how = dict(store_schema=False, write_statistics=False)
    k = 0
    for rows, schema in ((verl(3), None), (nested(6), nested_schema), (types(5), types_schema)):
        for more in (dict(compression="none"), dict(compression="snappy", data_page_version="2.0"),
                     dict(compression="gzip"), dict(compression="zstd", row_group_size=2),
                     dict(compression="none", use_dictionary=False, data_page_version="2.0",
                          column_encoding=delta if schema is types_schema else None)):
            names = (pa.Table.from_pylist(rows, schema=schema) if schema else pa.Table.from_pylist(rows)).column_names
            wide = schema is types_schema and "column_encoding" not in more
            table = pa.Table.from_pylist(rows, schema=schema).select(names[6:] if wide else names)
            sink = pa.BufferOutputStream()
            pq.write_table(table, sink, **how, **more)
            b = sink.getvalue().to_pybytes()
            if len(b) > 4096:
                continue
            with open(os.path.join(seeds, "fuzz_parquet", f"{k:02d}.parquet"), "wb") as f:
                f.write(b)
            if not schema:
                with open(os.path.join(seeds, "fuzz_dataset", f"{k:02d}.parquet"), "wb") as f:
                    f.write(b)
            k += 1
    with open(os.path.join(seeds, "fuzz_dataset", "verl.jsonl"), "w", encoding="utf-8") as f:
        for r in verl(3):
            f.write(json.dumps(r, ensure_ascii=False) + "\n")
    with open(os.path.join(seeds, "fuzz_dataset", "mixed.jsonl"), "w", encoding="utf-8") as f:
        f.write('{"question":"q","answer":["a",7]}\n\n{"problem":"p","answer":"r\\n#### 12"}\n'
                '{"messages":[{"role":"user","content":"u"},{"role":"assistant","content":"a"}]}\n')


main()
