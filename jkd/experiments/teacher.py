"""`python -m jkd.experiments.teacher` trains teachers alone; --help lists the flags."""

from jkd.experiments.cli import run_teachers

if __name__ == "__main__":
    run_teachers()
