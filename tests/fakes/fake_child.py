# SPDX-License-Identifier: GPL-3.0-or-later
"""A child program that speaks the Blender child's protocol and misbehaves as its scene tells it.

The "scene" is a JSON file: `{"render": "crash"}`. Behaviours are the functions below; `ok` is the default
of every command. Values that a test needs to find out are written into the output folder.
"""

import argparse
import json
import os
import signal
import sys
import time
from pathlib import Path

events = []
behaviours: dict[str, str] = {}


def write(text: str) -> None:
    """To the parent; the stream is the list's only element."""
    events[0].write(text)
    events[0].flush()


def say(event: str, **fields: object) -> None:
    write(json.dumps({"event": event, **fields}) + "\n")


def done(**fields: object) -> None:
    say("done", **fields)


def write_exr(path: str, width: int, height: int, value: float) -> None:
    import numpy
    import OpenEXR

    pixels = numpy.full((height, width), value, dtype=numpy.float32)
    pixels += numpy.arange(width, dtype=numpy.float32)[None, :] / 1024
    channels = {f"ViewLayer.Combined.{name}": pixels.copy() for name in "RGBA"}
    header = {"type": OpenEXR.scanlineimage, "compression": OpenEXR.ZIP_COMPRESSION}
    OpenEXR.File(header, channels).write(path)


def write_png(path: Path, command: dict, text: str, grey: int = 0) -> None:
    """A picture of one grey as large as the frame's file; `text` makes it a file of its own."""
    import struct
    import zlib

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    canvas = command["canvas"]
    width, height = canvas["x1"] - canvas["x0"], canvas["y1"] - canvas["y0"]
    size = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    parts = (
        (b"IHDR", size),
        (b"tEXt", b"Comment\0" + text.encode("latin1")),
        (b"IDAT", zlib.compress((b"\0" + bytes([grey]) * width) * height)),
        (b"IEND", b""),
    )
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))


def render_ok(command: dict, width: int, height: int) -> None:
    total = command["settings"]["samples"]
    say("progress", done=0, total=total)
    say("progress", done=total, total=total)
    if command["output"] == "linear":
        write_exr(command["path"], width, height, float(command["frame"]))
        files = [Path(command["path"]).name]
    else:
        files = ["frame.png"]
        write_png(Path(command["path"], "frame.png"), command, f"frame {command['frame']}")
    done(files=files, seconds=0.5, render_seconds=0.4, peak_memory=1 << 20)


def audit_ok(command: dict) -> None:
    """Every picture is its region's size; its value says which it is."""
    pictures = [(f"crop-{number}.exr", crop) for number, crop in enumerate(command["crops"])]
    pictures += [("sparse.exr", command["region"])] if command["sparse"] else []
    for number, (name, region) in enumerate(pictures):
        size = region["x1"] - region["x0"], region["y1"] - region["y0"]
        write_exr(str(Path(command["path"], name)), *size, float(number))
    done(files=[name for name, _ in pictures], samples_of_each=[{} for _ in pictures], render_seconds=0.3)


def audit_short(command: dict) -> None:
    """Leaves its last picture out, and says otherwise."""
    audit_ok(command | {"sparse": None})


def nan_audit(command: dict) -> None:
    for number, region in enumerate(command["crops"]):
        size = region["x1"] - region["x0"], region["y1"] - region["y0"]
        write_exr(str(Path(command["path"], f"crop-{number}.exr")), *size, float("nan"))
    write_exr(str(Path(command["path"], "sparse.exr")), 8, 16, 1.0)
    done(files=["sparse.exr"])


def audit_miscounted(command: dict) -> None:
    """Sample counts for pictures that nobody asked for."""
    names = [f"crop-{number}.exr" for number in range(len(command["crops"]))]
    for name, region in zip(names, command["crops"], strict=True):
        write_exr(
            str(Path(command["path"], name)), region["x1"] - region["x0"], region["y1"] - region["y0"], 1
        )
    done(files=names, samples_of_each=[{"ViewLayer": 4}] * 9)


def finish_ok(command: dict) -> None:
    _finish(command)
    _finished()


def _finish(command: dict) -> None:
    merged = Path(command["merged"]).read_bytes()
    write_png(Path(command["path"], "frame.png"), command, f"finished {len(merged)} bytes")
    Path(command["path"], "extra").mkdir()
    write_exr(str(Path(command["path"], "extra", "depth.exr")), 4, 3, 1.0)


def _finished() -> None:
    done(files=["frame.png", "extra/depth.exr"], seconds=0.1, render_seconds=0.0)


def finish_as_whole(command: dict) -> None:
    """What this child's `render` writes of the frame."""
    write_png(Path(command["path"], "frame.png"), command, f"frame {command['frame']}")
    done(files=["frame.png"])


def finish_otherwise(command: dict) -> None:
    """Another picture than this child's `render` writes."""
    write_png(Path(command["path"], "frame.png"), command, "stitched", grey=200)
    done(files=["frame.png"])


def finish_empty(command: dict) -> None:
    """As Blender leaves a file on a full disk, saying nothing."""
    _finish(command)
    Path(command["path"], "frame.png").write_bytes(b"")
    _finished()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def finish_cut(command: dict) -> None:
    _finish(command)
    _cut(Path(command["path"], "frame.png"))
    _finished()


def finish_cut_beside(command: dict) -> None:
    _finish(command)
    _cut(Path(command["path"], "extra", "depth.exr"))
    _finished()


def finish_small(command: dict) -> None:
    """Not the size of the frame."""
    _finish(command | {"canvas": {"x0": 0, "y0": 0, "x1": 5, "y1": 5}})
    _finished()


def crash(command: dict) -> None:
    print("Fatal: the fake child fell over", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(command: dict) -> None:
    time.sleep(3600)


def slow(command: dict) -> None:
    """Progress for ever, so that only a cancel or the total limit ends it."""
    for count in range(1_000_000):
        say("progress", done=min(count, 100), total=100)
        time.sleep(0.02)


def eat(command: dict) -> None:
    held = []
    while True:
        held.append(b"\xff" * (8 << 20))
        time.sleep(0.01)


def eat_in_a_grandchild(command: dict) -> None:
    if os.fork() == 0:
        eat(command)
    time.sleep(3600)


def garbage(command: dict) -> None:
    write('{"event": "done", "files": 7}\n')
    time.sleep(3600)


def chatter(command: dict) -> None:
    """Ten megabytes on stdout and stderr must neither block nor be kept."""
    for _ in range(1000):
        print("x" * 5000)
        print("y" * 5000, file=sys.stderr)
    print("the very last line", flush=True)
    crash(command)


def endless_line(command: dict) -> None:
    while True:
        write("x" * (1 << 20))


def out_of_turn(command: dict) -> None:
    done(files=[])
    done(files=[])
    time.sleep(3600)


def scene_error(command: dict) -> None:
    say("failed", code="scene", message="The scene has no camera.\x1b[31m")


def device_error(command: dict) -> None:
    say("failed", code="device", message="CUDA device 0 was asked for, but Cycles sees 0 of them.")


def nan(command: dict) -> None:
    region = command["region"]
    render_ok_with(command, region, float("nan"))


def render_ok_with(command: dict, region: dict, value: float) -> None:
    write_exr(command["path"], region["x1"] - region["x0"], region["y1"] - region["y0"], value)
    done(files=[Path(command["path"]).name])


def wrong_size(command: dict) -> None:
    write_exr(command["path"], 3, 5, 1.0)
    done(files=[Path(command["path"]).name])


def not_an_exr(command: dict) -> None:
    Path(command["path"]).write_bytes(b"v/1\x01 no more than that")
    done(files=[Path(command["path"]).name])


def no_file(command: dict) -> None:
    done(files=["tile.exr"])


def link(command: dict) -> None:
    """Offer a file of the machine through a symbolic link."""
    linear = command.get("output") == "linear"
    target = Path(command["path"]) if linear else Path(command["path"], "frame.png")
    target.symlink_to(behaviours.get("target", "/etc/passwd"))
    done(files=[target.name])


def folder_link(command: dict) -> None:
    folder = Path(command["path"])
    (folder / "sub").symlink_to(Path(behaviours["target"]).parent)
    write_png(folder / "frame.png", command, "frame")
    done(files=["frame.png", "sub/" + Path(behaviours["target"]).name])


def climb(command: dict) -> None:
    write_png(Path(command["path"], "frame.png"), command, "frame")
    done(files=["frame.png", "../../../secret"])


def pipe(command: dict) -> None:
    os.mkfifo(Path(command["path"], "frame.png"))
    done(files=["frame.png"])


def fill_the_disk(command: dict) -> None:
    """Many files that are small enough each."""
    for number in range(1_000_000):
        Path(command["path"], str(number)).write_bytes(bytes(1 << 20))
        time.sleep(0.001)


def no_files(command: dict) -> None:
    done(files=[])


def look_around(command: dict) -> None:
    """What can be seen and done from here, for the sandbox's test."""
    seen = {name: os.path.exists(name) for name in behaviours["look"].split(":")}
    variables = dict(os.environ)
    found = json.dumps({"seen": seen, "variables": variables})
    write_png(Path(command["path"], "frame.png"), command, found)
    done(files=["frame.png"])


def carry_out(command: dict) -> None:
    name = command["cmd"]
    if name in ("open", "inspect"):
        text = Path(command["blend"]).read_text(errors="replace")
        behaviours.clear()
        behaviours.update(json.loads(text) if text.startswith("{") else {})
    behaviour = behaviours.get(name, "ok")
    if behaviour != "ok":
        globals()[behaviour](command)
    elif name == "inspect":
        done(facts={"scene": "fake"})
    elif name == "open":
        done(seconds=0.0, device_name="Fake " + command["device"]["backend"])
    elif name == "render":
        region = command["region"]
        render_ok(command, region["x1"] - region["x0"], region["y1"] - region["y0"])
    elif name == "audit":
        audit_ok(command)
    elif name == "finish":
        finish_ok(command)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--events-fd", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    events.append(os.fdopen(parser.parse_args().events_fd, "w"))
    say("ready", blender="5.0.1", build="fake")
    for line in sys.stdin:
        carry_out(json.loads(line))


if __name__ == "__main__":
    main()
