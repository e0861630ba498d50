"""The client: the model's numbers over both protocols, retries, errors."""

import http.server
import io
import json
import os
import pathlib
import socket
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from serving import client as client_module
from serving.client import Client
from serving.client import ServingError

ROOT = pathlib.Path(__file__).parents[2]
TOLERANCE = 1e-5


def pixels(data):
    """float `[H, W, C]` in [0, 1] of PNG data."""
    array = np.asarray(Image.open(io.BytesIO(data)), np.float32) / 255
    return array if array.ndim == 3 else array[..., None]


def picture(seed, shape=(8, 8, 3)):
    """PNG data of noise."""
    noise = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, format="PNG")
    return file.getvalue()


# ---- a served model ---------------------------------------------------------


@pytest.fixture(params=["http", "grpc"])
def labelled(request, parts_server):
    """A client of the model that takes labels, over either protocol."""
    ports = {"http": parts_server.rest_port, "grpc": parts_server.grpc_port}
    address = f"{request.param}://127.0.0.1:{ports[request.param]}"
    return Client(address, "labelled", card=card_path(parts_server))


def card_path(parts_server):
    version = parts_server.models / "labelled" / "1"
    return version / "assets.extra" / "model_card.json"


@pytest.fixture(scope="module")
def loaded(parts_server):
    """The same model's signatures without a server."""
    return tf.saved_model.load(
        str(parts_server.models / "labelled" / "1")
    ).signatures


def test_arrays_give_the_models_numbers(labelled, loaded):
    images = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    labels = np.array([4, 0, 2], np.int32)
    parts = labelled.encode(images, labels)
    # In the order of the card, not of the alphabet.
    assert list(parts) == ["root", "code", "label"]
    expected = loaded["encode"](image=tf.constant(images), label=labels)
    for name, part in parts.items():
        assert part.dtype == np.float32
        np.testing.assert_allclose(part, expected[name], atol=TOLERANCE)

    decoded = labelled.decode(**parts)
    np.testing.assert_allclose(
        decoded, loaded["decode"](**expected)["image"], atol=TOLERANCE
    )
    # Source and target at the ends of the mix.
    target = images[::-1]
    for units, ends in (([], images), (["root", "class"], target)):
        end_labels = labels if ends is images else labels[::-1]
        swapped = labelled.swap(images, target, units, labels, labels[::-1])
        np.testing.assert_allclose(
            swapped,
            labelled.decode(**labelled.encode(ends, end_labels)),
            atol=TOLERANCE,
        )


def test_files_give_what_their_pixels_give(labelled):
    files = [picture(seed) for seed in (1, 2)]
    images = np.stack([pixels(file) for file in files])
    by_file = labelled.encode(files, [1, 3])
    by_array = labelled.encode(images, [1, 3])
    for name, part in by_file.items():
        np.testing.assert_allclose(part, by_array[name], atol=TOLERANCE)
    uint8 = labelled.encode((255 * images).round().astype(np.uint8), [1, 3])
    np.testing.assert_allclose(uint8["code"], by_array["code"], atol=TOLERANCE)
    labels = {"source_label": 1, "target_label": 3}
    swap = {"units": {"class": 0.25}, **labels}
    array = labelled.swap(*images, **swap)
    for png in (
        labelled.swap(*files, **swap, png=True),
        labelled.swap(*images, **swap, png=True),
    ):
        assert np.abs(pixels(png[0]) - array[0]).max() <= 0.5 / 255 + 1e-5
    from_files = labelled.swap(*files, **swap)
    assert from_files.shape == array.shape == (1, 8, 8, 3)
    assert np.abs(from_files - array).max() <= 0.5 / 255 + 1e-5


def test_one_row_serves_for_all(labelled):
    target = np.random.default_rng(0).random((3, 8, 8, 3), np.float32)
    together = labelled.swap(target[0], target, ["class"], 2, [0, 1, 2])
    assert together.shape == (3, 8, 8, 3)
    alone = labelled.swap(target[0], target[2], ["class"], 2, 2)
    np.testing.assert_allclose(together[2], alone[0], atol=TOLERANCE)
    # Weights as they come: a matrix, in the order of the card.
    weights = labelled.swap(
        target[0], target[2], [[0, 0], [0, 1]], source_label=2, target_label=2
    )
    np.testing.assert_allclose(weights[1], alone[0], atol=TOLERANCE)
    assert np.abs(weights[0] - alone[0]).max() > 0.01


def test_samples_follow_the_seed_alone(parts_server):
    rest = Client(f"http://127.0.0.1:{parts_server.rest_port}", "vae")
    grpc = Client(f"grpc://127.0.0.1:{parts_server.grpc_port}", "vae")
    four = rest.sample(4, seed=7)
    assert four.shape == (4, 64, 64, 1)
    np.testing.assert_allclose(grpc.sample(2, seed=7), four[:2], atol=1e-5)
    assert np.abs(rest.sample(1, seed=8) - four[:1]).max() > 1e-4
    assert pixels(rest.sample(1, seed=7, png=True)[0]).shape == (64, 64, 1)


def test_versions_and_labels_are_addressed(parts_server):
    address = f"http://127.0.0.1:{parts_server.rest_port}"
    for version in (1, "1"):
        assert "encode" in Client(address, "labelled", version).signatures
    for version, status in ((9, 404), ("nope", 400)):
        with pytest.raises(ServingError) as caught:
            _ = Client(address, "labelled", version).signatures
        assert caught.value.status == status


def test_units_are_those_of_the_version(parts_server, monkeypatch):
    """Columns of `mix` follow the card of the version that is asked."""
    asked = []

    def answer(transport, path):
        asked.append(path)
        return {"units": {"b": [], "a": []}}

    monkeypatch.setattr(client_module._Rest, "_of_ours", answer)
    address = f"http://127.0.0.1:{parts_server.rest_port}"
    for version, query in (
        (None, ""),
        (1, "?version=1"),
        ("a b", "?version=a%20b"),
    ):
        client = Client(address, "m/n", version)
        assert client._mix(["a"]) == [0, 1]
        assert asked.pop() == f"/page/models/m%2Fn/card{query}"


def test_a_card_that_is_no_object_is_none(monkeypatch, tmp_path):
    for card in ([1], 7, None):
        monkeypatch.setattr(
            client_module._Rest, "_of_ours", lambda *_, c=card: c
        )
        assert Client("http://localhost:1", "m").card == {}
    file = tmp_path / "card.json"
    file.write_text("[1]")
    with pytest.raises(ServingError, match="it is no object"):
        _ = Client("http://localhost:1", "m", card=str(file)).card


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_values_without_rows(server, protocol):
    ports = {"http": server.rest_port, "grpc": server.grpc_port}
    client = Client(f"{protocol}://127.0.0.1:{ports[protocol]}", "zoo")
    found = client.predict("shapes", x=3.0)
    assert {name: value.tolist() for name, value in found.items()} == {
        "row": 3.0,
        "all": 3.0,
    }
    for data in (b"\xff", [b"a", b""], [[b"a"], [b"\xff"]]):
        given = np.array(data, object)
        (received,) = client.predict("bytes", data=given).values()
        np.testing.assert_array_equal(received, given)
    # As TensorFlow Serving, the server has nothing for it.
    nothing = client_module.Signature({}, client.signatures["float"].outputs)
    client.signatures["none"] = nothing
    with pytest.raises(ServingError):
        client.predict("none")


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda c: c.decode(code=np.zeros(4)),
            r"Missing: label, root. decode of labelled expects: code float "
            r"\[B, 4\], label float \[B, 5\], root float \[B, 4, 4, 3\]",
        ),
        (
            lambda c: c.decode(
                code=np.zeros(3), label=np.zeros(5), root=np.zeros([4, 4, 3])
            ),
            r"code has shape \[3\]",
        ),
        (
            lambda c: c.encode(np.zeros([2, 8, 8, 3]), [1, 2, 3]),
            r"Inputs have .*3 \(label\).* encode of labelled expects",
        ),
        (lambda c: c.encode(np.zeros([8, 8, 3])), "Missing: label. "),
        (lambda c: c.encode(np.zeros([8, 8, 3]), 1.5), "whole numbers"),
        (lambda c: c.encode(np.zeros([8, 8, 3]), 2**40), "fit into int32"),
        (lambda c: c.encode(np.full([8, 8, 3], "x"), 1), "must be numbers"),
        (
            lambda c: c.predict(
                "decode", z=0, **dict.fromkeys(c.card["parts"], 0)
            ),
            "Not an input: z. decode of",
        ),
        (lambda c: c.sample(), "no signature 'sample'; it has: decode, "),
        (
            lambda c: c.swap(np.zeros([8, 8, 3]), b"x", ["root"]),
            "both be files or both be arrays",
        ),
        (
            lambda c: c.swap(b"x", b"x", ["hair"], 0, 0),
            "no unit 'hair'; it has: root, class",
        ),
        (lambda c: c.encode("no.png", 1), "Cannot read 'no.png': No such"),
    ],
)
def test_mistakes_are_named_before_anything_is_sent(
    labelled, monkeypatch, call, message
):
    _ = labelled.signatures
    monkeypatch.setattr(labelled._transport, "predict", None)
    with pytest.raises(ServingError, match=message) as caught:
        call(labelled)
    assert caught.value.status is None


def test_what_the_server_refuses_names_the_inputs(labelled):
    with pytest.raises(ServingError) as caught:
        labelled.encode(b"GIF89a", 1)
    message = str(caught.value)
    assert "image_bytes must be PNG or JPEG" in message
    assert "encode_bytes of labelled expects: image_bytes string [B]" in message
    assert caught.value.status in (400, "INVALID_ARGUMENT")


# ---- the command line -------------------------------------------------------


def run(*arguments, server=None, capsys=None):
    address = (
        [f"--server=http://127.0.0.1:{server.rest_port}"] if server else []
    )
    return client_module.main([*arguments, *address])


def test_the_command_line(parts_server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a.png", "b.png")):
        pathlib.Path(name).write_bytes(picture(seed))
    here = f"--server=http://127.0.0.1:{parts_server.rest_port}"
    model = (here, "--model=labelled")
    assert (
        client_module.main(
            ["encode", "a.png", "b.png", "--labels=1,2", "--out=c.npz", *model]
        )
        == 0
    )
    with np.load("c.npz") as codes:
        assert list(codes) == ["root", "code", "label"]
        assert codes["label"].argmax(1).tolist() == [1, 2]
    assert client_module.main(["decode", "c.npz", "--out=d.png", *model]) == 0
    # Several pictures are numbered.
    decoded = [pixels(pathlib.Path(f"d-{i}.png").read_bytes()) for i in (0, 1)]
    swap = ["swap", "a.png", "b.png", "--labels=1,2", *model]
    for units, expected in (("root,class", decoded[1]), ("root=0", decoded[0])):
        # The flags first, for once.
        assert (
            client_module.main([f"--units={units}", "--out=e.png", *swap]) == 0
        )
        swapped = pixels(pathlib.Path("e.png").read_bytes())
        np.testing.assert_allclose(swapped, expected, atol=1.01 / 255)
    assert (
        client_module.main(
            ["sample", "--count=2", "--out=s.npz", here, "--model=vae"]
        )
        == 0
    )
    with np.load("s.npz") as samples:
        assert samples["image"].shape == (2, 64, 64, 1)
    capsys.readouterr()
    assert client_module.main(["encode", "a.png", "--labels=1", *model]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert len(printed["code"][0]) == 4


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["fly"], "fly"),
        (["swap", "a.png", "--out=c.png"], "two images, source and target"),
        (["swap", "a", "b", "--out=c.png"], "--units=NAME,... is needed"),
        (["swap", "a", "b", "--units=x=y", "--out=c.png"], "NAME=WEIGHT"),
        (["decode", "a.npz"], "--out=FILE is needed"),
        (["decode", "a.npz", "--out=a.gif"], "ends in .png or .npz"),
        (["encode", "a", "--out=a.png"], "codes are written as .npz"),
        (["sample", "--count=0", "--out=a.png"], "--count"),
        (["sample", "--timeout=-1", "--out=a.png"], "--timeout"),
        (["encode", "a", "--labels=1,2"], "1 images, 2 labels"),
        (["encode", "a", "--labels=x"], "numbers"),
        (["encode", "a", "--server=localhost:8501"], "no address of a server"),
        (["encode", "no.png"], "--model=NAME is needed; {server} has: "),
        (["encode", "no.png", "--model=labelled"], "Cannot read 'no.png'"),
        (
            ["swap", *2 * [__file__], "--units=q", "--out=c.png", "--model=no"],
            "Servable not found for request: Latest(no). It has: labelled, vae",
        ),
        (["decode", "a.npz", "--out=a.png", "--model=vae"], "a.npz"),
        (
            ["decode", __file__, "--out=a.png", "--model=vae"],
            "client_test.py' is no .npz of codes.",
        ),
        (
            ["swap", "a", "b", "--units=q", "--out=c.png", "--model=labelled"],
            "Cannot read 'a'",
        ),
    ],
)
def test_mistakes_end_in_one_line(
    parts_server, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    address = f"http://127.0.0.1:{parts_server.rest_port}"
    if not any("--server" in argument for argument in arguments):
        arguments = [*arguments, f"--server={address}"]
    try:
        status = client_module.main(arguments)
    except SystemExit as error:
        status = error.code
    assert status == 2
    error = capsys.readouterr().err
    assert message.format(server=address) in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())


# ---- servers that misbehave -------------------------------------------------

SIGNATURES = {
    "encode": {
        "inputs": {
            "image": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]},
            }
        },
        "outputs": {
            "z": {
                "dtype": "DT_FLOAT",
                "tensor_shape": {"dim": [{"size": "-1"}, {"size": "1"}]},
            }
        },
    }
}
METADATA = {"metadata": {"signature_def": {"signature_def": SIGNATURES}}}
GOOD = (200, {"predictions": [[1.5]]})
BUSY = (503, {"error": "busy"})


class Scripted:
    """An HTTP server that answers predict requests by a script."""

    def __init__(self, answers):
        self.asked = 0
        answers = iter(answers)
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                if self.path.endswith("/metadata"):
                    self.answer(200, METADATA)
                else:
                    self.answer(404, "<h1>Not Found</h1>")

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                outer.asked += 1
                self.answer(*next(answers))

            def answer(self, status, body):
                if status == "hang up":
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
                    return
                if status == "wait":
                    self.close_connection = True
                    outer.stop.wait(20)
                    return
                text = body if isinstance(body, str) else json.dumps(body)
                self.send_response(status)
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_):
                pass

        self.stop = threading.Event()
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.http.server_port}"
        self.thread = threading.Thread(
            target=self.http.serve_forever, args=(0.02,)
        )

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.01)


def encode(scripted, **options):
    client = Client(
        scripted.address, "m", card={"parts": {"z": [1]}}, **options
    )
    return client.encode(np.zeros([1, 2]))


@pytest.mark.parametrize(
    "failures",
    [
        [BUSY, (429, {"error": "too many"})],
        [("hang up", None), BUSY],
        [BUSY] * client_module.RETRIES,
    ],
)
def test_what_may_be_sent_again_is(failures):
    with Scripted([*failures, GOOD]) as scripted:
        assert encode(scripted)["z"].tolist() == [[1.5]]
        assert scripted.asked == len(failures) + 1


@pytest.mark.parametrize(
    "answer, message",
    [
        ((400, {"error": "bad shape"}), "answers 400: bad shape. encode of m"),
        ((404, {"error": "Servable not found"}), "404: Servable not found."),
        (
            (400, {"error": "too small\n\t [[{{node map/while/Assert}}]]"}),
            "answers 400: too small. encode of m",
        ),
        ((500, {"error": "kernel\nfailed"}), "500: kernel\nfailed."),
        ((504, {"error": "Timed out"}), "504: Timed out."),
        ((502, "<html>Bad Gateway</html>"), "502: Bad Gateway."),
        ((200, "<html>a proxy</html>"), "200: OK."),
    ],
)
def test_what_may_not_is_reported_at_once(answer, message):
    with Scripted([answer, GOOD]) as scripted:
        with pytest.raises(ServingError) as caught:
            encode(scripted)
        assert message in str(caught.value)
        assert caught.value.status == answer[0]
        assert scripted.asked == 1


def test_a_request_that_takes_too_long_is_not_sent_again():
    with Scripted([("wait", None), GOOD]) as scripted:
        with pytest.raises(ServingError, match="timed out"):
            encode(scripted, timeout=0.3)
        assert scripted.asked == 1


def test_patience_ends():
    with Scripted([BUSY] * 9) as scripted:
        with pytest.raises(ServingError, match="answers 503: busy") as caught:
            encode(scripted, retries=2)
        assert caught.value.status == 503
        assert scripted.asked == 3


def test_waits_grow(monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)
    monkeypatch.setattr(client_module, "FIRST_WAIT", 0.1)
    with Scripted([BUSY] * 4 + [GOOD]) as scripted:
        encode(scripted)
    waits = [wait for wait in waits if wait]
    assert waits == sorted(waits)
    assert 0.1 < waits[-1] <= client_module.LONGEST_WAIT


def test_no_server():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(ServingError, match="does not answer") as caught:
        _ = Client(f"http://{address}", "m", retries=1).signatures
    assert caught.value.status is None
    with pytest.raises(ServingError) as caught:
        _ = Client(f"grpc://{address}", "m", retries=1).signatures
    assert caught.value.status == "UNAVAILABLE"


def test_grpc_requests_are_sent_again():
    import concurrent.futures

    import grpc
    from tensorflow_serving.apis import prediction_service_pb2_grpc

    asked = []

    class Servicer(prediction_service_pb2_grpc.PredictionServiceServicer):
        def GetModelMetadata(self, request, context):  # noqa: N802
            asked.append(request.model_spec.version_label)
            codes = {
                "busy": (grpc.StatusCode.UNAVAILABLE, "busy"),
                "wrong": (grpc.StatusCode.INVALID_ARGUMENT, "wrong"),
            }
            context.abort(*codes[request.model_spec.version_label])

    pool = concurrent.futures.ThreadPoolExecutor(2)
    server = grpc.server(pool)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Servicer(), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        for label, times in (("busy", 3), ("wrong", 1)):
            asked.clear()
            with pytest.raises(ServingError, match=label):
                _ = Client(
                    f"grpc://127.0.0.1:{port}", "m", label, retries=2
                ).signatures
            assert asked == [label] * times
    finally:
        server.stop(None)
        pool.shutdown()


def test_rest_needs_no_tensorflow(tmp_path):
    np.savez(tmp_path / "x.npz", z=np.zeros([1, 2]))
    script = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "import numpy as np\n"
        "from serving.client import Client\n"
        "print(Client(sys.argv[1], 'm').encode(np.zeros([1, 2])))"
    )
    with Scripted([GOOD]) as scripted:
        done = subprocess.run(
            [sys.executable, "-c", script, scripted.address],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert "1.5" in done.stdout, done.stderr


def test_no_list_of_models_is_said():
    with (
        Scripted([]) as scripted,
        pytest.raises(ServingError, match="TensorFlow Serving does not say"),
    ):
        Client(scripted.address)
