# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a scene cannot be cut, finished apart, or rendered at all.

A rule looks at the scene and what its renders are made of, and gives a sentence for the artist, or None.
"""

from collections.abc import Callable
from typing import Any

from gpu_worker.blender.child import compositor
from gpu_worker.blender.child.animation import ever_on, telling_settings
from gpu_worker.blender.child.defusing import freestyle_sentence
from gpu_worker.blender.child.denoising import denoises, is_cut, used_layers
from gpu_worker.blender.child.disk_caches import is_shown
from gpu_worker.blender.child.names import text
from gpu_worker.blender.child.nodes import makes_pencil, makes_volume, shades_volume
from gpu_worker.blender.child.participants import sequencer_makes_picture
from gpu_worker.blender.child.readers import MACHINES, read_settings
from gpu_worker.blender.child.rendering import stays_right_warm
from gpu_worker.blender.child.scope import ENGINES, Scope

Rule = Callable[[Scope], str | None]


def sentences(scope: Scope, rules: tuple[Rule, ...]) -> list[str]:
    """What the rules say of the scene, in their order."""
    return [sentence for rule in rules if (sentence := rule(scope))]


def _is_cycles(scene: Any) -> bool:
    return bool(scene.render.engine == "CYCLES")


def _guided(scope: Scope) -> bool:
    return any(ever_on(scene, "cycles.use_guiding") for scene in scope.cycles)


def _path_guiding_whole(scope: Scope) -> str | None:
    if _guided(scope):
        return "Path guiding learns from the whole picture, so frames are not cut into tiles."
    return None


def _path_guiding(scope: Scope) -> str | None:
    if _guided(scope):
        return "Path guiding learns while it renders: two runs of Blender differ a little as well."
    return None


def _timed(scope: Scope) -> bool:
    return any(ever_on(scene, "cycles.time_limit") for scene in scope.cycles)


def _time_limit_whole(scope: Scope) -> str | None:
    if _timed(scope):
        return "A render time limit counts for the whole picture, so frames are not cut into tiles."
    return None


def _time_limit(scope: Scope) -> str | None:
    if _timed(scope):
        return "A render time limit makes the picture depend on the machine's speed."
    return None


def _adaptive_subdivision(scope: Scope) -> str | None:
    for item in scope.evaluated.seen("OBJECT"):
        for modifier in item.modifiers:
            if modifier.type == "SUBSURF" and ever_on(item, _path(modifier, "use_adaptive_subdivision")):
                return f"'{text(item.name)}' is subdivided by what the camera sees, so frames stay whole."
    return None


def _path(part: Any, name: str) -> str:
    return f"{part.path_from_id()}.{name}"


def _volumes(scope: Scope) -> str | None:
    """Cycles guides volume scattering by filtered neighbour pixels: a tile's edge would show."""
    if not scope.cycles:
        return None
    if any(shades_volume(world.node_tree) for world in scope.evaluated.seen("WORLD")):
        return "The world's volume is sampled with the help of neighbouring pixels, so frames stay whole."
    if _holds_volume(scope):
        return "Volumes are sampled with the help of neighbouring pixels, so frames stay whole."
    return None


def _unlike_volumes(scope: Scope) -> str | None:
    """A path through a volume reads what other paths of its pixel have added so far: on GPUs, where paths run
    as they please, it takes other turns (docs/exactness.md).
    """
    if _is_cycles(scope.scene) and _volumes(scope):
        return "Two renders of volumes on one GPU have other noise."
    return None


def _holds_volume(scope: Scope) -> bool:
    """At any frame: what is animated only chooses among the data-blocks that are looked at here."""
    found = scope.evaluated
    return (
        found.instanced_volume
        or bool(found.seen("VOLUME"))
        or any(shades_volume(material.node_tree) for material in found.seen("MATERIAL"))
        or any(makes_volume(tree) for tree in found.seen("NODETREE"))
        or any(modifier.type == "FLUID" for item in found.seen("OBJECT") for modifier in item.modifiers)
    )


def _engine(scope: Scope) -> str | None:
    for scene in scope.scenes:
        if not _is_cycles(scene):
            return f"{text(scene.render.engine)} frames are rendered and finished by one Blender."
    return None


def _engine_approximate(scope: Scope) -> str | None:
    for scene in scope.scenes:
        if not _is_cycles(scene):
            return f"{text(scene.render.engine)} draws with the machine's graphics driver: bits may differ."
    return None


def _sequencer(scope: Scope) -> str | None:
    if sequencer_makes_picture(scope.scene):
        return "The video sequencer makes the picture, so one Blender renders and finishes each frame."
    return None


def _nothing_rendered(scope: Scope) -> str | None:
    if scope.scene not in scope.scenes:
        return "The picture is made without a render of the scene itself, so one Blender makes each frame."
    if not used_layers(scope.scene):
        return "No view layer is set to render, so one Blender makes each frame."
    return None


def _animated_settings(scope: Scope) -> str | None:
    """Facts are of one frame: what they are decided from must not change with it."""
    paths = telling_settings(scope.scene)
    if not paths:
        return None
    more = f" and {len(paths) - 3} more" if len(paths) > 3 else ""
    named = ", ".join(text(path)[:200] for path in paths[:3])
    return f"Settings of the scene are animated ({named}{more}), so one Blender makes each frame."


def _read_settings(scope: Scope) -> str | None:
    read = sorted(read_settings())
    if read:
        named = ", ".join(read[:3])
        return f"The scene reads settings that tiles change ({named}), so one Blender makes each frame."
    return None


def _read_machine(scope: Scope) -> str | None:
    read = sorted(read_settings() & MACHINES)
    if read:
        return f"The scene reads settings that are those of the machine that renders ({', '.join(read)})."
    return None


def _stereo(scope: Scope) -> str | None:
    if ever_on(scope.scene, "render.use_multiview"):
        return "Stereo (multi-view) frames are rendered and finished by one Blender."
    return None


def _stamp(scope: Scope) -> str | None:
    if ever_on(scope.scene, "render.use_stamp"):
        return "Metadata is burnt into the picture, so one Blender renders and finishes each frame."
    return None


def _stamp_changes(scope: Scope) -> str | None:
    fields = ("date", "render_time", "memory", "hostname", "filename")
    named = [field for field in fields if ever_on(scope.scene, f"render.use_stamp_{field}")]
    if ever_on(scope.scene, "render.use_stamp") and named:
        return f"The burnt-in {', '.join(named).replace('_', ' ')} changes with every render."
    return None


def _optix_denoiser(scope: Scope) -> str | None:
    for scene in scope.cycles:
        if scene.cycles.use_denoising and scene.cycles.denoiser != "OPENIMAGEDENOISE":
            return f"The {scene.cycles.denoiser} denoiser runs inside the render, so frames stay whole."
    return None


def _shadow_catcher(scope: Scope) -> str | None:
    if any(scene.cycles.use_denoising for scene in scope.cycles) and _catches_shadows(scope):
        return "Shadow catchers are denoised apart inside the render, so frames stay whole."
    return None


def _unlike_shadow_catchers(scope: Scope) -> str | None:
    """A shadow is what is left when the light of all that is no catcher is taken from the picture's: at a
    bright thing's edge two large sums leave a small one, with their rounding (`film_calculate_shadow_catcher`
    in Cycles' kernel/film/read.h).
    """
    if _is_cycles(scope.scene) and _catches_shadows(scope):
        return "Two renders of a shadow catcher on one GPU differ at the edges of bright things before it."
    return None


def _catches_shadows(scope: Scope) -> bool:
    # Lights carry the same flag, on by default, with another meaning.
    items = (item for item in scope.evaluated.seen("OBJECT") if item.type != "LIGHT")
    return any(ever_on(item, "is_shadow_catcher") for item in items)


FINISHED = frozenset({"Image", "Alpha"})
"""What a compositor may use of a denoised render that is finished apart. Film exposure touches stored light,
and Blender 5.0 does not survive that a second frame's other passes are given to it after denoising.
"""


def _denoised_passes(scope: Scope) -> str | None:
    scene = scope.scene
    if not (_is_cycles(scene) and denoises(scene) and scene.render.use_compositing):
        return None
    for tree in compositor.compositor_trees(scene.compositing_node_group):
        for node in (n for n in tree.nodes if n.bl_idname == "CompositorNodeRLayers"):
            used = {output.name for output in node.outputs if output.is_linked}
            if used - FINISHED:
                name = text(min(used - FINISHED))
                return f"The compositor uses another pass of a denoised render ({name}): frames stay whole."
    return None


def _sample_counts(scope: Scope) -> str | None:
    """Cycles stores counts over the most any pixel took, which a tile cannot know of the frame."""
    scene = scope.scene
    counted = any(layer.cycles.pass_debug_sample_count for layer in used_layers(scene))
    if _is_cycles(scene) and counted:
        return "The sample count pass depends on the whole picture, so frames stay whole."
    return None


def _uneven_denoising(scope: Scope) -> str | None:
    scene = scope.scene
    if not (_is_cycles(scene) and denoises(scene)):
        return None
    cycles = scene.cycles
    if cycles.use_sample_subset or any(layer.samples for layer in used_layers(scene)):
        return "View layers or a sample subset change the samples of a denoised render: frames stay whole."
    render = scene.render
    counted = cycles.use_adaptive_sampling or is_cut(cycles, render.resolution_x, render.resolution_y)
    if counted and cycles.film_exposure != 1.0:
        return "An adaptive or very large denoised render with a film exposure of its own stays whole."
    return None


def _denoised_volumes(scope: Scope) -> str | None:
    """Cycles guides volumes by the exposed picture; what is denoised apart is exposed otherwise."""
    if denoises(scope.scene) and _is_cycles(scope.scene) and _volumes(scope):
        return "A denoised render of volumes depends on its film exposure, so one Blender makes each frame."
    return None


def _grease_pencil(scope: Scope) -> str | None:
    found = scope.evaluated
    drawn = found.instanced_pencil or any(item.type == "GREASEPENCIL" for item in found.seen("OBJECT"))
    if drawn or any(makes_pencil(tree) for tree in found.seen("NODETREE")):
        return "Grease Pencil is drawn over the render by Blender itself, so frames stay whole."
    return None


def _single_layer(scope: Scope) -> str | None:
    if scope.scene.render.use_single_layer:
        return "'Render Single Layer' is on, so frames stay whole."
    return None


def _foreign_compositor(scope: Scope) -> str | None:
    scene = scope.scene
    layers = {layer.name for layer in used_layers(scene)}
    if not scene.render.use_compositing:
        return None
    for depth, tree in enumerate(compositor.compositor_trees(scene.compositing_node_group)):
        for node in tree.nodes:
            sentence = _foreign_node(node, scene, layers) or (depth and _nested_node(node))
            if sentence:
                return sentence
    return None


def _nested_node(node: Any) -> str | None:
    """Blender gives these nothing inside a group; what they show is left to Blender."""
    if node.bl_idname in {"CompositorNodeRLayers", "CompositorNodeCryptomatteV2"}:
        return "The compositor reads render layers inside a node group, so frames stay whole."
    return None


def _foreign_node(node: Any, scene: Any, layers: set[str]) -> str | None:
    if node.bl_idname == "CompositorNodeRLayers":
        if node.scene != scene:
            other = text(node.scene.name) if node.scene else "none"
            return f"The compositor reads the layers of another scene ({other}), so frames stay whole."
        if node.mute or node.layer not in layers:
            return "The compositor reads a layer that is not rendered, so frames stay whole."
    is_matte = node.bl_idname == "CompositorNodeCryptomatteV2" and node.source == "RENDER"
    if is_matte and node.scene != scene:
        return "A Cryptomatte node reads another scene, so frames stay whole."
    return None


def _freestyle(scope: Scope) -> str | None:
    said = (freestyle_sentence(scene, scope.scene) for scene in scope.scenes)
    return next((sentence for sentence in said if sentence is not None), None)


def _fluid(scope: Scope) -> str | None:
    for item in scope.evaluated.objects.values():
        for modifier in item.modifiers:
            if modifier.type == "FLUID" and modifier.fluid_type == "DOMAIN" and is_shown(modifier, item):
                return (
                    f"The fluid of '{text(item.name)}' is played by Mantaflow, which runs Python and writes "
                    f"files: the farm never does. Show its baked files instead, smoke as a Volume object, "
                    f"a liquid's mesh as Alembic."
                )
    return None


def _external_engine(scope: Scope) -> str | None:
    for scene in scope.scenes:
        if scene.render.engine not in ENGINES:
            engine = text(scene.render.engine) or "The scene's engine"
            return f"{engine} is an add-on; the farm has Cycles, EEVEE and Workbench."
    return None


def _no_camera(scope: Scope) -> str | None:
    for one in scope.participants:
        if one.camera is None and one.scene != scope.scene:
            return f"The compositor shows '{text(one.scene.name)}', a scene that has no camera: give it one."
    return None


def _gpu_compositor(scope: Scope) -> str | None:
    render = scope.scene.render
    if render.use_compositing and "GPU" in {render.compositor_device, render.compositor_denoise_device}:
        return "The compositor is set to GPU; the farm composites on the CPU."
    return None


def _gpu_denoising(scope: Scope) -> str | None:
    if any(denoises(scene) and scene.cycles.denoising_use_gpu for scene in scope.cycles):
        return "Denoising is set to GPU; the farm denoises on the CPU, as Blender does where it has none."
    return None


def _not_kept_warm(scope: Scope) -> str | None:
    if scope.scene.render.use_persistent_data and not stays_right_warm(scope.scene):
        return (
            "Persistent Data is on, but the view layers' passes differ: Blender 5.0 then draws some of them "
            "wrong, so frames are rendered, and compared, with Persistent Data off."
        )
    return None


def _empty_picture(scope: Scope) -> str | None:
    if scope.scene in scope.scenes and not used_layers(scope.scene):
        return "No view layer is set to render (View Layer > Use for Rendering): the render is empty."
    return None


WHOLE_ONLY = (_path_guiding_whole, _time_limit_whole, _adaptive_subdivision, _volumes)
FINAL_ONLY = (
    _engine,
    _sequencer,
    _nothing_rendered,
    _animated_settings,
    _read_settings,
    _stereo,
    _stamp,
    _optix_denoiser,
    _shadow_catcher,
    _denoised_passes,
    _uneven_denoising,
    _denoised_volumes,
    _sample_counts,
    _grease_pencil,
    _single_layer,
    _foreign_compositor,
)
UNLIKE = (_unlike_volumes, _unlike_shadow_catchers)
APPROXIMATE = (_engine_approximate, _path_guiding, _time_limit, _stamp_changes, _read_machine)
REFUSED = (_freestyle, _fluid, _external_engine, _no_camera)
NOTES = (_gpu_compositor, _gpu_denoising, _not_kept_warm, _empty_picture)
