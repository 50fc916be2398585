"""Presets, one file each."""

from posneg.models.registry import Registry

preset = Registry("preset", __name__)
