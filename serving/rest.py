"""TensorFlow Serving's REST API as an ASGI application."""

import asyncio
import json
import logging
import re
import time
import urllib.parse
import zlib

from google.protobuf import json_format
from tensorflow_serving.apis import get_model_metadata_pb2

from serving import examples
from serving import json_tensors
from serving.batching import beside
from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid
from serving.servable import DEFAULT_SIGNATURE

logger = logging.getLogger(__name__)

MODEL = r"/v1/models/([^/:]+)(?:/versions/([0-9]+)|/labels/([^/:]+))?"
PREDICTION = re.compile(
    MODEL + r":(classify|regress|predict)", re.IGNORECASE | re.DOTALL
)
STATUS = re.compile(
    MODEL.replace("/([^/:]+)", "(?:/([^/:]+))?", 1) + "(?:/(metadata))?",
    re.IGNORECASE | re.DOTALL,
)
HEADERS = [(b"content-type", b"application/json")]
CORS_HEADERS = [
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, GET"),
    (b"access-control-allow-headers", b"Content-Type"),
]
MAX_VERSION = 2**63 - 1


class RestAPI:
    """Answers requests below /v1/.

    Args:
      manager: a `Manager`.
      batcher: a `Batcher`.
      metrics: a `Metrics`.
      timeout: seconds a request may take.
      max_body_bytes: of a request, decompressed.
      max_pending_bytes: of all the requests that are being answered.
      cors: whether pages from other addresses may use it.
    """

    def __init__(
        self,
        manager,
        batcher,
        metrics,
        timeout=30.0,
        max_body_bytes=2**26,
        max_pending_bytes=2**28,
        cors=False,
    ):
        self._manager = manager
        self._batcher = batcher
        self._metrics = metrics
        self._timeout = timeout
        self._max_body_bytes = max_body_bytes
        self._max_pending_bytes = max_pending_bytes
        self._pending_bytes = 0
        self._headers = HEADERS + (CORS_HEADERS if cors else [])

    async def __call__(self, scope, receive, send):
        method = scope["method"]
        path = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            path += "?" + scope["query_string"].decode("latin-1")
        headers = dict(scope["headers"])
        if method == "OPTIONS":
            allowed = re.search(rb"https?://", headers.get(b"origin", b""))
            await self._send(send, 200 if allowed else 400, b"")
            return
        request = _Request(method, path, headers)
        start = time.perf_counter()
        status, code = 200, Code.OK
        try:
            async with asyncio.timeout(self._timeout):
                body = await self._read(request, receive)
                answer = await self._answer(request, body)
        except Exception as error:
            error = _as_request_error(error)
            status, code, answer = error.http, error.code, _error_body(error)
        finally:
            self._pending_bytes -= request.held
        if request.model:
            self._metrics.count_request(
                request.model,
                request.verb,
                "REST",
                code,
                time.perf_counter() - start,
            )
        await self._send(send, status, answer)

    async def _send(self, send, status, body):
        length = (b"content-length", str(len(body)).encode())
        await send(
            {
                "type": "http.response.start",
                "status": status,
                "headers": [*self._headers, length],
            }
        )
        await send({"type": "http.response.body", "body": body})

    # ---- bodies ---------------------------------------------------------

    async def _read(self, request, receive):
        """The body of a request, decompressed.

        What is too large is read to its end all the same, and forgotten:
        otherwise clients would see a broken connection, not the answer.
        """
        chunks, refused, more = [], None, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise RequestError(Code.CANCELLED, "The client is gone.")
            more = message.get("more_body", False)
            chunk = message.get("body", b"")
            if refused or not chunk:
                continue
            try:
                self._hold(request, len(chunk))
            except RequestError as error:
                refused = error
                chunks.clear()
            else:
                chunks.append(chunk)
        if refused:
            raise refused
        body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        if b"gzip" in request.headers.get(b"content-encoding", b""):
            compressed = len(body)
            limit = self._max_body_bytes
            body = await beside(compressed, decompressed, body, limit)
            self._hold(request, max(0, len(body) - compressed))
        return body

    def _hold(self, request, size):
        """Counts bytes that are kept until a request is answered."""
        request.held += size
        self._pending_bytes += size
        if request.held > self._max_body_bytes:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                f"The body exceeds {self._max_body_bytes} bytes.",
                http=413,
            )
        if self._pending_bytes > self._max_pending_bytes:
            raise RequestError(
                Code.RESOURCE_EXHAUSTED,
                "Too much data in requests that are being answered.",
            )

    # ---- requests -------------------------------------------------------

    async def _answer(self, request, body):
        """The body of the answer."""
        if request.method == "POST":
            match = PREDICTION.fullmatch(request.path)
            if match:
                *names, verb = match.groups()
                name, spec = _model_spec(*names)
                if self._manager.knows(name):
                    request.model, request.verb = name, verb
                if verb == "predict":
                    return await self._predict(name, spec, body)
                if verb in ("classify", "regress"):
                    return await self._infer(verb, name, spec, body)
        elif request.method == "GET":
            match = STATUS.fullmatch(request.path)
            if match:
                *names, metadata = match.groups()
                name, spec = _model_spec(*names)
                if not name:
                    raise invalid("Missing model name in request.")
                if metadata:
                    return self._metadata(name, spec)
                return self._status(name, spec)
        raise invalid(f"Malformed request: {request.method} {request.path}")

    async def _predict(self, name, spec, body):
        servable = None

        def find_signature(key):
            nonlocal servable
            servable = self._manager.find(name, **spec)
            signature = servable.signature(key)
            if signature is None:
                raise invalid(
                    f'Serving signature name: "{key or DEFAULT_SIGNATURE}" '
                    "not found in signature def. It has: "
                    f"{servable.listed}."
                )
            return signature

        signature, inputs, row_format = await beside(
            len(body), json_tensors.read_predict, body, find_signature
        )
        del body
        outputs = await asyncio.wrap_future(
            self._batcher.submit(servable, signature, inputs, self._timeout)
        )
        dtypes = {key: spec.dtype for key, spec in signature.outputs.items()}
        size = sum(value.nbytes for value in outputs.values())
        return await beside(
            size, json_tensors.write_predict, outputs, dtypes, row_format
        )

    async def _infer(self, api, name, spec, body):
        """The answer to classify or regress."""
        size = len(body)
        key, rows = await beside(size, examples.from_json, body)
        servable = self._manager.find(name, **spec)
        signature = examples.find_signature(servable, key)
        inputs = examples.inputs_of(api, signature, rows)
        outputs = await asyncio.wrap_future(
            self._batcher.submit(servable, signature, inputs, self._timeout)
        )

        def answer():
            result = examples.result_of(api, signature, outputs, len(rows))
            return examples.to_json(api, result)

        size += sum(value.nbytes for value in outputs.values())
        return await beside(size, answer)

    def _status(self, name, spec):
        # As in TensorFlow Serving, a label is not looked at.
        versions = self._manager.status(name, spec.get("version"))
        return _indented(
            {
                "model_version_status": [
                    {
                        "version": str(number),
                        "state": state.name,
                        "status": {
                            "error_code": error.code.name if error else "OK",
                            "error_message": error.message if error else "",
                        },
                    }
                    for number, state, error in versions
                ]
            }
        )

    def _metadata(self, name, spec):
        servable = self._manager.find(name, **spec)
        signatures = get_model_metadata_pb2.SignatureDefMap(
            signature_def=servable.signature_defs
        )
        return _indented(
            {
                "model_spec": {
                    "name": name,
                    "signature_name": "",
                    "version": str(servable.version),
                },
                "metadata": {
                    "signature_def": json_format.MessageToDict(
                        signatures,
                        always_print_fields_with_no_presence=True,
                        preserving_proto_field_name=True,
                    )
                },
            }
        )


class _Request:
    """What is known of a request.

    Attributes:
      method, path, headers: of HTTP; the path with the query.
      held: bytes that are kept until it is answered.
      model, verb: what it asks for, once that is known to be there.
    """

    def __init__(self, method, path, headers):
        self.method = method
        self.path = path
        self.headers = headers
        self.held = 0
        self.model = self.verb = None


def _model_spec(name, version, label):
    """`(name, arguments of Manager.find)` of what a path names."""
    spec = {}
    if version:
        # Python refuses to read numbers of thousands of digits.
        version = version.lstrip("0")[:20] or "0"
        if int(version) > MAX_VERSION:
            raise invalid(f"Failed to convert version: {version} to numeric.")
        spec["version"] = int(version)
    if label:
        spec["label"] = urllib.parse.unquote(label)
    return urllib.parse.unquote(name or ""), spec


def decompressed(body, limit):
    """The content of gzip data.

    Args:
      body: bytes.
      limit: of the content's size.

    Returns:
      bytes: one more than the limit where there are more, none where the data
      is damaged.
    """
    decoder = zlib.decompressobj(zlib.MAX_WBITS | 16)
    try:
        content = decoder.decompress(body, limit + 1)
    except zlib.error:
        return b""
    return content if decoder.eof or len(content) > limit else b""


def _indented(value):
    return json.dumps(value, indent=4).encode()


def _as_request_error(error):
    if isinstance(error, RequestError):
        return error
    if isinstance(error, TimeoutError):
        message = "Timed out waiting for the answer."
        return RequestError(Code.DEADLINE_EXCEEDED, message)
    # A defect of ours: the caller is told, the log says what it is.
    logger.error("A request could not be answered.", exc_info=error)
    return RequestError(Code.INTERNAL, "Internal error.")


def _error_body(error):
    return _indented({"error": error.message})
