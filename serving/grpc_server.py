"""TensorFlow Serving's gRPC services."""

import asyncio
import concurrent.futures
import logging
import time

import grpc
from google.protobuf import any_pb2
from grpc_health.v1 import health_pb2
from grpc_health.v1 import health_pb2_grpc
from grpc_health.v1.health import aio as health
from tensorflow_serving.apis import classification_pb2
from tensorflow_serving.apis import get_model_metadata_pb2
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.apis import inference_pb2
from tensorflow_serving.apis import model_management_pb2
from tensorflow_serving.apis import model_service_pb2_grpc
from tensorflow_serving.apis import predict_pb2
from tensorflow_serving.apis import prediction_service_pb2_grpc
from tensorflow_serving.apis import regression_pb2

from serving import examples
from serving import tensors
from serving.batching import beside
from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid
from serving.servable import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)

STATUS = {code.value[0]: code for code in grpc.StatusCode}
SIGNATURE_DEF = "signature_def"
# Of what is sent; what is received is limited by the caller.
UNLIMITED = -1
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
# A caller that sets no deadline waits this long, in seconds.
LONG = 3600.0


class Calls:
    """The calls that are being answered, so that a stop can wait for them.

    Attributes:
      running: their tasks; each lasts until its answer has been sent.
      closed: whether no more begin.
    """

    def __init__(self):
        self.running = set()
        self.closed = False

    def begin(self):
        """Notes the current task's call.

        Raises:
          RequestError: the server is stopping.
        """
        if self.closed:
            raise RequestError(Code.UNAVAILABLE, "The server is stopping.")
        task = asyncio.current_task()
        self.running.add(task)
        task.add_done_callback(self.running.discard)


class Server:
    """The gRPC services at one port, with grpc.health.v1 beside them.

    It has to be made inside of the event loop.

    Args:
      manager: a `Manager`.
      batcher: a `Batcher`.
      metrics: a `Metrics`.
      max_body_bytes: of a request's message.
      max_concurrent: requests that are answered at the same time; more are
        refused.
    """

    def __init__(
        self,
        manager,
        batcher,
        metrics,
        max_body_bytes=2**26,
        max_concurrent=256,
    ):
        self._calls = Calls()
        self._health = health.HealthServicer()
        self._server = grpc.aio.server(
            maximum_concurrent_rpcs=max_concurrent,
            options=[
                ("grpc.max_receive_message_length", max_body_bytes),
                ("grpc.max_send_message_length", UNLIMITED),
                # Another server at the same port would get half the requests.
                ("grpc.so_reuseport", 0),
            ],
        )
        prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
            PredictionService(manager, batcher, metrics, self._calls),
            self._server,
        )
        model_service_pb2_grpc.add_ModelServiceServicer_to_server(
            ModelService(manager, self._calls), self._server
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)

    def listen(self, address):
        """Takes a port; its number is returned.

        Args:
          address: HOST:PORT, 0 for any free port.

        Raises:
          OSError: it is taken, or none of this machine's.
        """
        try:
            return self._server.add_insecure_port(address)
        except RuntimeError as error:
            raise OSError(f"Cannot listen at {address}.") from error

    async def start(self):
        """Answers requests; the health is NOT_SERVING yet."""
        await self._health.set("", NOT_SERVING)
        await self._server.start()

    async def ready(self):
        """Lets health checks know that models can be asked for."""
        await self._health.set("", SERVING)

    async def drain(self, seconds):
        """Finishes what runs.

        Health checks are told NOT_SERVING, other requests are refused.

        Args:
          seconds: that it may take.
        """
        await self._health.enter_graceful_shutdown()
        self._calls.closed = True
        if self._calls.running:
            await asyncio.wait(self._calls.running, timeout=seconds)

    async def stop(self):
        """Ends what is left: those who watch the health, what took too long."""
        await self._server.stop(None)


def answered(method):
    """A servicer's method whose `RequestError`s become gRPC statuses."""

    async def answer(self, request, context):
        try:
            self.calls.begin()
            return await method(self, request, context)
        except RequestError as error:
            await context.abort(STATUS[error.code], error.message)
        except Exception:
            # A defect of ours: the caller is told, the log says what it is.
            logger.exception("A request could not be answered.")
            await context.abort(STATUS[Code.INTERNAL], "Internal error.")

    return answer


def counted(method):
    """The same, noted in the server's metrics."""
    api = method.__name__

    async def answer(self, request, context):
        start, code = time.perf_counter(), Code.OK
        try:
            return await method(self, request, context)
        except RequestError as error:
            code = error.code
            raise
        except asyncio.CancelledError:
            # The caller's deadline has passed, or the caller has gone.
            late = context.time_remaining() == 0
            code = Code.DEADLINE_EXCEEDED if late else Code.CANCELLED
            raise
        except Exception:
            code = Code.INTERNAL
            raise
        finally:
            name, seconds = request.model_spec.name, time.perf_counter() - start
            if self.manager.knows(name):
                self.metrics.count_request(name, api, "GRPC", code, seconds)

    return answered(answer)


class PredictionService(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Predict, GetModelMetadata, Classify, Regress and MultiInference.

    Args:
      manager: a `Manager`.
      batcher: a `Batcher`.
      metrics: a `Metrics`.
      calls: the `Calls` of the server.
    """

    def __init__(self, manager, batcher, metrics, calls):
        self.manager = manager
        self.batcher = batcher
        self.metrics = metrics
        self.calls = calls

    @counted
    async def Predict(self, request, context):
        servable = self._find(request)
        name = request.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signature(name)
        if signature is None:
            raise RequestError(
                Code.FAILED_PRECONDITION,
                f'Serving signature key "{name}" not found. It has: '
                f"{servable.listed}.",
            )
        wanted = _filtered(signature, request.output_filter)
        inputs = await beside(
            request.ByteSize(), tensors.read_inputs, signature, request.inputs
        )
        outputs = await self._run(servable, signature, inputs, context)
        response = predict_pb2.PredictResponse(
            model_spec=_concrete(servable, signature)
        )

        def write():
            for alias in wanted:
                dtype = signature.outputs[alias].dtype
                proto = tensors.to_proto(outputs[alias], dtype)
                response.outputs[alias].CopyFrom(proto)

        await beside(sum(v.nbytes for v in outputs.values()), write)
        return response

    @answered
    async def GetModelMetadata(self, request, context):
        _check_named(request)
        if not request.metadata_field:
            raise invalid(
                "GetModelMetadataRequest must specify at least one "
                "metadata_field"
            )
        for field in request.metadata_field:
            if field != SIGNATURE_DEF:
                raise invalid(f"Metadata field {field} is not supported")
        servable = self._find(request)
        response = get_model_metadata_pb2.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=servable.signature_defs
        )
        packed = any_pb2.Any()
        packed.Pack(signatures)
        response.metadata[SIGNATURE_DEF].CopyFrom(packed)
        return response

    @counted
    async def Classify(self, request, context):
        result, spec = await self._infer_named("classify", request, context)
        return classification_pb2.ClassificationResponse(
            result=result, model_spec=spec
        )

    @counted
    async def Regress(self, request, context):
        result, spec = await self._infer_named("regress", request, context)
        return regression_pb2.RegressionResponse(result=result, model_spec=spec)

    @answered
    async def MultiInference(self, request, context):
        if not request.tasks:
            raise invalid("Inference request requires at least one task.")
        # One version answers all of it, the one that the first task names.
        servable = self._find(request.tasks[0])
        asked = _asked(servable, request.tasks)
        rows = await _rows_of(request)
        response = inference_pb2.MultiInferenceResponse()
        for api, signature in asked:
            result = await self._infer(api, servable, signature, rows, context)
            response.results.add(
                model_spec=_concrete(servable, signature),
                **{RESULTS[api]: result},
            )
        return response

    def _find(self, request):
        _check_named(request)
        return self.manager.find(*_named(request.model_spec))

    async def _run(self, servable, signature, inputs, context):
        remaining = context.time_remaining()
        timeout = LONG if remaining is None else remaining
        future = self.batcher.submit(servable, signature, inputs, timeout)
        # The caller's deadline, or its going away, cancels this coroutine.
        return await asyncio.wrap_future(future)

    async def _infer(self, api, servable, signature, rows, context):
        """The result of serialized examples."""
        inputs = examples.inputs_of(api, signature, rows)
        outputs = await self._run(servable, signature, inputs, context)
        return examples.result_of(api, signature, outputs, len(rows))

    async def _infer_named(self, api, request, context):
        """`(result, ModelSpec)` of Classify and Regress."""
        servable = self._find(request)
        rows = await _rows_of(request)
        signature = examples.find_signature(
            servable, request.model_spec.signature_name
        )
        result = await self._infer(api, servable, signature, rows, context)
        return result, _concrete(servable, signature)


async def _rows_of(request):
    """A request's serialized examples; large ones let others go on."""
    return await beside(request.ByteSize(), examples.from_proto, request.input)


METHODS = {
    "tensorflow/serving/classify": "classify",
    "tensorflow/serving/regress": "regress",
}
RESULTS = {
    "classify": "classification_result",
    "regress": "regression_result",
}


def _asked(servable, tasks):
    """[(method, `Signature`)] of a request's tasks.

    TensorFlow Serving computes them at once, so they have to share the input
    tensor; signatures that TensorFlow 2 has exported never do.
    """
    asked, tensor = {}, None
    for task in tasks:
        if task.model_spec.name != servable.name:
            raise invalid(
                "All ModelSpecs in a MultiInferenceRequest must access the "
                "same model name."
            )
        name = task.model_spec.signature_name or DEFAULT_SIGNATURE
        signature = servable.signature(name)
        if signature is None:
            raise invalid(
                f"Requested signature not found in model graph: {name}. It "
                f"has: {servable.listed}."
            )
        if signature in asked:
            raise invalid(f"Duplicate evaluation of signature: {name}")
        api = METHODS.get(task.method_name)
        if api is None:
            raise RequestError(
                Code.UNIMPLEMENTED,
                f"Unsupported signature method_name: {task.method_name}",
            )
        examples.check_signature(api, signature)
        inputs = servable.signature_defs[signature.name].inputs
        tensor = tensor or inputs[examples.INPUTS].name
        if inputs[examples.INPUTS].name != tensor:
            raise invalid("Input tensor must be the same for all Signatures.")
        asked[signature] = api
    return [(api, signature) for signature, api in asked.items()]


class ModelService(model_service_pb2_grpc.ModelServiceServicer):
    """GetModelStatus and HandleReloadConfigRequest.

    Args:
      manager: a `Manager`.
      calls: the `Calls` of the server.
    """

    def __init__(self, manager, calls):
        self.manager = manager
        self.calls = calls
        # One after the other; and what waits for minutes keeps no thread from
        # requests.
        self.reloads = concurrent.futures.ThreadPoolExecutor(1, "reload")

    @answered
    async def GetModelStatus(self, request, context):
        _check_named(request)
        # As in TensorFlow Serving, a label is not looked at.
        name, version, _ = _named(request.model_spec)
        response = get_model_status_pb2.GetModelStatusResponse()
        for number, state, error in self.manager.status(name, version):
            status = response.model_version_status.add(
                version=number, state=int(state)
            )
            status.status.error_code = int(error.code if error else Code.OK)
            status.status.error_message = error.message if error else ""
        return response

    @answered
    async def HandleReloadConfigRequest(self, request, context):
        if request.config.WhichOneof("config") != "model_config_list":
            raise invalid(
                "ServerModelConfig type not supported by "
                "HandleReloadConfigRequest. Only ModelConfigList is currently "
                "supported"
            )
        remaining = context.time_remaining()
        timeout = RELOAD_SECONDS if remaining is None else remaining
        await asyncio.get_running_loop().run_in_executor(
            self.reloads, self.manager.reload, request.config, timeout
        )
        response = model_management_pb2.ReloadConfigResponse()
        response.status.error_code = int(Code.OK)
        return response


# How long a reload waits for its models where the caller sets no deadline.
RELOAD_SECONDS = 300.0


def _check_named(request):
    if not request.HasField("model_spec"):
        raise invalid("Missing ModelSpec")


def _named(spec):
    """`(name, version, label)` of a `ModelSpec`."""
    version = spec.version.value if spec.HasField("version") else None
    label = spec.version_label if spec.HasField("version_label") else None
    return spec.name, version, label or None


def _concrete(servable, signature):
    """The `ModelSpec` of what answered."""
    spec = predict_pb2.PredictResponse().model_spec
    spec.name = servable.name
    spec.version.value = servable.version
    spec.signature_name = signature.name
    return spec


def _filtered(signature, output_filter):
    """The aliases of the outputs to return."""
    for number, alias in enumerate(output_filter):
        if alias not in signature.outputs:
            raise invalid(
                f"output tensor alias not found in signature: {alias} Outputs "
                "expected to be in the set "
                f"{tensors.listed(signature.outputs)}."
            )
        if alias in output_filter[:number]:
            raise invalid(f"duplicate output tensor alias: {alias}")
    return list(output_filter) or list(signature.outputs)
