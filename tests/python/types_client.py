"""Sends every data type through identity models with the unmodified tritonclient.

usage: types_client.py URL MODEL=DATATYPE...

Prints a JSON object: for each model, what came back different, or an empty list.
"""

import json
import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import triton_to_np_dtype

WHOLE = {
    "UINT8": [0, 255, 7],
    "UINT16": [0, 65535, 7],
    "UINT32": [0, 2**32 - 1, 7],
    "UINT64": [0, 2**64 - 1, 7],
    "INT8": [-128, 127, -1],
    "INT16": [-(2**15), 2**15 - 1, -1],
    "INT32": [-(2**31), 2**31 - 1, -1],
    "INT64": [-(2**63), 2**63 - 1, -1],
}


def rows(datatype):
    """Two rows of three values, the type's extremes among them."""
    if datatype == "BOOL":
        return np.array([[True, False, True], [False, False, True]])
    if datatype == "BYTES":
        texts = [["", "plain", "two words"], ["\u00fcml\u00e4ut", '"quoted"\n', "\u4e2d"]]
        return np.array([[text.encode() for text in row] for row in texts], dtype=object)
    if datatype == "BF16":
        return np.array([[0.1, -1.5, 3.0], [1e30, -0.0, 1 / 3]], ml_dtypes.bfloat16)
    dtype = triton_to_np_dtype(datatype)
    if datatype in WHOLE:
        return np.array([WHOLE[datatype], WHOLE[datatype][::-1]], dtype)
    limits = np.finfo(dtype)
    return np.array([[0.1, limits.max, limits.min], [limits.tiny, -0.0, 1 / 3]], dtype)


def main():
    url, *models = sys.argv[1:]
    client = triton.InferenceServerClient(url)
    report = {}
    for model, datatype in (pair.split("=") for pair in models):
        values = rows(datatype)
        # tritonclient refuses to write these two as JSON.
        forms = (True,) if datatype in ("FP16", "BF16") else (True, False)
        differences = []
        for binary_in in forms:
            for binary_out in (True,) if datatype == "BF16" else (True, False):
                tensor = triton.InferInput("x", list(values.shape), datatype)
                tensor.set_data_from_numpy(values, binary_data=binary_in)
                wanted = [triton.InferRequestedOutput("y", binary_data=binary_out)]
                got = client.infer(model, [tensor], outputs=wanted).as_numpy("y")
                if datatype == "BYTES":
                    # From JSON the client gives text, from binary bytes.
                    as_bytes = lambda x: x if isinstance(x, bytes) else x.encode()
                    got = np.array([[as_bytes(x) for x in row] for row in got], dtype=object)
                if got.shape != values.shape or not (got == values).all():
                    differences.append([binary_in, binary_out, got.tolist()])
        report[model] = differences
    json.dump(report, sys.stdout, default=str)


if __name__ == "__main__":
    main()
