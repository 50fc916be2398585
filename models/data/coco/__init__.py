"""COCO layouts as they are found in the wild → a data set, with everything broken named.

Annotation files are recognised by their content, their splits by their names, images by the end of their
paths; so COCO's own layout, `train.json` beside a folder of images, Roboflow's exports and a single
`annotations.json` all go one way. https://cocodataset.org/#format-data
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256

import numpy as np

from posneg.models.data.coco.annotations import Annotation, annotations, without_duplicates
from posneg.models.data.coco.documents import Document, classes, find
from posneg.models.data.coco.images import Record, inspected, locate, records
from posneg.models.data.dataset import SPLITS, Dataset, Sample
from posneg.models.data.files import IMAGE_SUFFIXES, Files
from posneg.models.data.issues import Issue, LayoutError, issue
from posneg.models.imaging import ImageFacts

__all__ = ["find", "read"]

VALIDATION_SHARE = 0.2  # where there is one split alone
Samples = dict[str, tuple[Sample, ...]]


def read(
    documents: list[Document], files: Files, issues: list[Issue], *, name: str, max_pixels: int
) -> tuple[Dataset, list[Issue]]:
    """The data set of some documents, with the issues found before and here."""
    split_of_file = _splits(documents, issues)
    chosen = [d for split in SPLITS for d in documents if split_of_file.get(d.file) == split]
    names, ids = classes(chosen, issues)
    located = locate([record for d in chosen for record in records(d, issues)], files, issues)
    usable, facts = inspected(located, files.root, issues, max_pixels=max_pixels)
    by_split: dict[str, list[Record]] = defaultdict(list)
    for record in usable:
        by_split[split_of_file[record.file]].append(record)
    samples = {s: _samples(r, facts, ids, files, issues) for s, r in by_split.items()}
    if len(set(split_of_file.values())) == 1 and samples:
        samples = _cut(*samples.items(), issues=issues)
    _tell_of_images(samples, files, {str(record.path) for record in located}, issues)
    if not any(len(sample.labels) for group in samples.values() for sample in group):
        raise LayoutError("NOTHING_USABLE", "no image with a usable box is left", issues)
    return Dataset(name=name, classes=names, splits={s: samples[s] for s in SPLITS if s in samples}), issues


def _splits(documents: list[Document], issues: list[Issue]) -> dict[str, str]:
    """The split of each file to read, by its path; a name that speaks of none is for training, if needed."""
    named = {d.file: d.split for d in documents if d.split is not None}
    unnamed = [d.file for d in documents if d.split is None]
    if "train" not in named.values():
        if named and unnamed:
            detail = "its name speaks of no split; it is taken for training, as no other file is"
            issues += [issue("SPLIT_ASSUMED", "kept", detail, file=file) for file in unnamed]
        return {**named, **dict.fromkeys(unnamed, "train")}
    detail = "its name speaks of no split, and other files do"
    issues += [issue("ANNOTATION_FILE_SKIPPED", "dropped", detail, file=file) for file in unnamed]
    return named


def _samples(
    split_records: Iterable[Record],
    facts: Mapping[str, ImageFacts],
    ids: Mapping[str, Mapping[str, int]],
    files: Files,
    issues: list[Issue],
) -> tuple[Sample, ...]:
    """One sample a file, with the boxes of every record of it."""
    by_path: dict[str, list[Annotation]] = {}
    for record in split_records:
        path = str(record.path)
        if path in by_path:
            issues.append(record.issue("DUPLICATE_IMAGE", "merged", f"{path} is listed more than once"))
        found = annotations(record, facts[path], ids[record.file], issues)
        by_path.setdefault(path, []).extend(found)
    return tuple(
        _sample(path, facts[path], without_duplicates(found, issues), files)
        for path, found in by_path.items()
    )


def _sample(path: str, facts: ImageFacts, found: list[Annotation], files: Files) -> Sample:
    return Sample(
        id=path,
        file=files.root / path,
        size=facts.size,
        boxes=np.array([a.box for a in found], np.float64).reshape(-1, 4),
        labels=np.array([a.label for a in found], np.int64),
        crowd=np.array([a.crowd for a in found], bool),
    )


def _cut(only: tuple[str, tuple[Sample, ...]], *, issues: list[Issue]) -> Samples:
    """Training and validation from the one split there is: by a hash of the paths, so always the same."""
    split, samples = only
    by_hash = sorted(samples, key=lambda sample: sha256(str(sample.id).encode()).digest())
    count = max(round(len(samples) * VALIDATION_SHARE), 1) if len(samples) > 1 else 0
    held_out = {sample.id for sample in by_hash[:count]}
    val = tuple(sample for sample in samples if sample.id in held_out)
    train = tuple(sample for sample in samples if sample.id not in held_out)
    detail = (
        f"there is one split alone ({split}): {len(train)} images for training, {len(val)} held out as val"
    )
    issues.append(issue("SPLIT_MADE", "split", detail))
    return {"train": train, "val": val} if val else {"train": train}


def _tell_of_images(samples: Samples, files: Files, located: set[str], issues: list[Issue]) -> None:
    """Findings about many images at once."""
    for split, group in samples.items():
        empty = [str(sample.id) for sample in group if not len(sample.labels)]
        if empty:
            detail = (
                f"{len(empty)} of {len(group)} images in {split} have no boxes ({_some(empty)}): negatives"
            )
            issues.append(issue("IMAGES_WITHOUT_BOXES", "kept", detail))
    counts = Counter(str(sample.id) for group in samples.values() for sample in group)
    if shared := [path for path, count in counts.items() if count > 1]:
        detail = f"{len(shared)} images are in more than one split ({_some(shared)}): metrics will flatter"
        issues.append(issue("IMAGES_IN_SEVERAL_SPLITS", "kept", detail))
    if unused := [path for path in files.with_suffix(IMAGE_SUFFIXES) if path not in located]:
        detail = f"{len(unused)} image files are in no annotation file ({_some(unused)})"
        issues.append(issue("IMAGES_NOT_LISTED", "dropped", detail))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
