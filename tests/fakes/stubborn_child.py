# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child that is ready at once and opens any scene, and then dies of whatever it is to render or,
where STUBBORN_HANGS is set, never answers. It writes its number to the file STUBBORN_PIDS.
"""

import argparse
import json
import os
import signal
import sys
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--events-fd", type=int)
parser.add_argument("--threads")
events = os.fdopen(parser.parse_args().events_fd, "w")
with Path(os.environ["STUBBORN_PIDS"]).open("a") as file:
    print(os.getpid(), file=file)
print(json.dumps({"event": "ready", "blender": "5.0.1", "build": "none"}), file=events, flush=True)
for line in sys.stdin:
    if json.loads(line)["cmd"] == "open":
        print(json.dumps({"event": "done", "device_name": "stubborn"}), file=events, flush=True)
    elif "STUBBORN_HANGS" in os.environ:
        signal.pause()
    else:
        print("the renderer fell over", file=sys.stderr, flush=True)
        os.abort()
