# SPDX-License-Identifier: GPL-3.0-or-later
"""The filter of system calls a sandboxed program runs under, as a program of the kernel's classic BPF.

The numbers are those of Linux's `unistd_64.h` for x86-64 and of `asm-generic/unistd.h` for arm64; the
layout of what is filtered is `struct seccomp_data` (linux/seccomp.h), of the program `linux/filter.h`.
It imports nothing from the project.
"""

import errno
import struct
from collections.abc import Iterable

Instruction = tuple[int, int, int, int]
"""Code, jump where true, jump where false, operand."""

LOAD, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_ANY_BIT, RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
NUMBER, ARCHITECTURE, FIRST, SECOND = 0, 4, 16, 24
"""Offsets of the call's number, the machine's kind, and the low halves of two arguments."""

ALLOW, KILL, REFUSE = 0x7FFF0000, 0x80000000, 0x00050000

MACHINES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""AUDIT_ARCH_* of those there is a filter for."""

NEWEST = 462
"""What came after it (mseal) is not known here, so it is not there for the program either."""

X32 = 0x3FFFFFFF
"""Numbers above are those of the x32 kind of x86-64, a second way to each call."""

NAMESPACES = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET."""

AF_UNIX = 1
PERSONALITIES = (0, 0xFFFFFFFF)
"""Linux's own, and the question which one it is."""

TERMINAL_INPUT = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX type into a terminal for its user."""

REFUSED = {
    # Keys of whoever runs the node
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Large parts of the kernel that a renderer has no use for
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "userfaultfd": (323, 282),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "fanotify_init": (300, 262),
    "fanotify_mark": (301, 263),
    "vmsplice": (278, 75),
    "lookup_dcookie": (212, 18),
    # Other processes
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "kcmp": (312, 272),
    "pidfd_getfd": (438, 438),
    # Mounts and namespaces
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsconfig": (431, 431),
    "fsmount": (432, 432),
    "fspick": (433, 433),
    "mount_setattr": (442, 442),
    "statmount": (457, 457),
    "listmount": (458, 458),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "name_to_handle_at": (303, 264),
    # The machine
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "create_module": (174, None),
    "get_kernel_syms": (177, None),
    "query_module": (178, None),
    "nfsservctl": (180, 42),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "reboot": (169, 142),
    "syslog": (103, 116),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "quotactl_fd": (443, 443),
    "sethostname": (170, 161),
    "setdomainname": (171, 162),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "adjtimex": (159, 171),
    "clock_adjtime": (305, 266),
    "vhangup": (153, 58),
    "iopl": (172, None),
    "ioperm": (173, None),
    "uselib": (134, None),
    "ustat": (136, None),
    "sysfs": (139, None),
    "_sysctl": (156, None),
    "modify_ldt": (154, None),
    # Memory that no process maps, so that nobody would see whose it is
    "memfd_create": (319, 279),
    "memfd_secret": (447, 447),
    "shmget": (29, 194),
    "shmctl": (31, 195),
    "shmat": (30, 196),
    "shmdt": (67, 197),
    "msgget": (68, 186),
    "msgsnd": (69, 189),
    "msgrcv": (70, 188),
    "msgctl": (71, 187),
    "semget": (64, 190),
    "semop": (65, 193),
    "semctl": (66, 191),
    "semtimedop": (220, 192),
    "mq_open": (240, 180),
    "mq_unlink": (241, 181),
    "mq_timedsend": (242, 182),
    "mq_timedreceive": (243, 183),
    "mq_notify": (244, 184),
    "mq_getsetattr": (245, 185),
}
"""Calls by their numbers on x86-64 and arm64, None where a machine has none."""

LOOKED_AT = {
    "clone": (56, 220),
    "clone3": (435, 435),
    "socket": (41, 198),
    "socketpair": (53, 199),
    "personality": (135, 92),
    "ioctl": (16, 29),
}
"""Calls that depend on their arguments. `clone3` has them where no filter can look: it is not there, and C
libraries then use `clone`.
"""


def program(machine: str) -> bytes:
    """The filter for a machine (as `os.uname().machine` names it). Raises KeyError where there is none."""
    column = tuple(MACHINES).index(machine)
    number = {name: numbers[column] for name, numbers in LOOKED_AT.items()}
    lines: list[Instruction] = [
        (LOAD, 0, 0, ARCHITECTURE),
        (JUMP_EQUAL, 1, 0, MACHINES[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER),
        *_where(JUMP_GREATER, X32, [(RETURN, 0, 0, KILL)]),
        *_where(JUMP_GREATER, NEWEST, [_refuse(errno.ENOSYS)]),
        *_call(number["clone3"], [_refuse(errno.ENOSYS)]),
        *_call(number["clone"], _unless_bits(FIRST, NAMESPACES)),
        *_call(number["socket"], _only(FIRST, [AF_UNIX], errno.EAFNOSUPPORT)),
        *_call(number["socketpair"], _only(FIRST, [AF_UNIX], errno.EAFNOSUPPORT)),
        *_call(number["personality"], _only(FIRST, PERSONALITIES, errno.EPERM)),
        *_call(number["ioctl"], _none_of(SECOND, TERMINAL_INPUT)),
        *_refused(sorted(one for numbers in REFUSED.values() if (one := numbers[column]) is not None)),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def _refuse(number: int) -> Instruction:
    return (RETURN, 0, 0, REFUSE | number)


def _allow() -> Instruction:
    return (RETURN, 0, 0, ALLOW)


def _where(jump: int, operand: int, then: list[Instruction]) -> list[Instruction]:
    return [(jump, 0, len(then), operand), *then]


def _call(number: int | None, then: list[Instruction]) -> list[Instruction]:
    """What is done with one call; `then` ends with a return on every way."""
    assert number is not None
    return _where(JUMP_EQUAL, number, then)


def _only(argument: int, values: Iterable[int], otherwise: int) -> list[Instruction]:
    allowed = [line for value in values for line in _where(JUMP_EQUAL, value, [_allow()])]
    return [(LOAD, 0, 0, argument), *allowed, _refuse(otherwise)]


def _none_of(argument: int, values: Iterable[int]) -> list[Instruction]:
    refused = [line for value in values for line in _where(JUMP_EQUAL, value, [_refuse(errno.EPERM)])]
    return [(LOAD, 0, 0, argument), *refused, _allow()]


def _unless_bits(argument: int, mask: int) -> list[Instruction]:
    return [(LOAD, 0, 0, argument), *_where(JUMP_ANY_BIT, mask, [_refuse(errno.EPERM)]), _allow()]


def _refused(numbers: list[int]) -> list[Instruction]:
    """Jumps are of at most 255 instructions, which this list is shorter than."""
    last = len(numbers)
    jumps = [(JUMP_EQUAL, last - place, 0, number) for place, number in enumerate(numbers)]
    return [*jumps, _allow(), _refuse(errno.EPERM)]
