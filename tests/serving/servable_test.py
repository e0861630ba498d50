"""Loading a SavedModel and running its signatures."""

import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from serving import servable
from serving.errors import Code
from serving.errors import RequestError
from serving.servable import Servable

X = np.float32([[1, 2, 3]])


@pytest.fixture(scope="module")
def loaded(zoo):
    return Servable("zoo", 1, zoo / "1")


def test_signatures_are_those_of_the_file(loaded, zoo):
    assert set(loaded.signatures) == set(loaded.signature_defs)
    two = loaded.signature("two")
    assert list(two.inputs) == ["a", "b"]
    assert two.inputs["a"].dtype == tf.float32
    assert two.inputs["a"].shape == (None,)
    assert loaded.signature("scaled").inputs["x"].shape is None
    assert loaded.signature("") is loaded.signature("serving_default")
    assert loaded.signature("nope") is None
    initialiser = loaded.signature("__saved_model_init_op")
    assert not initialiser.inputs and not initialiser.batched


@pytest.mark.parametrize(
    ("name", "batched"),
    [("two", True), ("matrix", True), ("scaled", False), ("shapes", False)],
)
def test_rows_are_open_in_all_inputs_and_outputs(loaded, name, batched):
    assert loaded.signature(name).batched == batched


def test_it_gives_the_models_numbers(loaded):
    outputs = loaded.signature("matrix").run({"x": X})
    np.testing.assert_allclose(outputs["y"], X @ np.ones([3, 2]))
    outputs = loaded.signature("bytes").run(
        {"data": np.array([b"a\0", b""], object)}
    )
    assert outputs["data_bytes"].tolist() == [b"a\0", b""]


def test_scalars_are_arrays_too(loaded):
    outputs = loaded.signature("float").run({"x": np.float32(2.5)})
    assert (outputs["y"].shape, float(outputs["y"])) == ((), 2.5)
    scalar = np.array(b"a\0", object)
    outputs = loaded.signature("string").run({"x": scalar})
    assert (outputs["y"].shape, outputs["y"].item()) == ((), b"a\0")


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("matrix", {"x": X[:, :2]}, r"\AMatrix size-incompatible: In\[0\]"),
        ("positive", {"x": np.float32([-1])}, r"assertion failed: \[x must be"),
    ],
)
def test_errors_are_those_of_the_operation(loaded, name, inputs, message):
    with pytest.raises(RequestError) as caught:
        loaded.signature(name).run(inputs)
    assert caught.value.code == Code.INVALID_ARGUMENT
    assert re.search(message, caught.value.message)
    assert "[Op:" not in caught.value.message
    assert "Graph execution error" not in caught.value.message
    assert "{{node" not in caught.value.message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "Graph execution error:\n\nDetected at node MatMul defined at "
            "(most recent call last):\n<stack traces unavailable>\n"
            "Bad sizes [2,4] [Op:__inference_signature_wrapper_12]",
            "Bad sizes [2,4]",
        ),
        ("Bad [Op:MatMul] name: ", "Bad"),
        ("Bad\n\t [[{{node map/Assert}}]] [Op:MatMul]", "Bad"),
        ("said by [Op:X] in the middle", "said by [Op:X] in the middle"),
        ("plain", "plain"),
    ],
)
def test_what_tensorflow_adds_to_messages_is_taken_off(text, message):
    assert servable.operation_message(text) == message


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, Code.NOT_FOUND),
        (b"\xff\xff", Code.DATA_LOSS),
        (b"", Code.NOT_FOUND),
    ],
)
def test_what_is_no_saved_model(tmp_path, content, code):
    if content is not None:
        (tmp_path / "saved_model.pb").write_bytes(content)
    with pytest.raises(RequestError) as caught:
        Servable("m", 1, tmp_path)
    assert caught.value.code == code


def test_missing_weights(zoo, tmp_path):
    shutil.copytree(zoo / "1", tmp_path / "1")
    shutil.rmtree(tmp_path / "1" / "variables")
    with pytest.raises(RequestError) as caught:
        Servable("m", 1, tmp_path / "1")
    assert caught.value.message


def test_aliases_that_are_no_python_names(tmp_path):
    @tf.function
    def double(value):
        return {"the result-1": 2 * value}

    spec = tf.TensorSpec([None], tf.float32, name="my-value/x")
    tf.saved_model.save(
        tf.Module(),
        str(tmp_path),
        signatures={"serving_default": double.get_concrete_function(spec)},
    )
    signature = Servable("m", 1, tmp_path).signature("")
    (alias,) = signature.inputs
    outputs = signature.run({alias: np.float32([3])})
    assert [list(v) for v in outputs.values()] == [[6]]


def test_a_model_of_tensorflow_1(tmp_path):
    """Any tree of SavedModels is served, of whatever origin."""
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        x = v1.placeholder(tf.float32, [None], name="x")
        weight = v1.get_variable("w", initializer=3.0)
        session.run(v1.global_variables_initializer())
        v1.saved_model.simple_save(
            session, str(tmp_path / "1"), {"x": x}, {"y": weight * x}
        )
    signature = Servable("m", 1, tmp_path / "1").signature("")
    assert signature.batched
    outputs = signature.run({"x": np.float32([1, 2])})
    np.testing.assert_array_equal(outputs["y"], [3, 6])
