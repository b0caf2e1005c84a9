# SPDX-License-Identifier: GPL-3.0-or-later
"""The fake child on a machine with GPUs: `gpus.json` beside this program says which, and how they behave.

`names` are those of the machine's GPUs, of which CUDA_VISIBLE_DEVICES chooses; `warm` is `ok`, or a sentence
it fails with. A kernel is a file in each driver's folder; `compiled` there counts how often it was made.
"""

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import fake_child

FOLDERS = {"CUDA_CACHE_PATH": "", "OPTIX_CACHE_PATH": "", "XDG_CACHE_HOME": "", "SYCL_CACHE_DIR": ""}


def machine() -> dict:
    return json.loads((Path(__file__).parent / "gpus.json").read_text())


def name_of(device: dict) -> str:
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES") or "0,1,2,3"
    return machine()["names"][int(chosen.split(",")[device["index"]])]


def device(command: dict) -> None:
    try:
        name = name_of(command["device"])
    except IndexError:
        fake_child.say(
            "failed", code="device", message="CUDA device 0 was asked for, but Cycles sees 0 of them."
        )
    else:
        fake_child.done(device_name=name)


def kernel_files() -> list[Path]:
    return [Path(os.environ[name], "kernel") for name in FOLDERS]


def warm(command: dict) -> None:
    how = machine().get("warm", "ok")
    if how != "ok":
        fake_child.say("failed", code="device", message=how)
        return
    for file in kernel_files():
        if not file.exists():
            file.write_text("the node's own kernel")
            with file.with_name("compiled").open("a") as count:
                count.write("x")
    fake_child.done(device_name=name_of(command["device"]), seconds=0.1)


def poison(command: dict) -> None:
    """Write over every kernel that can be reached; tell what was there, and which writes went through."""
    found, written = {}, []
    for file in kernel_files():
        found[file.parent.name] = file.read_text()
        try:
            file.write_text("a stranger's kernel")
            written.append(file.parent.name)
        except OSError:
            pass
    fake_child.write_png(
        Path(command["path"], "frame.png"), command, json.dumps({"found": found, "written": written})
    )
    fake_child.done(files=["frame.png"])


def gpu_memory(command: dict) -> None:
    fake_child.say("failed", code="gpu_memory", message="System is out of GPU memory")


def gpu_fault(command: dict) -> None:
    fake_child.say("failed", code="gpu_fault", message="Illegal address in CUDA queue synchronize")


def main() -> None:
    ordinary = fake_child.carry_out
    vars(fake_child).update(poison=poison, gpu_memory=gpu_memory, gpu_fault=gpu_fault)
    mine = {"device": device, "warm": warm}
    fake_child.carry_out = lambda command: mine.get(command["cmd"], ordinary)(command)
    fake_child.main()


if __name__ == "__main__":
    main()
