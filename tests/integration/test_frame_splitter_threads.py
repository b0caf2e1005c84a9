# SPDX-License-Identifier: GPL-3.0-or-later
"""Records that several threads decode at once, each kind for the first time in its process.

Each case runs in a process of its own: what goes wrong here ends the process (SIGSEGV).
"""

import subprocess
import sys

import pytest

PROGRAM = """
import faulthandler, threading, time
from farm_protocol import fields
{imports}
faulthandler.enable()
def shuffle(*_):
    time.sleep(0.0001)  # Another thread goes on after every line.
    return shuffle
threading.settrace(shuffle)
together, answers = threading.Barrier(8), []
def decode(number):
    together.wait()
    try:
        answers.append(str({call}))
    except fields.InvalidInput as error:
        answers.append(error.sentence)
threads = [threading.Thread(target=decode, args=[number]) for number in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(answers), len(set(answers)))
"""

CASES = {
    "receipts": ("from verification.receipts import records", "records.read(b'{}')", 1),
    "frames": ("from render_farm.api_models import FrameList", "fields.decode(b'{}', FrameList)", 1),
    "nodes": ("from render_farm.api_models import NodeList", "fields.decode(b'{}', NodeList)", 1),
    "a kind and one within it": (
        "from verification.receipts.records import Receipt, SignedReceipt",
        "fields.decode(b'{}', Receipt if number % 2 else SignedReceipt)",
        2,
    ),
    "figures": (
        "from render_farm.api_models import FrameList",
        "fields.convert({'frames': []}, FrameList)",
        1,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_kind_may_be_decoded_first_by_many_threads_at_once(case: str) -> None:
    imports, call, answers = CASES[case]
    program = PROGRAM.format(imports=imports, call=call)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["8", str(answers)]), done.stderr
