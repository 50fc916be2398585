"""The images that a COCO document lists: their records, their annotations, their files."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from os import cpu_count
from pathlib import Path
from typing import Any, TypeGuard

from posneg.models.data.coco.documents import Document, key_of
from posneg.models.data.files import Files
from posneg.models.data.issues import Action, Issue, issue
from posneg.models.imaging import ImageError, ImageFacts, inspect

INSPECTORS = 4  # images that are decoded at once


@dataclass(slots=True, kw_only=True)
class Record:
    """One image as its document lists it, with its annotations and their index there.

    `recorded` is the (height, width) that it claims, if any; `path` its file once that is found.
    """

    file: str
    index: int
    id: Any
    name: str
    split: str | None
    recorded: tuple[int, int] | None
    path: str | None = None
    annotations: list[tuple[int, dict[str, Any]]] = field(default_factory=list)

    def issue(self, code: str, action: Action, detail: str) -> Issue:
        """A finding about this image."""
        if action == "dropped" and self.annotations:
            detail += f"; {len(self.annotations)} annotations go with it"
        return issue(code, action, detail, file=self.file, pointer=f"/images/{self.index}", id=self.id)


def records(document: Document, issues: list[Issue]) -> list[Record]:
    """The usable records of a document, each with the annotations that name its id."""
    by_key: dict[str, Record] = {}
    for index, raw in enumerate(document.images):
        entry = raw if isinstance(raw, dict) else {}
        key, name = key_of(entry.get("id")), entry.get("file_name")
        where: dict[str, Any] = {"file": document.file, "pointer": f"/images/{index}", "id": entry.get("id")}
        if key is None or not isinstance(name, str) or not name.strip():
            issues.append(issue("IMAGE_RECORD_INVALID", "dropped", "it needs an id and a file_name", **where))
        elif key in by_key:
            detail = f"the id belongs to {by_key[key].name!r}, which keeps all annotations of it"
            issues.append(issue("DUPLICATE_IMAGE_ID", "dropped", detail, **where))
        else:
            recorded = _recorded_size(entry, where, issues)
            by_key[key] = Record(
                file=document.file,
                index=index,
                id=entry["id"],
                name=name,
                split=document.split,
                recorded=recorded,
            )
    _attach(document, by_key, issues)
    return list(by_key.values())


def _recorded_size(
    entry: dict[str, Any], where: dict[str, Any], issues: list[Issue]
) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if height is None and width is None:
        return None
    if _is_side(height) and _is_side(width):
        return round(height), round(width)
    detail = f"height and width are {height!r} and {width!r}; the file's are used"
    issues.append(issue("IMAGE_SIZE_INVALID", "kept", detail, **where))
    return None


def _is_side(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0.5 < value < 2**31


def _attach(document: Document, by_key: dict[str, Record], issues: list[Issue]) -> None:
    """Give each annotation to its image; an annotation id that was seen before is told."""
    seen: set[str] = set()
    for index, raw in enumerate(document.annotations):
        entry = raw if isinstance(raw, dict) else {}
        where: dict[str, Any] = {
            "file": document.file,
            "pointer": f"/annotations/{index}",
            "id": entry.get("id"),
        }
        record = by_key.get(key_of(entry.get("image_id")) or "")
        if record is None:
            detail = f"image_id is {entry.get('image_id')!r}, which no image has"
            issues.append(issue("UNKNOWN_IMAGE", "dropped", detail, **where))
            continue
        key = key_of(entry.get("id"))
        if key is not None and key in seen:
            issues.append(issue("DUPLICATE_ANNOTATION_ID", "kept", "an earlier one has the same id", **where))
        elif key is not None:
            seen.add(key)
        record.annotations.append((index, entry))


def locate(all_records: Iterable[Record], files: Files, issues: list[Issue]) -> list[Record]:
    """The records whose file is there, with `path` set.

    A path of another machine is matched by its end alone, unless that file is another record's in full: then
    it is rather a file of the same name that is missing.
    """
    found: list[tuple[Record, bool]] = []
    for record in all_records:
        paths, in_full = files.find(record.name, beside=record.file, split=record.split)
        if len(paths) == 1:
            record.path = paths[0]
            found.append((record, in_full))
        elif paths:
            detail = f"{record.name!r} can be {', '.join(paths[:3])}; write the path in file_name"
            issues.append(record.issue("IMAGE_AMBIGUOUS", "dropped", detail))
        else:
            issues.append(record.issue("IMAGE_MISSING", "dropped", f"{record.name!r} is not in the archive"))
    claimed = {record.path for record, in_full in found if in_full}
    loose = Counter(path for path, _ in {(r.path, r.name) for r, in_full in found if not in_full})
    usable = []
    for record, in_full in found:
        if in_full or (record.path not in claimed and loose[record.path] == 1):
            usable.append(record)
        else:
            detail = f"{record.name!r} is not in the archive; {record.path} belongs to another image"
            issues.append(record.issue("IMAGE_MISSING", "dropped", detail))
    return usable


def inspected(
    all_records: Iterable[Record], root: Path, issues: list[Issue], *, max_pixels: int
) -> tuple[list[Record], dict[str, ImageFacts]]:
    """The records whose file is an image that can be decoded to its end, and what is known of each file."""
    by_path: dict[str, list[Record]] = defaultdict(list)
    for record in all_records:
        assert record.path is not None
        by_path[record.path].append(record)

    def outcome(path: str) -> ImageFacts | ImageError:
        try:
            return inspect(root / path, max_pixels=max_pixels)
        except ImageError as error:
            return error

    usable: list[Record] = []
    facts: dict[str, ImageFacts] = {}
    with ThreadPoolExecutor(min(INSPECTORS, cpu_count() or 1)) as pool:
        for path, result in zip(by_path, pool.map(outcome, by_path), strict=True):
            if isinstance(result, ImageFacts):
                facts[path] = result
                usable += by_path[path]
            else:
                issues += [r.issue("IMAGE_UNREADABLE", "dropped", str(result)) for r in by_path[path]]
    return usable, facts
