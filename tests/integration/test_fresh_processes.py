# SPDX-License-Identifier: GPL-3.0-or-later
"""What only a process of its own shows: the modules it loads, its recursion limit, its log, a full disk,
a lock."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from farm_protocol import files
from gpu_worker.sandbox import bubblewrap
from tests.support import verified_job

PROGRAM = Path(__file__).parents[2] / "docs" / "verify_receipt.py"
NESTED = b'{"receipt":' + b"[" * 200_000 + b"]" * 200_000 + b',"signature":"x"}'


def test_help_loads_nothing_heavy() -> None:
    """`--help` is typed often: it must not wait for the server's or Ray's libraries."""
    program = (
        "import sys\n"
        "from render_farm.cli.program import run\n"
        "try:\n    run(['render', '--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'boto3', 'fastapi', 'ray', 'numpy', 'bpy', 'rich', 'urllib3', 'redis', 'uvicorn'}\n"
        "print(' '.join(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "examples:" in done.stdout


@pytest.mark.parametrize(
    ("program", "entry"), [("render_farm.cli.program", "run"), ("gpu_worker.program", "main")]
)
def test_the_first_help_loads_no_command(program: str, entry: str) -> None:
    lines = (
        f"import sys, {program} as program\n"
        f"try:\n    program.{entry}(['--help'])\n"
        "except SystemExit:\n    pass\n"
        "slow = {'argparse', 'json', 'msgspec', 'psutil', 'shutil', 'structlog', 'traceback'}\n"
        "print(' '.join(slow & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "Commands:" in done.stdout


def test_commands_load_no_server() -> None:
    program = (
        "import sys\n"
        "import render_farm.cli.commands.render, render_farm.cli.commands.job\n"
        "import render_farm.cli.commands.node, render_farm.cli.commands.up, render_farm.cli.commands.doctor\n"
        "heavy = {'boto3', 'fastapi', 'ray', 'numpy', 'bpy', 'redis'}\n"
        "print(' '.join(heavy & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""


def test_no_command_loads_signatures_before_it_needs_them() -> None:
    program = (
        "import sys\n"
        "import render_farm.cli.commands.render, render_farm.cli.commands.job\n"
        "import render_farm.cli.commands.node, render_farm.cli.commands.receipt\n"
        "import render_farm.cli.commands.audit, render_farm.cli.commands.up\n"
        "print('eth_account' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "False"


def test_the_coordinator_keeps_pythons_recursion_limit_and_loads_no_web3() -> None:
    program = "import sys, render_farm.coordinator.__main__ as _; "
    program += "print(sys.getrecursionlimit(), 'web3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1000", "False"], done.stderr


def test_the_way_to_the_chain_keeps_pythons_recursion_limit() -> None:
    program = "import sys, payments.chain.rpc; print(sys.getrecursionlimit(), 'web3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1000", "True"], done.stderr


def test_signing_leaves_the_recursion_limit_alone() -> None:
    program = "import sys; from farm_protocol import typed_data; typed_data.address_of(b'1' * 32); "
    program += "print(sys.getrecursionlimit())"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(found.stdout) == 1000


DEEP = """
import sys, msgspec
from farm_protocol import typed_data
from verification.protocol import drand
typed_data.address_of(b"\\1" * 32)
assert sys.getrecursionlimit() == 1000, sys.getrecursionlimit()
assert drand.is_signed(drand.QUICKNET, 1, b"\\0" * 48) is False
assert sys.getrecursionlimit() == drand.RECURSION
try:
    msgspec.json.decode(b"[" * 1_000_000)
except RecursionError:
    print("survived")
"""


def test_deep_json_does_not_end_a_process_that_has_signed() -> None:
    done = subprocess.run([sys.executable, "-c", DEEP], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "survived\n"), done.stderr


def test_the_program_runs_by_itself(tmp_path: Path) -> None:
    document = verified_job.honest_farm().receipt(1)
    path = tmp_path / "receipt.json"
    for body, code in ((document, 0), (document[:-9], 1), (NESTED, 1)):
        path.write_bytes(body)
        done = subprocess.run([sys.executable, "-I", PROGRAM, path], capture_output=True, check=False)
        assert done.returncode == code
        assert b"Traceback" not in done.stderr


FULL_DISK = """
import sys, threading
from pathlib import Path
from gpu_worker.slot.scene_cache import SceneCache, CacheFull
from farm_protocol.node_answers import LeasedScene
from farm_protocol.fields import StoredFile

def download(file, target, stopped):
    with target.open("xb") as sink:
        for _ in range(64):
            sink.write(bytes(65536))

cache = SceneCache(Path(sys.argv[1]) / "cache", 1 << 30, download)
listing = LeasedScene("s", "a", {"a": StoredFile("a", "0" * 64, 4 << 20, "http://store/a")})
try:
    cache.hold("s", lambda: listing, threading.Event())
except CacheFull as error:
    print(error.sentence)
print([str(path) for path in (cache.root / "incoming").iterdir()], cache.used())
"""


@pytest.mark.skipif(bubblewrap.unavailable() is not None, reason=str(bubblewrap.unavailable()))
def test_a_full_disk_is_a_sentence_and_leaves_no_half_files(tmp_path):
    """On a real file system of one megabyte, which the sandbox can make without being root."""
    project = Path(__file__).parents[2]
    packages = ("gpu_worker", "farm_protocol", "frame_splitter", "payments")
    readable = tuple(project / package for package in packages)
    box = bubblewrap.Sandbox(readable, fleeting=(Path("/small"),), room=1 << 20)
    command = box.wrap([sys.executable, "-c", FULL_DISK, "/small"])
    variables = {"PYTHONPATH": str(project)}
    answer = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    assert "disk this node keeps scenes on is full" in answer.stdout
    assert answer.stdout.splitlines()[-1] == "[] 0"


BROKEN = b"HTTP/1.1 200 OK\r\nno header\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}"
ASKS = """
import logging, sys
logging.basicConfig(level=getattr(logging, sys.argv[2]))
from farm_protocol.errors import FarmError
from payments.chain.rpc import Chain
from payments.wallet.remote_signer import RemoteSigner
names = ("chainId", "nonce", "value", "gas", "maxFeePerGas", "maxPriorityFeePerGas")
for ask in (
    lambda: RemoteSigner(sys.argv[1], "0x" + "ab" * 20).sign_transaction(dict.fromkeys(names, 1)),
    lambda: Chain(sys.argv[1], 1),
):
    try:
        ask()
    except FarmError as error:
        print(error.sentence)
"""


@pytest.fixture
def broken() -> Iterator[str]:
    """A server whose two answers have headers that are none: urllib3 warns of them with the whole URL."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def answer() -> None:
            for _ in range(2):
                connection, _address = listening.accept()
                with connection:
                    connection.recv(1 << 16)
                    connection.sendall(BROKEN)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}/hidden"
        thread.join(10)


@pytest.mark.parametrize("level", ["WARNING", "DEBUG"])
def test_libraries_write_no_secret_url_into_a_log(broken: str, level: str) -> None:
    words = [sys.executable, "-c", ASKS, broken, level]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "signer" in done.stdout
    assert "chain" in done.stdout
    assert "hidden" not in done.stdout + done.stderr


def test_a_lock_is_held_by_one_process_or_shared(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    program = "import sys; from pathlib import Path; from farm_protocol import files\n"
    program += "print(files.try_lock(Path(sys.argv[1]), shared=sys.argv[2] == 'shared') is not None)"

    def gets(how: str) -> str:
        command = [sys.executable, "-c", program, str(path), how]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    with files.locked(path):
        assert (gets("alone"), gets("shared")) == ("False", "False")
    held = files.try_lock(path, shared=True)
    assert held is not None
    assert (gets("alone"), gets("shared")) == ("False", "True")
    os.close(held)
    assert gets("alone") == "True"
