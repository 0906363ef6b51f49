"""Command lines: `python -m jkd.experiments.<method>`. They parse and call, nothing else."""

import signal
import sys

if sys.argv[0] == "-m":  # still importing: Control-C ends it at once, without a traceback
    signal.signal(signal.SIGINT, signal.SIG_DFL)
