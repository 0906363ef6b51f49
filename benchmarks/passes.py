"""Rows of chips.py for TPUs without the seconds of compilation: XLA's passes alone, a tenth of the work.

    python benchmarks/passes.py --chips=v5e:256 --batch-sizes=1024     # flags as those of chips.py

Most of the time that a TPU's program takes to compile goes into the code of its kernels. All else that
chips.py says is known before, kernels and temporaries but nearly: from the program as XLA's passes leave it,
scheduled and its memory assigned, which XLA writes down (`--xla_dump_to`). A process compiles each cell, and
is ended when that is written.
"""

import argparse
import multiprocessing
import os
import re
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import chips
from programs import read

_PROGRAM, _MEMORY = "*jit_loop*after_buffer_assignment.txt", "*jit_loop*optimizations-buffer-assignment.txt"
_ALLOCATION = re.compile(r"^allocation \d+: size (\d+), (.*)$", re.MULTILINE)


def compile_there(cell: dict[str, Any], dump: str, told: Connection) -> None:
    """Says how many steps the cell's call has, then compiles it, writing down what XLA makes of it."""
    os.environ |= {
        "XLA_FLAGS": f"--xla_dump_to={dump} --xla_dump_hlo_as_text",
        "JAX_PLATFORMS": "cpu",
        "TPU_SKIP_MDS_QUERY": "1",
        "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    }
    call, *_ = chips.call_of(cell, chips.devices_of(cell["chips"]), chips.IMAGES)
    told.send(call.steps)
    chips.measure(cell)


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Returns a cell's row."""
    with tempfile.TemporaryDirectory() as dump:
        spawn = multiprocessing.get_context("spawn")
        here, there = spawn.Pipe(duplex=False)
        process = spawn.Process(target=compile_there, args=(cell, dump, there))
        process.start()
        there.close()  # so that a process that ends untimely is heard
        try:
            steps = here.recv()
            program, memory = (_written(Path(dump), pattern, process) for pattern in (_PROGRAM, _MEMORY))
        finally:
            process.kill()
            process.join()
    # Temporaries of the large memory alone: those of the chip's own have their colour before them.
    sizes = [(int(size), what) for size, what in _ALLOCATION.findall(memory)]
    return chips.row(
        cell,
        read(program),
        steps,
        {"compile_s": None, "compile_cpu_s": None},
        sum(size for size, what in sizes if "parameter" in what),
        sum(size for size, what in sizes if what.startswith("preallocated-temp")),
    )


def _written(folder: Path, pattern: str, process: Any) -> str:
    """Waits until a file is there and stays as long as it is; returns its text."""
    size = -1
    while process.is_alive():
        time.sleep(3)
        found = max(folder.glob(pattern), key=lambda path: path.stat().st_size, default=None)
        if found is not None and 0 < found.stat().st_size == size:
            return found.read_text()
        size = found.stat().st_size if found is not None else -1
    raise SystemExit("the process that compiles ended without writing its program: see above")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    chips.add_cells(parser, ",".join(chips.SLICES))
    args = parser.parse_args()
    for cell in chips.missing(args):
        chips.append(args.out, measure(cell))


if __name__ == "__main__":
    main()
