"""tf.Example from JSON and protos; what is refused is in rest_test.py."""

import json

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import input_pb2

from serving import examples
from serving.errors import RequestError
from serving.servable import Signature
from serving.servable import Spec


def features(serialized):
    """{name: values} of a serialized tf.Example."""
    example = tf.train.Example.FromString(serialized)
    return {
        name: list(getattr(feature, feature.WhichOneof("kind")).value)
        for name, feature in example.features.feature.items()
    }


def test_every_json_value_has_its_kind_of_feature():
    body = {
        "signature_name": "s",
        "context": {"both": "context", "shared": [True, False]},
        "examples": [
            {"i": [1, -2], "f": 0.5, "s": ["a", {"b64": "AP8="}]},
            {"both": "own"},
        ],
    }
    name, (first, second) = examples.from_json(json.dumps(body).encode())
    assert name == "s"
    assert features(first) == {
        "i": [1, -2],
        "f": [0.5],
        "s": [b"a", b"\x00\xff"],
        "both": [b"context"],
        "shared": [1, 0],
    }
    # Of a feature in both, the example's counts.
    assert features(second) == {"both": [b"own"], "shared": [1, 0]}


def test_lists_with_and_without_context():
    plain, shared = input_pb2.Input(), input_pb2.Input()
    plain.example_list.examples.add().features.feature[
        "x"
    ].int64_list.value.append(3)
    listed = shared.example_list_with_context
    listed.examples.add()
    listed.context.features.feature["x"].int64_list.value.append(3)
    for message in (plain, shared):
        assert [features(e) for e in examples.from_proto(message)] == [
            {"x": [3]}
        ]
    with pytest.raises(RequestError, match="Input is empty"):
        examples.from_proto(input_pb2.Input())


def classifier(**outputs):
    specs = {name: Spec(dtype, (None, None)) for name, dtype in outputs.items()}
    return Signature("c", {"inputs": Spec(tf.string, (None,))}, specs, None)


LABELS = np.array([[b"a", b"b"]], object)
SCORES = np.float32([[0.25, np.nan]])


def test_scores_labels_or_both():
    def rows(**outputs):
        kinds = {
            name: tf.string if name == "classes" else tf.float32
            for name in outputs
        }
        result = examples.result_of("classify", classifier(**kinds), outputs, 1)
        return json.loads(examples.to_json("classify", result))["results"]

    ((first, second),) = rows(classes=LABELS, scores=SCORES)
    assert first == ["a", 0.25]
    assert second[0] == "b" and np.isnan(second[1])
    assert rows(classes=LABELS) == [[["a", 0.0], ["b", 0.0]]]
    assert rows(scores=SCORES[:, :1]) == [[["", 0.25]]]


@pytest.mark.parametrize(
    ("outputs", "dtypes", "message"),
    [
        ({"scores": SCORES[0]}, {"scores": tf.float32}, "num_classes"),
        ({"scores": SCORES[[0, 0]]}, {"scores": tf.float32}, "batch_size"),
        ({"scores": SCORES}, {"scores": tf.float64}, "Got: float64"),
        (
            {"scores": SCORES, "classes": LABELS[:, :1]},
            {"scores": tf.float32, "classes": tf.string},
            "should match in shape",
        ),
    ],
)
def test_outputs_that_are_no_classes(outputs, dtypes, message):
    with pytest.raises(RequestError, match=message):
        examples.result_of("classify", classifier(**dtypes), outputs, 1)


@pytest.mark.parametrize("shape", [(2,), (2, 1)])
def test_regressions_are_one_number_each(shape):
    spec = {"outputs": Spec(tf.float32, (None,))}
    signature = Signature("r", {}, spec, None)
    values = np.float32([1, 2]).reshape(shape)
    result = examples.result_of("regress", signature, {"outputs": values}, 2)
    assert examples.to_json("regress", result) == b'{"results":[1.0,2.0]}'
    with pytest.raises(RequestError, match="Expected output Tensor shape"):
        examples.result_of("regress", signature, {"outputs": values}, 3)
