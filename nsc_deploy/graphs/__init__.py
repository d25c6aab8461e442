"""NIR and ONNX graphs as data: reading, checking, building, and the reference simulator; no torch in here."""
