"""How much of a device's peak the teachers' forward passes reach: their FLOPs, by XLA's count, in a second.

    python benchmarks/teachers.py                                # bfloat16, batch 1024
    python benchmarks/teachers.py --batch-sizes=64,256,1024 --dtypes=float32,bfloat16

The peak is that of dense products of bfloat16, of one device, which the table names with its source.
"""

import argparse
import platform
import statistics
import sys
import time
from functools import partial

import jax
import jax.numpy as jnp
from peaks import PEAKS

from jkd import models
from jkd.steps.asking import TeacherNetwork, teacher_outputs


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--teachers", default="vgg13,vgg13,vgg13")
    parser.add_argument("--batch-sizes", default="1024")
    parser.add_argument("--dtypes", default="bfloat16")
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--passes", type=int, default=20, help="forward passes that are timed together")
    parser.add_argument("--turns", type=int, default=5)
    args = parser.parse_args()

    kind = jax.devices()[0].device_kind
    known = PEAKS.get(kind)
    peak = known.flops["bfloat16"] if known else 0.0
    print(f"`{' '.join(['python', *sys.argv])}`  ")
    print(f"jax {jax.__version__}, Python {platform.python_version()}, {kind}", end="")
    print(
        f", peak {peak / 1e12:.0f} TFLOP/s ({known.source})\n"
        if known
        else ", whose peak is not known here\n"
    )
    print(
        "| type | batch | GFLOP | ms | TFLOP/s | share of the peak |"
        "\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for dtype in args.dtypes.split(","):
        for batch in map(int, args.batch_sizes.split(",")):
            networks = [models.create(name, 100, dtype) for name in args.teachers.split(",")]
            images = jnp.zeros((batch, args.image_size, args.image_size, 3))
            variables = tuple(
                jax.jit(network.init)(jax.random.key(i, impl="rbg"), images[:1])
                for i, network in enumerate(networks)
            )
            ask = jax.jit(partial(teacher_outputs, tuple(map(TeacherNetwork.of, networks))))
            compiled = ask.lower(variables, images).compile()
            # As JAX lowers it: what a compiler leaves of it is not asked, nor known on every platform.
            flops = ask.lower(variables, images).cost_analysis()["flops"]
            jax.block_until_ready(compiled(variables, images))
            times = []
            for _ in range(args.turns):
                start = time.perf_counter()
                for _ in range(args.passes):
                    outputs = compiled(variables, images)
                jax.block_until_ready(outputs)
                times.append((time.perf_counter() - start) / args.passes)
            seconds = statistics.median(times)
            share = f"{flops / seconds / peak:.0%}" if peak else ""
            print(
                f"| {dtype} | {batch} | {flops / 1e9:.1f} | {1e3 * seconds:.2f} "
                f"| {flops / seconds / 1e12:.3f} | {share} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
