"""Asks a server that loads models on demand for some, with the unmodified tritonclient, and reports as JSON.

usage: on_demand_client.py URL

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
    client = triton.InferenceServerClient(
        sys.argv[1], concurrency=8, network_timeout=60.0, connection_timeout=60.0
    )

    def request():
        tensor = triton.InferInput("image", [1, 64], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 64), np.float32))
        return [tensor]

    def infer(model=MODEL, version="", **options):
        result = client.infer(model, request(), model_version=version, **options)
        return int(result.as_numpy("label").size)

    def state():
        return {
            "ready": client.is_model_ready(MODEL),
            "index": client.get_model_repository_index(),
        }

    report = {"server_ready": client.is_server_ready(), "before": state()}
    waiting = [client.async_infer(MODEL, request()) for _ in range(8)]
    report["together"] = [int(one.get_result().as_numpy("label").size) for one in waiting]
    report["loaded"] = state()
    report["label"] = outcome(lambda: infer(version="stable"))
    report["statistics"] = client.get_inference_statistics(MODEL)
    report["unload"] = outcome(lambda: client.unload_model(MODEL))
    report["unloaded"] = state()
    report["again"] = outcome(infer)
    report["loaded_again"] = state()
    report["broken"] = outcome(lambda: infer("broken"))
    report["broken_again"] = outcome(lambda: infer("broken"))
    report["unknown"] = outcome(lambda: infer("nothing"))
    report["unknown_version"] = outcome(lambda: infer(version="7"))
    json.dump(report, sys.stdout)


main()
