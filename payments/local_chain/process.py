# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of the embedded farm, as a process of its own: `python -m payments.local_chain.process`.

A block a transaction, on the disk before it is answered for; killed at any moment and started again, it has
the same blocks with the same hashes. It listens on loopback only. Whoever reaches it may use its faucet: the
money is play money.
"""

import argparse
import http.client
import json
import os
import signal
import sys
import threading
from pathlib import Path

from farm_protocol.errors import FarmError

CHAIN_ID = 721_337
"""The local chain's number; not that of any known network."""
HOST = "127.0.0.1"


def command(folder: Path, *, port: int, chain_id: int = CHAIN_ID, controls: bool = False) -> list[str]:
    """The command line of a chain that keeps its journal in `folder` (which must exist).

    `controls` lets callers stall it, turn its clock forward and rewind it: for tests only.
    """
    line = [
        sys.executable,
        "-P",
        "-m",
        "payments.local_chain.process",
        "--folder",
        str(folder),
        "--port",
        str(port),
    ]
    return [*line, "--chain-id", str(chain_id), *(["--controls"] if controls else [])]


def url(port: int) -> str:
    """Where the chain that `command` starts answers."""
    return f"http://{HOST}:{port}"


def ready(port: int, timeout: float = 0.5) -> bool:
    """Whether the chain answers and has read its journal back."""
    link = http.client.HTTPConnection(HOST, port, timeout=timeout)
    try:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
        link.request("POST", "/", body, {"Content-Type": "application/json"})
        return link.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        link.close()


def run(folder: Path, host: str, port: int, chain_id: int, controls: bool) -> int:
    """Serve the chain kept in `folder` at `host`:`port` until SIGTERM or SIGINT; 0 then, and 1 after an error
    that ends the chain. A new one gets `chain_id`; `controls` lets callers turn its clock and take blocks
    back.
    """
    # py-evm takes seconds to import: not where only the command line is wanted.
    from payments.local_chain.start import start  # noqa: PLC0415

    over = threading.Event()
    faults: list[BaseException] = []

    def broken(error: BaseException) -> None:
        faults.append(error)
        over.set()

    node, server = start(folder, host, port, chain_id, controls, broken)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(json.dumps({"url": f"http://{host}:{server.server_address[1]}"}), flush=True)
    over.wait()
    server.shutdown()
    node.close()
    if faults:
        print(f"The chain ended: {faults[0]!r}", file=sys.stderr)
    return 1 if faults else 0


def main() -> int:
    """The program. It says its address in a line of JSON once it answers."""
    parser = argparse.ArgumentParser(prog="embedded-chain", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where journal and faucet key are kept")
    parser.add_argument("--host", default=HOST, help="a loopback address")
    parser.add_argument("--port", type=int, required=True, help="0 takes a free one")
    parser.add_argument("--chain-id", type=int, default=CHAIN_ID)
    parser.add_argument("--controls", action="store_true", help="let callers play with time and blocks")
    asked = parser.parse_args()
    try:
        return run(asked.folder, asked.host, asked.port, asked.chain_id, asked.controls)
    except (FarmError, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    code = main()
    # Connections may be open still, each with a thread; nothing they would do is of use now.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
