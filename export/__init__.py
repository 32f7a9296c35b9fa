"""Export: runs of a study become one ONNX file, proven equal to what was trained."""
