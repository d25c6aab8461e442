"""Let Lightning import beside a CPU build of torch.

Norse requires torchvision, and the wheel of torchvision that package registries serve is compiled
against the CUDA build of torch. Beside a CPU build its compiled half does not load, and its Python
half then fails to import because the operator `torchvision::nms` was never declared. torchmetrics, and
with it Lightning, imports torchvision whenever it is installed. Nothing here uses it, so declaring the
operator is enough; calling it would still fail, and loudly.
"""

import sys

import torch

_NMS = "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
_declared: list[torch.library.Library] = []


def declare_missing_operator() -> None:
    """Make `import torchvision` succeed where its compiled half cannot be loaded; else do nothing."""
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
        library.define(_NMS)
        _declared.append(library)  # the declaration lives as long as the library object
