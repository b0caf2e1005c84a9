# SPDX-License-Identifier: GPL-3.0-or-later
"""The program that decodes pictures, with a weakness: files that hold certain words undo it.

`python fake_pictures.py MEMORY_LIMIT`; `CRASH` ends it by a signal, `OOM` as a system without memory does,
`EXHAUST` takes all the memory it may have, `SILENT` makes it end without an answer.
"""

import os
import signal
from pathlib import Path

from gpu_worker.pictures import program
from verification.compare import comparison

honest = comparison.look


def look(submitted, tile, samples, order, audits=(), folder=None, **options):
    for path in (submitted, *(crop for audit in audits for crop in audit.crops)):
        data = Path(path).read_bytes()
        if b"CRASH" in data:
            os.kill(os.getpid(), signal.SIGSEGV)
        if b"OOM" in data:
            os.kill(os.getpid(), signal.SIGKILL)
        if b"EXHAUST" in data:
            raise MemoryError
        if b"SILENT" in data:
            os._exit(0)
        if b"HANG" in data:
            Path(path).with_name("hangs").touch()
            signal.pause()
    return honest(submitted, tile, samples, order, audits, folder, **options)


comparison.look = look
program.main()
