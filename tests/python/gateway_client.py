"""Asks a gateway about a model that others have, with the unmodified tritonclient, and reports as JSON.

usage: gateway_client.py URL REQUESTS

It decides nothing: the Rust test that started it compares what is reported with what the protocol promises.
"""

import json
import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "digits"


def outcome(call):
    try:
        return {"result": call()}
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}


def main():
    client = triton.InferenceServerClient(sys.argv[1], network_timeout=60.0, connection_timeout=60.0)
    tensor = triton.InferInput("image", [1, 64], "FP32")
    tensor.set_data_from_numpy(np.zeros((1, 64), np.float32))
    for _ in range(int(sys.argv[2])):
        client.infer(MODEL, [tensor])
    report = {
        "ready": client.is_model_ready(MODEL),
        "ready_version": client.is_model_ready(MODEL, "1"),
        "unknown_version_ready": client.is_model_ready(MODEL, "9"),
        "unknown_ready": client.is_model_ready("nothing"),
        "config": client.get_model_config(MODEL),
        "config_version": client.get_model_config(MODEL, "1"),
        "config_unknown": outcome(lambda: client.get_model_config(MODEL, "9")),
        "statistics": client.get_inference_statistics(MODEL),
        "statistics_version": client.get_inference_statistics(MODEL, "1"),
    }
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
