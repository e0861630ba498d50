"""JSON to arrays and back; the protocol's cases are in rest_test.py."""

import json
import tracemalloc

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from serving import json_tensors
from serving.errors import RequestError
from serving.servable import Signature
from serving.servable import Spec

NUMBERS = [tf.float32, tf.float64, *json_tensors.INTEGERS]


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(
    "value",
    [
        [1, 2],
        [[1, 2], [3, 4]],
        [1.5],
        [1, 2.0],
        [],
        [[]],
        [300, -1],
        [2**31],
        [2**63],
        [2**64],
        [-(2**63) - 1],
        [1e300],
        [float("nan")],
        [1, [2]],
        [[1], [2, 3]],
        [None],
        ["1"],
        [1, "1"],
        [{"b64": "AA=="}],
        3,
    ],
)
def test_the_fast_way_agrees_with_the_exact_one(value, dtype):
    def outcome(plain):
        try:
            array = json_tensors.read_tensor(value, dtype, plain)
        except RequestError as error:
            return str(error)
        return array.dtype, array.shape, array.tobytes()

    assert outcome(True) == outcome(False)


def test_a_long_list_takes_the_fast_way():
    values = np.random.default_rng(0).random((4, 8)).tolist()
    fast = json_tensors._fast_tensor(values, tf.float32, True)
    np.testing.assert_array_equal(fast, np.float32(values))
    # It cannot tell true from 1: whoever asks has to know.
    assert json_tensors._fast_tensor([True, 1], tf.float32, False) is None


@pytest.mark.parametrize(
    ("array", "dtype", "text"),
    [
        (np.float32([0.1, 1, 1e-9]), tf.float32, b"[0.1,1.0,1e-9]"),
        (np.float64([0.1, 1e-300]), tf.float64, b"[0.1,1e-300]"),
        (np.int8([-5]), tf.int8, b"[-5]"),
        (np.uint64([2**64 - 1]), tf.uint64, b"[18446744073709551615]"),
        (np.array([[True]]), tf.bool, b"[[true]]"),
        (np.array([b"a"], object), tf.string, b'["a"]'),
        (np.zeros([0, 3], np.float32), tf.float32, b"[]"),
        (np.zeros([2, 0], np.float32), tf.float32, b"[[],[]]"),
        (np.empty([2, 0], object), tf.string, b"[[],[]]"),
        # A slice of a merged batch, and one that is not in order.
        (np.float32([[1, 2], [3, 4]])[1:], tf.float32, b"[[3.0,4.0]]"),
        (np.float32([[1, 2], [3, 4]]).T, tf.float32, b"[[1.0,3.0],[2.0,4.0]]"),
    ],
)
def test_answers(array, dtype, text):
    body = json_tensors.write_predict({"y": array}, {"y": dtype}, True)
    assert body == b'{"predictions":' + text + b"}"


@pytest.mark.parametrize("row_format", [True, False])
def test_answers_that_are_not_finite(row_format):
    outputs = {
        "a": np.float32([[np.nan, 1], [np.inf, -np.inf]]),
        "b_bytes": np.array([b"x", b"y"], object),
    }
    dtypes = {"a": tf.float32, "b_bytes": tf.string}
    body = json_tensors.write_predict(outputs, dtypes, row_format)
    for token in (b"NaN", b"Infinity", b"-Infinity", b'{"b64": "eA=="}'):
        assert token in body
    found = json.loads(body)["predictions" if row_format else "outputs"]
    last = found[1]["a"] if row_format else found["a"][1]
    assert last == [np.inf, -np.inf]


def test_rows_need_equal_numbers():
    outputs = {"a": np.zeros(2, np.float32), "b": np.zeros(3, np.float32)}
    dtypes = dict.fromkeys(outputs, tf.float32)
    with pytest.raises(RequestError, match="inconsistent batch size: 3"):
        json_tensors.write_predict(outputs, dtypes, True)


@pytest.mark.parametrize(
    "value", ["x" * 10**6, [[0] * 1000] * 1000, {"k" * 999: {"a": [1] * 10**6}}]
)
def test_messages_are_short(value):
    assert len(json_tensors.shown(value)) < 300


def test_of_equal_keys_the_first_counts():
    inner = '{"a": [1, [2]], "a": [[3], 4], "a": {"b": {}}, "c": 5}'
    body = f'{{"x": [{inner}], "x": [{inner}, {inner}]}}'.encode()
    for _ in range(100):
        assert json_tensors.parse(body) == {"x": [{"a": [1, [2]], "c": 5}]}


@pytest.mark.parametrize(
    ("bracket", "most"),
    [
        ("{}", json_tensors.MAX_OBJECTS),
        ("[]", json_tensors.MAX_LISTS),
    ],
)
def test_more_brackets_than_a_request_needs_are_refused(bracket, most):
    body = '{"inputs": "%s"}'
    # The outermost object is one of them; in a string none is made.
    allowed = most - (bracket == "{}")
    assert json_tensors.parse((body % (bracket * allowed)).encode())
    with pytest.raises(RequestError, match=f"More than {most} ") as caught:
        json_tensors.parse((body % (bracket * (allowed + 1))).encode())
    assert caught.value.http == 400


def test_what_a_request_may_have_fits():
    """1,024 grey images of 64x64 pixels, and as many swaps of two files."""
    row = "[" + ",".join(["[0]"] * 64) + "]"
    image = "[" + ",".join([row] * 64) + "]"
    assert 1024 * image.count("[") < json_tensors.MAX_LISTS
    swap = '{"source": {"b64": ""}, "target": {"b64": ""}, "mix": [0]}'
    assert 1024 * swap.count("{") < json_tensors.MAX_OBJECTS


@pytest.mark.parametrize(
    ("item", "most"), [("{}", 32), ('{"b64":"QQ=="}', 20), ("[]", 32)]
)
def test_a_body_in_memory(item, most):
    """Times its own size, at the number of objects that is allowed."""
    count = json_tensors.MAX_OBJECTS - 1
    body = f'{{"inputs": [{",".join([item] * count)}]}}'.encode()
    assert traced(body) < most * len(body)


def test_what_is_not_kept_of_equal_keys_is_given_back():
    count = json_tensors.MAX_OBJECTS - 1
    body = ("{" + ",".join(['"a": {}'] * count) + "}").encode()
    assert traced(body) < 3 * len(body)


def traced(body):
    """The most bytes that Python's objects took while it was parsed."""
    tracemalloc.start()
    try:
        json_tensors.parse(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# ---- whatever is sent -----------------------------------------------------

SIGNATURES = {
    "": {"x": tf.float32},
    "a": {"x": tf.int32},
    "b": {"x": tf.string},
    "c": {"x": tf.bool, "y": tf.uint8},
    "d": {"x": tf.float16},
}
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=9)
    | st.fixed_dictionaries({"b64": st.text("Aa+/=-_. ", max_size=9)})
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["x", "y", "b64", "z"]), inner)
    ),
    max_leaves=12,
)
REQUESTS = st.fixed_dictionaries(
    {},
    optional={
        "signature_name": st.sampled_from([*SIGNATURES, "none"]) | LEAVES,
        "instances": VALUES,
        "inputs": VALUES,
    },
).map(lambda value: json.dumps(value).encode())


def repeated(value):
    """JSON in which every key of every object is there twice."""
    if isinstance(value, dict):
        pairs = [(k, v) for k, v in value.items() for _ in range(2)]
        inner = ",".join(f"{json.dumps(k)}:{repeated(v)}" for k, v in pairs)
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{','.join(map(repeated, value))}]"
    return json.dumps(value)


@st.composite
def damaged(draw):
    """JSON with a few bytes changed, removed or put in."""
    body = bytearray(draw(REQUESTS))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(body)))
        body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
    return bytes(body)


def find_signature(name):
    if name not in SIGNATURES:
        raise RequestError(json_tensors.Code.NOT_FOUND, "none of ours")
    inputs = {k: Spec(v, (None,)) for k, v in SIGNATURES[name].items()}
    return Signature(name, inputs, {}, None)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=30)
    | REQUESTS
    | damaged()
    | REQUESTS.map(lambda body: repeated(json.loads(body)).encode())
)
def test_whatever_is_sent_is_read_or_refused(body):
    try:
        found = json_tensors.read_predict(body, find_signature)
    except RequestError as error:
        assert 400 <= error.http < 500 or error.http == 501
        assert len(error.message) < 1000
    else:
        signature, inputs, _ = found
        assert list(inputs) == list(signature.inputs)
        for name, spec in signature.inputs.items():
            wanted = spec.dtype.as_numpy_dtype
            assert inputs[name].dtype == wanted


@settings(max_examples=200, deadline=None)
@given(st.lists(st.floats(width=32), min_size=1))
def test_floats_come_back_as_they_went(values):
    array = np.float32(values)
    body = json_tensors.write_predict({"y": array}, {"y": tf.float32}, False)
    plain = b"true" not in body
    again = json_tensors.read_tensor(
        json_tensors.parse(body)["outputs"], tf.float32, plain
    )
    np.testing.assert_array_equal(again, array)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["", "=", "==", ".", "\n"]))
def test_base64_of_any_bytes(data, padding):
    import base64

    text = base64.b64encode(data).decode()
    assert json_tensors.from_base64({"b64": text}) == data
    bare = text.rstrip("=")
    assert json_tensors.from_base64({"b64": bare}) == data
    try:
        assert json_tensors.from_base64({"b64": bare + padding}) == data
    except RequestError as error:
        assert error.message == "Unable to base64 decode"
