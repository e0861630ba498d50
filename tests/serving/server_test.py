"""The server as a whole: versions that change, clients, faults, the end."""

import base64
import hashlib
import http.client
import io
import json
import pathlib
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from PIL import Image
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc

# ---- a model of ours ------------------------------------------------------


def png(seed=0, size=(32, 32)):
    pixels = np.random.default_rng(seed).integers(0, 256, size, np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


def test_an_exported_model_end_to_end(server, exported):
    model, _ = exported
    images = [png(seed) for seed in (1, 2)]
    pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in images]
    array = np.float32(pixels)[..., None] / 255
    expected = model.encode(array)["z"]

    def ask(signature, key, value):
        status, answer = server.predict(
            "tiny", {"signature_name": signature, key: value}
        )
        assert status == 200, answer
        return answer["predictions" if key == "instances" else "outputs"]

    codes = ask("encode_bytes", "instances", [b64(data) for data in images])
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    codes = ask("encode", "inputs", array.tolist())
    np.testing.assert_allclose(codes, expected, atol=1e-5)
    decoded = np.asarray(model.decode(z=expected))
    shown = ask("decode", "instances", [{"z": z} for z in codes])
    np.testing.assert_allclose(shown, decoded, atol=1e-5)
    for answer, image in zip(
        ask("decode_bytes", "instances", codes), decoded, strict=True
    ):
        data = base64.b64decode(answer["b64"])
        received = np.asarray(Image.open(io.BytesIO(data)))
        np.testing.assert_allclose(
            received / 255, image[..., 0], atol=0.502 / 255
        )
    mix = np.zeros([1, len(model.units)], np.float32)
    mix[0, :2] = 1
    (answer,) = ask(
        "swap_bytes",
        "instances",
        [
            {
                "source_bytes": b64(images[0]),
                "target_bytes": b64(images[1]),
                "mix": mix[0].tolist(),
            }
        ],
    )
    received = np.asarray(
        Image.open(io.BytesIO(base64.b64decode(answer["b64"])))
    )
    swapped = np.asarray(model.swap(array[:1], array[1:], mix))[0, ..., 0]
    np.testing.assert_allclose(received / 255, swapped, atol=0.502 / 255)


@st.composite
def pictures(draw):
    """PNG and JPEG files, cut short, changed, or with another header."""
    kind = draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP"]))
    size = draw(st.tuples(*[st.integers(1, 120)] * 2))
    mode = draw(st.sampled_from(["L", "RGB", "1"]))
    file = io.BytesIO()
    Image.new(mode, size).save(file, kind)
    data = bytearray(file.getvalue())
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, min(len(data), 64)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    return bytes(data[: draw(st.integers(0, len(data)))] or data)


def test_it_listens_at_this_machine_alone(server):
    """A server at all addresses would answer at this one too."""
    for port in (server.rest_port, server.grpc_port):
        socket.create_connection(("127.0.0.1", port), timeout=10).close()
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.2", port), timeout=10)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=40) | pictures())
def test_whatever_is_called_an_image(server, data):
    request = {"signature_name": "encode_bytes", "instances": [b64(data)]}
    status, answer = server.predict("tiny", request)
    assert status in (200, 400), answer
    if status == 400:
        assert answer["error"]


def test_images_that_claim_too_much_are_not_decoded(server):
    large = png(size=(101, 100))
    request = {"signature_name": "encode_bytes", "instances": [b64(large)]}
    status, answer = server.predict("tiny", request)
    assert status == 400
    assert "10000 pixels" in answer["error"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["predict", "classify", "regress"]),
    st.binary(max_size=30)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(["instances", "inputs", "examples", "x"]), inner
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)
def test_whatever_is_sent_is_answered(server, verb, body):
    status, headers, answer = server.request(
        "POST", f"/v1/models/zoo:{verb}", body
    )
    assert status in (200, 400, 501), answer
    assert headers["content-type"] == "application/json"


def test_an_independent_client(server, exported):
    """ovmsclient, in a process of its own: it has the same messages again."""
    program = """
import json, sys
import numpy as np, ovmsclient
found = []
for make, port in zip(
    (ovmsclient.make_grpc_client, ovmsclient.make_http_client), sys.argv[1:]
):
    client = make(f"127.0.0.1:{port}")
    image = np.full([2, 32, 32, 1], .5, np.float32)
    x = np.float32([1, 2])
    found.append([
        client.predict({"x": x}, "halves", model_version=1).tolist(),
        client.get_model_status("halves", model_version=2)[2]["state"],
        str(client.get_model_metadata("halves", model_version=1)),
        client.predict({"image": image}, "tiny", model_version=1).tolist(),
    ])
print(json.dumps(found))
"""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            str(server.grpc_port),
            str(server.rest_port),
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    codes = exported[0].encode(np.full([2, 32, 32, 1], 0.5, np.float32))["z"]
    for values, state, metadata, received in json.loads(done.stdout):
        np.testing.assert_allclose(received, codes, atol=1e-5)
        assert values == [2.5, 3.0]
        assert state == "AVAILABLE"
        assert "DT_FLOAT" in metadata


# ---- while versions change ------------------------------------------------


@pytest.fixture(scope="module")
def hot(start, halves, zoo, tmp_path_factory):
    """`(server, models)`: a server whose models the tests change."""
    models = tmp_path_factory.mktemp("hot")
    server = start(models)
    shutil.copytree(halves / "2", models / "m" / "1")
    shutil.copytree(zoo, models / "zoo")
    server.wait_for("m", 1)
    server.wait_for("zoo", 1)
    return server, models


def publish(source, directory, version):
    """Copies a version beside the others and gives it its name at once."""
    hidden = directory / ".copy"
    shutil.copytree(source, hidden)
    hidden.rename(directory / str(version))


def test_no_request_is_lost_while_versions_change(hot, halves):
    server, models = hot
    stop, wrong, seen = threading.Event(), [], set()

    def ask(seed):
        random_ = random.Random(seed)
        while not stop.is_set():
            x = random_.randrange(1000)
            status, answer = server.predict("m", {"instances": [x]})
            offset = status == 200 and answer["predictions"][0] - x / 2
            seen.add(offset)
            if offset not in (2, 4):
                wrong.append((status, answer))

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    # One that cannot be loaded, then one that can.
    broken = models / "m" / ".broken"
    shutil.copytree(halves / "3", broken)
    shard = broken / "variables" / "variables.data-00000-of-00001"
    shard.write_bytes(b"\0" * shard.stat().st_size)
    broken.rename(models / "m" / "2")
    failed = server.wait_for("m", 2, "END")
    assert failed["status"]["error_code"] != "OK"
    assert server.predict("m", {"instances": [0]}) == (
        200,
        {"predictions": [2.0]},
    )
    publish(halves / "4", models / "m", 3)
    server.wait_for("m", 3)
    server.wait_for("m", 1, "END")
    time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen == {2, 4}


def test_reload_over_grpc(hot, halves):
    server, models = hot
    shutil.copytree(halves / "3", models / "other" / "deep" / "5")
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        stub = model_service_pb2_grpc.ModelServiceStub(channel)
        request = model_management_pb2.ReloadConfigRequest()
        for name, path in (("new", "other/deep"), ("zoo", "zoo")):
            request.config.model_config_list.config.add(
                name=name, base_path=path, model_platform="tensorflow"
            )
        answer = stub.HandleReloadConfigRequest(request, timeout=60)
        assert answer.status.error_code == 0
    assert server.predict("new", {"instances": [0]}) == (
        200,
        {"predictions": [3.0]},
    )
    assert server.predict("m", {"instances": [0]})[0] == 404


def test_a_stop_finishes_what_runs(hot):
    """The last test of this server."""
    server, models = hot
    before = sorted(p for p in models.rglob("*"))
    answers = []
    busy = {"signature_name": "loop", "instances": [6e5]}
    thread = threading.Thread(
        target=lambda: answers.append(server.predict("zoo", busy))
    )
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "zoo"
    request.model_spec.signature_name = "loop"
    request.inputs["x"].CopyFrom(tf.make_tensor_proto([6e5]))
    address = f"127.0.0.1:{server.grpc_port}"
    with grpc.insecure_channel(address) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        health = health_pb2_grpc.HealthStub(channel)
        watch = health.Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        thread.start()
        running = stub.Predict.future(request)
        time.sleep(0.3)
        server.process.send_signal(signal.SIGTERM)
        # Whoever looks is told; what is new goes elsewhere.
        stopping = health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(watch).status == stopping
        check = health.Check(health_pb2.HealthCheckRequest())
        assert check.status == stopping
        with pytest.raises(grpc.RpcError) as refused:
            stub.Predict(request)
        assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
        assert "stopping" in refused.value.details()
        assert not running.done()
        with pytest.raises(ConnectionError):
            for _ in range(100):
                server.get("/v1/models/zoo/metadata")
                time.sleep(0.01)
        assert list(running.result().outputs["y"].float_val) == [6e5]
    thread.join()
    status, errors = server.wait()
    assert answers == [(200, {"predictions": [6e5]})]
    assert status == 0
    assert "Traceback" not in errors
    assert sorted(p for p in models.rglob("*")) == before


@pytest.mark.slow
def test_a_stop_ends_though_something_runs(start, zoo):
    """A run that would take minutes, and nobody waits for."""
    program = (
        "from serving import run, server;"
        "server.GRACE_SECONDS, server.STOP_SECONDS = 0.5, 2;"
        "run.console()"
    )
    server = start(zoo.parent, program=("-c", program))
    server.wait_for("zoo", 1)
    busy = json.dumps({"signature_name": "loop", "instances": [1e7]})
    asking = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    asking.request("POST", "/v1/models/zoo:predict", busy)
    time.sleep(0.5)
    begun = time.monotonic()
    status, errors = server.stop()
    assert 0.5 < time.monotonic() - begun < 10
    assert status == 0
    assert "something still runs" in errors
    asking.close()


def contents(folder):
    """{path: hash} of the files below a directory."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).digest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.slow
def test_a_killed_server_loses_nothing(start, exported, tmp_path):
    version = exported[1] / "1"
    publish(version, tmp_path / "tiny", 1)
    kept = {
        pathlib.Path("tiny", number, path): content
        for path, content in contents(version).items()
        for number in "12"
    }
    server = start(tmp_path)
    server.wait_for("tiny", 1)
    request = {"signature_name": "encode_bytes", "instances": [b64(png())]}
    statuses = []

    def ask():
        try:
            while True:
                statuses.append(server.predict("tiny", request)[0])
        except (OSError, http.client.HTTPException, ValueError):
            # The server is gone, maybe in the middle of an answer.
            pass

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    while len(statuses) < 50:
        time.sleep(0.01)
    # It also dies while a version is loaded.
    publish(version, tmp_path / "tiny", 2)
    time.sleep(0.3)
    status, _ = server.stop(signal.SIGKILL)
    for thread in threads:
        thread.join()
    assert status == -signal.SIGKILL
    assert set(statuses) == {200}
    assert contents(tmp_path) == kept
    again = start(tmp_path)
    again.wait_for("tiny", 2)
    assert again.predict("tiny", request)[0] == 200
    assert again.stop()[0] == 0
    assert contents(tmp_path) == kept


@pytest.mark.slow
def test_connections_that_rest_stay_open(server):
    """Longer than uvicorn's own five seconds."""
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    for rest in (5.5, 0):
        connection.request("GET", "/v1/models/zoo")
        assert connection.getresponse().read()
        time.sleep(rest)
    connection.close()


# ---- memory ---------------------------------------------------------------


@pytest.mark.slow
def test_memory_does_not_grow(start, exported):
    server = start(exported[1].parent)
    server.wait_for("tiny", 1)
    status = pathlib.Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        pytest.skip("no /proc to read another process's memory from")
    good, bad = (
        json.dumps({"signature_name": "encode_bytes", "instances": [b64(data)]})
        for data in (png(), b"none")
    )

    def ask(count):
        connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
        for number in range(count):
            body, expected = (good, 200) if number % 20 else (bad, 400)
            connection.request("POST", "/v1/models/tiny:predict", body)
            answer = connection.getresponse()
            answer.read()
            if answer.status != expected:
                wrong.append(answer.status)
        connection.close()

    def many(count):
        threads = [
            threading.Thread(target=ask, args=(count // 8,)) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def resident():
        """Kilobytes."""
        return int(re.search(r"VmRSS:\s+(\d+) kB", status.read_text())[1])

    wrong = []
    many(1_000)
    early = resident()
    many(9_000)
    assert not wrong
    assert (resident() - early) / 2**10 < 50
