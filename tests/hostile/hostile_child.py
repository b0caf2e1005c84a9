# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender child that a scene has taken over: instead of rendering it does what its scene says, for example
`{"do": "forks"}`. Then it says that it is done, where it still can.
"""

import argparse
import contextlib
import ctypes
import json
import mmap
import os
import signal
import socket
import sys
import threading
import time

MIB = 1 << 20


def stay() -> None:
    """Until somebody ends it, but for no longer than a test may take."""
    time.sleep(60)


def forks(folder: str) -> None:
    """Eight of 60 MiB each, for a moment only."""
    for _ in range(8):
        if os.fork() == 0:
            held = b"x" * (60 * MIB)
            time.sleep(60)
            os._exit(len(held) & 1)
    stay()


def shared_pages(folder: str) -> None:
    """Thirty processes with the same 20 MiB: no more memory than 20 MiB and a little."""
    held = b"x" * (20 * MIB)
    children = []
    for _ in range(30):
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
    time.sleep(3)
    for child in children:
        os.kill(child, signal.SIGKILL)
    assert held


def threads(folder: str) -> None:
    """As many as there can be; then it renders on."""
    number = 0
    threading.stack_size(64 << 10)
    try:
        while number < 9000:
            threading.Thread(target=stay, daemon=True).start()
            number += 1
    except RuntimeError:
        pass
    with open(os.path.join(folder, "threads"), "w") as file:
        file.write(str(number))


def unlinked(folder: str) -> None:
    """A file that nobody sees."""
    handle = os.open(os.path.join(folder, "gone"), os.O_RDWR | os.O_CREAT)
    os.unlink(os.path.join(folder, "gone"))
    while True:
        os.write(handle, bytes(MIB))


def in_the_kernels(folder: str) -> None:
    """The same among the kernels it was given, if they are all there and its own."""
    kernels = os.environ["CUDA_CACHE_PATH"]
    with open(os.path.join(kernels, "deep", "kernel"), "r+b") as kernel:
        assert kernel.read() == b"compiled"
        kernel.write(b"over")
    assert os.listdir(os.environ["OPTIX_CACHE_PATH"]) == []
    with contextlib.suppress(OSError):
        unlinked(kernels)
    stay()


def unlinked_and_mapped(folder: str) -> None:
    """And that not even a descriptor shows."""
    size = 700 * MIB
    handle = os.open(os.path.join(folder, "gone"), os.O_RDWR | os.O_CREAT)
    os.unlink(os.path.join(folder, "gone"))
    os.ftruncate(handle, size)
    room = mmap.mmap(handle, size)
    os.close(handle)
    for place in range(0, size, 4096):
        room[place] = 1
    stay()


def page_tables(folder: str) -> None:
    """One empty page of each 2 MiB read: a table of 4 KiB each, and nothing else."""
    libc = ctypes.CDLL(None)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *(4 * [ctypes.c_long])]
    libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    size = 1 << 38
    for _ in range(2):
        room = libc.mmap(None, size, mmap.PROT_READ, 0x4022, -1, 0)
        libc.madvise(room, size, 15)  # no large pages
        for place in range(room, room + size, 2 * MIB):
            ctypes.c_char.from_address(place).value  # noqa: B018
    stay()


def shared_without_name(folder: str) -> None:
    """Shared memory that no table of a process leads to any more, 256 MiB."""
    room = mmap.mmap(-1, 256 * MIB)
    for place in range(0, 256 * MIB, MIB):
        room[place : place + MIB] = b"x" * MIB
        room.madvise(mmap.MADV_DONTNEED, place, MIB)
    stay()


def unread_sockets(folder: str) -> None:
    """Forks that hold sockets full of what nobody reads, 64 MiB and more."""
    for _ in range(3):
        if os.fork() == 0:
            held = [socket.socketpair() for _ in range(100)]
            for one in (side for pair in held for side in pair):
                one.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        one.send(bytes(32000))
            stay()
    stay()


def elsewhere(folder: str) -> None:
    """All the sandbox's own folders in memory."""
    for place in ("/tmp", "/private", "/dev/shm"):
        try:
            with open(os.path.join(place, "filled"), "wb", buffering=0) as file:
                while True:
                    file.write(bytes(MIB))
        except OSError:
            continue
    stay()


def many_folders(folder: str) -> None:
    for number in range(150_000):
        os.mkdir(os.path.join(folder, str(number)))
    stay()


def deep_folders(folder: str) -> None:
    """Deeper than Python recurses, then a picture as if nothing was."""
    before = os.getcwd()
    os.chdir(folder)
    for _ in range(1200):
        os.mkdir("d")
        os.chdir("d")
    os.chdir(before)


def locked_folders(folder: str) -> None:
    for name in ("a", "b"):
        os.mkdir(os.path.join(folder, name))
        with open(os.path.join(folder, name, "file"), "wb") as file:
            file.write(bytes(MIB))
        os.chmod(os.path.join(folder, name), 0)
    with contextlib.suppress(OSError):
        os.chmod(folder, 0o300)


def holes(folder: str) -> None:
    """A picture that is larger than any disk."""
    with open(os.path.join(folder, "frame.png"), "wb") as file:
        file.truncate(32 << 30)


def no_folder(folder: str) -> None:
    os.rename(folder, folder + "-away")
    os.symlink("/etc", folder)


def links(folder: str) -> None:
    os.symlink("/etc/passwd", os.path.join(folder, "link"))
    os.symlink("/etc", os.path.join(folder, "folder"))
    os.mkfifo(os.path.join(folder, "pipe"))
    with open(os.path.join(folder, "frame.png"), "wb") as file:
        file.write(b"picture")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    events = os.fdopen(parser.parse_args().events_fd, "w")
    scene: dict[str, str] = {}

    def say(event: str, **fields: object) -> None:
        events.write(json.dumps({"event": event, **fields}) + "\n")
        events.flush()

    say("ready", blender="5.0.1", build="fake")
    for line in sys.stdin:
        command = json.loads(line)
        if command["cmd"] == "open":
            with open(command["blend"]) as file:
                scene.update(json.load(file))
        else:
            globals()[scene["do"]](command["path"])
        say("done", device_name="Fake", files=["frame.png"])


if __name__ == "__main__":
    main()
