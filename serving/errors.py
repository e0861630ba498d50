"""What a request is answered with when it cannot be served."""

import enum
import re

# Where in its graph TensorFlow says that an operation failed.
NODE = re.compile(r"\s*\[\[\{\{node [^\n]*\}\}\]\]")


class Code(enum.IntEnum):
    """The status codes of gRPC, which TensorFlow uses as well."""

    OK = 0
    CANCELLED = 1
    UNKNOWN = 2
    INVALID_ARGUMENT = 3
    DEADLINE_EXCEEDED = 4
    NOT_FOUND = 5
    ALREADY_EXISTS = 6
    PERMISSION_DENIED = 7
    RESOURCE_EXHAUSTED = 8
    FAILED_PRECONDITION = 9
    ABORTED = 10
    OUT_OF_RANGE = 11
    UNIMPLEMENTED = 12
    INTERNAL = 13
    UNAVAILABLE = 14
    DATA_LOSS = 15
    UNAUTHENTICATED = 16

    @property
    def http(self):
        """The HTTP status that TensorFlow Serving answers with."""
        return HTTP_STATUS.get(self, 500)


HTTP_STATUS = {
    Code.OK: 200,
    Code.CANCELLED: 499,
    Code.INVALID_ARGUMENT: 400,
    Code.DEADLINE_EXCEEDED: 504,
    Code.NOT_FOUND: 404,
    Code.ALREADY_EXISTS: 409,
    Code.PERMISSION_DENIED: 403,
    Code.RESOURCE_EXHAUSTED: 429,
    Code.FAILED_PRECONDITION: 400,
    Code.ABORTED: 409,
    Code.OUT_OF_RANGE: 400,
    Code.UNIMPLEMENTED: 501,
    Code.UNAVAILABLE: 503,
    Code.UNAUTHENTICATED: 401,
}


class RequestError(Exception):
    """A request, or a model to be loaded, that is answered with an error.

    Args:
      code: a `Code`.
      message: for the caller.
      http: the HTTP status where it is not the code's.
    """

    def __init__(self, code, message, http=None):
        super().__init__(message)
        self.code = code
        self.message = message
        self.http = http or code.http

    def __str__(self):
        """As TensorFlow prints a status: the code's name, then the message."""
        return f"{self.code.name}: {self.message}"


def invalid(message):
    """The error for a request that can never be served."""
    return RequestError(Code.INVALID_ARGUMENT, message)
