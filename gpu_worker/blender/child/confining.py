# SPDX-License-Identifier: GPL-3.0-or-later
"""Linux's Landlock: from now on this process writes below a few folders only, and opens no connections.

What a .blend makes Blender do is taken out of it where we know of it (`defusing`); this holds where we do
not, without a sandbox too. It binds the calling thread and all that it starts later, and cannot be undone.
(The structures are those of the kernel's include/uapi/linux/landlock.h.)
"""

import ctypes
import os
import struct
from collections.abc import Iterable
from glob import glob

WRITES = "RENDER_FARM_WRITES"
"""The variable that names the folders, one a line."""

CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""The system calls' numbers, the same on all machines."""

VERSION_FLAG, PATH_BENEATH = 1, 1
PR_SET_NO_NEW_PRIVS = 38

WRITE_FILE, REFER, TRUNCATE = 1 << 1, 1 << 13, 1 << 14
REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
BIND_AND_CONNECT = 0b11

DEVICES = (
    *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")),
    *("/dev/nvidia*", "/dev/dri", "/dev/kfd"),
)
"""Devices that programs and GPUs' drivers write to. Root might write to any other, the disks among them."""

OPEN_TO_WRITE = ("/dev/shm", "/proc/self")  # noqa: S108 - not for temporary files
"""Shared memory, and what threads say of themselves."""


def available() -> bool:
    """Whether this system has Landlock."""
    return _version(ctypes.CDLL(None)) > 0


def _version(libc: ctypes.CDLL) -> int:
    return int(libc.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), VERSION_FLAG))


def confine(folders: Iterable[str]) -> bool:
    """Let this process write below `folders` only. Returns whether it does: not every system has Landlock."""
    libc = ctypes.CDLL(None, use_errno=True)
    version = _version(libc)
    if version < 1:
        return False
    writing = WRITE_FILE | REMOVE_AND_MAKE
    writing |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    wanted = struct.pack("=QQ", writing, BIND_AND_CONNECT) if version >= 4 else struct.pack("=Q", writing)
    ruleset = libc.syscall(CREATE_RULESET, wanted, ctypes.c_size_t(len(wanted)), 0)
    if ruleset < 0:
        return False
    try:
        for folder in (*folders, *OPEN_TO_WRITE):
            _allow(libc, ruleset, folder, writing)
        for device in (name for pattern in DEVICES for name in glob(pattern)):
            _allow(libc, ruleset, device, writing & (WRITE_FILE | TRUNCATE))
        libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        return bool(libc.syscall(RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, folder: str, rights: int) -> None:
    try:
        handle = os.open(folder, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return  # what is not there is not written
    try:
        rule = struct.pack("=Qi", rights, handle)
        if libc.syscall(ADD_RULE, ruleset, PATH_BENEATH, rule, 0) != 0:
            raise OSError(ctypes.get_errno(), f"Landlock takes no rule for {folder}")
    finally:
        os.close(handle)
