"""Executes notebooks from top to bottom in a new kernel, in an empty folder: `python execute.py [NAME ...]`.

Each is written to NAME.ipynb, with what it printed and drew, from the text in NAME.py, which is the one to
edit. With JKD_SMALL=1 in the environment the settings are small ones. Needs `pip install '.[notebooks]'`.
"""

import sys
import tempfile
import time
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

HERE = Path(__file__).parent
NAMES = ("start", "your-own", "hypergradients", "compare")
_WIDGET = "application/vnd.jupyter.widget-view+json"


def read(name: str) -> NotebookNode:
    """Returns a notebook without outputs, as its text has it."""
    return without_traces(jupytext.read(HERE / f"{name}.py"))


def execute(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """Runs all cells in a folder and keeps what they showed; raises nbclient's CellExecutionError."""
    NotebookClient(notebook, timeout=None, resources={"metadata": {"path": str(folder)}}).execute()
    return without_traces(notebook)


def without_traces(notebook: NotebookNode) -> NotebookNode:
    """Drops what differs from machine to machine, and progress bars, which are dead in a file."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "accelerator": "TPU",
        "colab": {"gpuType": "V5E1", "provenance": []},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        if cell.cell_type == "code":
            kept = [output for output in cell.outputs if _WIDGET not in output.get("data", {})]
            cell.outputs = []
            for output in kept:  # what was printed between two bars belongs together
                last = cell.outputs[-1] if cell.outputs else {}
                if output.output_type == "stream" and last.get("name") == output.name:
                    last.text += output.text
                else:
                    cell.outputs.append(output)
    return notebook


def main(names: list[str]) -> None:
    """Executes notebooks and says how long each took."""
    for name in names or NAMES:
        start = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            done = execute(read(name), Path(folder))
        nbformat.write(done, HERE / f"{name}.ipynb")
        print(f"{name}: {time.perf_counter() - start:.0f} s", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
