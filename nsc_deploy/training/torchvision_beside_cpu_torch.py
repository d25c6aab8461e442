"""Let Lightning import beside a CPU build of torch.

Norse requires torchvision, and the wheel of torchvision that package registries serve is compiled
against the CUDA build of torch. Beside a CPU build its compiled half does not load, and its Python
half then fails to import because operators such as `torchvision::nms` were never declared.
torchmetrics, and with it Lightning, imports torchvision whenever it is installed. Nothing here uses
it, so declaring the operators is enough; calling one would still fail, and loudly.
"""

import re
import sys

import torch

_MISSING = re.compile(r"operator torchvision::(\w+) does not exist")
_declared: list[torch.library.Library] = []


def declare_missing_operators() -> None:
    """Make `import torchvision` succeed where its compiled half cannot be loaded; else do nothing."""
    while (operator := _missing_operator()) is not None:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")  # type: ignore[no-untyped-call]
        library.define(f"{operator}(Tensor a, Tensor b, float c) -> Tensor")  # type: ignore[no-untyped-call]
        _declared.append(library)  # the declaration lives as long as the library object


def _missing_operator() -> str | None:
    try:
        import torchvision  # noqa: F401
    except ImportError:
        return None
    except RuntimeError as error:
        missing = _MISSING.search(str(error))
        if missing is None:
            raise
        return missing[1]
    return None
