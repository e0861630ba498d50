"""The gRPC services through the official stubs, over a real socket."""

import asyncio
import re
import time

import grpc
import numpy as np
import pytest
import tensorflow as tf
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from serving import grpc_server

STATUS = grpc.StatusCode


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        yield channel


@pytest.fixture(scope="module")
def prediction(channel):
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


@pytest.fixture(scope="module")
def models(channel):
    return model_service_pb2_grpc.ModelServiceStub(channel)


def request_of(model, signature="", version=None, label=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    if label is not None:
        request.model_spec.version_label = label
    for name, value in inputs.items():
        if not isinstance(value, TENSOR):
            value = tf.make_tensor_proto(value)
        request.inputs[name].CopyFrom(value)
    return request


TENSOR = type(tf.make_tensor_proto(0))


def refused(call, request):
    """`(code, message)` of a call that fails."""
    with pytest.raises(grpc.RpcError) as caught:
        call(request, timeout=60)
    return caught.value.code(), caught.value.details()


X = np.float32([1, 2])


# ---- predict --------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "version"),
    [
        ({}, 2),
        ({"version": 1}, 1),
        ({"label": "stable"}, 1),
        ({"label": "canary"}, 2),
    ],
)
def test_predict(prediction, spec, version):
    answer = prediction.Predict(request_of("halves", x=X, **spec))
    assert answer.model_spec.name == "halves"
    assert answer.model_spec.version.value == version
    assert answer.model_spec.signature_name == "serving_default"
    (name,) = answer.outputs
    tensor = answer.outputs[name]
    # Clients read this field.
    assert list(tensor.float_val) == [0.5 + version + 1, 1.0 + version + 1]
    assert not tensor.tensor_content
    assert tensor.dtype == tf.float32.as_datatype_enum
    assert [dim.size for dim in tensor.tensor_shape.dim] == [2]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("float", np.float32([[1.5, np.nan], [np.inf, -2]])),
        ("double", np.float64([1e-300])),
        ("int32", np.int32([[-(2**31)]])),
        ("int16", np.int16([-7, 7])),
        ("int8", np.int8(-7)),
        ("uint8", np.uint8([255, 0])),
        ("int64", np.int64([-(2**63), 2**63 - 1])),
        ("uint32", np.uint32([2**32 - 1])),
        ("uint64", np.uint64([2**64 - 1])),
        ("bool", np.array([True, False])),
        ("string", np.array([b"\x00\xff", b""], object)),
        ("half", np.float16([0.5, -1])),
        ("float", np.zeros([2, 0, 3], np.float32)),
        ("float", np.float32(3)),
    ],
)
def test_every_type_goes_there_and_back(prediction, name, value):
    answer = prediction.Predict(request_of("zoo", name, x=value))
    tensor = answer.outputs["y"]
    received = tf.make_ndarray(tensor)
    assert received.dtype == value.dtype
    np.testing.assert_array_equal(received, value)
    if name == "string":
        assert list(tensor.string_val) == value.tolist()
    if name == "int8":
        assert list(tensor.int_val) == [-7]
        assert tensor.HasField("tensor_shape")


def test_values_are_padded_with_the_last_one(prediction):
    tensor = TENSOR(dtype=tf.float32.as_datatype_enum, float_val=[1, 2])
    tensor.tensor_shape.dim.add(size=4)
    answer = prediction.Predict(request_of("zoo", "float", x=tensor))
    assert list(answer.outputs["y"].float_val) == [1, 2, 2, 2]


def test_outputs_can_be_chosen(prediction):
    request = request_of("zoo", "two", a=X, b=X)
    assert set(prediction.Predict(request).outputs) == {"sum", "difference"}
    request.output_filter.append("sum")
    answer = prediction.Predict(request)
    assert list(answer.outputs) == ["sum"]
    assert list(answer.outputs["sum"].float_val) == [2, 4]


def tensor_of(size, *values):
    tensor = TENSOR(dtype=tf.float32.as_datatype_enum, float_val=values)
    tensor.tensor_shape.dim.add(size=size)
    return tensor


def filtered(*names):
    request = request_of("zoo", "two", a=X, b=X)
    request.output_filter.extend(names)
    return request


@pytest.mark.parametrize(
    ("request_", "code", "message"),
    [
        (predict_pb2.PredictRequest(), "INVALID_ARGUMENT", "Missing ModelSpec"),
        (
            request_of("", x=X),
            "INVALID_ARGUMENT",
            "ModelSpec has no name specified.",
        ),
        (
            request_of("none", x=X),
            "NOT_FOUND",
            "Servable not found for request: Latest(none)",
        ),
        (
            request_of("halves", version=0, x=X),
            "NOT_FOUND",
            "Servable not found for request: Specific(halves, 0)",
        ),
        (
            request_of("halves", label="odd", x=X),
            "INVALID_ARGUMENT",
            "Unrecognized servable version label: odd",
        ),
        (
            request_of("halves", "nope", x=X),
            "FAILED_PRECONDITION",
            'Serving signature key "nope" not found. It has: serving_default.',
        ),
        (
            request_of("graph"),
            "FAILED_PRECONDITION",
            'Serving signature key "serving_default" not found.',
        ),
        (
            request_of("zoo", "__saved_model_init_op"),
            "INVALID_ARGUMENT",
            "computes nothing",
        ),
        (
            request_of("zoo", "two", a=X),
            "INVALID_ARGUMENT",
            "input size does not match signature: 1!=2 len({a}) != len({a,b})."
            " Sent extra: {}. Missing but required: {b}.",
        ),
        (
            request_of("zoo", "two", a=X, b=X, c=X),
            "INVALID_ARGUMENT",
            "Sent extra: {c}. Missing but required: {}.",
        ),
        (
            request_of("zoo", "two", a=X, c=X),
            "INVALID_ARGUMENT",
            "Signature input alias: b not found in request",
        ),
        (
            filtered("sum", "odd"),
            "INVALID_ARGUMENT",
            "output tensor alias not found in signature: odd",
        ),
        (
            filtered("sum", "sum"),
            "INVALID_ARGUMENT",
            "duplicate output tensor alias: sum",
        ),
        (request_of("halves", x=np.int32([1])), "INVALID_ARGUMENT", "float32"),
        (
            request_of("zoo", "matrix", x=np.ones([1, 2], np.float32)),
            "INVALID_ARGUMENT",
            "Matrix size-incompatible",
        ),
        (
            request_of("halves", x=tensor_of(-1, 1.0)),
            "INVALID_ARGUMENT",
            "shape is not fully known",
        ),
        # A few bytes that claim four terabytes.
        (
            request_of("halves", x=tensor_of(2**40, 1.0)),
            "RESOURCE_EXHAUSTED",
            "exceeds",
        ),
        # Within the bound of one tensor, but of hundreds at the same time?
        (
            request_of("halves", x=tensor_of(2**24, 1.0)),
            "RESOURCE_EXHAUSTED",
            "leaves out more than 1048576 values",
        ),
        (
            request_of(
                "halves",
                x=TENSOR(
                    dtype=tf.float32.as_datatype_enum, tensor_content=b"abc"
                ),
            ),
            "INVALID_ARGUMENT",
            "cannot be read",
        ),
        (
            request_of("halves", x=TENSOR(dtype=77)),
            "INVALID_ARGUMENT",
            "type 77",
        ),
    ],
)
def test_bad_predicts(prediction, request_, code, message):
    answer = refused(prediction.Predict, request_)
    assert answer[0] == STATUS[code]
    assert message in answer[1]


def counted_as(server, status):
    """How many of the zoo's requests the server has counted so."""
    _, _, page = server.request("GET", "/monitoring/prometheus/metrics")
    line = f'request_count{{model_name="zoo",status="{status}"}} '
    found = re.findall(re.escape(line.encode()) + b"([0-9.]+)", page)
    return float(found[0]) if found else 0.0


def wait_until_counted(server, status, number):
    # The server may notice a moment after the caller.
    for _ in range(50):
        if counted_as(server, status) == number:
            break
        time.sleep(0.1)
    assert counted_as(server, status) == number


def test_a_caller_without_a_deadline_that_goes_away(prediction, server):
    before = counted_as(server, "CANCELLED")
    request = request_of("zoo", "loop", x=np.float32([5e5]))
    call = prediction.Predict.future(request)
    time.sleep(0.1)
    call.cancel()
    wait_until_counted(server, "CANCELLED", before + 1)


def test_deadlines(prediction, server):
    before = counted_as(server, "DEADLINE_EXCEEDED")
    request = request_of("zoo", "loop", x=np.float32([5e5]))
    with pytest.raises(grpc.RpcError) as caught:
        prediction.Predict(request, timeout=0.1)
    assert caught.value.code() == STATUS.DEADLINE_EXCEEDED
    wait_until_counted(server, "DEADLINE_EXCEEDED", before + 1)


def test_every_signature_of_an_export(prediction, exported):
    """As a stranger would: what is asked for is read in the metadata."""
    request = get_model_metadata_pb2.GetModelMetadataRequest(
        metadata_field=["signature_def"]
    )
    request.model_spec.name = "tiny"
    metadata = get_model_metadata_pb2.SignatureDefMap()
    prediction.GetModelMetadata(request).metadata["signature_def"].Unpack(
        metadata
    )
    _, directory = exported
    loaded = tf.saved_model.load(str(directory / "1"))
    asked = set()
    for name, entry in metadata.signature_def.items():
        if name.startswith("__"):
            continue
        inputs = {
            key: input_of(info, seed)
            for seed, (key, info) in enumerate(sorted(entry.inputs.items()))
        }
        answer = prediction.Predict(request_of("tiny", name, **inputs))
        expected = loaded.signatures[name](
            **{key: tf.constant(value) for key, value in inputs.items()}
        )
        assert set(answer.outputs) == set(entry.outputs) == set(expected)
        for key, tensor in answer.outputs.items():
            assert tensor.dtype == entry.outputs[key].dtype
            given, wanted = tf.make_ndarray(tensor), expected[key].numpy()
            if wanted.dtype == object:
                given, wanted = map(pixels_of, (given, wanted))
            np.testing.assert_allclose(given, wanted, atol=1.01 / 255)
            assert np.std(wanted) > 0
        asked.add(name)
    verbs = {"encode", "decode", "swap"}
    assert asked == {"serving_default", *verbs, *(f"{v}_bytes" for v in verbs)}


def input_of(info, seed):
    """Two rows of what a `TensorInfo` describes; images as PNG data."""
    draw = np.random.default_rng(seed)
    if info.dtype == tf.string.as_datatype_enum:
        noise = draw.integers(0, 256, (2, 32, 32, 1), np.uint8)
        return np.array([tf.io.encode_png(n).numpy() for n in noise], object)
    inner = [dim.size for dim in info.tensor_shape.dim[1:]]
    return draw.random((2, *inner), np.float32)


def pixels_of(files):
    """float `[B, H, W, C]` in [0, 1] of PNG data."""
    return np.stack([tf.io.decode_png(data) for data in files]) / 255


# ---- metadata and status --------------------------------------------------


def test_metadata(prediction):
    request = get_model_metadata_pb2.GetModelMetadataRequest()
    request.model_spec.name = "zoo"
    assert refused(prediction.GetModelMetadata, request) == (
        STATUS.INVALID_ARGUMENT,
        "GetModelMetadataRequest must specify at least one metadata_field",
    )
    request.metadata_field.append("signature_def")
    answer = prediction.GetModelMetadata(request)
    assert answer.model_spec.version.value == 1
    assert list(answer.metadata) == ["signature_def"]
    found = get_model_metadata_pb2.SignatureDefMap()
    assert answer.metadata["signature_def"].Unpack(found)
    two = found.signature_def["two"]
    assert set(two.inputs) == {"a", "b"}
    assert two.method_name == "tensorflow/serving/predict"
    assert "__saved_model_init_op" in found.signature_def
    request.metadata_field.append("cost")
    assert refused(prediction.GetModelMetadata, request) == (
        STATUS.INVALID_ARGUMENT,
        "Metadata field cost is not supported",
    )


def test_status(models):
    request = get_model_status_pb2.GetModelStatusRequest()
    assert refused(models.GetModelStatus, request) == (
        STATUS.INVALID_ARGUMENT,
        "Missing ModelSpec",
    )
    request.model_spec.name = "halves"
    state = get_model_status_pb2.ModelVersionStatus.State
    statuses = models.GetModelStatus(request).model_version_status
    assert [(s.version, s.state) for s in statuses] == [
        (2, state.AVAILABLE),
        (1, state.AVAILABLE),
    ]
    request.model_spec.version.value = 5
    assert refused(models.GetModelStatus, request)[0] == STATUS.NOT_FOUND
    request.model_spec.name = "broken"
    request.model_spec.version.value = 7
    (status,) = models.GetModelStatus(request).model_version_status
    assert status.state == state.END
    assert status.status.error_code != 0 and status.status.error_message


def test_health(channel):
    stub = health_pb2_grpc.HealthStub(channel)
    answer = stub.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_health_from_start_to_stop():
    """Over a socket as well, but in this process: nothing has to be loaded."""
    found = []

    async def live():
        server = grpc_server.Server(None, None, None)
        port = server.listen("127.0.0.1:0")
        await server.start()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            metadata = prediction_service_pb2_grpc.PredictionServiceStub(
                channel
            ).GetModelMetadata
            watch = stub.Watch(health_pb2.HealthCheckRequest())

            async def look():
                answer = await stub.Check(health_pb2.HealthCheckRequest())
                watched = await watch.read()
                assert watched.status == answer.status
                try:
                    await metadata(
                        get_model_metadata_pb2.GetModelMetadataRequest()
                    )
                except grpc.RpcError as error:
                    found.append((answer.status, error.code()))

            await look()
            await server.ready()
            await look()
            await server.drain(1)
            # Nobody can say anything else any more.
            await server.ready()
            await look()
            # Who still watches keeps nobody waiting.
            await asyncio.wait_for(server.stop(), 5)
            with pytest.raises(grpc.RpcError):
                await stub.Check(health_pb2.HealthCheckRequest())

    asyncio.run(live())
    status = health_pb2.HealthCheckResponse
    assert found == [
        (status.NOT_SERVING, STATUS.INVALID_ARGUMENT),
        (status.SERVING, STATUS.INVALID_ARGUMENT),
        (status.NOT_SERVING, STATUS.UNAVAILABLE),
    ]


# ---- classify, regress, both ----------------------------------------------


def examples_of(message, *values, bias=None):
    """Fills a request with an example of each x."""
    if bias is None:
        listed = message.input.example_list
    else:
        listed = message.input.example_list_with_context
        feature = listed.context.features.feature["bias"]
        feature.float_list.value.append(bias)
    for value in values:
        feature = listed.examples.add().features.feature["x"]
        feature.float_list.value.append(value)
    return message


def test_regress_and_classify(prediction):
    request = regression_pb2.RegressionRequest()
    request.model_spec.name = "zoo"
    request.model_spec.signature_name = "regress"
    assert refused(prediction.Regress, request) == (
        STATUS.INVALID_ARGUMENT,
        "Input is empty.",
    )
    answer = prediction.Regress(examples_of(request, 0.5, 2, bias=1))
    assert [r.value for r in answer.result.regressions] == [2, 5]
    assert answer.model_spec.signature_name == "regress"

    request = classification_pb2.ClassificationRequest()
    request.model_spec.name = "zoo"
    request.model_spec.signature_name = "classify"
    answer = prediction.Classify(examples_of(request, 0.25))
    (row,) = answer.result.classifications
    assert [(c.label, c.score) for c in row.classes] == [
        ("small", 0.75),
        ("large", 0.25),
    ]


def tasks_of(model, *signatures):
    request = inference_pb2.MultiInferenceRequest()
    for name in signatures:
        task = request.tasks.add(method_name=f"tensorflow/serving/{name}")
        task.model_spec.name = model
        task.model_spec.signature_name = name
    return examples_of(request, 0.25)


def test_multi_inference(prediction):
    request = tasks_of("graph", "regress", "classify")
    first, second = prediction.MultiInference(request).results
    assert [r.value for r in first.regression_result.regressions] == [0.5]
    assert first.model_spec.signature_name == "regress"
    (row,) = second.classification_result.classifications
    assert [c.score for c in row.classes] == [0.75, 0.25]
    # Each with an input of its own can be asked for alone.
    (only,) = prediction.MultiInference(tasks_of("zoo", "regress")).results
    assert [r.value for r in only.regression_result.regressions] == [0.5]


@pytest.mark.parametrize(
    ("model", "tasks", "change", "message"),
    [
        ("zoo", ["regress", "classify"], {}, "must be the same for all"),
        ("graph", ["regress", "regress"], {}, "Duplicate evaluation"),
        ("graph", ["regress"], {"signature_name": "no"}, "graph: no. It has: "),
        ("graph", ["regress"] * 2, {"name": "zoo"}, "same model name"),
        ("graph", [], {}, "at least one task"),
    ],
)
def test_bad_multi_inference(prediction, model, tasks, change, message):
    request = tasks_of(model, *tasks)
    for field, value in change.items():
        setattr(request.tasks[-1].model_spec, field, value)
    code, said = refused(prediction.MultiInference, request)
    assert (code, message in said) == (STATUS.INVALID_ARGUMENT, True), said


def test_multi_inference_of_another_method(prediction):
    request = tasks_of("graph", "regress")
    request.tasks[0].method_name = "tensorflow/serving/predict"
    code, _ = refused(prediction.MultiInference, request)
    assert code == STATUS.UNIMPLEMENTED


# ---- reload ---------------------------------------------------------------


def test_reload_refuses_what_is_elsewhere(models, prediction):
    request = model_management_pb2.ReloadConfigRequest()
    code, message = refused(models.HandleReloadConfigRequest, request)
    assert code == STATUS.INVALID_ARGUMENT
    assert "Only ModelConfigList" in message
    for path in ("/etc", "../elsewhere", "halves/../../elsewhere"):
        del request.config.model_config_list.config[:]
        request.config.model_config_list.config.add(
            name="taken", base_path=path, model_platform="tensorflow"
        )
        code, message = refused(models.HandleReloadConfigRequest, request)
        assert code == STATUS.PERMISSION_DENIED
        assert "nothing else is loaded" in message
    # What was served is served on.
    assert prediction.Predict(request_of("halves", x=X)).outputs
