"""Command lines: `python -m jkd.experiments.<method>`. They parse and call, nothing else."""
