"""All benchmarks of a lent accelerator, in pieces of at most ten minutes, each with its output in a file.

    python benchmarks/everything.py --out=$OUT                         # every piece that is not there yet
    python benchmarks/everything.py --out=$OUT --pieces=mmkd,seeds     # these
    python benchmarks/everything.py --out=dry --dry-run                # all, as small as they go

A piece that was cut off by `--limit`, or that failed, says so in its file and is not repeated but when it is
named; then it finds the programs that it had compiled (and `estimators` says no seconds of compilation that
count). Call it again for what is left.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

VGG = ["--student=vgg8", "--teachers=vgg13,vgg13,vgg13"]
_HERE = ["chips.py", "--here", "--networks=vgg8:vgg13"]
PIECES = {
    # MMKD's cycle beside a plain PyTorch version (aim: 10 times as fast), and alone where that is not there.
    "mmkd": ["mmkd_cycle.py", "--torch"],
    "mmkd-alone": ["mmkd_cycle.py"],
    # Five seeds by the same calls (aim: at most twice one).
    "seeds": ["seeds.py", "--seeds=5", *VGG],
    # The teachers' share of the peak (aim: 40 % in bfloat16 at a batch of 1,024).
    "teachers": ["teachers.py", "--batch-sizes=64,256,1024", "--dtypes=float32,bfloat16"],
    # The time of a step beside the least that arithmetic and memory traffic leave.
    "least": [*_HERE, "--batch-sizes=64", "--dtypes=float32"],
    "least-large-batch": [*_HERE, "--batch-sizes=1024", "--dtypes=bfloat16"],
    # Steps of all methods, each beside one of aver; their programs compile for longer than one piece lasts.
    "steps-two-level": ["step.py", *VGG, "--methods=aver,bomd,mmkd,amal"],
    "steps-one-level": ["step.py", *VGG, "--methods=aver,scratch,aekd,amtmlkd,camkd,demkd"],
    "steps-rest": ["step.py", *VGG, "--methods=aver,distill,ebkd,fitnet,gpac,mkcd"],
    "views-logits": ["views.py", *VGG, "--methods=aver,ebkd", "--steps=100"],
    "views-maps": ["views.py", *VGG, "--methods=camkd,fitnet", "--steps=100"],
    "views-two-level": ["views.py", *VGG, "--methods=bomd,mmkd", "--steps=100"],
    "estimators": ["bilevel.py", "--steps", "1", "2", "4"],
    "estimators-many-steps": ["bilevel.py", "--steps", "8", "16"],
}
_TINY = ["--student=resnet8", "--teachers=resnet8", "--batch-size=4", "--image-size=8"]
_TINY_STEPS = [*_TINY, "--methods=aver,ebkd", "--turns=1"]
_TINY_VIEWS = [*_TINY, "--methods=aver", "--steps=1", "--turns=1"]
_TINY_HERE = [
    "--networks=resnet8:resnet8",
    "--batch-sizes=4",
    "--image-size=8",
    "--turns=1",
    "--methods=aver",
]
_TINY_ESTIMATORS = [
    "--steps",
    "1",
    "--estimators",
    "first-order",
    "--model=resnet8",
    "--batch-size=4",
    "--rounds=1",
]
DRY = {
    "mmkd": ["--teachers=vgg8", "--batch-size=4", "--image-size=32", "--repeats=2"],
    "mmkd-alone": [*_TINY, "--repeats=2"],
    "seeds": [*_TINY, "--methods=aver", "--seeds=2", "--steps=1", "--turns=1"],
    "teachers": ["--teachers=resnet8", "--batch-sizes=4", "--image-size=8", "--passes=1", "--turns=1"],
    **dict.fromkeys(("least", "least-large-batch"), _TINY_HERE),
    **dict.fromkeys(("steps-two-level", "steps-one-level", "steps-rest"), _TINY_STEPS),
    **dict.fromkeys(("views-logits", "views-maps", "views-two-level"), _TINY_VIEWS),
    **dict.fromkeys(("estimators", "estimators-many-steps"), _TINY_ESTIMATORS),
}
# A piece that was cut off finds the programs here that it had compiled.
_PROGRAMS = Path(tempfile.gettempdir()) / "jkd-compiled-programs"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="the folder of the pieces' outputs")
    parser.add_argument("--pieces", help=f"any of {','.join(PIECES)} (default: those that are not there)")
    parser.add_argument("--limit", type=float, default=540, help="seconds for all of this call")
    parser.add_argument("--dry-run", action="store_true", help="tiny sizes: does every piece run here?")
    args = parser.parse_args()

    args.out.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"JAX_COMPILATION_CACHE_DIR": str(_PROGRAMS)}
    named = args.pieces.split(",") if args.pieces else None
    if unknown := set(named or ()) - set(PIECES):
        parser.error(f"--pieces: there is no {min(unknown)}; there are {', '.join(PIECES)}")
    end, failed = time.monotonic() + args.limit, 0
    for name, command in PIECES.items():
        file = args.out / f"{name}.md"
        if name not in named if named else file.exists():
            continue
        left = end - time.monotonic()
        if left <= 0:
            print(f"left for the next call: {name}", flush=True)
            continue
        script, *flags = command
        start = time.monotonic()
        full = [
            sys.executable,
            str(Path(__file__).parent / script),
            *flags,
            *(DRY[name] if args.dry_run else []),
        ]
        with file.open("w") as out:
            try:
                status = subprocess.run(
                    full, stdout=out, stderr=subprocess.STDOUT, timeout=left, env=environment
                ).returncode
            except subprocess.TimeoutExpired:
                status = 124
                out.write(f"\nCut off after {left:.0f} s.\n")
        failed += status != 0
        print(f"{name}: status {status}, {time.monotonic() - start:.0f} s, {file}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(main())
