"""Who works on the jobs."""

from typing import Any

from fastapi import APIRouter

from posneg.service.routes.dependencies import JobsDep

router = APIRouter(tags=["jobs"])


@router.get("/v1/workers")
def list_workers(jobs: JobsDep) -> dict[str, Any]:
    """Every worker that is known: device, memory, current job, and when it was last heard of."""
    return {"data": jobs.workers(), "has_more": False, "next": None}
