"""Losses, one file each."""

from posneg.models.registry import Registry

loss = Registry("loss function", __name__)
