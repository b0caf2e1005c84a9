# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of benchmarks/gpu_check.py for docs/exactness.md: how far renders of one picture lie apart."""

from collections.abc import Iterator
from functools import reduce
from operator import or_
from pathlib import Path

from benchmarks import gpu_check_compare as compare
from benchmarks.gpu_check_child import Answer, Child, Region
from benchmarks.gpu_check_compare import Counted, Figures, PassFigures
from benchmarks.gpu_check_records import Cell, Device, NotThere, Row, Scene, Setup
from frame_splitter.exr import Image
from verification.compare.passes import combined, kind_of

CROP = 16


def pictures_of(setup: Setup) -> list[Scene]:
    """The scenes whose tiles are repeated."""
    names = [
        "orbit",
        "passes",
        "layers",
        "blur",
        "transparent",
        "many samples",
        *(Path(one).stem for one in setup.extra),
    ]
    scenes = setup.scenes()
    return [scenes[name] for name in names]


def kept(setup: Setup, device: Device, scene: Scene, name: str) -> Path:
    """Where a step keeps a picture for those after it."""
    folder = setup.folder / "pictures" / device.name.replace(" ", "-")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{scene.name.replace(' ', '-')}-{name}"


def crops(scene: Scene) -> list[Region]:
    """Three small ones, and half of the frame."""
    wide, high = scene.width - CROP, scene.height - CROP
    corners = [(round(wide * part), round(high * part)) for part in (0.1, 0.5, 0.9)]
    return [(x, y, x + CROP, y + CROP) for x, y in corners] + [(0, 0, scene.width // 2, scene.height)]


def _apart(scene: Scene, names: tuple[str, str, str], found: Figures) -> Row:
    """`names`: what was rendered, against what, and how."""
    ratio = max(found.passes, key=lambda name: found.passes[name].ratio)
    rms = max(found.passes, key=lambda name: found.passes[name].rms)
    numbers: dict[str, Cell] = {
        "pixels apart": found.different,
        "largest / hard bound": _in_pass(found.passes[ratio].ratio, ratio),
        "RMS / its bound": _in_pass(found.passes[rms].rms, rms),
        "crops beyond": f"{found.beyond} of {found.blocks}",
        "RMSE / mean": found.relative,
    }
    return Row("apart", {"scene": scene.name, **_named(names), **numbers})


def _named(names: tuple[str, str, str]) -> dict[str, Cell]:
    return dict(zip(("render", "against", "how"), names, strict=True))


def _in_pass(value: float, name: str) -> str:
    return f"{value:.3g} ({kind_of(name)})" if value else "0"


def _by_pass(scene: Scene, device: Device, found: Figures) -> Iterator[Row]:
    """Passes that differed, the others as one row."""
    differ = {name: each for name, each in found.passes.items() if each.different}
    for name, each in sorted(differ.items(), key=lambda pair: -pair[1].ratio):
        yield _pass_row(scene, device, kind_of(name), each)
    if len(found.passes) > len(differ):
        equal = len(found.passes) - len(differ)
        yield _pass_row(scene, device, f"equal in every bit: {equal}", PassFigures())


def _pass_row(scene: Scene, device: Device, name: str, found: PassFigures) -> Row:
    numbers: dict[str, Cell] = {
        "pixels apart": found.different,
        "largest / hard bound": f"{found.ratio:.3g}",
        "RMS / its bound": f"{found.rms:.3g}",
    }
    return Row("passes", {"scene": scene.name, "render": device.name, "pass": name, **numbers})


def repeats(setup: Setup, device: Device) -> Iterator[Row]:
    """The same tile again in one process, its crops, and in a fresh process."""
    again = 1 if setup.dry or device.is_cpu else 4
    found: dict[str, Figures] = {}
    with Child(setup, device) as child:
        for scene in pictures_of(setup):
            for how, figures in _in_one_process(setup, child, scene, again):
                yield _apart(scene, (device.name, "itself", how), figures)
                found[scene.name] = figures | found.get(scene.name, figures)
    with Child(setup, device) as child:
        for scene in pictures_of(setup):
            fresh = _rendered(setup, child, scene, "fresh.exr")
            first = compare.read(kept(setup, device, scene, "0.exr"))
            figures = compare.figures(first, fresh, scene)
            yield _apart(scene, (device.name, "itself", "in a fresh process"), figures)
            yield from _by_pass(scene, device, figures | found[scene.name])


def _rendered(setup: Setup, child: Child, scene: Scene, name: str, region: Region | None = None) -> Image:
    child.open(scene)
    path = kept(setup, child.device, scene, name)
    child.tile(scene, path, region)
    return compare.read(path)


def _in_one_process(setup: Setup, child: Child, scene: Scene, again: int) -> Iterator[tuple[str, Figures]]:
    frames = [_rendered(setup, child, scene, f"{number}.exr") for number in range(again + 1)]
    how = "again in one process" if again == 1 else f"again in one process, {again} times"
    yield how, reduce(or_, (compare.figures(frames[0], other, scene) for other in frames[1:]))
    parts = [_rendered(setup, child, scene, "crop.exr", region) for region in crops(scene)]
    whole = [compare.cut(frames[0], region) for region in crops(scene)]
    pairs = zip(whole, parts, strict=True)
    yield "crops against the frame", reduce(or_, (compare.figures(*pair, scene) for pair in pairs))


def volumes(setup: Setup, device: Device) -> Iterator[Row]:
    """A volume again: Cycles guides its sampling by what it has added up so far, so crops are others."""
    scene = setup.scenes()["volume"]
    with Child(setup, device) as child:
        first, again = (_rendered(setup, child, scene, f"{number}.exr") for number in (0, 1))
    yield _apart(scene, (device.name, "itself", "again in one process"), compare.figures(first, again, scene))
    with Child(setup, device) as child:
        fresh = _rendered(setup, child, scene, "fresh.exr")
    yield _apart(scene, (device.name, "itself", "in a fresh process"), compare.figures(first, fresh, scene))


def between(setup: Setup, device: Device) -> Iterator[Row]:
    """A GPU's frames beside the CPU's and those of the GPUs before it, another way of the CPU's beside the
    CPU's, as far as they were rendered.
    """
    before = setup.devices[: setup.devices.index(device)]
    for other in before[:1] if device.variant else before:
        for scene in pictures_of(setup):
            paths = [kept(setup, each, scene, "0.exr") for each in (device, other)]
            if all(path.is_file() for path in paths):
                one, beside = map(compare.read, paths)
                yield _apart(scene, (device.name, other.name, "frame"), compare.figures(one, beside, scene))
        yield from _bytes_between(setup, device, other)


def _bytes_between(setup: Setup, device: Device, other: Device) -> Iterator[Row]:
    scene = setup.scenes()["plain frame"]
    files = [list(kept(setup, each, scene, "0-TARGA_RAW").glob("*")) for each in (device, other)]
    if all(files):
        yield _steps(scene, device.name, other.name, "frame", files[0][0], files[1][0])


def adaptive(setup: Setup, device: Device) -> Iterator[Row]:
    """Where repeated renders stop at other sample counts."""
    for name in ("adaptive", "adaptive stage"):
        scene = setup.scenes()[name]
        with Child(setup, device) as child:
            first = _counted(setup, child, scene, "0.exr")
            again = _counted(setup, child, scene, "1.exr")
        yield _flips(device, scene, "again in one process", first, again)
        with Child(setup, device) as child:
            fresh = _counted(setup, child, scene, "fresh.exr")
        yield _flips(device, scene, "in a fresh process", first, fresh)


def _counted(setup: Setup, child: Child, scene: Scene, name: str) -> Counted:
    child.open(scene)
    path = kept(setup, child.device, scene, name)
    answer: Answer = child.tile(scene, path)
    return compare.read(path), answer["samples"]


def _flips(device: Device, scene: Scene, how: str, one: Counted, other: Counted) -> Row:
    found = compare.flips(one, other, scene)
    cells: dict[str, Cell] = {
        "scene": scene.name,
        "render": device.name,
        "against": "itself",
        "how": how,
        "samples": f"{found.fewest} to {found.most}",
        "pixels flipped": found.share,
        "filter steps apart": found.steps,
        "largest cluster": found.cluster,
        "values apart, median": found.median,
        "values apart, largest": found.largest,
        "unexplained": found.unexplained,
    }
    return Row("adaptive", cells)


def cryptomatte(setup: Setup, device: Device) -> Iterator[Row]:
    """Cryptomattes of the pictures that `repeats` left. Raises NotThere."""
    for name in ("passes", "blur", "layers"):
        scene = setup.scenes()[name]
        paths = [kept(setup, device, scene, f"{each}.exr") for each in ("0", "1", "fresh")]
        if not all(path.is_file() for path in paths):
            raise NotThere("its pictures were not rendered")
        first, again, fresh = map(compare.read, paths)
        for how, other in (("again in one process", again), ("in a fresh process", fresh)):
            found = compare.mattes(first, other)
            cells: dict[str, Cell] = {
                "scene": scene.name,
                "render": device.name,
                "how": how,
                "pixels with ranks swapped": found.swapped,
                "other names": found.other,
                "largest weight apart": found.weight,
            }
            yield Row("cryptomatte", cells)


def in_bytes(setup: Setup, device: Device) -> Iterator[Row]:
    """8-bit files of a frame as Blender itself writes it."""
    scene = setup.scenes()["plain frame"]
    with Child(setup, device) as child:
        first, again = (_final(setup, child, scene, f"{number}", "TARGA_RAW") for number in (0, 1))
    with Child(setup, device) as child:
        fresh = _final(setup, child, scene, "fresh", "TARGA_RAW")
    yield _steps(scene, device.name, "itself", "again in one process", first, again)
    yield _steps(scene, device.name, "itself", "in a fresh process", first, fresh)


def _final(setup: Setup, child: Child, scene: Scene, name: str, file_format: str) -> Path:
    child.open(scene)
    return child.final(scene, kept(setup, child.device, scene, f"{name}-{file_format}"), file_format)


def _steps(scene: Scene, render: str, against: str, how: str, one: Path, other: Path) -> Row:
    single, more, largest = compare.byte_steps(one, other)
    steps: dict[str, Cell] = {"one step": single, "more": more, "largest step": largest}
    return Row("bytes", {"scene": scene.name, **_named((render, against, how)), **steps})


Both = tuple[Path, Path]
"""A frame as floats and as bytes."""


def denoising(setup: Setup, device: Device) -> Iterator[Row]:
    """Cycles denoises its own render, on the GPU and on the CPU, each twice."""
    scenes = [setup.scenes()[name] for name in ("denoised on GPU", "denoised on CPU")]
    firsts = []
    with Child(setup, device) as child:
        for scene in scenes:
            first, again = (_both(setup, child, scene, name) for name in ("0", "1"))
            firsts.append(first)
            yield _denoised((f"{device.name}, {scene.name}", "itself", "again in one process"), first, again)
    names = tuple(f"{device.name}, {scene.name}" for scene in scenes)
    yield _denoised((names[0], names[1], "frame"), *firsts)


def _both(setup: Setup, child: Child, scene: Scene, name: str) -> Both:
    return (
        _final(setup, child, scene, name, "OPEN_EXR"),
        _final(setup, child, scene, name, "TARGA_RAW"),
    )


def _denoised(names: tuple[str, str, str], one: Both, other: Both) -> Row:
    floats = [combined(compare.read(each[0])) for each in (one, other)]
    largest, relative = compare.error_of(*floats)
    single, more, _ = compare.byte_steps(one[1], other[1])
    figures: dict[str, Cell] = {
        "largest, linear": largest,
        "RMSE / mean": relative,
        "8-bit: one step": single,
        "8-bit: more": more,
    }
    return Row("denoising", _named(names) | figures)
