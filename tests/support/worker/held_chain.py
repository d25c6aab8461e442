"""The Lava worker, held at a stated moment of its life: `python held_chain.py JOB_DIRECTORY`.

Runs in the managed Python 3.10 environment. HELD_WORKER holds JSON: the worker's script, an event and its
number, and a named pipe. Where the event happens for that time, the worker waits until somebody has opened
the pipe for writing, and closed it again. Events are "report", after one, and the names of Python's audit
events in the worker's first process, before them: "os.fork" is the start of one of Lava's processes.
"""

import json
import os
import runpy
import sys
from pathlib import Path

HELD = json.loads(os.environ["HELD_WORKER"])


def main():
    own, met = os.getpid(), 0

    def hear(event, *_):
        nonlocal met
        if event == HELD["event"] and os.getpid() == own:
            met += 1
            if met == HELD["number"]:
                Path(HELD["pipe"]).read_bytes()

    def report(*values, **options):
        print(*values, **options)
        hear("report")

    sys.addaudithook(hear)
    sys.argv[0] = HELD["worker"]
    runpy.run_path(HELD["worker"], init_globals={"print": report}, run_name="__main__")


if __name__ == "__main__":
    main()
