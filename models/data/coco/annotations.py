"""COCO annotations of one image → boxes that can be trained on."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posneg.models.data.boxes import Box, BoxError, clip, frame, read_xywh, scale, turn
from posneg.models.data.coco.documents import key_of
from posneg.models.data.coco.images import Record
from posneg.models.data.issues import Action, Issue, issue
from posneg.models.imaging import ImageFacts

COPY_SHIFT_PX = 2.0  # labelImg's copy of a box lands so far to the right and below
DECIMALS = 6  # boxes that agree to so many are the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """One box with its class index, and where it was written."""

    box: Box
    label: int
    crowd: bool
    file: str
    index: int
    id: Any

    def issue(self, code: str, action: Action, detail: str, *, member: str = "") -> Issue:
        """A finding about this annotation."""
        pointer = f"/annotations/{self.index}{member}"
        return issue(code, action, detail, file=self.file, pointer=pointer, id=self.id)


def annotations(
    record: Record, facts: ImageFacts, ids: Mapping[str, int], issues: list[Issue]
) -> list[Annotation]:
    """The usable annotations of a record, in pixels of the upright image and within it."""
    readable = [a for index, entry in record.annotations if (a := _read(record, index, entry, ids, issues))]
    usable = []
    for annotation, box in zip(readable, _in_pixels(record, facts, readable, issues), strict=True):
        try:
            clipped = clip(box, facts.size)
        except BoxError as error:
            issues.append(annotation.issue(error.code, "dropped", str(error), member="/bbox"))
            continue
        if clipped != box:
            detail = f"the box {_text(box)} (xyxy) reaches out of the image of {_text(facts.size[::-1])}"
            issues.append(annotation.issue("BOX_CLIPPED", "clipped", detail, member="/bbox"))
        usable.append(_with_box(annotation, clipped))
    return usable


def _read(
    record: Record, index: int, entry: Mapping[str, Any], ids: Mapping[str, int], issues: list[Issue]
) -> Annotation | None:
    """An annotation as written; None, and an issue, where it cannot be used."""
    where: dict[str, Any] = {"file": record.file, "id": entry.get("id")}
    label = ids.get(key_of(entry.get("category_id")) or "")
    if label is None:
        detail, pointer = f"category_id is {entry.get('category_id')!r}", f"/annotations/{index}/category_id"
        issues.append(
            issue("UNKNOWN_CATEGORY", "dropped", f"{detail}, which is not listed", pointer=pointer, **where)
        )
        return None
    try:
        box = read_xywh(entry.get("bbox"))
    except BoxError as error:
        pointer = f"/annotations/{index}/bbox"
        issues.append(issue(error.code, "dropped", str(error), pointer=pointer, **where))
        return None
    annotation = Annotation(
        box=box, label=label, crowd=_is_crowd(entry), file=record.file, index=index, id=entry.get("id")
    )
    if annotation.crowd and entry.get("iscrowd") not in (1, True):
        detail = f"iscrowd is {entry.get('iscrowd')!r} and ignore is {entry.get('ignore')!r}"
        issues.append(annotation.issue("IGNORED_REGION", "treated as crowd", detail))
    return annotation


def _is_crowd(entry: Mapping[str, Any]) -> bool:
    """`iscrowd`, or the `ignore` of other tools; text counts as the number that it spells."""
    return any(entry.get(name) not in (None, 0, False, "", "0", "false") for name in ("iscrowd", "ignore"))


def _in_pixels(
    record: Record, facts: ImageFacts, readable: list[Annotation], issues: list[Issue]
) -> list[Box]:
    """Boxes in pixels of the upright image; a record that gives another size than its file is told."""
    boxes = [a.box for a in readable]
    coordinates = frame(record.recorded, facts, boxes)
    if coordinates == "same" or record.recorded is None:
        return boxes
    says = f"it is recorded as {_text(record.recorded[::-1])}, the file has {_text(facts.size[::-1])}"
    if coordinates == "turned":
        detail = f"{says} once its EXIF orientation is applied; boxes are turned with it"
        issues.append(record.issue("IMAGE_SIZE_DIFFERS", "turned", detail))
        return [turn(box, facts) for box in boxes]
    if coordinates == "scaled":
        issues.append(record.issue("IMAGE_SIZE_DIFFERS", "scaled", f"{says}; boxes are scaled with it"))
        return [scale(box, record.recorded, facts.size) for box in boxes]
    issues.append(record.issue("IMAGE_SIZE_DIFFERS", "kept", f"{says}; boxes are taken in the file's pixels"))
    return boxes


def _with_box(annotation: Annotation, box: Box) -> Annotation:
    return Annotation(
        box=box,
        label=annotation.label,
        crowd=annotation.crowd,
        file=annotation.file,
        index=annotation.index,
        id=annotation.id,
    )


def without_duplicates(all_annotations: list[Annotation], issues: list[Issue]) -> list[Annotation]:
    """The annotations of one image, each box of a class once; labelImg's shifted copies are told and kept."""
    kept: dict[tuple[int, bool, Box], Annotation] = {}
    for annotation in all_annotations:
        key = _key(annotation)
        if key in kept:
            detail = f"the same box and class as /annotations/{kept[key].index} of {kept[key].file}"
            issues.append(annotation.issue("DUPLICATE_BOX", "dropped", detail))
            continue
        kept[key] = annotation
    for annotation in kept.values():
        original = kept.get(_key(annotation, shift_px=-COPY_SHIFT_PX))
        if original is not None:
            detail = f"it is /annotations/{original.index} moved by 2 px, as labelImg's copies are"
            issues.append(annotation.issue("NEAR_DUPLICATE_BOX", "kept", detail))
    return list(kept.values())


def _key(annotation: Annotation, *, shift_px: float = 0.0) -> tuple[int, bool, Box]:
    left, top, right, bottom = (round(v + shift_px, DECIMALS) for v in annotation.box)
    return annotation.label, annotation.crowd, (left, top, right, bottom)


def _text(numbers: tuple[int | float, ...]) -> str:
    return " x ".join(f"{n:g}" for n in numbers) if len(numbers) == 2 else str([round(n, 3) for n in numbers])
