"""A run's folder: what defines the run, what happened in it, and the checkpoints it can be taken up from.

```
config.json      what defines the run; the folder belongs to this configuration
sessions.jsonl   one line per start: command, versions, commit, devices
metrics.jsonl    one record per line, as logged
tensorboard/     the same records as TensorBoard events
checkpoints/     the newest complete checkpoints (orbax)
damaged/         checkpoints that proved damaged
tested.json      what student and teachers said of the test images, found at the end
picture.png      and report.html: what there is to look at, made from the rest
summary.json     written once, when the run is finished
lock             held by the process that writes the folder
```

Whatever moment a process is killed at, the folder reopens at its newest whole checkpoint: files are replaced
by an atomic rename or grow by whole lines, and a torn last line is dropped. A checkpoint is whole if its
arrays and the records before it are those that were saved; one that is not is set aside.
"""

from jkd.machine.files import InUse
from jkd.run.reading import Contents, check_finished, check_same, item_names, read, restore_item
from jkd.run.records import Record
from jkd.run.writing import Run

__all__ = [
    "Contents",
    "InUse",
    "Record",
    "Run",
    "check_finished",
    "check_same",
    "item_names",
    "read",
    "restore_item",
]
