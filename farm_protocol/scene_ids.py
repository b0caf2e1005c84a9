# SPDX-License-Identifier: GPL-3.0-or-later
"""What a scene is called: by all that is in it."""

import hashlib

from farm_protocol.fields import encode
from farm_protocol.ids import SceneId
from farm_protocol.records import Manifest


def scene_id(manifest: Manifest) -> SceneId:
    """The sha256 of a manifest, whatever order its files were listed in."""
    ordered: dict[str, object] = {"main": manifest.main, "files": dict(sorted(manifest.files.items()))}
    if manifest.color_config:
        ordered["color_config"] = manifest.color_config
    return SceneId(hashlib.sha256(encode(ordered)).hexdigest())
