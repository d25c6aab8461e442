"""Operations of ONNX graphs, counted operator by operator while onnxruntime runs them."""
