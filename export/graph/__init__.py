"""Trained networks become an ONNX graph, and the graph a file."""
