"""Codes and the HTTP statuses they become."""

import grpc
import pytest

from serving.errors import Code
from serving.errors import RequestError
from serving.errors import invalid


def test_codes_are_those_of_grpc():
    for code in grpc.StatusCode:
        assert Code[code.name] == code.value[0]
    assert len(Code) == len(grpc.StatusCode)


@pytest.mark.parametrize(
    ("code", "status"),
    [
        ("OK", 200),
        ("INVALID_ARGUMENT", 400),
        ("FAILED_PRECONDITION", 400),
        ("OUT_OF_RANGE", 400),
        ("UNAUTHENTICATED", 401),
        ("PERMISSION_DENIED", 403),
        ("NOT_FOUND", 404),
        ("ALREADY_EXISTS", 409),
        ("ABORTED", 409),
        ("RESOURCE_EXHAUSTED", 429),
        ("CANCELLED", 499),
        ("UNKNOWN", 500),
        ("INTERNAL", 500),
        ("DATA_LOSS", 500),
        ("UNIMPLEMENTED", 501),
        ("UNAVAILABLE", 503),
        ("DEADLINE_EXCEEDED", 504),
    ],
)
def test_http_statuses(code, status):
    assert Code[code].http == status


def test_errors_print_as_tensorflow_prints_them():
    error = invalid("no such thing")
    assert str(error) == "INVALID_ARGUMENT: no such thing"
    assert (error.message, error.http) == ("no such thing", 400)
    assert RequestError(Code.RESOURCE_EXHAUSTED, "x", http=413).http == 413
