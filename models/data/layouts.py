"""Which layout a folder has, and what to read it with. A new layout is a module with `read`, listed here."""

from collections import Counter
from pathlib import Path, PurePosixPath

from posneg.models.data.coco import find as find_coco
from posneg.models.data.coco import read as read_coco
from posneg.models.data.dataset import Dataset
from posneg.models.data.files import Files
from posneg.models.data.issues import Issue, LayoutError

EXPECTED = (
    "expected COCO: annotations/instances_train.json, or train.json, val.json and test.json, or one "
    "annotations.json, or train/_annotations.coco.json; images beside, in images/ or in folders named "
    "after the splits"
)


def read(folder: Path, *, name: str, max_pixels: int) -> tuple[Dataset, list[Issue]]:
    """The data set in an unpacked folder, whatever its layout, and everything that was wrong with it."""
    files = Files(folder)
    issues: list[Issue] = []
    if documents := find_coco(files, issues):
        return read_coco(documents, files, issues, name=name, max_pixels=max_pixels)
    raise LayoutError("UNKNOWN_LAYOUT", f"{_found(files)}; {EXPECTED}", issues)


def _found(files: Files) -> str:
    """What the folder holds, and what it may be instead."""
    counts = Counter(PurePosixPath(path).suffix.lower() or "files without a suffix" for path in files.paths)
    listing = ", ".join(f"{count} {suffix}" for suffix, count in counts.most_common(6)) or "no files"
    if counts[".zip"]:
        return f"found {listing}: an archive within the archive is not opened, pack its files themselves"
    if counts[".txt"] and (counts[".yaml"] or counts[".yml"] or counts[".txt"] > 1):
        return f"found {listing}: it looks like YOLO, which is not read yet, export as COCO"
    if counts[".xml"]:
        return f"found {listing}: it looks like Pascal VOC, which is not read yet, export as COCO"
    return f"found {listing}, but no COCO annotations"
