"""What a compiled program does, read from its text: what a loop's body does counts as often as it runs.

The text lists instructions in the order in which they run, with loops, whose lengths are in it too. A fusion
is one kernel: what it computes inside is read for its products, and for what it reads of its operands.
"""

import re
from collections import Counter
from collections.abc import Iterator
from math import prod
from typing import NamedTuple

COLLECTIVES = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_BYTES = {"pred": 1, "u8": 1, "s8": 1, "u16": 2, "s16": 2, "f16": 2, "bf16": 2, "u32": 4, "s32": 4, "f32": 4}
_NOTHING = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id"}
_SLICES = {"dynamic-slice", "slice", "gather"}
# cuDNN's convolutions, and where among operands and results are the maps, the kernel and what comes out.
_CUDNN = {"Forward": (0, 1, 2), "BackwardInput": (2, 1, 0), "BackwardFilter": (0, 2, 1)}

_HEAD = re.compile(r"(ENTRY )?%([\w.\-]+) \(.*\{$")
_CUDNN_CALL = re.compile(r'custom_call_target="__cudnn\$conv\w*?(Forward|BackwardInput|BackwardFilter)')
_LINE = re.compile(r"\s+(?:ROOT )?%([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\((.*)$")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^{}]*)\})?")


class Array(NamedTuple):
    """An array of a program."""

    dtype: str
    shape: tuple[int, ...]
    layout: str

    @property
    def size(self) -> int:
        """Its bytes."""
        return _BYTES.get(self.dtype, 8) * prod(self.shape)

    @property
    def moved(self) -> int:
        """The bytes that go through the large memory: none where it lies in the chip's own (a TPU's VMEM)."""
        return 0 if "S(" in self.layout else self.size


class Instruction(NamedTuple):
    """One line: what comes out, what it does, to what, and all that is said of it."""

    results: list[Array]
    does: str
    operands: list[str]
    text: str

    def named(self, attribute: str) -> str:
        """Returns the name that an attribute has, such as that of a loop's body."""
        found = re.search(rf"\b{attribute}=%([\w.\-]+)", self.text)
        return found[1] if found else ""


Computation = dict[str, Instruction]


class Counts(NamedTuple):
    """What a program does in one run, on one chip."""

    flops: float  # of convolutions and matrix products
    bytes: float  # read from the large memory and written to it
    kernels: float  # what works on arrays, but for collectives and what moves beside the computation
    waits: int  # for the host: branches, and loops whose length is found while they run
    collectives: Counter[tuple[str, str]]  # by kind, and by what a chip puts in
    sent: float  # the bytes that it puts in
    cycles: float  # by the compiler's own estimate, which a TPU's writes beside its kernels; else 0


def read(text: str) -> Counts:
    """Returns what a program does, by the text of its compiled module."""
    computations, entry = _parse(text)
    flops = moved = kernels = sent = cycles = 0.0
    waits = 0
    channels: set[str] = set()
    collectives: Counter[tuple[str, str]] = Counter()
    for line, own, times in _run(computations, entry, 1):
        kind = line.does.removesuffix("-start")
        if kind in ("while", "conditional"):
            waits += kind == "conditional" or _length(line, computations) is None
            continue
        inside = computations.get(line.named("calls"), {}) if kind == "fusion" else {}
        moved += times * _moved(line, own, inside)
        estimate = re.search(r'"estimated_cycles":"(\d+)"', line.text)
        cycles += times * int(estimate[1]) if estimate else 0
        parts = [(line, own), *_parts(inside, computations)]
        flops += times * sum(_flops(part, beside) for part, beside in parts)
        together = [(part, beside) for part, beside in parts if part.does.startswith(COLLECTIVES)]
        scalar = kind != "fusion" and not any(array.shape for array in line.results)
        kernels += times * (not together and not scalar and not line.does.endswith("-start"))
        for part, beside in together:
            # A TPU's compiler may spread one over several fusions: it has one channel.
            channel = re.search(r"channel_id=(\d+)", part.text)
            if channel and channel[1] in channels:
                continue
            channels |= {channel[1]} if channel else set()
            arrays = [array for name in part.operands for array in beside[name].results]
            collectives[part.does.removesuffix("-start"), _shown(arrays)] += times
            sent += times * sum(array.size for array in arrays)
    return Counts(flops, moved, kernels, waits, collectives, sent, cycles)


def _parse(text: str) -> tuple[dict[str, Computation], str]:
    """Returns the computations by their names, and which of them comes first."""
    computations: dict[str, Computation] = {}
    current: Computation = {}
    entry = ""
    for line in text.splitlines():
        if head := _HEAD.match(line):
            current = computations[head[2]] = {}
            entry = head[2] if head[1] else entry
        elif found := _LINE.match(line):
            name, results, does, rest = found.groups()
            operands = re.findall(r"%([\w.\-]+)", rest[: _closing(rest)])
            current[name] = Instruction(_arrays(results), does, operands, rest)
    return computations, entry


def _closing(text: str) -> int:
    """Returns where the bracket is closed that was opened before the text."""
    depth = 1
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if not depth:
            return place
    return len(text)


def _arrays(text: str) -> list[Array]:
    return [
        Array(dtype, tuple(int(n) for n in sizes.split(",") if n), layout)
        for dtype, sizes, layout in _ARRAY.findall(text)
    ]


def _run(
    computations: dict[str, Computation], name: str, times: int
) -> Iterator[tuple[Instruction, Computation, int]]:
    """Yields each instruction that does something, with those beside it and how often it runs."""
    own = computations[name]
    for line in own.values():
        if line.does in _NOTHING or line.does.endswith(("-done", "-update")):
            continue
        if line.does == "while":
            yield line, own, times
            length = _length(line, computations) or 1
            yield from _run(computations, line.named("body"), times * length)
        elif line.does in ("call", "async-start", "conditional"):
            if line.does == "conditional":
                yield line, own, times
            for called in re.findall(r"(?:calls|to_apply|\w+_computation)=%([\w.\-]+)", line.text):
                yield from _run(computations, called, times)
        else:
            yield line, own, times


def _length(loop: Instruction, computations: dict[str, Computation]) -> int | None:
    """Returns how often a loop runs: what the compiler says, or the constant that its counter stays below."""
    if said := re.search(r'"known_trip_count":\{"n":"(\d+)"', loop.text):
        return int(said[1])
    condition = computations[loop.named("condition")]
    for line in condition.values():
        if line.does == "compare" and "direction=LT" in line.text:
            limit = condition[line.operands[1]]
            return int(limit.text[: _closing(limit.text)]) if limit.does == "constant" else None
    return None


def _parts(inside: Computation, computations: dict[str, Computation]) -> Iterator[tuple]:
    """Yields what a fusion computes, fusions within it taken apart."""
    for line in inside.values():
        yield line, inside
        if line.does == "fusion":
            yield from _parts(computations[line.named("calls")], computations)


def _moved(line: Instruction, own: Computation, inside: Computation) -> int:
    """Returns the bytes that an instruction reads and writes.

    Of an array that is only sliced it reads the slices; where it puts a slice into an array that is there, it
    writes the slice.
    """
    given = [sum(array.moved for array in own[name].results) for name in line.operands]
    if line.does == "slice-start":  # its results: from where, to where, and what tells the end
        part = line.results[1]
        return part.moved + min(given[0], part.size)
    if line.does.endswith("-start"):  # here the first is where to
        return sum(given) + sum(array.moved for array in line.results[:1])
    written = sum(array.moved for array in line.results)
    if not inside:
        return _sliced(line, own, given, written)
    parameters = {name: one for name, one in inside.items() if one.does == "parameter"}
    for name, parameter in parameters.items():
        place = int(parameter.text[: _closing(parameter.text)])
        users = [one for one in inside.values() if name in one.operands]
        if all(one.does in _SLICES and one.operands[0] == name for one in users):
            given[place] = min(given[place], sum(a.size for one in users for a in one.results))
        elif all(one.does == "dynamic-update-slice" and one.operands[0] == name for one in users):
            put = sum(a.size for one in users for a in inside[one.operands[1]].results)
            written -= max(0, given[place] - put)
            given[place] = 0
    return max(0, written) + sum(given)


def _sliced(line: Instruction, own: Computation, given: list[int], written: int) -> int:
    if line.does in _SLICES:
        return written + min(given[0], sum(array.size for array in line.results))
    if line.does == "dynamic-update-slice":
        return 2 * given[1]
    return written + sum(given)


def _flops(line: Instruction, own: Computation) -> float:
    """Returns the FLOPs of a convolution or of a matrix product, 0 of anything else.

    A product with what lies outside the maps is none.
    """
    if line.does == "dot":
        left = own[line.operands[0]].results[0].shape
        over = re.search(r"lhs_contracting_dims=\{([\d,]*)\}", line.text)
        summed = prod(left[int(n)] for n in over[1].split(",") if n) if over else 1
        return 2.0 * prod(line.results[0].shape) * summed
    cudnn = _CUDNN_CALL.search(line.text)
    if line.does != "convolution" and not cudnn:
        return 0.0
    arrays = [own[line.operands[0]].results[0], own[line.operands[1]].results[0], line.results[0]]
    order = _CUDNN[cudnn[1]] if cudnn else range(3)
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", line.text)
    assert labels is not None
    maps, kernel, out = (
        dict(zip(of, arrays[i].shape, strict=False)) for of, i in zip(labels.groups(), order, strict=True)
    )
    inside = re.search(r"window=\{([^}]*)\}", line.text)
    window = dict(re.findall(r"(\w+)=([\w\-]+)", inside[1] if inside else ""))
    total = 2.0 * out["b"] * out["f"] * kernel["i"]
    for axis, size in enumerate(n for n in window.get("size", "").split("x") if n):
        total *= _overlaps(maps[str(axis)], int(size), out[str(axis)], window, axis)
    groups = re.search(r"batch_group_count=(\d+)", line.text)
    return total / (int(groups[1]) if groups else 1)


def _overlaps(width: int, kernel: int, out: int, window: dict[str, str], axis: int) -> int:
    """Returns along an axis how many pairs of places, of the result and the kernel, meet one of the maps."""

    def of(name: str, default: str) -> str:
        return window[name].split("x")[axis] if name in window else default

    before = int(of("pad", "0_0").split("_")[0])
    stride, spread, apart = (int(of(name, "1")) for name in ("stride", "lhs_dilate", "rhs_dilate"))
    places = (o * stride + k * apart - before for o in range(out) for k in range(kernel))
    return sum(0 <= place <= (width - 1) * spread and place % spread == 0 for place in places)


def _shown(arrays: list[Array]) -> str:
    """Returns how arrays that travel together are named: by how many there are of each form."""
    forms = Counter(f"{array.dtype}[{','.join(map(str, array.shape))}]" for array in arrays)
    return " ".join(f"{number}×{form}" if number > 1 else form for form, number in forms.items())
