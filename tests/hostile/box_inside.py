# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs inside the sandbox and tries everything; prints what came of it, as JSON: "done", or the error's name.

Nothing it tries changes anything: settings of the kernel are opened and never written to.
"""

import ctypes
import errno
import json
import mmap
import os
import platform
import signal
import socket

LIBC = ctypes.CDLL(None, use_errno=True)
COLUMN = ("x86_64", "aarch64").index(platform.machine())
CALLS = {
    "keyctl": ((250, 219), (0, -3, 0)),  # the number of the session keyring
    "add_key": ((248, 217), (b"user", b"name", b"secret", 6, -3)),
    "request_key": ((249, 218), (b"user", b"name", None, 0)),
    "io_uring_setup": ((425, 425), (1, ctypes.create_string_buffer(120))),
    "userfaultfd": ((323, 282), (1,)),
    "bpf": ((321, 280), (0, None, 0)),
    "perf_event_open": ((298, 241), (None, 0, -1, -1, 0)),
    "memfd_create": ((319, 279), (b"name", 0)),
    "memfd_secret": ((447, 447), (0,)),
    "ptrace": ((101, 117), (0, 0, 0, 0)),
    "process_vm_readv": ((310, 270), (1, None, 0, None, 0, 0)),
    "unshare": ((272, 97), (0x10000000,)),
    "setns": ((308, 268), (0, 0)),
    "mount": ((165, 40), (b"none", b"/tmp", b"tmpfs", 0, None)),
    "open_tree": ((428, 428), (-100, b"/", 1)),
    "fsopen": ((430, 430), (b"tmpfs", 0)),
    "chroot": ((161, 51), (b"/tmp",)),
    "open_by_handle_at": ((304, 265), (-100, None, 0)),
    "name_to_handle_at": ((303, 264), (-100, b"/", None, None, 0)),
    "kexec_load": ((246, 104), (0, 0, None, 0)),
    "init_module": ((175, 105), (None, 0, b"")),
    "finit_module": ((313, 273), (-1, b"", 0)),
    "reboot": ((169, 142), (0, 0, 0, None)),
    "syslog": ((103, 116), (10, None, 0)),
    "shmget": ((29, 194), (0, 4096, 0o1600)),
    "msgget": ((68, 186), (0, 0o1600)),
    "semget": ((64, 190), (0, 1, 0o1600)),
    "mq_open": ((240, 180), (b"name", 0o102, 0o600, None)),
    "personality": ((135, 92), (0x0040000,)),
    "clone3": ((435, 435), (None, 0)),
    "clone_user": ((56, 220), (0x10000000 | signal.SIGCHLD, None, None, None, None)),
    "newer": ((480, 480), ()),
}
STATUS = ("CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
FAMILIES = {"inet": 2, "inet6": 10, "netlink": 16, "packet": 17, "alg": 38, "vsock": 40, "unix": 1}
KERNEL = (
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/fs/lease-break-time",
    "/proc/sys/vm/overcommit_memory",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/proc/kcore",
    "/proc/kmsg",
)


def outcome(action):
    ctypes.set_errno(0)
    try:
        result = action()
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))
    if result == -1:
        return errno.errorcode.get(ctypes.get_errno(), "?")
    return "done"


def call(numbers, arguments):
    longs = [ctypes.c_long(one) if isinstance(one, int) else one for one in arguments]
    result = LIBC.syscall(ctypes.c_long(numbers[COLUMN]), *longs)
    if result == 0 and numbers == CALLS["clone_user"][0]:
        os._exit(0)
    return result


def ended_by(action):
    """The signal that ends a process which does it."""
    child = os.fork()
    if child == 0:
        action()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def old_door():
    """A system call of 32 bits (`int 0x80`, getpid) from a program of 64."""
    code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
    code.write(b"\xb8\x14\x00\x00\x00\xcd\x80\xc3")
    ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(code)))()


def opened(path, flags):
    os.close(os.open(path, flags))


def terminal_input():
    _, side = os.openpty()
    return LIBC.ioctl(side, 0x5412, ctypes.c_char_p(b"x"))


def forks(most=20000):
    """How many processes there can be at a time."""
    number = 0
    try:
        while number < most:
            child = os.fork()
            if child == 0:
                signal.pause()
            number += 1
    except OSError:
        pass
    os.kill(-1, signal.SIGKILL)
    return number


def read(path):
    with open(path) as file:
        return file.read()


def status(process="self"):
    lines = read(f"/proc/{process}/status").splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


def limits(process):
    """Soft limits by name."""
    lines = read(f"/proc/{process}/limits").splitlines()[1:]
    return {line[:26].strip(): line[26:].split()[0] for line in lines}


def first():
    """What bounds process 1, where code in here may write into its memory."""
    if str(os.getuid()) not in status(1)["Uid"].split():
        return None
    return {"status": {name: status(1)[name] for name in STATUS}, "limits": limits(1)}


def main():
    found = {
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "calls": {name: outcome(lambda one=one: call(*one)) for name, one in CALLS.items()},
        "sockets": {
            name: outcome(lambda f=f: socket.socket(f, socket.SOCK_STREAM if f != 17 else 3).close())
            for name, f in FAMILIES.items()
        },
        "pair": outcome(socket.socketpair),
        "terminal": outcome(terminal_input),
        "kernel": {
            path: outcome(lambda path=path: opened(path, os.O_WRONLY))
            for path in KERNEL
            if os.path.exists(path)
        },
        "keys": outcome(lambda: opened("/proc/keys", os.O_RDONLY)),
        "one": read("/proc/1/cmdline"),
        "first": first(),
        "memory of the first": outcome(lambda: opened("/proc/1/mem", os.O_RDWR)),
        "limits": limits("self"),
        "users": [os.getresuid(), os.getresgid(), os.getgroups()],
        "status": {name: status()[name] for name in STATUS},
        "root": outcome(lambda: os.setresuid(0, 0, 0)),
    }
    if COLUMN == 0:
        found["old door"] = ended_by(old_door)
        found["x32"] = ended_by(lambda: LIBC.syscall(ctypes.c_long(0x40000000 + 39)))
    print(json.dumps(found), flush=True)
    print(json.dumps({"forks": forks()}), flush=True)


main()
