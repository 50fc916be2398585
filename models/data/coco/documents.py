"""COCO's annotation files: recognised by their content, with the classes that they share."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posneg.models.data.files import Files, split_of
from posneg.models.data.issues import Issue, issue, printable

MAX_BYTES = 2**29  # of all files that are read, since they stay in memory; COCO's own have 468 MB
UNUSED = ("segmentation", "keypoints", "caption")  # large, and not needed here
LISTS = ("images", "annotations", "categories")


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One annotation file: its path, its three lists, and the split that its path names."""

    file: str
    images: list[Any]
    annotations: list[Any]
    categories: list[Any]
    split: str | None


def find(files: Files, issues: list[Issue]) -> list[Document]:
    """The documents to read. Where some are named `instances_...`, the others are for other tasks."""
    paths = files.with_suffix({".json"})
    instances = [path for path in paths if Path(path).name.startswith("instances_")]
    for other in paths if instances else []:
        if other not in instances:
            detail = "there are files named instances_..., which are read alone"
            issues.append(issue("ANNOTATION_FILE_SKIPPED", "dropped", detail, file=other))
    documents, left_bytes = [], MAX_BYTES
    for path in instances or paths:
        if document := _document(files.root, path, issues, max_bytes=left_bytes):
            documents.append(document)
            left_bytes -= (files.root / path).stat().st_size
    return documents


def _document(root: Path, path: str, issues: list[Issue], *, max_bytes: int) -> Document | None:
    try:
        content = _parse(root / path, max_bytes)
    except (ValueError, RecursionError) as error:
        detail = f"it cannot be read: {error}"
        issues.append(issue("ANNOTATION_FILE_UNREADABLE", "dropped", detail, file=path))
        return None
    if not isinstance(content, dict) or not isinstance(content.get("images"), list):
        return None  # a JSON file of some other kind
    if missing := [name for name in LISTS if not isinstance(content.get(name), list)]:
        detail = f"no list of {' or '.join(missing)} in it, so it says nothing about boxes"
        issues.append(issue("ANNOTATION_FILE_SKIPPED", "dropped", detail, file=path))
        return None
    images, annotations, categories = (content[name] for name in LISTS)
    return Document(
        file=path, images=images, annotations=annotations, categories=categories, split=split_of(path)
    )


def _parse(file: Path, max_bytes: int) -> Any:  # noqa: ANN401 - whatever the JSON holds
    if file.stat().st_size > max_bytes:
        raise ValueError(f"with it annotation files have more than {MAX_BYTES:,} bytes together")
    return json.loads(file.read_bytes(), object_hook=_without_unused)


def _without_unused(content: dict[str, Any]) -> dict[str, Any]:
    for name in UNUSED:
        content.pop(name, None)
    return content


def key_of(value: object) -> str | None:
    """An id as a key under which 7, 7.0 and "7" are the same; None for what can be no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    return str(value).strip() or None


def classes(
    documents: list[Document], issues: list[Issue]
) -> tuple[tuple[str, ...], dict[str, dict[str, int]]]:
    """Class names, and for each file its category ids → class index.

    Files are joined on the names. Classes stand in the order of the first file's ids, then of those that
    later files add.
    """
    names: dict[str, int] = {}
    of_file: dict[str, dict[str, int]] = {}
    root = _unused_root(documents, issues)
    for document in documents:
        ids = of_file[document.file] = {}
        for key, name in sorted(_categories(document, issues).items(), key=_by_number):
            if name != root:
                ids[key] = names.setdefault(name, len(names))
    return tuple(names), of_file


def _by_number(entry: tuple[str, str]) -> tuple[int, str]:
    """Numbers by value, before everything else by text."""
    key = entry[0]
    return (int(key), "") if key.isascii() and key.isdigit() and len(key) < 19 else (10**19, key)


def _categories(document: Document, issues: list[Issue]) -> dict[str, str]:
    """Category id → name of one file."""
    names: dict[str, str] = {}
    for index, raw in enumerate(document.categories):
        entry = raw if isinstance(raw, dict) else {}
        key, name = key_of(entry.get("id")), entry.get("name")
        where: dict[str, Any] = {
            "file": document.file,
            "pointer": f"/categories/{index}",
            "id": entry.get("id"),
        }
        if key is None:
            issues.append(issue("CATEGORY_INVALID", "dropped", "a category needs an id and a name", **where))
            continue
        if not isinstance(name, str) or not name.strip():
            issues.append(issue("CATEGORY_INVALID", "kept", f"it has no name and is called {key!r}", **where))
            name = key
        name = printable(name.strip())
        if key in names:
            detail = f"the id was given to {names[key]!r} before"
            issues.append(issue("DUPLICATE_CATEGORY_ID", "dropped", detail, **where))
            continue
        if name in names.values():
            detail = f"{name!r} has several ids, which become one class"
            issues.append(issue("DUPLICATE_CATEGORY_NAME", "merged", detail, **where))
        names[key] = name
    return names


def _unused_root(documents: list[Document], issues: list[Issue]) -> str | None:
    """The category that Roboflow adds above the real ones: parent of all others, and no box has it."""
    entries = [(d, e) for d in documents for e in d.categories if isinstance(e, dict)]
    parents = {str(e.get("supercategory")) for _, e in entries} - {"none", "None", ""}
    named = {str(e.get("name")) for _, e in entries}
    if len(parents) != 1 or len(named) < 2 or not parents <= named:
        return None
    (root,) = parents
    keys = {(d.file, key_of(e.get("id"))) for d, e in entries if e.get("name") == root}
    used = {
        (d.file, key_of(a.get("category_id")))
        for d in documents
        for a in d.annotations
        if isinstance(a, dict)
    }
    if keys & used:
        return None
    detail = f"{root!r} is the parent of all other categories and no box has it, so it is no class"
    issues.append(issue("ROOT_CATEGORY", "dropped", detail, file=documents[0].file, pointer="/categories"))
    return root
