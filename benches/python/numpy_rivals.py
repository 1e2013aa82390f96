"""numpy's part in `cargo bench --bench statistics`, which starts this with numpy's threads set to
one and asks over stdin and stdout, one line of JSON each way:

    {"ask": "hold", "name": NAME, "values": N}, then N doubles as bytes, little-endian
    {"ask": "drop"}
    {"ask": ROUTINE, "times": N, ...}: mean_variance of x, covariance of x and y, or
        covariance_matrix of x with so many columns, of which it answers the entries asked for

The first line it writes names numpy's version, or why there is none.
"""

import json
import os
import sys
import time

try:
    import numpy as np
except ImportError as problem:
    print(json.dumps({"missing": str(problem)}), flush=True)
    sys.exit()

held = {}


def hold(name, values):
    held[name] = np.empty(values, dtype="<f8")
    rest = memoryview(held[name]).cast("B")
    while rest:
        read = sys.stdin.buffer.readinto(rest)
        if not read:
            sys.exit("the values ended early")
        rest = rest[read:]
    return {}


def timed(routine, times):
    start = time.perf_counter()
    for _ in range(times):
        answer = routine()
    return (time.perf_counter() - start) / times, answer


def mean_variance(times):
    x = held["x"]
    seconds, answer = timed(lambda: (x.mean(), x.var()), times)
    return {"seconds": seconds, "answer": [float(figure) for figure in answer]}


def covariance(times):
    x, y = held["x"], held["y"]
    seconds, answer = timed(lambda: np.cov(x, y), times)
    return {"seconds": seconds, "answer": [float(answer[0, 1])]}


def covariance_matrix(times, columns, entries):
    x = held["x"].reshape(-1, columns)
    seconds, answer = timed(lambda: np.cov(x, rowvar=False), times)
    return {"seconds": seconds, "answer": [float(answer[i, j]) for i, j in entries]}


def threads():
    """How many this process has, as the system counts them: BLAS may have started some."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return 1


ROUTINES = {
    "hold": hold,
    "drop": lambda: held.clear() or {},
    "mean_variance": mean_variance,
    "covariance": covariance,
    "covariance_matrix": covariance_matrix,
}


def main():
    np.dot(np.ones((64, 64)), np.ones((64, 64)))  # BLAS starts its threads, if it has any
    print(json.dumps({"numpy": np.__version__, "threads": threads()}), flush=True)
    for line in iter(sys.stdin.buffer.readline, b""):
        request = json.loads(line)
        answer = ROUTINES[request.pop("ask")](**request)
        print(json.dumps(answer), flush=True)


main()
