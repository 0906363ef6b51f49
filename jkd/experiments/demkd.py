"""`python -m jkd.experiments.demkd`; --help lists the flags."""

from jkd.experiments.cli import run_method

if __name__ == "__main__":
    run_method("demkd")
