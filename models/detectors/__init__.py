"""Detectors, one file each."""

from posneg.models.registry import Registry

detector = Registry("detector", __name__)
