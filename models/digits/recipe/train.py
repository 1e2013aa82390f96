#!/usr/bin/env python3
"""Train the digits classifier and write every generated file of models/digits.

    python train.py              # writes into the directory above this one
    python train.py --out DIR    # writes somewhere else (to compare)

NumPy only: the forward and backward passes are written out below. Seeded and
single-threaded. Training is in float64 and the weights are rounded to float32 at
the end: in float32 the difference between two CPUs' BLAS kernels is enough to
change which epoch is kept.
"""
import os

for _v in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_v] = "1"

import argparse
import hashlib
import json
import pathlib
import time

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

SEED = 20240607
N_HELDOUT = 360  # never used in training or model selection
N_VALID = 200  # picks the epoch to keep

WIDTH = 32  # residual stream
HIDDEN = 64  # inside a block
BLOCKS = 10  # distinct weights
REPEAT = 3  # times each block is applied in a row, with the same weights
EPS = 1e-5

EPOCHS = 50
BATCH = 64
LR = 3e-3
WEIGHT_DECAY = 0.5
SMOOTHING = 0.05
NOISE = 1.0  # standard deviation, in pixel values
EMA = 0.98

OPSET = 17
IR_VERSION = 8

WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


# ---------------------------------------------------------------- data


def split():
    d = load_digits()
    x, y = d.data, d.target.astype(np.int64)
    idx = np.arange(len(y))
    rest, held = train_test_split(idx, test_size=N_HELDOUT, stratify=y, random_state=SEED)
    train, valid = train_test_split(rest, test_size=N_VALID, stratify=y[rest], random_state=SEED)
    held = np.sort(held)
    assert not set(held) & (set(train) | set(valid))
    return (x[train], y[train]), (x[valid], y[valid]), (x[held], y[held])


def augment(x, rng):
    """Move each image sideways by -1, 0 (half of the time) or 1 pixel, add noise.

    Not up or down: the digits fill the whole height, so that would cut them.
    """
    n = len(x)
    pad = np.zeros((n, 8, 10))
    pad[:, :, 1:9] = x.reshape(n, 8, 8)
    col = rng.choice([0, 1, 1, 2], size=n)[:, None, None] + np.arange(8)
    out = pad[np.arange(n)[:, None, None], np.arange(8)[None, :, None], col].reshape(n, 64)
    out = out + NOISE * rng.standard_normal(out.shape)
    return np.clip(out, 0, 16)


# ---------------------------------------------------------------- network
#
#   x = image / 16 @ W_in + b_in
#   for each of BLOCKS weight sets, REPEAT times:
#       x = x + silu(norm(x) @ W1 + b1) @ W2 + b2
#   logits = norm(x) @ W_out + b_out
#
# norm is LayerNorm without a gain and offset of its own: the Gemm that always
# follows it would absorb them.


def init(rng):
    def dense(i, o, scale=1.0):
        return (rng.standard_normal((i, o)) * scale / np.sqrt(i))

    p = {"in.w": dense(64, WIDTH, 2.0), "in.b": np.zeros(WIDTH)}
    for k in range(BLOCKS):
        p[f"{k}.w1"] = dense(WIDTH, HIDDEN)
        p[f"{k}.b1"] = np.zeros(HIDDEN)
        p[f"{k}.w2"] = dense(HIDDEN, WIDTH, 1.0 / np.sqrt(BLOCKS * REPEAT))
        p[f"{k}.b2"] = np.zeros(WIDTH)
    p["out.w"] = dense(WIDTH, 10)
    p["out.b"] = np.zeros(10)
    return p


def norm(x):
    c = x - x.mean(1, keepdims=True)
    s = np.sqrt((c * c).mean(1, keepdims=True) + EPS)
    return c / s, s


def norm_back(g, n, s):
    return (g - g.mean(1, keepdims=True) - n * (g * n).mean(1, keepdims=True)) / s


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def forward(p, image, tape=None):
    u = image / 16
    x = u @ p["in.w"] + p["in.b"]
    for i in range(BLOCKS * REPEAT):
        k = i // REPEAT
        n, s = norm(x)
        a = n @ p[f"{k}.w1"] + p[f"{k}.b1"]
        sg = 1 / (1 + np.exp(-a))
        h = a * sg
        x = x + h @ p[f"{k}.w2"] + p[f"{k}.b2"]
        if tape is not None:
            tape.append((n, s, a, sg, h))
    n, s = norm(x)
    if tape is not None:
        tape.append((u, n, s))
    return n @ p["out.w"] + p["out.b"]


def gradients(p, image, y):
    tape = []
    prob = softmax(forward(p, image, tape))
    target = np.full_like(prob, SMOOTHING / 10)
    target[np.arange(len(y)), y] += 1 - SMOOTHING
    d = (prob - target) / len(y)
    u, n, s = tape.pop()
    g = {k: np.zeros_like(w) for k, w in p.items()}
    g["out.w"] += n.T @ d
    g["out.b"] += d.sum(0)
    dx = norm_back(d @ p["out.w"].T, n, s)
    for i in reversed(range(BLOCKS * REPEAT)):
        k = i // REPEAT
        n, s, a, sg, h = tape.pop()
        g[f"{k}.w2"] += h.T @ dx
        g[f"{k}.b2"] += dx.sum(0)
        da = (dx @ p[f"{k}.w2"].T) * (sg * (1 + a * (1 - sg)))
        g[f"{k}.w1"] += n.T @ da
        g[f"{k}.b1"] += da.sum(0)
        dx = dx + norm_back(da @ p[f"{k}.w1"].T, n, s)
    g["in.w"] += u.T @ dx
    g["in.b"] += dx.sum(0)
    return g


def loss_and_accuracy(p, x, y):
    q = softmax(forward(p, x))
    return float(-np.log(q[np.arange(len(y)), y] + 1e-12).mean()), float((q.argmax(1) == y).mean())


def train(tr, va, log=print):
    rng = np.random.default_rng(SEED)
    p = init(rng)
    m = {k: np.zeros_like(v) for k, v in p.items()}
    v = {k: np.zeros_like(w) for k, w in p.items()}
    avg = {k: w.copy() for k, w in p.items()}  # moving average, what is kept
    x, y = tr
    steps = EPOCHS * (len(y) // BATCH)
    best, t = None, 0
    for epoch in range(1, EPOCHS + 1):
        order = rng.permutation(len(y))
        for i in range(0, len(y) - BATCH + 1, BATCH):
            b = order[i : i + BATCH]
            g = gradients(p, augment(x[b], rng), y[b])
            t += 1
            lr = LR * min(1, t / 100) * 0.5 * (1 + np.cos(np.pi * t / steps))
            # AdamW
            for k in p:
                m[k] += 0.1 * (g[k] - m[k])
                v[k] += 0.01 * (g[k] * g[k] - v[k])
                mh = m[k] / (1 - 0.9**t)
                vh = v[k] / (1 - 0.99**t)
                step = mh / (np.sqrt(vh) + (1e-8))
                if p[k].ndim == 2:
                    step = step + WEIGHT_DECAY * p[k]
                p[k] -= lr * step
                avg[k] += (1 - EMA) * (p[k] - avg[k])
        vl, vacc = loss_and_accuracy(avg, *va)
        if best is None or (vacc, -vl) > best[0]:
            best = ((vacc, -vl), epoch, {k: w.copy() for k, w in avg.items()})
        if epoch % 20 == 0:
            log(f"epoch {epoch:3d}  validation loss {vl:.4f}  accuracy {vacc:.4f}")
    log(f"kept epoch {best[1]}: validation accuracy {best[0][0]:.4f} on {len(va[1])} images")
    return best[2]


# ---------------------------------------------------------------- export


def export(p):
    nodes, inits = [], []

    def const(name, value):
        if all(t.name != name for t in inits):
            inits.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
        return name

    def op(kind, ins, out, **attrs):
        nodes.append(helper.make_node(kind, ins, [out], name=out, **attrs))
        return out

    def layer_norm(x, pre):
        mean = op("ReduceMean", [x], pre + "mean", axes=[1], keepdims=1)
        c = op("Sub", [x, mean], pre + "centred")
        var = op("ReduceMean", [op("Pow", [c, "two"], pre + "sq")], pre + "var", axes=[1], keepdims=1)
        std = op("Sqrt", [op("Add", [var, "eps"], pre + "vareps")], pre + "std")
        return op("Div", [c, std], pre + "norm")

    def gemm(x, w, b, out):
        return op("Gemm", [x, const(w, p[w]), const(b, p[b])], out)

    const("two", 2.0), const("eps", EPS)
    x = op("Mul", ["image", const("scale", 1 / 16)], "scaled")
    x = gemm(x, "in.w", "in.b", "in")
    for i in range(BLOCKS * REPEAT):
        k, q = i // REPEAT, f"x{i}."
        n = layer_norm(x, q)
        a = gemm(n, f"{k}.w1", f"{k}.b1", q + "a")
        h = op("Mul", [a, op("Sigmoid", [a], q + "sig")], q + "silu")
        x = op("Add", [x, gemm(h, f"{k}.w2", f"{k}.b2", q + "d")], q + "out")
    logits = gemm(layer_norm(x, "out."), "out.w", "out.b", "logits")
    op("Softmax", [logits], "probabilities", axis=1)
    op("ArgMax", [logits], "label", axis=1, keepdims=0)

    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 64])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10]),
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        ],
        inits,
    )
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="tensorforge-digits",
    )
    onnx.checker.check_model(model, full_check=True)
    return model


# ---------------------------------------------------------------- files


def body(name, images):
    data = [int(v) for v in images.reshape(-1)]
    return {
        "id": name,
        "inputs": [{"name": "image", "shape": [len(images), 64], "datatype": "FP32", "data": data}],
    }


def write_requests(where, x, y, label):
    where.mkdir(parents=True, exist_ok=True)
    right = {d: next(i for i in range(len(y)) if y[i] == d and label[i] == d) for d in range(10)}
    for d in (0, 2, 3, 5, 7):
        name = WORDS[d]
        (where / f"{name}.json").write_text(json.dumps(body(name, x[right[d]][None])) + "\n")
    three = x[[right[1], right[4], right[8]]]
    (where / "batch_of_three.json").write_text(json.dumps(body("batch_of_three", three)) + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).resolve().parent.parent)
    out = ap.parse_args().out

    tr, va, (x, y) = split()
    print(f"{len(tr[1])} training, {len(va[1])} validation, {len(y)} held-out images")
    t0 = time.time()
    p = train(tr, va)
    print(f"{sum(w.size for w in p.values())} parameters, trained in {time.time() - t0:.0f} s")

    model = export(p)
    raw = model.SerializeToString(deterministic=True)
    path = out / "1" / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(raw)

    # Everything below is computed by the exported graph, not by the code above.
    prob, label = ReferenceEvaluator(onnx.load(path)).run(None, {"image": x.astype(np.float32)})
    assert prob.shape == (len(y), 10) and label.shape == (len(y),) and label.dtype == np.int64
    assert np.abs(prob - softmax(forward(p, x))).max() < 1e-5
    confusion = np.zeros((10, 10), int)
    np.add.at(confusion, (y, label), 1)
    right = int((label == y).sum())
    print(f"held-out accuracy {right}/{len(y)} = {right / len(y):.4f}")
    print("confusion matrix (rows: truth, columns: predicted)")
    print("     " + " ".join(f"{d:3d}" for d in range(10)))
    for d in range(10):
        print(f"{d:3d}: " + " ".join(f"{c:3d}" for c in confusion[d]))

    rows = [",".join([str(t)] + [str(int(v)) for v in im]) for t, im in zip(y, x)]
    (out / "heldout.csv").write_text("\n".join(rows) + "\n")
    write_requests(out / "requests", x, y, label)
    print(f"{path}: {len(raw)} bytes, {len(model.graph.node)} nodes, sha256 {hashlib.sha256(raw).hexdigest()}")


if __name__ == "__main__":
    main()
