"""REST as TensorFlow Serving answers it, over a real socket."""

import base64
import collections
import gzip
import json
import math
import threading
import time

import numpy as np
import pytest


def b64(data):
    return {"b64": base64.b64encode(data).decode()}


# ---- answers --------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "request_", "answer"),
    [
        ("halves", {"instances": [1, 2, 5]}, {"predictions": [3.5, 4.0, 5.5]}),
        ("halves", {"inputs": [3, 4]}, {"outputs": [4.5, 5.0]}),
        ("halves", {"inputs": {"x": [3, 4]}}, {"outputs": [4.5, 5.0]}),
        (
            "halves",
            {"instances": [{"x": 1}, {"x": 2}]},
            {"predictions": [3.5, 4.0]},
        ),
        (
            "halves",
            {"signature_name": "", "instances": [1]},
            {"predictions": [3.5]},
        ),
        (
            "halves",
            {"signature_name": "serving_default", "inputs": [1]},
            {"outputs": [3.5]},
        ),
        ("halves", {"inputs": [1], "more": None}, {"outputs": [3.5]}),
    ],
)
def test_predict(server, model, request_, answer):
    assert server.predict(model, request_) == (200, answer)


def zoo(server, name, **request):
    return server.predict("zoo", {"signature_name": name, **request})


@pytest.mark.parametrize(
    ("name", "request_", "answer"),
    [
        # Ranks are kept where the signature leaves them open.
        ("scaled", {"instances": [[1, 2], [3, 4]]}, [[2.0, 4.0], [6.0, 8.0]]),
        ("scaled", {"inputs": 1.5}, 3.0),
        ("scaled", {"inputs": {"x": 1.5}}, 3.0),
        ("scaled", {"inputs": [[[0.5]]]}, [[[1.0]]]),
        ("scaled", {"inputs": []}, []),
        ("scaled", {"inputs": [[], []]}, [[], []]),
        (
            "two",
            {"instances": [{"a": 1, "b": 2}, {"b": 4, "a": 3}]},
            [
                {"sum": 3.0, "difference": -1.0},
                {"sum": 7.0, "difference": -1.0},
            ],
        ),
        (
            "two",
            {"inputs": {"a": [1, 3], "b": [2, 4]}},
            {"sum": [3.0, 7.0], "difference": [-1.0, -1.0]},
        ),
        # What is too much is ignored in columns only.
        (
            "two",
            {"inputs": {"a": [1], "b": [2], "c": "?"}},
            {"sum": [3.0], "difference": [-1.0]},
        ),
        ("selected", {"instances": [-1, -2]}, []),
        ("float", {"inputs": 1.2e-38}, 1.2e-38),
        ("float", {"inputs": [1e-50]}, [0.0]),
        ("double", {"inputs": [1e300, 0.1]}, [1e300, 0.1]),
        ("int32", {"inputs": [-(2**31), 2**31 - 1]}, [-(2**31), 2**31 - 1]),
        ("int16", {"inputs": [[-5], [7]]}, [[-5], [7]]),
        # As in C++, what the type cannot hold wraps.
        ("uint8", {"inputs": [300, -1]}, [44, 255]),
        ("int8", {"inputs": 200}, -56),
        ("int64", {"inputs": [2**63 - 1]}, [2**63 - 1]),
        ("uint32", {"inputs": [2**32 - 1]}, [2**32 - 1]),
        ("uint64", {"inputs": [2**64 - 1, 0]}, [2**64 - 1, 0]),
        ("bool", {"inputs": [True, False]}, [True, False]),
        ("string", {"inputs": ["a", "Grüße", ""]}, ["a", "Grüße", ""]),
        ("string", {"inputs": b64(b"plain")}, "plain"),
        ("bytes", {"inputs": b64(b"\x00\xff")}, b64(b"\x00\xff")),
        ("bytes", {"inputs": {"data": b64(b"x")}}, b64(b"x")),
        (
            "bytes",
            {"instances": [b64(b"a"), b64(b"b")]},
            [b64(b"a"), b64(b"b")],
        ),
        ("bytes", {"instances": [[b64(b"a")]]}, [[b64(b"a")]]),
        ("bytes", {"instances": [{"data": b64(b"a")}]}, [b64(b"a")]),
        (
            "bytes",
            {"instances": [[[b64(b"a")]], [["b"]]]},
            [[[b64(b"a")]], [[b64(b"b")]]],
        ),
        # Padding may be missing, or dots.
        ("bytes", {"inputs": {"b64": "aGk"}}, b64(b"hi")),
        ("bytes", {"inputs": {"b64": "aGk."}}, b64(b"hi")),
        ("bytes", {"inputs": {"b64": "aG k="}}, b64(b"hi")),
    ],
)
def test_predict_of_every_kind(server, name, request_, answer):
    key = "predictions" if "instances" in request_ else "outputs"
    assert zoo(server, name, **request_) == (200, {key: answer})


def test_integers_that_a_float_cannot_hold_are_rounded(server):
    status, answer = zoo(server, "float", inputs=1435774380)
    # Of the answer as many digits are written as tell it from other floats.
    assert (status, np.float32(answer["outputs"])) == (200, 1435774336)


def test_numbers_that_are_not_finite(server):
    text = "[NaN, Infinity, -Infinity, Inf, -Inf, -NaN, 1.79e308, -1.79e308]"
    status, _, body = server.request(
        "POST",
        "/v1/models/zoo:predict",
        f'{{"signature_name": "float", "inputs": {text}}}',
    )
    assert status == 200
    for token in (b"NaN", b"Infinity", b"-Infinity"):
        assert token in body
    numbers = json.loads(body)["outputs"]
    assert math.isnan(numbers[0]) and math.isnan(numbers[5])
    infinity = math.inf
    assert numbers[1:5] == [infinity, -infinity, infinity, -infinity]
    assert numbers[6:] == [infinity, -infinity]


def test_bytes_that_are_no_text_leave_as_they_came(server):
    _, _, body = server.request(
        "POST",
        "/v1/models/zoo:predict",
        json.dumps({"signature_name": "string", "inputs": b64(b"\xff\xfe")}),
    )
    assert b'"\xff\xfe"' in body


@pytest.mark.parametrize(
    ("path", "offset"),
    [
        ("/versions/1", 2),
        ("/versions/2", 3),
        ("/versions/0002", 3),
        ("/labels/stable", 2),
        ("/labels/canary", 3),
        ("/labels/can%61ry", 3),
        ("", 3),
    ],
)
def test_versions_and_labels(server, path, offset):
    answer = server.predict("halves", {"instances": [0]}, path)
    assert answer == (200, {"predictions": [float(offset)]})


@pytest.mark.parametrize(
    "path",
    ["/V1/Models/halves:predict", "/v1/models/m%3Ax%2Fy:predict"],
)
def test_other_spellings_of_a_path(server, path):
    status, headers, body = server.request("POST", path, '{"instances": [2]}')
    assert status == 200
    assert headers["content-type"] == "application/json"
    assert json.loads(body) == {"predictions": [4.0]}


@pytest.mark.parametrize("kind", [None, "text/plain", "nonsense"])
def test_the_content_type_is_not_looked_at(server, kind):
    headers = {"Content-Type": kind} if kind else {}
    status, _, _ = server.request(
        "POST", "/v1/models/halves:predict", '{"instances": [2]}', headers
    )
    assert status == 200


@pytest.mark.parametrize(
    "body",
    [
        b'\xef\xbb\xbf{"instances": [2]}',
        b'{"instances": [2]} and whatever follows }',
        b'{"instances": [2], "instances": [9]}',
    ],
)
def test_json_as_rapidjson_reads_it(server, body):
    assert server.predict("halves", body) == (200, {"predictions": [4.0]})


def test_gzip(server):
    def post(body):
        return server.request(
            "POST",
            "/v1/models/halves:predict",
            body,
            {"Content-Encoding": "gzip", "Accept-Encoding": "gzip"},
        )

    status, headers, body = post(gzip.compress(b'{"instances": [2]}'))
    assert (status, json.loads(body)) == (200, {"predictions": [4.0]})
    assert "content-encoding" not in headers
    for damaged in (b"no gzip", gzip.compress(b'{"instances": [2]}')[:-9]):
        status, _, body = post(damaged)
        assert status == 400
        assert b"The document is empty" in body


# ---- errors ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("", "JSON Parse error: The document is empty"),
        ("instances = [1]", "JSON Parse error: Invalid value"),
        ("[1]", "Is not object"),
        ("{}", "Missing 'inputs' or 'instances' key"),
        ('{"inputs": [1], "instances": [1]}', "Not formatted correctly"),
        ('{"instances": 5}', "list/array"),
        ('{"instances": []}', "No values in 'instances'"),
        ('{"signature_name": 5, "inputs": 1}', "must be a string value"),
        (
            '{"signature_name": "nope", "inputs": 1}',
            '"nope" not found in signature def. It has: serving_default.',
        ),
        (
            '{"signature_name": "__saved_model_init_op", "inputs": 1}',
            "Failed to get input map",
        ),
        ('{"instances": [[1, 2], [3]]}', "Expecting tensor size: 2 but got: 1"),
        ('{"instances": [[1], [[1]]]}', "Expecting shape [1] but got: [1,1]"),
        (
            '{"instances": [[[1, 2], [3]]]}',
            "Encountered list at unexpected size",
        ),
        ('{"inputs": [1, [2]]}', "Encountered list at unexpected level"),
        ('{"inputs": [[1], 2]}', "found at incorrect level"),
        ('{"instances": [{"x": 1}, [2]]}', "Expecting object but got list"),
        ('{"instances": [1, {"x": 2}]}', "Expecting value/list but got object"),
        ('{"instances": [{"z": 1}]}', "does not have named input: z"),
        ('{"instances": [{}]}', "keys must be equal to: x"),
        ('{"inputs": {"z": 1}}', "Missing named input: x"),
        ('{"instances": ["1"]}', "not of expected type: float"),
        ('{"instances": [true]}', "not of expected type: float"),
        ('{"instances": [1.5, false]}', "not of expected type: float"),
        ('{"instances": [null]}', "not of expected type: float"),
        ('{"inputs": {"b64": "AAAA"}}', "not of expected type: float"),
        ('{"instances": [1,]}', "JSON Parse error"),
        ('{"instances": [Nan]}', "JSON Parse error: Invalid value"),
        ('{"instances": [1.]}', "Miss fraction part in number"),
        ('{"instances": [.5]}', "JSON Parse error: Invalid value"),
        ('{"instances": [01]}', "JSON Parse error"),
        ('{"instances": [1e400]}', "Number too big to be stored in double"),
        ('{"instances": ["\\ud800"]}', "surrogate pair"),
        ('{"instances": ' + "[" * 9000 + "]" * 9000 + "}", "JSON Parse error"),
        (b'{"instances": ["\xff"]}', "JSON Parse error"),
    ],
)
def test_bad_requests(server, body, message):
    status, answer = server.predict("halves", body)
    assert status == 400
    assert list(answer) == ["error"]
    assert message in answer["error"]


@pytest.mark.parametrize(
    ("name", "request_", "status", "message"),
    [
        ("two", {"instances": [1, 2]}, 400, "expecting list of objects"),
        ("two", {"instances": [[1, 2]]}, 400, "expecting list of objects"),
        ("two", {"instances": [b64(b"a")]}, 400, "expecting list of objects"),
        ("two", {"inputs": [1]}, 400, "expecting an object as multiple input"),
        ("two", {"instances": [{"a": 1}]}, 400, "keys must be equal to: a,b"),
        (
            "two",
            {"instances": [{"a": 1, "b": 2, "c": 3}]},
            400,
            "does not have named input: c",
        ),
        (
            "two",
            {"instances": [{"a": 1, "b": "x"}]},
            400,
            "Failed to process element: 0 key: b of 'instances' list. Error: "
            "INVALID_ARGUMENT: JSON Value",
        ),
        ("two", {"inputs": {"a": [1]}}, 400, "Missing named input: b"),
        ("int32", {"inputs": 1.0}, 400, "not of expected type: int32"),
        ("int32", {"inputs": [1, 1.0]}, 400, "not of expected type: int32"),
        ("int32", {"inputs": [3_000_000_000]}, 400, "expected type: int32"),
        ("uint8", {"inputs": [3_000_000_000]}, 400, "expected type: uint8"),
        ("uint32", {"inputs": -1}, 400, "not of expected type: uint32"),
        ("uint64", {"inputs": [-1]}, 400, "not of expected type: uint64"),
        ("int64", {"inputs": [2**63]}, 400, "not of expected type: int64"),
        ("bool", {"inputs": 1}, 400, "not of expected type: bool"),
        ("string", {"inputs": 1}, 400, "not of expected type: string"),
        ("bytes", {"inputs": {"b64": "-_-_"}}, 400, "Unable to base64 decode"),
        ("bytes", {"inputs": {"b64": "A"}}, 400, "Unable to base64 decode"),
        ("bytes", {"inputs": {"b64": "AA==="}}, 400, "base64 decode"),
        ("bytes", {"inputs": [{"b64": 1}]}, 400, "for base64 data"),
        ("half", {"inputs": [1]}, 501, "to type: half"),
        ("half", {"instances": [1]}, 400, "UNIMPLEMENTED"),
        ("to_half", {"inputs": [1]}, 400, "tensor type: half"),
        ("shapes", {"instances": [1]}, 400, "has no shape information"),
        ("matrix", {"inputs": [[1, 2]]}, 400, "Matrix size-incompatible"),
        ("positive", {"inputs": [-1]}, 400, "x must be positive"),
    ],
)
def test_bad_requests_of_every_kind(server, name, request_, status, message):
    code, answer = zoo(server, name, **request_)
    assert (code, message in answer["error"]) == (status, True), answer


def test_errors_of_operations_are_told_as_they_are(server):
    _, answer = zoo(server, "matrix", inputs=[[1, 2]])
    assert answer["error"].startswith("Matrix size-incompatible")
    assert "[Op:" not in answer["error"]
    assert "Detected at" not in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "message"),
    [
        ("POST", "/v1/models/halves:PREDICT", 400, "Malformed request: POST"),
        ("POST", "/v1/models/halves:predict?x=1", 400, "predict?x=1"),
        ("POST", "/v1/models/halves", 400, "Malformed request"),
        ("GET", "/v1/models/halves:predict", 400, "Malformed request: GET"),
        ("POST", "/v1/models/halves/metadata", 400, "Malformed request"),
        ("GET", "/v1/models/halves/version/1", 400, "Malformed request"),
        ("GET", "/v1/models/halves/versions/one", 400, "Malformed request"),
        ("GET", "/v1/models/a/versions/1/labels/b", 400, "Malformed request"),
        ("GET", "/v1/models/a/b", 400, "Malformed request"),
        ("GET", "/v1/else", 400, "Malformed request: GET /v1/else"),
        ("GET", "/v1/models", 400, "Missing model name in request."),
        ("PUT", "/v1/models/halves", 400, "Malformed request: PUT"),
        ("DELETE", "/v1/models/halves", 400, "Malformed request: DELETE"),
        ("PATCH", "/v1/models/halves", 400, "Malformed request: PATCH"),
        ("GET", "/v1/models/none", 404, "Could not find any versions of model"),
        ("GET", "/v1/models/halves?x=1", 404, "model halves?x=1"),
        ("GET", "/v1/models/halves/versions/9", 404, "version 9 of model"),
        ("GET", "/v1/models/none/metadata", 404, "Latest(none)"),
        (
            "GET",
            "/v1/models/halves/versions/9/metadata",
            404,
            "Specific(halves, 9)",
        ),
        (
            "GET",
            "/v1/models/halves/labels/odd/metadata",
            400,
            "Unrecognized servable version label: odd",
        ),
        (
            "GET",
            f"/v1/models/halves/versions/{'9' * 25}",
            400,
            "Failed to convert version",
        ),
        (
            "GET",
            f"/v1/models/halves/versions/{'9' * 5_000}",
            400,
            "Failed to convert version",
        ),
    ],
)
def test_paths_that_name_nothing(server, method, path, status, message):
    code, headers, body = server.request(method, path)
    assert code == status
    assert headers["content-type"] == "application/json"
    assert message in json.loads(body)["error"]


def test_head_is_refused(server):
    assert server.request("HEAD", "/v1/models/halves")[0] == 400


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("", 404, "Servable not found for request: Latest(none)"),
        (
            "/versions/7",
            404,
            "Servable not found for request: Specific(none, 7)",
        ),
        ("/versions/0", 404, "Specific(none, 0)"),
        ("/labels/odd", 400, "Unrecognized servable version label: odd"),
    ],
)
def test_models_that_are_not_there(server, path, status, message):
    code, answer = server.predict("none", {"instances": [1]}, path)
    assert (code, answer["error"]) == (status, answer["error"])
    assert message in answer["error"]


def test_json_is_read_before_the_model_is_looked_for(server):
    assert server.predict("none", "{")[0] == 400


@pytest.mark.parametrize("path", ["/statuspage", "/favicon.ico", "/v2/x"])
def test_outside_of_the_protocol(server, path):
    status, headers, body = server.request("GET", path)
    assert status == 404
    assert headers["content-type"].startswith("text/html")


def test_options(server):
    origin = {"Origin": "https://example.org"}
    path = "/v1/models/halves:predict"
    status, headers, body = server.request("OPTIONS", path, headers=origin)
    assert (status, body) == (200, b"")
    assert "access-control-allow-origin" not in headers
    assert server.request("OPTIONS", path)[0] == 400


# ---- status and metadata --------------------------------------------------


def test_status(server):
    def entry(version):
        return {
            "version": str(version),
            "state": "AVAILABLE",
            "status": {"error_code": "OK", "error_message": ""},
        }

    both = {"model_version_status": [entry(2), entry(1)]}
    assert server.get("/v1/models/halves") == (200, both)
    one = {"model_version_status": [entry(1)]}
    assert server.get("/v1/models/halves/versions/1") == (200, one)
    # Labels are ignored there, even those that do not exist.
    assert server.get("/v1/models/halves/labels/odd") == (200, both)


def test_status_of_what_could_not_be_loaded(server):
    code, body = server.get("/v1/models/broken")
    assert code == 200
    (status,) = body["model_version_status"]
    assert (status["version"], status["state"]) == ("7", "END")
    assert status["status"]["error_code"] not in ("OK", "")
    assert status["status"]["error_message"]
    assert server.get("/v1/models/broken/metadata")[0] == 404
    assert server.predict("broken", {"inputs": 1})[0] == 404


def test_metadata(server):
    code, body = server.get("/v1/models/zoo/metadata")
    assert code == 200
    assert body["model_spec"] == {
        "name": "zoo",
        "signature_name": "",
        "version": "1",
    }
    assert list(body["metadata"]) == ["signature_def"]
    signatures = body["metadata"]["signature_def"]["signature_def"]
    assert {"serving_default", "two", "bytes"} < set(signatures)
    two = signatures["two"]
    assert set(two) == {"inputs", "outputs", "method_name", "defaults"}
    assert two["method_name"] == "tensorflow/serving/predict"
    assert two["defaults"] == {}
    assert two["inputs"]["a"] == {
        "dtype": "DT_FLOAT",
        "tensor_shape": {
            "dim": [{"size": "-1", "name": ""}],
            "unknown_rank": False,
        },
        "name": two["inputs"]["a"]["name"],
    }
    assert two["inputs"]["a"]["name"].endswith(":0")
    assert signatures["scaled"]["inputs"]["x"]["tensor_shape"] == {
        "dim": [],
        "unknown_rank": True,
    }
    initialiser = signatures["__saved_model_init_op"]
    (output,) = initialiser["outputs"].values()
    assert output["dtype"] == "DT_INVALID"


def test_metadata_of_a_version(server):
    _, body = server.get("/v1/models/halves/versions/1/metadata")
    assert body["model_spec"]["version"] == "1"
    _, body = server.get("/v1/models/halves/labels/canary/metadata")
    assert body["model_spec"]["version"] == "2"


# ---- classify and regress -------------------------------------------------


def infer(server, api, value, model="zoo"):
    status, _, body = server.request(
        "POST", f"/v1/models/{model}:{api}", json.dumps(value)
    )
    return status, json.loads(body)


def test_regress(server):
    request = {
        "signature_name": "regress",
        "context": {"bias": 1.0},
        "examples": [{"x": 0.5}, {"x": [2.0], "bias": 0.0}],
    }
    assert infer(server, "regress", request) == (200, {"results": [2.0, 4.0]})


def test_classify(server):
    request = {"signature_name": "classify", "examples": [{"x": 0.25}]}
    results = [[["small", 0.75], ["large", 0.25]]]
    assert infer(server, "classify", request) == (200, {"results": results})


def test_models_of_tensorflow_1(server):
    request = {"signature_name": "regress", "examples": [{"x": 0.5}]}
    assert infer(server, "regress", request, "graph") == (
        200,
        {"results": [1.0]},
    )
    # Without a signature of that name, the default one is not found.
    for verb, key in (("predict", "inputs"), ("regress", "examples")):
        status, answer = infer(server, verb, {key: [{"x": 0.5}]}, "graph")
        assert status == 400
        assert "serving_default" in answer["error"]


@pytest.mark.parametrize(
    ("api", "request_", "message"),
    [
        ("regress", {}, "key 'examples' is expected"),
        ("classify", {"examples": 1}, "to be an list/array"),
        ("regress", {"examples": []}, "is an empty array"),
        ("regress", {"examples": [1]}, "must be JSON object but got"),
        ("regress", {"examples": [{"x": None}]}, "unexpected JSON type: Null"),
        ("regress", {"examples": [{"x": [1, 0.5]}]}, "expecting type: int64"),
        ("regress", {"examples": [{"x": 2**63}]}, "Only int64 is supported"),
        (
            "classify",
            {"signature_name": "nope", "examples": [{"x": 1.0}]},
            "No signature was found with the name nope. It has: bool, bytes, ",
        ),
        (
            "regress",
            {"signature_name": "two", "examples": [{"x": 1.0}]},
            "Expected one input Tensor.",
        ),
        (
            "regress",
            {"signature_name": "matrix", "examples": [{"x": 1.0}]},
            "No regression inputs found in SignatureDef",
        ),
        (
            "classify",
            {"signature_name": "regress", "examples": [{"x": 1.0}]},
            'at least one of "classes" or "scores"',
        ),
        (
            "regress",
            {"signature_name": "regress", "examples": [{"y": 1.0}]},
            "x",
        ),
    ],
)
def test_bad_examples(server, api, request_, message):
    status, answer = infer(server, api, request_)
    assert (status, message in answer["error"]) == (400, True), answer


# ---- limits ---------------------------------------------------------------


def test_many_at_once(server):
    wrong = []

    def ask(number):
        for step in range(10):
            x = 100 * number + step
            answer = server.predict("halves", {"instances": [x]})
            if answer != (200, {"predictions": [x / 2 + 3]}):
                wrong.append(answer)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.fixture(scope="module")
def narrow(start, zoo):
    """A server with little room and little patience."""
    server = start(
        zoo.parent,
        "--max_body_bytes=10000",
        "--max_request_rows=8",
        "--max_queued_requests=2",
        "--num_batch_threads=1",
        "--rest_api_timeout_in_ms=1000",
        "--rest_api_enable_cors_support",
    )
    server.wait_for("zoo", 1)
    return server


def test_large_bodies_are_refused(narrow):
    body = b'{"instances": [1]' + b" " * 20_000 + b"}"
    for content, headers in (
        (body, {}),
        # Small on the way, large once it is here.
        (gzip.compress(body), {"Content-Encoding": "gzip"}),
    ):
        status, _, answer = narrow.request(
            "POST", "/v1/models/zoo:predict", content, headers
        )
        assert status == 413
        assert "exceeds 10000 bytes" in json.loads(answer)["error"]
    assert narrow.predict("zoo", {"instances": [1]})[0] == 200


def test_many_rows_are_refused(narrow):
    assert narrow.predict("zoo", {"instances": [1.0] * 8})[0] == 200
    status, answer = narrow.predict("zoo", {"instances": [1.0] * 9})
    assert status == 400
    assert "9 rows is larger than the maximum of 8" in answer["error"]


def test_slow_answers_and_full_queues(narrow):
    """One request runs too long, two wait too long, others find no room."""
    busy = {"signature_name": "loop", "instances": [1.5e6]}
    answers = []

    def ask():
        answers.append(narrow.predict("zoo", busy))

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    counts = collections.Counter(status for status, _ in answers)
    # Who comes when the first have given up finds room again.
    assert set(counts) == {504, 429}
    assert counts[504] >= 3
    messages = {status: answer["error"] for status, answer in answers}
    assert "Timed out" in messages[504]
    assert "queue to which this task was submitted is full" in messages[429]
    # What nobody waits for any more does not run: the next is soon answered.
    end = time.monotonic() + 60
    while narrow.predict("zoo", {"instances": [1]})[0] != 200:
        assert time.monotonic() < end


def test_cors_where_it_was_asked_for(narrow):
    origin = {"Origin": "https://example.org"}
    for method in ("GET", "OPTIONS"):
        status, headers, _ = narrow.request(
            method, "/v1/models/zoo", headers=origin
        )
        assert status == 200
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-methods"] == "POST, GET"
