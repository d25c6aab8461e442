"""Operations of ONNX graphs, counted operator by operator while onnxruntime runs them.

`count.count_onnx` is the way in. What is known of an operator stands in one registration beside its
formula, in `formulas` and `products`; a further operator is registered the same way, from anywhere.
"""

from nsc_deploy.energy.counting.onnx import formulas, products

__all__ = ["formulas", "products"]
