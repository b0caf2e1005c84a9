# SPDX-License-Identifier: GPL-3.0-or-later
"""Options, devices and their classes, files taken from a child, pictures."""

import os
import pickle
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from farm_protocol.device_classes import Summation, summation_of
from farm_protocol.errors import InvalidInput
from farm_protocol.fields import Tile
from farm_protocol.ids import TaskId
from farm_protocol.records import FailureCode, TaskFailure
from frame_splitter.exr import read
from gpu_worker import config
from gpu_worker.agent import ray_cluster
from gpu_worker.blender import devices, libraries
from gpu_worker.blender.devices import Choice, Gpu, backend_for, device_class, gpu_at, instruction_set
from gpu_worker.blender.protocol import Ready, decode_event
from gpu_worker.earnings.operator import load_operator
from gpu_worker.failures import Cancelled, TaskError
from gpu_worker.pictures.decoding import BadPicture, Pictures
from gpu_worker.pictures.outputs import take
from gpu_worker.pictures.requests import Picture
from gpu_worker.program import NAME, ROOT
from gpu_worker.sandbox import bubblewrap
from payments.messages.network import save
from payments.wallet import keystore
from tests.support.settling import NETWORK
from tests.support.token_files import token_file
from tests.support.understood import understood
from verification.protocol.pixel_root import pixel_root

FAKE = Path(__file__).parents[1] / "fakes" / "fake_child.py"


def configured(*words, **environment):
    return understood(["run", *words], environment, ROOT, NAME)["config"]


def selling(*words, **environment):
    """A node that sells, with further words."""
    return configured(*SELLER, *words, FARM_NODE_TOKEN="a", **environment)


def test_options_come_before_the_environment(tmp_path):
    words = ("--token-file", token_file(tmp_path, "a"), "--coordinator", "http://x")
    given = configured(*words, FARM_NODE_TOKEN="b", FARM_COORDINATOR="http://y")
    assert (given.token, given.coordinator) == ("a", "http://x")
    file = token_file(tmp_path, "c")
    given = configured(FARM_NODE_TOKEN_FILE=file, FARM_NODE_TOKEN="b", FARM_COORDINATOR="http://y")
    assert given.token == "c"
    given = configured(FARM_NODE_TOKEN="b", FARM_COORDINATOR="http://y", XDG_STATE_HOME="/state")
    assert (given.token, given.coordinator, given.state) == ("b", "http://y", Path("/state/render-farm/node"))


@pytest.mark.parametrize(
    ("text", "size"),
    [("20GB", 20 * 10**9), ("1.5G", 1_500_000_000), ("512MiB", 512 << 20), ("7", 7), ("3 kb", 3000)],
)
def test_sizes(text, size):
    assert config.size_bytes("--cache-size", text) == size


@pytest.mark.parametrize("text", ["", "many", "-1GB", "0", "1XB", "1e9", "9" * 20, "5iB"])
def test_sizes_that_are_none(text):
    with pytest.raises(InvalidInput):
        config.size_bytes("--cache-size", text)


def test_defaults_suit_the_machine(monkeypatch):
    monkeypatch.setattr(config, "cores", lambda: 16)
    assert (config.default_slots(0), config.default_slots(3)) == (4, 3)
    assert [config.default_threads(slots) for slots in (1, 4, 32)] == [16, 4, 1]


def test_a_containers_memory_counts(tmp_path):
    total = config._memory(tmp_path / "none")
    (tmp_path / "max").write_text("max\n")
    assert config._memory(tmp_path / "max") == total
    (tmp_path / "max").write_text("1000000\n")
    assert config._memory(tmp_path / "max") == 1_000_000


def test_a_gpu_that_was_asked_for_is_used_or_an_error():
    assert backend_for(Choice.AUTO, 2, ["H100"]) == "OPTIX"
    assert backend_for(Choice.AUTO, 1, ["AMD-Instinct-MI300X"]) == "HIP"
    assert backend_for(Choice.AUTO, 1, ["Intel-GPU-Max-1550"]) == "ONEAPI"
    assert backend_for(Choice.AUTO, 0) == "CPU"
    assert backend_for(Choice.CPU, 2) == "CPU"
    assert backend_for(Choice.CUDA, 1) == "CUDA"
    for choice in (Choice.CUDA, Choice.OPTIX, Choice.HIP, Choice.ONEAPI):
        with pytest.raises(InvalidInput, match=f"--device {choice}"):
            backend_for(choice, 0)


@pytest.mark.parametrize(
    ("flags", "name"), [("fpu avx2 avx512f sse4_2", "avx512"), ("sse4_2 avx2", "avx2"), ("sse4_2", "sse4.2")]
)
def test_the_widest_instructions_name_the_class(tmp_path, monkeypatch, flags, name):
    monkeypatch.setattr(devices.platform, "machine", lambda: "x86_64")
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor : 0\nflags\t\t: {flags}\n\nprocessor : 1\nflags : {flags}\n")
    assert instruction_set(cpuinfo) == name


def test_arm_is_a_class_of_its_own(monkeypatch):
    monkeypatch.setattr(devices.platform, "machine", lambda: "aarch64")
    assert instruction_set() == "arm64"


@pytest.fixture
def nvidia_smi(tmp_path, monkeypatch):
    """Have a program of that name print what is given; returns what it was called with."""
    program, asked = tmp_path / "bin" / "nvidia-smi", tmp_path / "asked"

    def write(*lines, status=0):
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\necho $@ >> {asked}\n" + "".join(f"echo '{one}'\n" for one in lines))
        with program.open("a") as script:
            script.write(f"exit {status}\n")
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        return asked

    return write


def test_gpu_classes_hold_name_and_driver(nvidia_smi):
    nvidia_smi("NVIDIA L4, 550.54.15, 23034, 22000", "NVIDIA: A10, 550.54.15, 24564, 24000")
    ready = Ready("5.0.1", "abc123")
    first, second = gpu_at("OPTIX", 0, "NVIDIA L4"), gpu_at("CUDA", 1, "NVIDIA: A10 (Display)")
    assert device_class("OPTIX", first, ready) == "optix:NVIDIA L4:driver-550.54.15:bpy-5.0.1-abc123"
    assert device_class("CUDA", second, ready) == "cuda:NVIDIA_ A10:driver-550.54.15:bpy-5.0.1-abc123"
    assert device_class("CPU", None, ready).startswith("cpu:")


def test_video_memory_is_what_the_driver_says_is_free(nvidia_smi):
    nvidia_smi(
        "NVIDIA L4, 550.54.15, 23034, 22000", "NVIDIA GB10, 580.1, [N/A], [N/A]", "Old, cut", "A, B, 1, 24, 7"
    )
    small, shared, odd = devices.nvidia_gpus()
    assert (small.memory, small.free, small.room) == (23034 << 20, 22000 << 20, 22000 << 20)
    assert (shared.memory, shared.free, shared.room) == (None, None, 0)
    assert odd.name == "A, B"


def test_a_gpu_is_asked_for_by_the_number_that_ray_gave(nvidia_smi, monkeypatch):
    asked = nvidia_smi("NVIDIA L4, 550.54.15, 23034, 22000")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    devices.nvidia_gpus()
    assert "--id=3" in asked.read_text()
    assert bubblewrap.environment({"CUDA_VISIBLE_DEVICES": "3"})["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"


def test_a_gpu_that_the_driver_does_not_know_is_none_to_render_on(nvidia_smi):
    nvidia_smi("Failed to initialize NVML: Driver/library version mismatch", status=18)
    with pytest.raises(TaskError, match="after an update of the driver") as caught:
        gpu_at("CUDA", 0, "NVIDIA L4")
    assert caught.value.failure is FailureCode.DEVICE


def test_a_driver_that_hangs_is_one_that_does_not_answer(nvidia_smi, monkeypatch):
    nvidia_smi("NVIDIA L4, 550.54.15, 23034, 22000")
    script = Path(devices.shutil.which("nvidia-smi"))
    script.write_text("#!/bin/sh\nexec sleep 100\n")
    monkeypatch.setattr(devices, "SMI_SECONDS", 0.2)
    assert devices.nvidia_gpus() == []


def test_a_gpu_that_blender_calls_otherwise_is_another(nvidia_smi):
    nvidia_smi("NVIDIA L4, 550.54.15, 23034, 22000")
    with pytest.raises(TaskError, match="'NVIDIA A10', and the driver 'NVIDIA L4'"):
        gpu_at("CUDA", 0, "NVIDIA A10")


def test_gpus_of_other_vendors_are_what_blender_calls_them(tmp_path):
    card = tmp_path / "card0" / "device"
    card.mkdir(parents=True)
    (card / "mem_info_vram_total").write_text("25753026560\n")
    assert devices.amd_memory(tmp_path) == 25753026560
    other = tmp_path / "card1" / "device"
    other.mkdir(parents=True)
    (other / "mem_info_vram_total").write_text("1000\n")
    assert devices.amd_memory(tmp_path) is None, "it is not known which of them a slot has"
    radeon = gpu_at("HIP", 0, "AMD Radeon RX 7900 XTX")
    assert device_class("HIP", radeon, Ready("5.0.1", "a")).startswith("hip:AMD Radeon RX 7900 XTX:driver-")


def test_a_program_that_emulates_a_device_is_in_no_real_class() -> None:
    ready = Ready(blender="5.0.1", build="abc123", emulates="gpu")
    made = device_class("CPU", None, ready)
    assert made.startswith("emulated-gpu:")
    assert made.endswith(":bpy-5.0.1-abc123")
    assert summation_of(made) is Summation.ANY_ORDER
    with pytest.raises(ValueError, match="emulates"):
        decode_event(b'{"event":"ready","blender":"5.0.1","build":"a","emulates":"gpu:x"}')


def test_gpus_are_found_without_nvidia_smi(tmp_path):
    (tmp_path / "gpus" / "0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus" / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA L4\nIRQ: 5\n")
    assert devices._nvidia_from_proc(tmp_path) == [], "a class without its driver would be no class"
    (tmp_path / "version").write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue\n")
    assert devices._nvidia_from_proc(tmp_path) == [Gpu("NVIDIA L4", "550.54.15")]


def test_missing_libraries_are_named_with_the_line_that_brings_them(monkeypatch):
    monkeypatch.setattr(libraries, "_loads", lambda name: name not in ("libXi.so.6", "libSM.so.6"))
    missing = libraries.missing_libraries()
    assert missing == ("libXi.so.6", "libSM.so.6")
    assert libraries.install_line(missing) == "sudo apt-get install -y libsm6 libxi6"


def test_errors_cross_processes():
    error = TaskError(FailureCode.BAD_INPUT, "Two tiles.", (TaskId("a"),))
    again = pickle.loads(pickle.dumps(error))
    assert again.record() == TaskFailure(FailureCode.BAD_INPUT, "Two tiles.", (TaskId("a"),))
    for other in (Cancelled(), BadPicture("Bad.", (1,))):
        assert pickle.loads(pickle.dumps(other)).sentence == other.sentence


# --- files -------------------------------------------------------------------------------------------


def test_files_are_copied_with_their_folders(tmp_path):
    (tmp_path / "out" / "sub").mkdir(parents=True)
    (tmp_path / "out" / "frame.png").write_bytes(b"frame")
    (tmp_path / "out" / "sub" / "depth.exr").write_bytes(b"depth")
    (tmp_path / "done").mkdir()
    files = take(tmp_path / "out", ("frame.png", "sub/depth.exr"), tmp_path / "done")
    assert [(file.name, file.size) for file in files] == [("frame.png", 5), ("sub/depth.exr", 5)]
    assert (tmp_path / "done" / "sub" / "depth.exr").read_bytes() == b"depth"


@pytest.mark.parametrize(
    "name", ["link", "folder/x", "pipe", "folder", "device", "../secret", "/etc/passwd", "gone"]
)
def test_only_regular_files_of_the_folder_itself_are_taken(tmp_path, name):
    out, done = tmp_path / "out", tmp_path / "done"
    (tmp_path / "elsewhere").mkdir()
    for path in (tmp_path / "secret", tmp_path / "elsewhere" / "x"):
        path.write_text("secret")
    out.mkdir()
    done.mkdir()
    (out / "link").symlink_to(tmp_path / "secret")
    (out / "folder").symlink_to(tmp_path / "elsewhere")
    (out / "device").symlink_to("/dev/zero")
    os.mkfifo(out / "pipe")
    with pytest.raises(TaskError) as caught:
        take(out, (name,), done)
    assert caught.value.failure is FailureCode.BAD_OUTPUT
    assert list(done.rglob("*.*")) == []


def test_too_large_too_many_or_no_files_are_refused(tmp_path):
    with (tmp_path / "big").open("wb") as file:
        file.truncate(17 << 30)
    for names in ((), ("big",), ("a", "a"), tuple(map(str, range(1001)))):
        with pytest.raises(TaskError):
            take(tmp_path, names, tmp_path)


# --- pictures ------------------------------------------------------------------------------------------


@pytest.fixture
def pictures():
    pictures = Pictures(1 << 30)
    yield pictures
    pictures.close()


def exr(path, width, height, value=1.0):
    runpy.run_path(str(FAKE))["write_exr"](str(path), width, height, value)
    return path


def test_pictures_are_checked_and_cropped_in_one_process(pictures, tmp_path):
    picture = exr(tmp_path / "a.exr", 8, 4)
    pictures.check(picture, 8, 4)
    process = pictures._process
    with pytest.raises(BadPicture, match="8 x 4 pixels instead of 9 x 4"):
        pictures.check(picture, 9, 4)
    with pytest.raises(BadPicture, match="not finite"):
        pictures.check(exr(tmp_path / "nan.exr", 8, 4, float("nan")), 8, 4)
    root = pictures.take((Picture(str(picture), 8, 4, Tile(1, 1, 3, 2), str(tmp_path / "b.exr")),))
    assert root == pixel_root([read(tmp_path / "b.exr")])
    pictures.check(tmp_path / "b.exr", 2, 1)
    assert pictures._process is process


def test_a_picture_that_would_take_too_much_memory_is_refused(tmp_path):
    pictures = Pictures(220 << 20)
    try:
        with pytest.raises(TaskError):
            pictures.check(exr(tmp_path / "a.exr", 3000, 3000), 3000, 3000)
        pictures.check(exr(tmp_path / "b.exr", 8, 4), 8, 4)
    finally:
        pictures.close()


def test_a_process_that_dies_is_started_again(pictures, tmp_path):
    picture = exr(tmp_path / "a.exr", 8, 4)
    pictures.check(picture, 8, 4)
    first = pictures._process
    pictures.kill()
    first.wait()
    pictures.check(picture, 8, 4)
    assert pictures._process is not first


def test_a_process_that_dies_on_a_picture_is_the_pictures_fault(tmp_path):
    pictures = Pictures(1 << 30, lambda command: ["/bin/sh", "-c", "read line; kill -SEGV $$"])
    with pytest.raises(BadPicture, match="did not survive"):
        pictures.check(tmp_path / "a.exr", 8, 4)
    pictures.close()


def test_a_process_that_does_not_answer_is_ended(tmp_path):
    pictures = Pictures(1 << 30, lambda command: ["/bin/sleep", "1000"], seconds=0.2)
    with pytest.raises(BadPicture, match="took too long"):
        pictures.check(tmp_path / "a.exr", 8, 4)
    assert pictures._process is None


def test_a_folder_that_is_not_there_is_the_nodes_fault(pictures, tmp_path):
    with pytest.raises(TaskError) as caught:
        pictures.check(tmp_path / "gone.exr", 8, 4)
    assert caught.value.failure is FailureCode.NODE


# --- selling ----------------------------------------------------------------------------------------

SELLER = ("--coordinator", "http://x", "--price", "0.5")
FILES = {"FARM_WALLET": "/w.json", "FARM_WALLET_PASSWORD_FILE": "/pw", "FARM_CHAIN": "/chain.toml"}


def test_a_node_without_a_price_sells_nothing_whatever_the_environment_says():
    assert configured(*SELLER[:2], FARM_NODE_TOKEN="a", **FILES).selling is None


def test_wallet_and_chain_come_from_options_or_environment():
    found = selling("--wallet", "/mine.json", FARM_CHAIN_URL="http://rpc/SECRET", **FILES).selling
    assert (found.wallet, found.password, found.network) == (
        Path("/mine.json"),
        Path("/pw"),
        Path("/chain.toml"),
    )
    assert (found.price, found.chain_url) == ("0.5", "http://rpc/SECRET")
    assert "SECRET" not in repr(found)


@pytest.mark.parametrize("missing", FILES)
def test_what_a_seller_lacks_is_named(missing):
    with pytest.raises(InvalidInput, match=missing):
        selling(**{name: path for name, path in FILES.items() if name != missing})


@pytest.mark.parametrize(
    "words",
    [
        ("--capacity", "0"),
        ("--capacity", "-5"),
        ("--capacity", str(1 << 41)),
        ("--offer-days", "0"),
        ("--offer-days", "366"),
        ("--offer-days", "nan"),
    ],
)
def test_offers_that_make_no_sense_are_refused(words):
    with pytest.raises(InvalidInput, match=words[0]):
        selling(*words, **FILES)


@pytest.fixture(scope="module")
def wallet_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wallet")
    keystore.save(keystore.new_key(), folder / "w.json", "secret", iterations=1)
    (folder / "pw").write_text("secret\n")
    save(NETWORK, folder / "chain.toml")
    return dict(zip(FILES, (str(folder / name) for name in ("w.json", "pw", "chain.toml")), strict=True))


def test_an_operator_is_its_wallet_and_is_paid_itself(wallet_files):
    limit = sys.getrecursionlimit()
    operator = load_operator(selling(**wallet_files).selling)
    assert (operator.price, operator.payee, operator.network) == (5 * 10**17, operator.address, NETWORK)
    assert sys.getrecursionlimit() == limit
    assert operator.key.hex() not in repr(operator)
    other = selling("--payee", "0x" + "ab" * 20, **wallet_files).selling
    assert load_operator(other).payee.lower() == "0x" + "ab" * 20


def test_a_seller_needs_its_key_and_not_its_address_alone():
    with pytest.raises(InvalidInput, match="must be a keystore file"):
        selling("--wallet", "0x" + "ab" * 20, **FILES)


SELLS = """
import sys
from pathlib import Path
import gpu_worker.__main__, gpu_worker.node
from gpu_worker.config import SellingConfig
from gpu_worker.earnings.operator import load_operator
wallet, password, network = map(Path, sys.argv[1:])
load_operator(SellingConfig("1", wallet, password, network, "", 1, 1.0))
print(sys.getrecursionlimit(), "web3" in sys.modules)
"""


def test_a_node_that_sells_keeps_pythons_recursion_limit_and_loads_no_web3(wallet_files):
    words = [sys.executable, "-c", SELLS, *wallet_files.values()]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["1000", "False"], done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--price", "0"), "nothing"),
        (("--price", "-1"), "no amount"),
        (("--price", "NaN"), "no amount"),
        (("--price", "1e-3"), "no amount"),
        (("--price", "0.0000000000000000001"), "finer"),
        (("--price", "9" * 30), "more than"),
        (("--payee", "0x" + "00" * 20), "no address"),
        (("--payee", "me"), "no address"),
        (("--payee", "0x" + "aB" * 20), "no address"),
    ],
)
def test_prices_and_payees_that_are_none_are_refused(wallet_files, words, said):
    with pytest.raises(InvalidInput, match=said):
        load_operator(selling(*(f"{words[0]}={words[1]}",), **wallet_files).selling)


def test_rays_sockets_fit_whatever_the_folder_and_the_process(tmp_path):
    longest = "/session_2026-11-23_00-35-18_204056_4194304/sockets/plasma_store"
    for length in range(1, 70):
        state = tmp_path / ("s" * length)
        folder = ray_cluster._private_folder(state) / ray_cluster.SESSIONS
        assert len(str(folder) + longest) <= 107
        shutil.rmtree(folder.parent)
