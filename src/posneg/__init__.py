"""Label assignment and loss of object detectors, made plain."""
