"""`python -m jkd.experiments.amal`; --help lists the flags."""

from jkd.experiments.cli import run_method

if __name__ == "__main__":
    run_method("amal")
