"""PyTorch's files: pickles, which can carry code, so that its weights-only loader alone opens one."""

import importlib.util
import re
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from jkd.errors import UserError
from jkd.machine import archive, system

_SAFE = (2, 10)  # before, there were ways around the loader (CVE-2025-32434, CVE-2026-24747)
_STATE_DICT = "torch.save(model.state_dict(), 'NAME.pth')"
# Where trainers keep the state dict among other things, the likeliest first.
_PLACES = ("model", "state_dict", "net", "network", "model_state_dict", "model_state", "module", "weights")
# What trainers save beside it and the loader does not know: these are read as nothing, whatever they hold.
_BESIDE = (
    "argparse.Namespace",
    "numpy.dtype",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
)


class _Nothing:
    def __new__(cls, *_: Any) -> "_Nothing":
        return object.__new__(cls)

    def __setstate__(self, _: Any) -> None:
        pass


def pytorch() -> Any:
    """Returns the module `torch`.

    Raises:
        UserError: it is not installed, or so old that its weights-only loader may run code.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError(
            "a checkpoint of PyTorch's needs PyTorch, which is not installed: pip install 'torch>="
            f"{_SAFE[0]}.{_SAFE[1]}', or save it as safetensors where PyTorch is: "
            "safetensors.torch.save_file(model.state_dict(), 'NAME.safetensors')"
        )
    try:
        import torch
    except (ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"PyTorch is installed, but cannot be imported: {reason}") from error
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < _SAFE:
        raise UserError(
            f"PyTorch {torch.__version__} can be made to run code that a checkpoint carries: "
            f"pip install 'torch>={_SAFE[0]}.{_SAFE[1]}'"
        )
    return torch


def is_pytorchs(path: Path) -> bool:
    """Whether a file begins as PyTorch's do: as a zip archive, or as a pickle."""
    with path.open("rb") as file:
        return file.read(4).startswith((b"PK\x03\x04", b"\x80"))


def read(path: Path) -> dict[str, np.ndarray]:
    """Reads the state dict in a file of PyTorch's, at the top or where trainers keep it.

    Raises:
        UserError: the file is damaged or of another kind, carries code, or has no state dict or several.
    """
    torch = pytorch()
    tensors = _state_dict(_load(torch, path), torch, path)
    return {key: _array(torch, tensor, f"the state dict '{path}': {key}") for key, tensor in tensors.items()}


def _load(torch: Any, path: Path) -> Any:
    _check_archive(path)
    nothing = [(_Nothing, name) for name in _BESIDE]
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(nothing):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of many kinds, for a file that is damaged
        if system.refusal(error) is not None:
            raise
        raise UserError(f"cannot read the checkpoint '{path}': {_reason(error)}") from error


def _check_archive(path: Path) -> None:
    """Refuses a zip archive that is not PyTorch's, or claims to hold more than it does."""
    with path.open("rb") as file:
        if file.read(1) != b"P":  # a pickle, as PyTorch saved before 1.6
            return
    try:
        members = archive.members(path)
    except archive.Unreadable as error:
        raise UserError(f"cannot read the checkpoint '{path}': {error}") from error
    if any(name.endswith(".npy") for name in members):
        raise UserError(f"'{path}' is an archive of numpy's: mv {path} {path.with_suffix('.npz')}")
    if any(name.endswith("/constants.pkl") for name in members):
        weights = path.with_name(f"{path.stem}_weights.pth")
        raise UserError(
            f"'{path}' is a program (TorchScript); to save its weights: python -c \"import torch; "
            f"torch.save(torch.jit.load('{path}', 'cpu').state_dict(), '{weights}')\""
        )


def _reason(error: Exception) -> str:
    """What PyTorch says, in a line, without its advice to let the file run what it likes."""
    text = str(error)
    if code := re.search(r"GLOBAL ([\w.]+)", text):
        return (
            f"it carries code ({code[1]}), which is not run; whoever made it can save the weights alone: "
            f"{_STATE_DICT}"
        )
    text = re.sub(
        r".*WeightsUnpickler error:|Check the documentation of torch\.load.*", "", text, flags=re.DOTALL
    )
    text = " ".join(text.split()).partition(". In PyTorch 2.6")[0]
    return "".join(filter(str.isprintable, text))[:200] or type(error).__name__


def _state_dict(content: Any, torch: Any, path: Path) -> Mapping[str, Any]:
    """Finds the state dict in what a file holds: there, one level below, or two."""

    def is_one(value: Any) -> bool:
        return (
            isinstance(value, Mapping)
            and all(isinstance(key, str) for key in value)
            and not any(isinstance(inner, Mapping) for inner in value.values())
            and any(isinstance(inner, torch.Tensor) and inner.ndim > 1 for inner in value.values())
        )

    level = {"": content}
    for _ in range(3):
        if found := {name: value for name, value in level.items() if is_one(value)}:
            name = next((place for place in _PLACES if place in found), None) or next(iter(found))
            if len(found) > 1 and name not in _PLACES:
                raise UserError(
                    f"'{path}' holds several state dicts ({_listed(found)}); save one: {_STATE_DICT}"
                )
            return {key: value for key, value in found[name].items() if isinstance(value, torch.Tensor)}
        level = {name: inner for outer in level.values() for name, inner in _within(outer)}
    what = _listed(content) if isinstance(content, Mapping) else f"a {type(content).__name__}"
    raise UserError(f"'{path}' holds no state dict ({what or 'nothing'}); save the network's: {_STATE_DICT}")


def _within(value: Any) -> Iterator[tuple[str, Any]]:
    """What lies in a mapping under a word; an optimizer's state lies under numbers."""
    if isinstance(value, Mapping):
        yield from ((name, inner) for name, inner in value.items() if isinstance(name, str))


def _listed(names: Mapping[Any, Any]) -> str:
    shown = [ascii(name)[:40] for name in list(names)[:6]]
    return ", ".join(shown) + (", ..." if len(names) > len(shown) else "")


def _array(torch: Any, tensor: Any, where: str) -> np.ndarray:
    try:
        plain = tensor.detach()
        if plain.nbytes > plain.untyped_storage().nbytes():  # a few bytes can stand for any number
            raise TypeError("it shows the same memory many times over")
        if plain.dtype == torch.bfloat16:  # which numpy has not; the memory is the same
            return plain.view(torch.uint16).numpy().view(jnp.bfloat16)
        return plain.resolve_conj().resolve_neg().numpy()
    except (TypeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"{where} is no plain tensor ({reason}); save it dense, in float32") from error
