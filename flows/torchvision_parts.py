"""Modules that need torchvision, also beside a build of torch that its operators do not fit.

The wheels of torchvision in the package index are built for torch with CUDA. Beside a build for the
CPU their compiled operators do not load, and importing torchvision fails where it registers more
about them. Neither RAFT nor detection needs them: they are declared, without being there.
"""

from functools import cache
from importlib import import_module
from typing import Any

import torch

from schemas.errors import EvaluateError

OPERATORS = ("nms", "qnms")
"""Those that importing torchvision registers more about."""

SCHEMA = "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"


def import_part(module: str, *, option: str, extra: str) -> Any:
    """Import a module that needs torchvision.

    Args:
        module: dotted.
        option: of the command, which needs it.
        extra: of twinband, which installs what it imports.

    Raises:
        EvaluateError: something of the extra is not installed.
    """
    try:
        _torchvision()
        return import_module(module)
    except ModuleNotFoundError as error:
        raise EvaluateError(
            f"{option} needs {error.name}, which is not installed; "
            f"install it with: pip install 'twinband[{extra}]'"
        ) from error


def has_operators() -> bool:
    """Whether torchvision's own operators are there."""
    return _torchvision() is None


@cache
def _torchvision() -> torch.library.Library | None:
    """What declares the operators, where torchvision has to be imported without them."""
    try:
        import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return None
    declared = torch.library.Library("torchvision", "DEF")  # type: ignore[no-untyped-call]
    for name in OPERATORS:
        declared.define(name + SCHEMA)  # type: ignore[no-untyped-call]
    import_module("torchvision")
    return declared
