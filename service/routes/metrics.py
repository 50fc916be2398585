"""What Prometheus reads."""

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import Response

router = APIRouter(tags=["service"])


@router.get("/metrics", response_class=Response)
def read_metrics() -> Response:
    """Requests by route, method and status, their times, and what the process uses."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
