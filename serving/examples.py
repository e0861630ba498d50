"""Classify and Regress: requests of tf.Example protocol buffers."""

import numpy as np
import tensorflow as tf
from tensorflow.core.example import example_pb2
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import regression_pb2

from serving import json_tensors
from serving.errors import invalid
from serving.servable import DEFAULT_SIGNATURE

INPUTS = "inputs"
CLASSES = "classes"
SCORES = "scores"
OUTPUTS = "outputs"


# ---- requests -------------------------------------------------------------


def from_json(body):
    """`(signature name, [serialized tf.Example])` of a REST request."""
    document = json_tensors.parse(body)
    name = json_tensors.signature_name(document)
    context = example_pb2.Example()
    if "context" in document:
        context = _example(document["context"])
    if "examples" not in document:
        raise invalid(
            f"{json_tensors.shown(document)} When method is classify, key "
            "'examples' is expected and was not found"
        )
    examples = document["examples"]
    if not isinstance(examples, list):
        raise invalid(
            f"{json_tensors.shown(document)} Expecting 'examples' value to be "
            "an list/array"
        )
    if not examples:
        raise invalid(
            f"{json_tensors.shown(document)} 'examples' value is an empty array"
        )
    return name, _serialized(map(_example, examples), context)


def from_proto(proto):
    """[serialized tf.Example] of a gRPC request's `Input`."""
    kind = proto.WhichOneof("kind")
    if kind == "example_list_with_context":
        listed = proto.example_list_with_context
        examples = _serialized(listed.examples, listed.context)
    else:
        examples = _serialized(
            proto.example_list.examples, example_pb2.Example()
        )
    if not examples:
        raise invalid("Input is empty.")
    return examples


def _serialized(examples, context):
    merged = []
    for example in examples:
        whole = example_pb2.Example()
        whole.CopyFrom(context)
        # Of a feature in both, the example's counts.
        for name, feature in example.features.feature.items():
            whole.features.feature[name].CopyFrom(feature)
        merged.append(whole.SerializeToString())
    return merged


def _example(value):
    if not isinstance(value, dict):
        raise invalid(
            "Example must be JSON object but got JSON "
            f"{json_tensors.type_of(value)}"
        )
    example = example_pb2.Example()
    for name, content in value.items():
        values = content if isinstance(content, list) else [content]
        _fill(example.features.feature[name], name, values)
    return example


def _fill(feature, name, values):
    for value in values:
        if isinstance(value, bool):
            kind, value = "int64_list", int(value)
        elif isinstance(value, int):
            kind = "int64_list"
            if not -(2**63) <= value < 2**63:
                raise invalid(
                    f"Feature: {name} has uint64 element. Only int64 is "
                    "supported."
                )
        elif isinstance(value, float):
            kind, value = "float_list", np.float32(value)
        elif isinstance(value, str):
            kind, value = "bytes_list", value.encode()
        elif json_tensors.is_base64(value):
            kind, value = "bytes_list", json_tensors.from_base64(value)
        else:
            raise invalid(
                f"Feature: {name} has element with unexpected JSON type: "
                f"{json_tensors.type_of(value)}"
            )
        if feature.WhichOneof("kind") not in (None, kind):
            expected = feature.WhichOneof("kind").removesuffix("_list")
            raise invalid(
                f"Unexpected element type in feature: {name} expecting type: "
                f"{expected}"
            )
        getattr(feature, kind).value.append(value)


# ---- signatures -----------------------------------------------------------


def find_signature(servable, name):
    """The signature of a name.

    Raises:
      RequestError: there is none.
    """
    name = name or DEFAULT_SIGNATURE
    signature = servable.signature(name)
    if signature is None:
        raise invalid(
            f"No signature was found with the name {name}. It has: "
            f"{servable.listed}."
        )
    return signature


def check_signature(api, signature):
    """Refuses a signature that is for something else.

    Args:
      api: "classify" or "regress".
      signature: a `Signature`.

    Raises:
      RequestError: its inputs or outputs are not those of the method.
    """
    kind = {"classify": "classification", "regress": "regression"}[api]
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    allowed = (1, 2) if api == "classify" else (1,)
    if len(signature.outputs) not in allowed:
        number = "one or two" if api == "classify" else "one"
        raise invalid(
            f"Expected {number} output Tensors, found {len(signature.outputs)}"
        )
    if INPUTS not in signature.inputs:
        raise invalid(
            f"No {kind} inputs found in SignatureDef: {signature.name}"
        )
    if api == "regress" and OUTPUTS not in signature.outputs:
        raise invalid(
            f"No regression outputs found in SignatureDef: {signature.name}"
        )
    if api == "classify" and not signature.outputs.keys() & {CLASSES, SCORES}:
        raise invalid(
            "Expected classification signature outputs to contain at least "
            f'one of "{CLASSES}" or "{SCORES}". Signature was: '
            f"{signature.name}"
        )
    if signature.inputs[INPUTS].dtype != tf.string:
        raise invalid(f"{INPUTS} must be serialized tf.Example protos.")


def inputs_of(api, signature, examples):
    """What a signature is run with.

    Args:
      api: "classify" or "regress".
      signature: a `Signature`.
      examples: serialized.

    Raises:
      RequestError: the signature is for something else.
    """
    check_signature(api, signature)
    column = np.empty(len(examples), object)
    column[:] = examples
    return {INPUTS: column}


def result_of(api, signature, outputs, count):
    """What a run means.

    Args:
      api: "classify" or "regress".
      signature: the `Signature` that was run.
      outputs: {alias: array}.
      count: of examples.

    Returns:
      A `ClassificationResult` or a `RegressionResult`.

    Raises:
      RequestError: outputs of another type or shape than the protocol has.
    """
    if api == "regress":
        values = outputs[OUTPUTS]
        if values.shape not in ((count,), (count, 1)):
            raise invalid(
                f"Expected output Tensor shape to be either [{count}] or "
                f"[{count}, 1], found {list(values.shape)}."
            )
        _check_dtype(signature, OUTPUTS, tf.float32)
        result = regression_pb2.RegressionResult()
        for value in values.ravel().tolist():
            result.regressions.add(value=value)
        return result
    for name, dtype in ((CLASSES, tf.string), (SCORES, tf.float32)):
        if name not in signature.outputs:
            continue
        _check_dtype(signature, name, dtype)
        if outputs[name].ndim != 2 or len(outputs[name]) != count:
            raise invalid(
                "Expected Tensor shape: [batch_size num_classes] but got "
                f"{name}[{','.join(map(str, outputs[name].shape))}]"
            )
    shape = next(outputs[n].shape for n in (CLASSES, SCORES) if n in outputs)
    labels = outputs.get(CLASSES, np.full(shape, b"", object))
    scores = outputs.get(SCORES, np.zeros(shape, np.float32))
    if labels.shape != scores.shape:
        raise invalid(
            f"Tensors class and score should match in shape, got "
            f"{list(labels.shape)} and {list(scores.shape)}"
        )
    result = classification_pb2.ClassificationResult()
    for row in zip(labels.tolist(), scores.tolist(), strict=True):
        listed = result.classifications.add()
        for label, score in zip(*row, strict=True):
            listed.classes.add(
                label=label.decode(errors="replace"), score=score
            )
    return result


def _check_dtype(signature, name, dtype):
    given = signature.outputs[name].dtype
    if given != dtype:
        raise invalid(
            f"Expected {name} Tensor of {dtype.name}. Got: {given.name}"
        )


def to_json(api, result):
    """A result as the body of a REST answer."""
    if api == "regress":
        listed = numbers = [np.float32(r.value) for r in result.regressions]
    else:
        listed = [
            [[item.label, np.float32(item.score)] for item in row.classes]
            for row in result.classifications
        ]
        numbers = [score for row in listed for _, score in row]
    finite = bool(np.isfinite(numbers).all())
    return json_tensors.dump({"results": listed}, finite)
