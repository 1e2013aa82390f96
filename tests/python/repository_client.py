"""Loads and unloads models of a running server with the unmodified tritonclient, and reports as JSON.

usage: repository_client.py URL

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

    def infer(version=""):
        tensor = triton.InferInput("image", [1, 64], "FP32")
        tensor.set_data_from_numpy(np.zeros((1, 64), np.float32))
        return int(client.infer(MODEL, [tensor], model_version=version).as_numpy("label").size)

    def state():
        return {
            "ready": client.is_model_ready(MODEL),
            "server_ready": client.is_server_ready(),
            "index": client.get_model_repository_index(),
            "infer": outcome(infer),
        }

    report = {"extensions": client.get_server_metadata()["extensions"], "before": state()}
    report["load"] = outcome(lambda: client.load_model(MODEL))
    report["loaded"] = state()
    report["label"] = outcome(lambda: infer("stable"))
    config = json.dumps({"max_batch_size": 4, "labels": {"sent": 1}})
    report["load_config"] = outcome(lambda: client.load_model(MODEL, config=config))
    report["config"] = client.get_model_config(MODEL)
    report["label_sent"] = outcome(lambda: infer("sent"))
    report["load_bad_config"] = outcome(lambda: client.load_model(MODEL, config='{"sequence": 1}'))
    report["load_unknown"] = outcome(lambda: client.load_model("nothing"))
    report["unload"] = outcome(lambda: client.unload_model(MODEL, unload_dependents=True))
    report["unloaded"] = state()
    report["unload_again"] = outcome(lambda: client.unload_model(MODEL))
    report["unload_unknown"] = outcome(lambda: client.unload_model("nothing"))
    report["load_again"] = outcome(lambda: client.load_model(MODEL))
    report["loaded_again"] = state()
    json.dump(report, sys.stdout)


main()
