"""The files of an unpacked data set: which split their names speak of, and which one an annotation means."""

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
INDEXED_PARTS = 3  # trailing parts of a path by which it is found
MAX_ALIKE = 100
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
        self._by_path = {tuple(_parts(path)): path for path in self.paths}
        self._by_end: dict[tuple[str, ...], list[str]] = defaultdict(list)
        for parts, path in self._by_path.items():
            for length in range(1, min(len(parts), INDEXED_PARTS) + 1):
                self._by_end[parts[-length:]].append(path)

    def with_suffix(self, suffixes: Iterable[str]) -> list[str]:
        """Paths whose lower-case suffix is one of `suffixes`."""
        wanted = set(suffixes)
        return [path for path in self.paths if PurePosixPath(path).suffix.lower() in wanted]

    def find(self, name: str, *, beside: str, split: str | None) -> tuple[list[str], bool]:
        """The files that `name`, written in the annotation file `beside`, can mean; and whether in full.

        The file at that very place, from the folder of `beside` or from the root, or else those that end
        alike, case aside: of these the ones that share most trailing folders with `name`, then whose folders
        name the same split, then nearest to `beside`. More than one is ambiguous. Not in full: some folder
        of `name` is not there, as with a path of another machine.
        """
        wanted, here = tuple(_parts(name)), tuple(_parts(beside)[:-1])
        for place in ((*here, *wanted), wanted):
            if wanted and place in self._by_path:
                return [self._by_path[place]], True
        ranked = defaultdict(list)
        for path in self._alike(wanted):
            parts = _parts(path)
            shared, near = _shared(reversed(wanted), reversed(parts)), _shared(parts[:-1], here)
            ranked[shared, split is not None and split_of(path) == split, near].append(path)
        if not ranked:
            return [], False
        best = max(ranked)
        return ranked[best], best[0] == len(wanted)

    def _alike(self, wanted: tuple[str, ...]) -> list[str]:
        """Files that end like `wanted` in as many parts as possible; of very many some: no one is meant."""
        for length in range(min(len(wanted), INDEXED_PARTS), 0, -1):
            if found := self._by_end.get(wanted[-length:]):
                return found[:MAX_ALIKE]
        return []


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
