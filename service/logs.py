"""Logs as JSON lines on standard error: ours, uvicorn's and every library's alike."""

import json
import logging
import sys
from typing import Any

import orjson
import structlog

SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.processors.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.format_exc_info,
)


def configure(level: str) -> None:
    """Send everything of `level` and above to standard error, one JSON object a line."""
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(  # not by way of `logging`, which would cost a request more than its routing
        processors=[*SHARED, structlog.processors.JSONRenderer(serializer=_line)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.BytesLoggerFactory(sys.stderr.buffer),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*SHARED, structlog.stdlib.add_logger_name],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=lambda *a, **k: _line(*a, **k).decode()),
            ],
        )
    )
    handler.addFilter(_is_news)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(number)
    logging.getLogger("alembic").setLevel(max(number, logging.WARNING))


def _line(event: Any, **_: object) -> bytes:  # noqa: ANN401 - whatever is logged
    try:
        return orjson.dumps(event, default=repr)
    except TypeError:  # half a surrogate pair, which a caller may send, or a number beyond 64 bits
        return json.dumps(event, default=repr).encode()


def _is_news(record: logging.LogRecord) -> bool:
    """False for uvicorn's second report of an exception that was logged with its request id already."""
    return not (record.name == "uvicorn.error" and record.msg == "Exception in ASGI application\n")
