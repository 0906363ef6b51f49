"""What calls of the trainer are on chips that are not here: compiled for them, counted, and the least time.

    pip install '.[tpu]'                               # v5e, v6e; for H200: pip install 'jax[cuda12]'
    python benchmarks/chips.py --chips=v5e:1           # those of its cells that are not in --out yet
    python benchmarks/passes.py --chips=v5e:256        # the same of TPUs, without seconds, far sooner
    python benchmarks/chips.py --table                 # the table of all that is there
    python benchmarks/chips.py --here --methods=aver   # on the device that is here: time beside the least

Each cell is one line of JSON in --out, appended when it is done: stop it and call it again as you like.
Its call has 100 steps (an epoch's, where it has fewer) on 50,000 resident images, as the trainer makes it.
All that is said of a step is the whole call's, loops counted as often as they run, divided by its steps: an
update of the upper level and the one question to the teachers are spread over the steps of their cycle.
"""

import argparse
import itertools
import json
import os
import platform
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh
from peaks import PEAKS
from programs import Counts, read
from random_images import described, drawn

from jkd import methods
from jkd.steps.calls import compile_call
from jkd.steps.devices import Devices
from jkd.steps.state import shardings

IMAGES, CLASSES, EPOCHS, STEPS = 50_000, 100, 240, 100
KINDS = {"v5e": "TPU v5 lite", "v6e": "TPU v6 lite", "h200": "NVIDIA H200"}  # by JAX's names
SLICES = {"v5e:1": "1x1", "v5e:8": "2x4", "v5e:256": "16x16", "v6e:1": "1x1"}
H200 = """gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
  shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  device_memory_size: 150000000000 shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 } registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA" dnn_version_info { major: 9 minor: 10 } runtime_version { major: 12 minor: 9 }
device_description_str: "NVIDIA H200" """
NETWORKS = ("vgg8:vgg13", "resnet8x4:resnet32x4")
CHIPS = (*SLICES, "h200:1", "h200:8")
KEYS = ("chips", "method", "networks", "batch_size", "dtype")


def devices_of(chips: str) -> Devices:
    """Returns the devices of so many chips, such as v5e:8."""
    kind, _, count = chips.partition(":")
    if kind == "h200":
        found = topologies.get_topology_desc("h200", "cuda", topology=f"1x1x{count}", target_config=H200)
    else:
        own = {"chips_per_host_bounds": [1, 1, 1]} if count == "1" else {}
        found = topologies.get_topology_desc(f"{kind}:{SLICES[chips]}", "tpu", **own)
    return Devices(Mesh(np.asarray(found.devices), ("data",)))


def call_of(cell: dict[str, Any], devices: Devices, count: int, image_size: int = 32) -> tuple[Any, ...]:
    """Returns a cell's call as the trainer makes it, what begins it, which of `count` images it sees, and
    how many steps it takes at the beginning of an epoch."""
    batch_size = cell["batch_size"]
    own = {"buffer_size": max(256, batch_size)} if cell["method"] == "mmkd" else {}  # at least a batch
    method = methods.create(cell["method"], **own)
    student, _, teachers = cell["networks"].partition(":")
    steps = IMAGES // batch_size
    task, begin = described(
        method,
        student,
        [teachers] * 3,
        classes=CLASSES,
        batch_size=batch_size,
        image_size=image_size,
        dtype=cell["dtype"],
        count=count,
        devices=devices,
        epoch_steps=steps,
        total_steps=EPOCHS * steps,
    )
    call = compile_call(task, min(STEPS, steps))
    return call, begin, drawn(method, count, batch_size, call.steps), call.take(0, steps)


def measure(cell: dict[str, Any]) -> dict[str, Any]:
    """Compiles a cell's call and returns the cell with what there is to say of it."""
    devices = devices_of(cell["chips"])
    call, begin, draw, taken = call_of(cell, devices, IMAGES)
    state, teachers, data, _ = jax.eval_shape(begin)
    placed = shardings(devices, state), *jax.tree.map(lambda _: devices.whole, (teachers, data))
    state, teachers, data = jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        (state, teachers, data),
        placed,
    )
    (traced,) = call.trace(state, teachers, data, draw, 0, taken)
    lowered = traced.lower()
    clock, processor = time.perf_counter(), time.process_time()
    compiled = lowered.compile()
    seconds = {"compile_s": time.perf_counter() - clock, "compile_cpu_s": time.process_time() - processor}
    memory = compiled.memory_analysis()
    return row(
        cell,
        read(compiled.as_text()),
        call.steps,
        {name: round(value, 1) for name, value in seconds.items()},
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes,
    )


def row(
    cell: dict[str, Any],
    counts: Counts,
    steps: int,
    seconds: dict[str, float | None],
    arguments: int,
    temporaries: int,
) -> dict[str, Any]:
    """Returns a cell with what there is to say of its call of so many steps."""
    return (
        cell
        | seconds
        | {
            "arguments": arguments,
            "temporaries": temporaries,
            "steps": steps,
            "flops": counts.flops / steps,
            "bytes": counts.bytes / steps,
            "kernels": counts.kernels / steps,
            "host_waits": counts.waits,
            "collectives": {
                f"{kind} {what}": number / steps for (kind, what), number in counts.collectives.items()
            },
            "collective_bytes": counts.sent / steps,
            "estimated_cycles": counts.cycles / steps,
            "level": str(jax.config.jax_optimization_level),  # UNKNOWN: the compiler's own default
            "versions": f"jax {jax.__version__}, Python {platform.python_version()}",
        }
    )


def bound(kind: str, dtype: str, flops: float, bytes_: float) -> float:
    """Returns the seconds that no chip of a kind can beat; 0 where nothing is known of it."""
    if kind not in PEAKS:
        return 0.0
    return max(flops / PEAKS[kind].flops[dtype], bytes_ / PEAKS[kind].bytes)


def here(cells: list[dict[str, Any]], image_size: int, turns: int) -> None:
    """Runs cells on the devices that are here, and prints the time of a step beside the least."""
    devices = Devices.all()
    print(f"`python {' '.join(sys.argv)}`  ")
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {devices.count} × {devices.kind}\n")
    print("| method | networks | batch | type | ms a step | no less than | share |")
    print("| --- | --- | ---: | --- | ---: | ---: | ---: |")
    for cell in cells:
        count = 10 * cell["batch_size"]
        call, begin, draw, taken = call_of(cell, devices, count, image_size)
        state, teachers, data, _ = begin()
        state = devices.place(state, shardings(devices, state))
        teachers, data = devices.replicate((teachers, data))
        (traced,) = call.trace(state, teachers, data, draw, 0, taken)
        counts = read(traced.lower().compile().as_text())
        times = []
        for _ in range(turns + 1):  # the first compiles
            start = time.perf_counter()
            state, _ = jax.block_until_ready(call.run(state, teachers, data, draw, 0, taken))
            times.append((time.perf_counter() - start) / call.steps)
        reached = statistics.median(times[1:])
        least = bound(devices.kind, cell["dtype"], counts.flops, counts.bytes) / call.steps
        share = [f"{1e3 * least:.3f}", f"{least / reached:.0%}"] if least else ["", ""]
        row = *(str(cell[key]) for key in KEYS[1:]), f"{1e3 * reached:.3f}", *share
        print(f"| {' | '.join(row)} |", flush=True)


def table(rows: list[dict[str, Any]]) -> str:
    """Returns the rows as a table."""
    columns = (
        "chips | method | networks | batch | type | compile s (CPU s) | arguments MB | temporaries MB "
        "| GFLOP | GB | kernels | collectives | their MB | host waits | no less than ms | images/s at most"
    )
    lines = [f"| {columns} |", "| --- | --- | --- | ---: | --- |" + " ---: |" * 11]
    for row in sorted(rows, key=_place):
        kind = KINDS[row["chips"].partition(":")[0]]
        least = bound(kind, row["dtype"], row["flops"], row["bytes"])
        cells = (
            *(row[key] for key in KEYS),
            f"{row['compile_s']:.0f} ({row['compile_cpu_s']:.0f})" if row["compile_s"] else "",
            f"{row['arguments'] / 1e6:.0f}",
            f"{row['temporaries'] / 1e6:.0f}",
            f"{row['flops'] / 1e9:.1f}",
            f"{row['bytes'] / 1e9:.3f}",
            f"{row['kernels']:.0f}",
            f"{sum(row['collectives'].values()):.1f}",
            f"{row['collective_bytes'] / 1e6:.2f}",
            row["host_waits"],
            f"{1e3 * least:.3f}",
            f"{row['batch_size'] / least:,.0f}",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    networks = NETWORKS.index(row["networks"]) if row["networks"] in NETWORKS else len(NETWORKS)
    types = ("float32", "bfloat16")
    return CHIPS.index(row["chips"]), networks, row["batch_size"], types.index(row["dtype"]), row["method"]


def add_cells(parser: argparse.ArgumentParser, every: str) -> None:
    """Adds the flags that say which cells, of `every` kind of chips by default, and where the rows are."""
    results = Path(__file__).parent / "results" / "chips.jsonl"
    parser.add_argument("--out", type=Path, default=results)
    parser.add_argument("--chips", default=every)
    parser.add_argument("--methods", default="aver,bomd,mmkd")
    parser.add_argument("--networks", default=",".join(NETWORKS), help="student:teacher, which is three")
    parser.add_argument("--batch-sizes", default="64,1024")
    parser.add_argument("--dtypes", default="float32,bfloat16")


def cells_of(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the cells that the flags name."""
    chips, names, networks, sizes, dtypes = (
        value.split(",") for value in (args.chips, args.methods, args.networks, args.batch_sizes, args.dtypes)
    )
    wanted = itertools.product(chips, names, networks, map(int, sizes), dtypes)
    return [dict(zip(KEYS, values, strict=True)) for values in wanted]


def rows_of(out: Path) -> list[dict[str, Any]]:
    """Returns the rows that are there."""
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def missing(args: argparse.Namespace) -> list[dict[str, Any]]:
    """Returns the cells that the flags name, without rows yet, whose batch the chips divide."""
    done = {tuple(row[key] for key in KEYS) for row in rows_of(args.out)}
    cells = (cell for cell in cells_of(args) if tuple(cell.values()) not in done)
    return [cell for cell in cells if cell["batch_size"] % int(cell["chips"].partition(":")[2]) == 0]


def append(out: Path, row: dict[str, Any]) -> None:
    """Writes a row behind the others, and shows it."""
    with out.open("a") as rows:
        rows.write(json.dumps(row) + "\n")
    print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_cells(parser, ",".join(CHIPS))
    parser.add_argument("--table", action="store_true", help="print the table, compile nothing")
    parser.add_argument("--here", action="store_true", help="run the calls on the device that is here")
    parser.add_argument("--image-size", type=int, default=32, help="with --here")
    parser.add_argument("--turns", type=int, default=5, help="with --here")
    args = parser.parse_args()
    if args.here:
        args.chips = "here"
        here(cells_of(args), args.image_size, args.turns)
        return
    if args.table:
        print(table(rows_of(args.out)))
        return
    jax.config.update("jax_platforms", "cpu")  # what is here is not what is compiled for
    os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
    for cell in missing(args):
        append(args.out, measure(cell))


if __name__ == "__main__":
    main()
