"""Command lines: `python -m jkd.experiments.<method>`. They parse and call, nothing else."""

import os
import signal
import sys

# Still importing: Control-C ends a command line at once, without a traceback, unless it is to be ignored.
_STARTED = sys.argv[0] == "-m" or os.path.basename(sys.argv[0]) == "jkd"
if _STARTED and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
