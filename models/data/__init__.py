"""Data sets of images with boxes: read from the layouts found in the wild, or generated."""
