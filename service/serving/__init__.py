"""Models in use: ONNX files in sessions, images in, detections out; never torch."""
