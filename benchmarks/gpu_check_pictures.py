# SPDX-License-Identifier: GPL-3.0-or-later
"""Steps of benchmarks/gpu_check.py for docs/exactness.md: how far renders of one picture lie apart."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import gpu_check_compare as compare
from benchmarks.gpu_check_child import Answer, Child, Region
from benchmarks.gpu_check_records import Device, Row, Scene, Setup
from frame_splitter.exr import Image

CROP = 16


def pictures_of(setup: Setup) -> list[Scene]:
    """The scenes whose tiles are repeated."""
    names = ["orbit", "passes", "layers", "blur", "many samples", *(Path(one).stem for one in setup.extra)]
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


Pair = tuple[Image, Image]


class Found:
    """The worst of several pairs of renders of one scene, all in all and by pass."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._passes: dict[str, compare.PassFigures] = {}

    def row(self, names: tuple[str, str, str], pairs: Iterable[Pair]) -> Row:
        """The worst of the pairs. `names`: what was rendered, against what, and how."""
        found = [self._pair(*pair) for pair in pairs]
        ratio, rms = max(found, key=lambda one: one[0].ratio)[0], max(found, key=lambda one: one[0].rms)[0]
        figures = {
            "pixels apart": max(one.different for one, _ in found),
            "largest / hard bound": _in_pass(ratio.ratio, ratio.ratio_pass),
            "RMS / its bound": _in_pass(rms.rms, rms.rms_pass),
            "beyond": max(one.beyond for one, _ in found),
            "RMSE / mean": max(error for _, error in found),
        }
        first = dict(zip(("render", "against", "how"), names, strict=True))
        return Row("apart", {"scene": self._scene.name} | first | figures)

    def _pair(self, one: Image, other: Image) -> tuple[compare.Bounded, float]:
        figures = compare.by_pass(one, other, self._scene)
        for each in figures:
            self._passes[each.name] = compare.worse(each, self._passes.get(each.name))
        return compare.summary(figures, one, other), compare.relative_rmse(one, other)

    def by_pass(self, device: Device) -> Iterator[Row]:
        """All passes that differed in any pair so far."""
        for each in sorted(self._passes.values(), key=lambda each: -each.ratio):
            cells = {
                "scene": self._scene.name,
                "render": device.name,
                "pass": each.name,
                "pixels apart": each.different,
                "largest / hard bound": each.ratio,
                "RMS / its bound": each.rms,
            }
            yield Row("passes", cells)


def _in_pass(value: float, name: str) -> str:
    return f"{value:.3g} ({name})" if value else "0"


def repeats(setup: Setup, device: Device) -> Iterator[Row]:
    """The same tile again in one process, its crops, and in a fresh process."""
    again = 1 if setup.dry or device.is_cpu else 4
    found = {}
    with Child(setup, device) as child:
        for scene in pictures_of(setup):
            found[scene.name] = Found(scene)
            yield from _in_one_process(setup, child, scene, again, found[scene.name])
    with Child(setup, device) as child:
        for scene in pictures_of(setup):
            fresh = _rendered(setup, child, scene, "fresh.exr")
            first = compare.read(kept(setup, device, scene, "0.exr"))
            names = device.name, "itself", "in a fresh process"
            yield found[scene.name].row(names, [(first, fresh)])
            yield from found[scene.name].by_pass(device)


def _rendered(setup: Setup, child: Child, scene: Scene, name: str, region: Region | None = None) -> Image:
    child.open(scene)
    path = kept(setup, child.device, scene, name)
    child.tile(scene, path, region)
    return compare.read(path)


def _in_one_process(setup: Setup, child: Child, scene: Scene, again: int, found: Found) -> Iterator[Row]:
    frames = [_rendered(setup, child, scene, f"{number}.exr") for number in range(again + 1)]
    name = child.device.name
    how = "again in one process" if again == 1 else f"again in one process, {again} times"
    yield found.row((name, "itself", how), [(frames[0], other) for other in frames[1:]])
    parts = [_rendered(setup, child, scene, "crop.exr", region) for region in crops(scene)]
    whole = [compare.cut(frames[0], region) for region in crops(scene)]
    yield found.row((name, "itself", "crops against the frame"), zip(whole, parts, strict=True))


def between(setup: Setup, device: Device) -> Iterator[Row]:
    """A device's frames beside those of the devices before it, as far as they were rendered."""
    for other in setup.devices[: setup.devices.index(device)]:
        for scene in pictures_of(setup):
            paths = [kept(setup, each, scene, "0.exr") for each in (device, other)]
            if all(path.is_file() for path in paths):
                one, beside = map(compare.read, paths)
                yield Found(scene).row((device.name, other.name, "frame"), [(one, beside)])


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


Counted = tuple[Image, dict[str, int]]


def _counted(setup: Setup, child: Child, scene: Scene, name: str) -> Counted:
    child.open(scene)
    path = kept(setup, child.device, scene, name)
    answer: Answer = child.tile(scene, path)
    return compare.read(path), answer["samples"]


def _flips(device: Device, scene: Scene, how: str, one: Counted, other: Counted) -> Row:
    found = compare.flips(one[0], other[0], (one[1], other[1]), scene)
    cells = {
        "scene": scene.name,
        "render": device.name,
        "against": "itself",
        "how": how,
        "pixels flipped": found.share,
        "filter steps apart": found.steps,
        "largest cluster": found.cluster,
        "values apart, median": found.median,
        "values apart, largest": found.largest,
        "unexplained": found.unexplained,
    }
    return Row("adaptive", cells)


def cryptomatte(setup: Setup, device: Device) -> Iterator[Row]:
    """Cryptomattes of the pictures that `repeats` left."""
    for name in ("passes", "blur", "layers"):
        scene = setup.scenes()[name]
        first, again, fresh = (
            compare.read(kept(setup, device, scene, f"{each}.exr")) for each in ("0", "1", "fresh")
        )
        for how, other in (("again in one process", again), ("in a fresh process", fresh)):
            found = compare.mattes(first, other)
            cells = {
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
    for other in setup.devices[: setup.devices.index(device)]:
        files = list(kept(setup, other, scene, "0-TARGA_RAW").glob("*"))
        if files:
            yield _steps(scene, device.name, other.name, "frame", first, files[0])


def _final(setup: Setup, child: Child, scene: Scene, name: str, file_format: str) -> Path:
    child.open(scene)
    return child.final(scene, kept(setup, child.device, scene, f"{name}-{file_format}"), file_format)


def _steps(scene: Scene, render: str, against: str, how: str, one: Path, other: Path) -> Row:
    single, more, largest = compare.byte_steps(one, other)
    names = {"scene": scene.name, "render": render, "against": against, "how": how}
    return Row("bytes", names | {"one step": single, "more": more, "largest step": largest})


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
    floats = [compare.combined(compare.read(each[0])) for each in (one, other)]
    largest, relative = compare.error_of(*floats)
    single, more, _ = compare.byte_steps(one[1], other[1])
    figures = {
        "largest, linear": largest,
        "RMSE / mean": relative,
        "8-bit: one step": single,
        "8-bit: more": more,
    }
    return Row("denoising", dict(zip(("render", "against", "how"), names, strict=True)) | figures)
