# SPDX-License-Identifier: GPL-3.0-or-later
"""Small .blend files, each with one thing that render farms get wrong, grouped by kind.

    python -m tests.variants FOLDER [NAME ...]     # writes FOLDER/NAME.blend

Every variant is the same little stage (64x48, 4 samples, a moving glossy ball over a chequered floor) with
one feature changed, so that a difference names its cause. `tests.variants.catalogue` lists them without
loading Blender.
"""
