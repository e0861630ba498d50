"""Loads the local server: lost and wrong answers, latency, throughput.

    python benchmarks/serving.py --seconds=60 --clients=32 --json

A beta-VAE of 64x64 RGB images is exported three times; the second copy is
damaged. Measured, in this order, each beside the bare signature in the same
minute:

  latency      of one PNG image: REST and gRPC, over calling the signature
  throughput   of batches: sent as such over gRPC and REST, and merged by the
               server from many clients of one image each
  load         many clients while a version that cannot be loaded appears,
               then one that can: every answer is compared

Clients and server share the machine's cores, so the server's own share of the
throughput is larger than what is printed.
"""

import argparse
import base64
import contextlib
import http.client
import io
import json
import multiprocessing
import os
import pathlib
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
from PIL import Image

ROOT = pathlib.Path(__file__).parents[1]
NAME = "vae"
SIGNATURE = "encode_bytes"
SHAPE = (64, 64, 3)
IMAGES = 64
WARM_UP = 30
# Rounding differs between batch sizes; versions differ by far more.
TOLERANCE = 1e-3
CLIENT_PROCESSES = 2
PORTS = re.compile(r"http://[\d.]+:(\d+)/.*gRPC: [\d.]+:(\d+)", re.DOTALL)


def pictures(count):
    """PNG files of smooth random images, as bytes."""
    rng = np.random.default_rng(0)
    files = []
    for _ in range(count):
        small = rng.integers(0, 256, (8, 8, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(small).resize(SHAPE[:2], Image.BICUBIC).save(
            file, "PNG"
        )
        files.append(file.getvalue())
    return files


def export(directory):
    """Two models that differ, as `directory/1` and `directory/2`."""
    import keras

    from export import saved_model
    from tfdisent import models

    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = models.get("beta_vae")(image_shape=SHAPE)
        saved_model.export_model(model, directory)


# ---- clients --------------------------------------------------------------


def rest_body(images):
    """A predict request for encoded images."""
    rows = [{"b64": base64.b64encode(data).decode()} for data in images]
    return json.dumps({"signature_name": SIGNATURE, "instances": rows}).encode()


class RestClient:
    """A connection that is kept."""

    def __init__(self, port):
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def predict(self, body):
        """`(status, parsed answer)`."""
        path = f"/v1/models/{NAME}:predict"
        self._connection.request("POST", path, body)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())


class GrpcClient:
    """Predict through the official stub."""

    def __init__(self, port):
        import grpc
        from tensorflow_serving.apis import prediction_service_pb2_grpc

        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._stub = prediction_service_pb2_grpc.PredictionServiceStub(
            self._channel
        )

    @staticmethod
    def request(images):
        import tensorflow as tf
        from tensorflow_serving.apis import predict_pb2

        request = predict_pb2.PredictRequest()
        request.model_spec.name = NAME
        request.model_spec.signature_name = SIGNATURE
        request.inputs["image_bytes"].CopyFrom(tf.make_tensor_proto(images))
        return request

    def predict(self, request):
        """The codes, `[B, d]`."""
        answer = self._stub.Predict(request, timeout=60)
        (tensor,) = answer.outputs.values()
        shape = [dim.size for dim in tensor.tensor_shape.dim]
        return np.reshape(tensor.float_val, shape)


def ask_until(port, threads, seconds, images, expected, results):
    """What a client process does: threads that ask for one image at a time.

    Args:
      port: of REST.
      threads: clients.
      seconds: how long.
      images: encoded.
      expected: float `[versions, images, d]`: what may be answered; None for
        anything.
      results: a queue that gets (counts, latencies, elapsed seconds).
    """
    bodies = [rest_body([data]) for data in images]
    counts = {"answered": 0, "lost": 0, "wrong": 0}
    latencies, lock = [], threading.Lock()
    first = time.perf_counter()

    def ask(number):
        client = RestClient(port)
        while time.perf_counter() < first + seconds:
            number = (number + 7) % len(bodies)
            start = time.perf_counter()
            outcome = "lost"
            try:
                status, answer = client.predict(bodies[number])
                if status == 200:
                    outcome = "answered"
                    codes = answer["predictions"]
                    if not is_expected(codes, expected, number):
                        outcome = "wrong"
            except (OSError, http.client.HTTPException, ValueError):
                client = RestClient(port)
            with lock:
                counts[outcome] += 1
                latencies.append(time.perf_counter() - start)

    run_threads(ask, threads)
    results.put((counts, latencies, time.perf_counter() - first))


def is_expected(codes, expected, number):
    """Whether one of the versions answers so."""
    if expected is None:
        return True
    difference = np.abs(np.asarray(codes) - expected[:, number])
    return bool((difference.max(axis=-1) < TOLERANCE).any())


def run_threads(function, count):
    """Calls `function(0)`, ... at the same time; waits for all."""
    threads = [
        threading.Thread(target=function, args=(n,)) for n in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


# ---- the server -----------------------------------------------------------


@contextlib.contextmanager
def served(models):
    """`(REST port, gRPC port)` of a server; stopped and checked at the end."""
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "serving.run",
            f"--models={models}",
            "--rest_port=0",
            "--grpc_port=0",
        ],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    try:
        lines = process.stdout.readline() + process.stdout.readline()
        rest, rpc = map(int, PORTS.search(lines).groups())
        wait_for(rest, 1, "AVAILABLE")
        yield rest, rpc
        process.send_signal(signal.SIGTERM)
        if process.wait(60):
            raise RuntimeError(f"The server ended with {process.returncode}.")
    finally:
        process.kill()
        process.wait()


def state(port, version):
    """What the server says of a version; None where it knows none."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", f"/v1/models/{NAME}/versions/{version}")
    answer = connection.getresponse()
    body = json.loads(answer.read())
    if answer.status != 200:
        return None
    return body["model_version_status"][0]["state"]


def wait_for(port, version, wanted, seconds=120):
    end = time.monotonic() + seconds
    while state(port, version) != wanted:
        if time.monotonic() > end:
            raise RuntimeError(f"Version {version} is not {wanted}.")
        time.sleep(0.1)


# ---- measurements ---------------------------------------------------------


def median_ms(function, count):
    times = []
    for number in range(WARM_UP + count):
        start = time.perf_counter()
        function(number)
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[WARM_UP:])


def latency(signature, ports, images, count):
    """Of one image in milliseconds: the least median of three rounds.

    The overheads are differences of those: what the protocols add on the
    quietest round of each.
    """
    import tensorflow as tf

    rest, rpc = RestClient(ports[0]), GrpcClient(ports[1])
    bodies = [rest_body([data]) for data in images]
    requests = [rpc.request([data]) for data in images]

    def direct(number):
        data = tf.constant([images[number % len(images)]])
        return [v.numpy() for v in signature(image_bytes=data).values()]

    found = {"signature": [], "rest": [], "grpc": []}
    # In turns: what else the machine does is in all of them.
    for _ in range(3):
        found["signature"].append(median_ms(direct, count // 3))
        found["rest"].append(
            median_ms(lambda n: rest.predict(bodies[n % IMAGES]), count // 3)
        )
        found["grpc"].append(
            median_ms(lambda n: rpc.predict(requests[n % IMAGES]), count // 3)
        )
    least = {name: min(medians) for name, medians in found.items()}
    return {
        **{f"{name}_least_median_ms": value for name, value in least.items()},
        "rest_overhead_ms": least["rest"] - least["signature"],
        "grpc_overhead_ms": least["grpc"] - least["signature"],
    }


def images_per_second(function, workers, batch, seconds):
    """How many rows `function(worker)` finishes, called over and over."""
    counts = [0] * workers
    function(0)
    end = time.perf_counter() + seconds

    def work(worker):
        while time.perf_counter() < end:
            function(worker)
            counts[worker] += batch

    start = time.perf_counter()
    run_threads(work, workers)
    return sum(counts) / (time.perf_counter() - start)


def throughput(signature, ports, images, batch, clients, seconds):
    """Images a second of the signature, and through the server."""
    import tensorflow as tf

    workers = os.cpu_count() or 1
    chosen = [images[n % len(images)] for n in range(batch)]
    data = tf.constant(chosen)
    body, request = rest_body(chosen), GrpcClient.request(chosen)
    rest = [RestClient(ports[0]) for _ in range(2 * workers)]
    rpc = [GrpcClient(ports[1]) for _ in range(2 * workers)]

    def direct(worker):
        return [v.numpy() for v in signature(image_bytes=data).values()]

    found = {
        "signature": images_per_second(direct, workers, batch, seconds),
        "grpc": images_per_second(
            lambda n: rpc[n].predict(request), 2 * workers, batch, seconds
        ),
        "rest": images_per_second(
            lambda n: rest[n].predict(body), 2 * workers, batch, seconds
        ),
    }
    found["merged"] = many_clients(ports[0], clients, seconds, images)["rate"]
    return {
        "batch": batch,
        **{f"{name}_images_per_second": v for name, v in found.items()},
        **{
            f"{name}_of_signature": found[name] / found["signature"]
            for name in ("grpc", "rest", "merged")
        },
    }


def many_clients(port, clients, seconds, images, expected=None, meanwhile=None):
    """Asks from processes full of clients.

    Args:
      port, seconds, images, expected: as in `ask_until`.
      clients: in all.
      meanwhile: called while they ask.

    Returns:
      {"answered", "lost", "wrong": counts; "rate": answers a second;
      "p50_ms", "p99_ms"}.
    """
    # Fresh processes: threads of this one hold TensorFlow's locks.
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    threads = clients // CLIENT_PROCESSES
    processes = [
        context.Process(
            target=ask_until,
            args=(port, threads, seconds, images, expected, queue),
        )
        for _ in range(CLIENT_PROCESSES)
    ]
    for process in processes:
        process.start()
    if meanwhile:
        meanwhile()
    results = [queue.get(timeout=seconds + 120) for _ in processes]
    for process in processes:
        process.join()
    latencies = [second for _, many, _ in results for second in many]
    return {
        **{
            outcome: sum(counts[outcome] for counts, _, _ in results)
            for outcome in ("answered", "lost", "wrong")
        },
        "rate": sum(c["answered"] / elapsed for c, _, elapsed in results),
        "p50_ms": 1e3 * float(np.percentile(latencies, 50)),
        "p99_ms": 1e3 * float(np.percentile(latencies, 99)),
    }


def load(port, versions, served_model, clients, seconds, images, expected):
    """Asks while a damaged version and then a good one appear.

    Args:
      port: of REST.
      versions: directory of the exported versions.
      served_model: the directory that the server watches.
      clients, seconds, images, expected: as in `many_clients`.
    """

    def publish(source, version):
        hidden = served_model / ".copy"
        shutil.copytree(versions / source, hidden)
        if version == 2:
            (shard,) = hidden.glob("variables/variables.data*")
            shard.write_bytes(bytes(shard.stat().st_size))
        hidden.rename(served_model / str(version))

    def meanwhile():
        time.sleep(seconds / 4)
        publish("1", 2)
        wait_for(port, 2, "END")
        time.sleep(seconds / 4)
        publish("2", 3)
        wait_for(port, 3, "AVAILABLE")
        wait_for(port, 1, "END")

    return many_clients(port, clients, seconds, images, expected, meanwhile)


def measure(seconds, clients, batch, count):
    """All figures."""
    import tensorflow as tf

    def say(text):
        print(text, file=sys.stderr, flush=True)

    say("Exporting two models.")
    images = pictures(IMAGES)
    with tempfile.TemporaryDirectory() as folder:
        versions, models = pathlib.Path(folder, "a"), pathlib.Path(folder, "b")
        export(versions)
        shutil.copytree(versions / "1", models / NAME / "1")
        loaded = [tf.saved_model.load(str(versions / v)) for v in "12"]
        data = tf.constant(images)
        expected = [
            next(iter(m.signatures[SIGNATURE](image_bytes=data).values()))
            for m in loaded
        ]
        signature = loaded[0].signatures[SIGNATURE]
        found = {}
        with served(models) as ports:
            say("Measuring latency.")
            found["latency"] = latency(signature, ports, images, count)
            say(f"{found}\nMeasuring throughput.")
            found["throughput"] = throughput(
                signature, ports, images, batch, clients, seconds / 6
            )
            say(f"{found['throughput']}\nLoading the server.")
            found["load"] = load(
                ports[0],
                versions,
                models / NAME,
                clients,
                seconds,
                images,
                np.stack(expected),
            )
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--count", type=int, default=900)
    parser.add_argument("--json", action="store_true")
    flags = parser.parse_args()
    found = measure(flags.seconds, flags.clients, flags.batch, flags.count)
    if flags.json:
        print(json.dumps(found))
        return
    for kind, figures in found.items():
        for name, value in figures.items():
            print(f"{kind:<10}  {name:<28}  {value:.4g}")


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    main()
