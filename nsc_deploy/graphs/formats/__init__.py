"""Files of graphs and of recorded inputs: NIR, ONNX, recordings."""
