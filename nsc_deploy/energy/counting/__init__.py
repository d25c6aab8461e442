"""Exact counts of operations: of NIR graphs, of ONNX graphs, of networks placed on a chip."""
