"""Drives a running server with the unmodified tritonclient, and reports what came back as JSON.

usage: digits_client.py URL HELDOUT_CSV

It decides nothing: the Rust test that started it compares the answers with the labels, with each
other, and with what the protocol promises.
"""

import json
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

MODEL = "digits"


def image_input(images, binary):
    tensor = triton.InferInput("image", list(images.shape), "FP32")
    tensor.set_data_from_numpy(images, binary_data=binary)
    return [tensor]


def outputs(binary):
    return [
        triton.InferRequestedOutput("label", binary_data=binary),
        triton.InferRequestedOutput("probabilities", binary_data=binary),
    ]


def answer(result):
    return {
        "label": result.as_numpy("label").tolist(),
        "probabilities": result.as_numpy("probabilities").tolist(),
    }


def classify(url, client, images, binary):
    """Each image alone, then all of them from 32 clients at once, one for each thread."""

    def arguments(image):
        one = image.reshape(1, -1)
        return {"inputs": image_input(one, binary), "outputs": outputs(binary)}

    alone = [answer(client.infer(MODEL, **arguments(image))) for image in images]
    local = threading.local()

    def connect():
        local.client = triton.InferenceServerClient(url)

    with ThreadPoolExecutor(32, initializer=connect) as threads:
        infer = lambda image: answer(local.client.infer(MODEL, **arguments(image)))
        together = list(threads.map(infer, images))
    return {"alone": alone, "together": together}


def error_of(call):
    try:
        call()
    except InferenceServerException as error:
        return {"status": error.status(), "message": error.message()}
    return None


def main():
    url, heldout = sys.argv[1:]
    rows = np.loadtxt(heldout, delimiter=",", dtype=np.float32)
    labels, images = rows[:, 0].astype(int), np.ascontiguousarray(rows[:, 1:])
    client = triton.InferenceServerClient(url)

    report = {
        "labels": labels.tolist(),
        "server": {
            "live": client.is_server_live(),
            "ready": client.is_server_ready(),
            "metadata": client.get_server_metadata(),
            "index": client.get_model_repository_index(),
        },
        "model": {
            "ready": client.is_model_ready(MODEL),
            "ready_version": client.is_model_ready(MODEL, "1"),
            "unknown_ready": client.is_model_ready("nothing"),
            "metadata": client.get_model_metadata(MODEL),
            "metadata_version": client.get_model_metadata(MODEL, "1"),
            "config": client.get_model_config(MODEL),
        },
        "binary": classify(url, client, images, binary=True),
        "json": classify(url, client, images, binary=False),
    }

    few = images[:3]
    expected = answer(client.infer(MODEL, image_input(few, True)))
    forms = {
        "all_outputs_by_default": client.infer(MODEL, image_input(few, True)),
        "json_in_binary_out": client.infer(MODEL, image_input(few, False), outputs=outputs(True)),
        "binary_in_json_out": client.infer(MODEL, image_input(few, True), outputs=outputs(False)),
        "mixed_outputs": client.infer(
            MODEL,
            image_input(few, True),
            outputs=[
                triton.InferRequestedOutput("label", binary_data=False),
                triton.InferRequestedOutput("probabilities", binary_data=True),
            ],
        ),
        "version": client.infer(MODEL, image_input(few, True), model_version="1"),
        "gzip": client.infer(
            MODEL,
            image_input(few, True),
            request_compression_algorithm="gzip",
            response_compression_algorithm="gzip",
        ),
        "deflate": client.infer(
            MODEL,
            image_input(few, False),
            request_compression_algorithm="deflate",
            response_compression_algorithm="deflate",
        ),
        "parameters": client.infer(
            MODEL,
            image_input(few, True),
            parameters={"tenant": "tests", "retries": 2},
            sequence_id=5,
            sequence_start=True,
            timeout=1_000_000,
        ),
    }
    report["forms"] = {name: answer(result) == expected for name, result in forms.items()}

    with_id = client.infer(MODEL, image_input(few, True), request_id="seventeen")
    only_label = client.infer(
        MODEL, image_input(few, True), outputs=[triton.InferRequestedOutput("label")]
    )
    report["request_id"] = with_id.get_response()["id"]
    report["model_version"] = with_id.get_response()["model_version"]
    report["only_label"] = [output["name"] for output in only_label.get_response()["outputs"]]

    wrong_type = triton.InferInput("image", [1, 64], "INT32")
    wrong_type.set_data_from_numpy(np.zeros((1, 64), np.int32))
    wrong_shape = triton.InferInput("image", [1, 65], "FP32")
    wrong_shape.set_data_from_numpy(np.zeros((1, 65), np.float32))
    nothing = [triton.InferRequestedOutput("nothing")]
    report["errors"] = {
        "unknown_model": error_of(lambda: client.infer("nothing", image_input(few, True))),
        "unknown_version": error_of(
            lambda: client.infer(MODEL, image_input(few, True), model_version="9")
        ),
        "wrong_type": error_of(lambda: client.infer(MODEL, [wrong_type])),
        "wrong_shape": error_of(lambda: client.infer(MODEL, [wrong_shape])),
        "missing_input": error_of(lambda: client.infer(MODEL, [])),
        "unknown_output": error_of(
            lambda: client.infer(MODEL, image_input(few, True), outputs=nothing)
        ),
    }
    report["statistics"] = client.get_inference_statistics(MODEL)
    report["all_statistics"] = client.get_inference_statistics()
    json.dump(report, sys.stdout)


if __name__ == "__main__":
    main()
