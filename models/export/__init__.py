"""Trained detectors as ONNX files that say how to use them, and the proof that they still answer alike."""
