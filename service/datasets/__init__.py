"""Data sets: taken in as zips, kept in one canonical form, opened for training.

An uploaded zip is read once. What is kept in the store is an archive of our own making: `dataset.json`
(classes, boxes checked and clipped, splits) and the images that it lists, uncompressed. So a later release
that reads COCO otherwise changes no data set, a worker opens it without deciding anything, and equal data
have equal bytes however they were zipped. The price is one more pass over the images at upload.
"""

from posneg.service.datasets.opening import open_dataset

__all__ = ["open_dataset"]
