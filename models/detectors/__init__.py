"""Detectors, one file each: number of classes → a network that trains, decodes and exports.

A new detector is a new file `<name>.py` with one function `<name>` under `@detector`: keyword-only `classes`
and its own options, giving a `Detector` (see `_contract.py`). Parts that detectors share lie in files with a
leading `_`.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from posneg.models.registry import Registry

if TYPE_CHECKING:  # listing the names must not import torch
    from posneg.models.detectors._contract import Detector

detector: "Registry[Callable[..., Detector]]" = Registry("detector", __name__)
