"""JSON text to plain values: strict, but NaN, Infinity and -Infinity are read as the numbers they name."""

import json
import re
from typing import Any

import orjson

from posneg.service.errors import Fault, InvalidJson, TooLarge

MAX_CONTAINERS = 10_000_000
"""Lists and objects of one body: an empty one takes 3 bytes of it, but 64 of memory."""
SMALL_BODY = 16 * 2**20
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def decode(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """The value that `body` holds; raises `InvalidJson` with line and column, `TooLarge` for too many lists.

    Only what the fast parser refuses and names a non-finite number goes through the standard library's, which
    takes three times as long.
    """
    body = body.removeprefix(BYTE_ORDER_MARK)
    if len(body) > SMALL_BODY and body.count(b"[") + body.count(b"{") > MAX_CONTAINERS:
        raise TooLarge(f"the body holds more than {MAX_CONTAINERS} lists and objects; send less at a time")
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if body and (b"NaN" in body or b"Infinity" in body):
            return _decode_nonfinite(body)
        if not body.strip():
            raise _refusal("the body is empty; send a JSON object") from error
        raise _refusal(f"{error.msg} at line {error.lineno}, column {error.colno}") from error


def _decode_nonfinite(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        value = json.loads(body.decode())
        if SURROGATE.search(body):
            json.dumps(value, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        raise _refusal(f"{error.msg} at line {error.lineno}, column {error.colno}") from error
    except UnicodeDecodeError as error:
        raise _refusal(f"not UTF-8 at byte {error.start}") from error
    except UnicodeEncodeError as error:
        raise _refusal("a string holds one half of a surrogate pair") from error
    except RecursionError as error:
        raise _refusal("nested too deeply") from error
    except ValueError as error:  # Python's bound on the digits of a whole number
        raise _refusal("a whole number has too many digits") from error
    return value


def _refusal(reason: str) -> InvalidJson:
    detail = f"not JSON: {reason}"
    return InvalidJson(detail, faults=[Fault("", detail, "invalid_json")])
