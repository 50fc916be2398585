"""From an uploaded zip to the canonical archive and a summary of it, or to a problem with every fault."""

import errno
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from posneg.models.data.archive import ArchiveError, extract, pack
from posneg.models.data.dataset import INDEX, Dataset, write_index
from posneg.models.data.issues import Issue, LayoutError
from posneg.models.data.layouts import read
from posneg.service.errors import Fault, InvalidRequest, ServiceError, TooLarge, Unavailable
from posneg.service.settings import Settings

IMAGES = "images"  # folder of the images in the canonical archive
MAX_ISSUES = 10_000  # that are kept of one data set; more are counted
LIMITS = {
    "TOO_MANY_FILES": "max_dataset_files",
    "TOO_LARGE": "max_dataset_mib",
    "BOMB": "max_dataset_mib",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A data set ready to be kept: its archive, and what is told of it."""

    archive: Path
    summary: dict[str, Any]


def prepare(upload: Path, folder: Path, settings: Settings) -> Prepared:
    """Unpack, read and repack an upload within `folder`; takes its time, so it belongs in a thread."""
    try:
        extract(
            upload,
            folder / IMAGES,
            max_files=settings.max_dataset_files,
            max_bytes=settings.max_dataset_mib * 2**20,
        )
        upload.unlink()
        max_pixels = settings.max_image_mpx * 1_000_000
        dataset, issues = read(folder / IMAGES, name="", max_pixels=max_pixels)
        write_index(dataset, folder)
        archive = folder / "canonical.zip"
        pack(folder, [INDEX, *_files(dataset, folder)], archive)
    except ArchiveError as error:
        raise _refusal(error) from error
    except LayoutError as error:
        faults = [Fault("", str(error), error.code.lower()), *map(_fault, error.issues)]
        raise InvalidRequest(str(error), faults=faults) from error
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        raise Unavailable("the disk is full; free some space, then send the data set again") from error
    return Prepared(archive=archive, summary=summary(dataset, issues))


def _files(dataset: Dataset, folder: Path) -> list[str]:
    samples = (sample for group in dataset.splits.values() for sample in group)
    return sorted({sample.file.relative_to(folder).as_posix() for sample in samples})


def _refusal(error: ArchiveError) -> ServiceError:
    pointer = "" if error.entry is None else f"/{_escaped(error.entry)}"
    faults = [Fault(pointer, str(error), error.code.lower())]
    if setting := LIMITS.get(error.code):
        return TooLarge(f"{error} ({setting}; GET /v1/limits)", faults=faults)
    return InvalidRequest(str(error), faults=faults)


def _fault(issue: Issue) -> Fault:
    """An issue as a fault: the pointer begins with the file within the archive."""
    pointer = f"/{_escaped(issue['file'])}{issue['pointer'] or ''}" if issue["file"] else ""
    return Fault(pointer, issue["detail"], issue["code"].lower())


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")


def summary(dataset: Dataset, issues: Sequence[Issue]) -> dict[str, Any]:
    """What is told of a data set: classes, counts by split and class, and what was wrong with it."""
    samples = [sample for group in dataset.splits.values() for sample in group]
    labels = np.concatenate([sample.labels for sample in samples])
    by_class = np.bincount(labels, minlength=len(dataset.classes)).tolist()
    return {
        "classes": list(dataset.classes),
        "images": len(samples),
        "boxes": len(labels),
        "boxes_by_class": dict(zip(dataset.classes, by_class, strict=True)),
        "splits": {
            split: {
                "images": len(group),
                "boxes": sum(len(sample.labels) for sample in group),
                "images_without_boxes": sum(len(sample.labels) == 0 for sample in group),
                "crowd": sum(int(sample.crowd.sum()) for sample in group),
            }
            for split, group in dataset.splits.items()
        },
        "issues_total": len(issues),
        "issues_by_code": dict(sorted(Counter(issue["code"] for issue in issues).items())),
        "issues": list(issues[:MAX_ISSUES]),
    }
