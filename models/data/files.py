"""The files of an unpacked data set: which split their names speak of, and which one an annotation means."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
SPLIT_OF_WORD = {
    **dict.fromkeys(("train", "training", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "minival", "dev", "eval"), "val"),
    **dict.fromkeys(("test", "testing", "testdev"), "test"),
}


def split_of(path: str) -> str | None:
    """The split that a path's words name: of the file's stem first, then of its folders, nearest first."""
    posix = PurePosixPath(path)
    for part in (posix.stem, *reversed(posix.parts[:-1])):
        for word in re.findall("[a-z]+", part.lower()):
            if word in SPLIT_OF_WORD:
                return SPLIT_OF_WORD[word]
    return None


class Files:
    """Every file below a folder, by path relative to it, sorted."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.paths = tuple(sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()))
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            self._by_name[path.rpartition("/")[2].casefold()].append(path)

    def with_suffix(self, suffixes: Iterable[str]) -> list[str]:
        """Paths whose lower-case suffix is one of `suffixes`."""
        wanted = set(suffixes)
        return [path for path in self.paths if PurePosixPath(path).suffix.lower() in wanted]

    def find(self, name: str, *, beside: str, split: str | None) -> tuple[list[str], bool]:
        """The files that `name`, written in the annotation file `beside`, can mean; and whether in full.

        Candidates end in the same file name, case aside. Of these count those that share the most trailing
        folders with `name`, then those whose folders name the same split, then those nearest to `beside`.
        More than one is ambiguous. Not in full: some folder of `name` is not there, as with a path of
        another machine.
        """
        wanted = _parts(name)
        if not wanted:
            return [], False
        ranked = defaultdict(list)
        for path in self._by_name.get(wanted[-1], ()):
            shared = _shared(reversed(wanted), reversed(_parts(path)))
            near = _shared(_parts(path)[:-1], _parts(beside)[:-1])
            ranked[shared, split is not None and split_of(path) == split, near].append(path)
        if not ranked:
            return [], False
        best = max(ranked)
        return ranked[best], best[0] == len(wanted)


def _parts(path: str) -> list[str]:
    """Folders and name, case folded, from after the last `..`; a backslash separates too."""
    parts = [part for part in path.casefold().replace("\\", "/").split("/") if part not in ("", ".")]
    while ".." in parts:
        parts = parts[parts.index("..") + 1 :]
    return parts


def _shared(a: Iterable[str], b: Iterable[str]) -> int:
    """How many leading parts are equal."""
    count = 0
    for one, other in zip(a, b, strict=False):
        if one != other:
            break
        count += 1
    return count
