# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded chain as a process: what it answers, what it survives, whom it refuses."""

import contextlib
import http.client
import json
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from payments.local_chain import process as embedded_chain
from payments.local_chain.journal import NAME
from payments.local_chain.server import MOST_BYTES, MOST_CONNECTIONS
from payments.wallet.keystore import new_key
from tests.support.local_chain import ETHER, LocalChain, RpcFailure, local_chain

LOGGER = "600760006000a1" + "3660105760006000fd" + "5b602a60005260206000f3"
"""Emits an event with topic 7; then returns 42 where it was called with data, and reverts where not."""


def creation(runtime: str) -> str:
    """Code that makes a contract of `runtime`, which it copies from behind its own nine bytes."""
    return f"0x60{len(runtime) // 2:02x}8060095f395ff3{runtime}"


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalChain]:
    with local_chain(tmp_path_factory.mktemp("chain")) as running:
        yield running


def deploy(chain: LocalChain, runtime: str) -> str:
    key = chain.rich_key()
    raw = chain.transfer(key, 0, to="", value=0, data=creation(runtime), gas=500_000)
    receipt = chain.rpc("eth_getTransactionReceipt", chain.rpc("eth_sendRawTransaction", raw))
    assert receipt["status"] == "0x1"
    assert chain.rpc("eth_getCode", receipt["contractAddress"], "latest") == "0x" + runtime
    return receipt["contractAddress"]


def test_a_transfer_is_a_block_and_can_be_looked_up_in_every_way(chain: LocalChain) -> None:
    key = chain.rich_key()
    before = chain.number("eth_blockNumber")
    to = new_key().address
    sent = chain.rpc("eth_sendRawTransaction", chain.transfer(key, 0, to=to, value=12345))
    assert chain.number("eth_blockNumber") == before + 1
    assert chain.number("eth_getBalance", to, "latest") == 12345
    receipt = chain.rpc("eth_getTransactionReceipt", sent)
    block = chain.rpc("eth_getBlockByHash", receipt["blockHash"], True)
    assert block == chain.rpc("eth_getBlockByNumber", hex(before + 1), True)
    assert block["transactions"] == [chain.rpc("eth_getTransactionByHash", sent)]
    assert block["transactions"][0]["from"] == key.address == receipt["from"]
    assert receipt["gasUsed"] == hex(21000)
    paid = int(receipt["effectiveGasPrice"], 16) * 21000
    assert chain.number("eth_getBalance", key.address, "latest") == 10 * ETHER - 12345 - paid
    assert chain.number("eth_getBalance", to, hex(before)) == 0
    assert chain.number("eth_getTransactionCount", key.address, "latest") == 1


def test_contracts_are_made_called_and_their_events_found(chain: LocalChain) -> None:
    address = deploy(chain, LOGGER)
    assert int(chain.rpc("eth_call", {"to": address, "data": "0x01"}, "latest"), 16) == 42
    with pytest.raises(RpcFailure, match="reverted") as failure:
        chain.rpc("eth_call", {"to": address}, "latest")
    assert failure.value.code == 3
    assert failure.value.data == "0x"
    with pytest.raises(RpcFailure, match="reverted"):
        chain.rpc("eth_estimateGas", {"to": address})
    key = chain.rich_key()
    needed = chain.number("eth_estimateGas", {"from": key.address, "to": address, "data": "0x01"})
    raw = chain.transfer(key, 0, to=address, value=0, data="0x01", gas=needed)
    receipt = chain.rpc("eth_getTransactionReceipt", chain.rpc("eth_sendRawTransaction", raw))
    assert receipt["status"] == "0x1"
    assert int(receipt["gasUsed"], 16) <= needed <= 1.02 * int(receipt["gasUsed"], 16)
    topic = f"0x{7:064x}"
    found = chain.rpc("eth_getLogs", {"fromBlock": "0x0", "address": address, "topics": [topic]})
    assert found == receipt["logs"] == chain.rpc("eth_getLogs", {"blockHash": receipt["blockHash"]})
    assert len(found) == 1
    for other in ({"topics": [f"0x{8:064x}"]}, {"topics": [None, None]}, {"address": key.address}):
        assert chain.rpc("eth_getLogs", {"fromBlock": "0x0", "address": address, **other}) == []


def test_a_transaction_that_fails_is_mined_and_says_so(chain: LocalChain) -> None:
    key = chain.rich_key()
    raw = chain.transfer(key, 0, to=deploy(chain, LOGGER), value=0)
    receipt = chain.rpc("eth_getTransactionReceipt", chain.rpc("eth_sendRawTransaction", raw))
    assert receipt["status"] == "0x0"
    assert receipt["logs"] == []


def test_a_contract_that_calls_itself_until_its_gas_is_gone_does_not_end_the_chain(chain: LocalChain) -> None:
    address = deploy(chain, "5f5f5f5f5f305af100")
    assert chain.rpc("eth_call", {"to": address}, "latest") == "0x"


def test_what_is_no_transaction_of_this_chain_is_refused(chain: LocalChain) -> None:
    key = chain.rich_key()
    good = chain.transfer(key, 0)
    other = LocalChain(chain.folder, chain_id=1).transfer(key, 0)
    poor = chain.transfer(new_key(), 0)
    before = chain.number("eth_blockNumber")
    for raw, words in [
        (other, "invalid chain id"),
        (poor, "insufficient funds"),
        ("0x", "cannot be decoded"),
        ("0x02", "cannot be decoded"),
        (good[:-2], "cannot be decoded"),
        ("0x04" + good[4:], "cannot be decoded"),
        ("0x03" + good[4:], "no blobs"),
        (chain.transfer(key, 0, gas=20_000), "gas"),
        (chain.transfer(key, 0, gas=40_000_000), "gas"),
        (chain.transfer(key, 0, value=10 * ETHER), "insufficient funds"),
    ]:
        with pytest.raises(RpcFailure, match=words):
            chain.rpc("eth_sendRawTransaction", raw)
    assert chain.number("eth_blockNumber") == before
    chain.rpc("eth_sendRawTransaction", good)
    with pytest.raises(RpcFailure, match="nonce too low"):
        chain.rpc("eth_sendRawTransaction", good)
    assert chain.number("eth_blockNumber") == before + 1


def test_killed_and_started_again_it_has_the_same_blocks(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        address = deploy(chain, LOGGER)
        key = chain.rich_key()
        for nonce in range(5):
            chain.rpc("eth_sendRawTransaction", chain.transfer(key, nonce, to=address, value=0, data="0x01"))
        before, logs = chain.blocks(), chain.rpc("eth_getLogs", {"fromBlock": "0x0"})
        chain.kill()
        chain.start()
        assert chain.blocks() == before
        assert chain.rpc("eth_getLogs", {"fromBlock": "0x0"}) == logs
        assert len(logs) == 5
        chain.rpc("eth_sendRawTransaction", chain.transfer(key, 5))
        assert chain.blocks()[:-1] == before


def test_killed_in_a_burst_it_has_every_block_it_answered_for(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        keys = [chain.rich_key() for _ in range(2)]
        answered: list[str] = []
        enough = threading.Event()

        def burst(number: int) -> None:
            try:
                for nonce in range(1000):
                    raw = chain.transfer(keys[number], nonce)
                    answered.append(chain.rpc("eth_sendRawTransaction", raw))
                    if len(answered) > 20:
                        enough.set()
            except (OSError, ValueError, AssertionError):
                return

        threads = [threading.Thread(target=burst, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        assert enough.wait(60)
        chain.kill()
        for thread in threads:
            thread.join()
        chain.start()
        assert all(chain.rpc("eth_getTransactionReceipt", one) for one in answered)


@pytest.mark.parametrize("torn", [b"x", b'0123456789abcdef {"block":{"time":1', b"\n", b"\0" * 5000])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, torn: bytes) -> None:
    with local_chain(tmp_path) as chain:
        key = chain.rich_key()
        before = chain.blocks()
        chain.kill()
        with (tmp_path / NAME).open("ab") as journal:
            journal.write(torn)
        chain.start()
        assert chain.blocks() == before
        chain.rpc("eth_sendRawTransaction", chain.transfer(key, 0))
        chain.kill()
        chain.start()
        assert len(chain.blocks()) == len(before) + 1


def test_a_damaged_line_before_the_last_ends_it(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        chain.rich_key()
        chain.rich_key()
        chain.kill()
        data = (tmp_path / NAME).read_bytes()
        at = data.index(b"\n") + 40
        (tmp_path / NAME).write_bytes(data[:at] + b"!" + data[at + 1 :])
        with pytest.raises(RuntimeError, match=r"Line 2 of .* is damaged"):
            chain.start()


def test_one_process_a_folder_and_one_chain_id(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        with pytest.raises(RuntimeError, match="Another chain runs on"):
            LocalChain(tmp_path).start()
        chain.kill()
        with pytest.raises(RuntimeError, match=f"has the id {embedded_chain.CHAIN_ID}, not 5"):
            LocalChain(tmp_path, chain_id=5).start()


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "::", "8.8.8.8", "localhost.example.com"])
def test_it_listens_on_loopback_only(tmp_path: Path, host: str) -> None:
    line = [*embedded_chain.command(tmp_path, port=0), "--host", host]
    ended = subprocess.run(line, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert host in ended.stderr
    assert ended.stdout == ""


def test_time_and_blocks_are_not_to_be_played_with_unless_asked_for(tmp_path: Path) -> None:
    with local_chain(tmp_path, controls=False) as chain:
        for method in ("evm_mine", "evm_increaseTime", "evm_setAutomine", "anvil_rollback"):
            with pytest.raises(RpcFailure, match="does not exist") as failure:
                chain.rpc(method, "0x1")
            assert failure.value.code == -32601


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("{", -32700),
        ("[" * 100_000, -32700),
        ('{"a":' * 50_000, -32700),
        ("[" * 999, -32700),
        (b"\xff", -32700),
        ("[]", -32600),
        ('{"method": 3, "id": 1}', -32600),
        ('{"method": "eth_chainId", "id": {}}', -32600),
        ('{"method": "eth_chainId", "id": 1, "params": {}}', -32600),
        ('{"method": "eth_getBalance", "id": 1}', -32602),
        ('{"method": "eth_getBalance", "id": 1, "params": ["0x12", "latest"]}', -32602),
        ('{"method": "eth_getBalance", "id": 1, "params": [5, "latest"]}', -32602),
        ('{"method": "eth_getBlockByNumber", "id": 1, "params": ["0x%s"]}' % ("f" * 65), -32602),
        ('{"method": "eth_getLogs", "id": 1, "params": [{"topics": [1]}]}', -32602),
        ('{"method": "eth_getLogs", "id": 1, "params": [{"topics": [[],[],[],[],[]]}]}', -32602),
        ('{"method": "eth_feeHistory", "id": 1, "params": [100000000, "latest"]}', -32602),
        ('{"method": "eth_call", "id": 1, "params": ["latest"]}', -32602),
        ('{"method": "eth_call", "id": 1, "params": [{"data": "0x1"}]}', -32602),
        (
            '{"method": "farm_fund", "id": 1, "params": ["0x%s", "0xffffffffffffffffffff"]}' % ("11" * 20),
            -32602,
        ),
        ('{"method": "eth_sign", "id": 1}', -32601),
        ('{"method": "__class__", "id": 1}', -32601),
    ],
)
def test_wrong_calls_get_an_error_that_says_so(chain: LocalChain, body: str | bytes, code: int) -> None:
    status, answer = chain.post(body)
    assert status == 200
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]


def test_requests_of_web_pages_and_long_ones_are_not_even_read(chain: LocalChain) -> None:
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    assert chain.post(call)[0] == 200
    assert chain.post(call, Origin="https://example.com")[0] == 403
    assert chain.post(call, Host="evil.example.com")[0] == 403
    assert chain.post(call, **{"Content-Type": "text/plain"})[0] == 415
    assert chain.post(call + " " * MOST_BYTES)[0] == 413
    where = urlsplit(chain.url)
    for length, status in [("-1", 411), ("1e3", 411), ("", 411), ("9" * 30, 413)]:
        with socket.create_connection((where.hostname, where.port), 30) as link:
            head = f"POST / HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
            link.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode())
            assert link.makefile("rb").readline().split()[1] == str(status).encode()


def ask(link: http.client.HTTPConnection) -> str:
    """The chain's number."""
    call = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []})
    link.request("POST", "/", call, {"Content-Type": "application/json"})
    return json.loads(link.getresponse().read())["result"]


def test_a_connection_that_was_idle_long_makes_room(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain, contextlib.ExitStack() as stack:
        where = urlsplit(chain.url).netloc
        links = [http.client.HTTPConnection(where, timeout=60) for _ in range(MOST_CONNECTIONS)]
        for link in [*links, links[0]]:
            stack.callback(link.close)
            assert ask(link) == hex(chain.chain_id)
        assert chain.number("eth_chainId") == chain.chain_id
        ended = [link for link in links if select.select([link.sock], [], [], 0)[0]]
        assert len(ended) == 1
        assert ended[0] is not links[0]
        assert ended[0].sock.recv(1) == b""
        for link in links:
            sock = link.sock
            if link not in ended:
                assert (ask(link), link.sock) == (hex(chain.chain_id), sock)


def test_a_busy_connection_never_makes_room(tmp_path: Path) -> None:
    call = b'{"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}'
    with local_chain(tmp_path) as chain, contextlib.ExitStack() as stack:
        where = urlsplit(chain.url)
        head = f"POST / HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"
        head += f"Expect: 100-continue\r\nContent-Length: {len(call)}\r\n\r\n"
        links = []
        for _ in range(MOST_CONNECTIONS):
            links.append(
                stack.enter_context(socket.create_connection((where.hostname, where.port), timeout=60))
            )
            links[-1].sendall(head.encode())
            assert links[-1].recv(64) == b"HTTP/1.1 100 Continue\r\n\r\n"
        with socket.create_connection((where.hostname, where.port), timeout=60) as further:
            assert further.recv(1) == b""
        for link in links:
            link.sendall(call)
            assert link.makefile("rb").readline().split()[1] == b"200"


@pytest.mark.parametrize("megabytes", [1, 8])
def test_who_sends_too_much_is_told_so(chain: LocalChain, megabytes: int) -> None:
    for _ in range(5):
        assert chain.post(bytes(megabytes << 20))[0] == 413


def test_a_stalled_chain_keeps_what_waits_replaces_it_for_a_higher_fee_and_mines_it_in_a_burst(
    tmp_path: Path,
) -> None:
    with local_chain(tmp_path) as chain:
        key = chain.rich_key()
        before = chain.number("eth_blockNumber")
        chain.rpc("evm_setAutomine", False)
        first = chain.transfer(key, 0, value=1)
        replaced = chain.rpc("eth_sendRawTransaction", first)
        with pytest.raises(RpcFailure, match="already known"):
            chain.rpc("eth_sendRawTransaction", first)
        with pytest.raises(RpcFailure, match="underpriced"):
            chain.rpc("eth_sendRawTransaction", chain.transfer(key, 0, value=2))
        dearer = chain.transfer(key, 0, value=3, maxFeePerGas=2 * 10**10, maxPriorityFeePerGas=2 * 10**9)
        sent = chain.rpc("eth_sendRawTransaction", dearer)
        later = chain.rpc("eth_sendRawTransaction", chain.transfer(key, 1))
        assert chain.number("eth_getTransactionCount", key.address, "pending") == 2
        assert chain.rpc("eth_getTransactionReceipt", sent) is None
        assert chain.rpc("eth_getTransactionByHash", sent)["blockHash"] is None
        chain.rpc("evm_increaseTime", 3600)
        chain.rpc("evm_setAutomine", True)
        assert chain.number("eth_blockNumber") == before + 2
        assert chain.rpc("eth_getTransactionByHash", replaced) is None
        assert chain.rpc("eth_getTransactionReceipt", later)["status"] == "0x1"
        times = [
            int(chain.rpc("eth_getBlockByNumber", hex(n), False)["timestamp"], 16) for n in range(before + 3)
        ]
        assert times == sorted(times)
        assert times[before + 1] >= times[before] + 3600


def test_a_rewound_chain_comes_to_other_blocks_and_stays_so(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        key = chain.rich_key()
        raw = chain.transfer(key, 0)
        sent = chain.rpc("eth_sendRawTransaction", raw)
        old = chain.blocks()
        chain.rpc("evm_increaseTime", 100)
        chain.rpc("anvil_rollback", 1)
        assert chain.blocks() == old[:-1]
        assert chain.rpc("eth_getTransactionReceipt", sent) is None
        assert chain.rpc("eth_sendRawTransaction", raw) == sent
        new = chain.blocks()
        assert new[:-1] == old[:-1]
        assert new[-1] != old[-1]
        chain.kill()
        chain.start()
        assert chain.blocks() == new
        with pytest.raises(RpcFailure, match="blocks to go back"):
            chain.rpc("anvil_rollback", 100)


def test_sigterm_ends_it_and_its_faucet_key_is_its_users_alone(tmp_path: Path) -> None:
    with local_chain(tmp_path) as chain:
        chain.child.terminate()
        assert chain.child.wait(60) == 0
        for name in ("faucet.json", "faucet.password", NAME):
            assert (tmp_path / name).stat().st_mode & 0o077 == 0
