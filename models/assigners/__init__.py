"""Assigners, one file each."""

from posneg.models.registry import Registry

assigner = Registry("assigner", __name__)
