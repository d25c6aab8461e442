"""The target "onnx": one Scan over time, and a single step with its states as inputs and outputs."""
