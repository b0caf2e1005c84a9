# SPDX-License-Identifier: GPL-3.0-or-later
"""The way a scene must go through the farm."""

LINEAR = "linear"
"""Cut into tiles, finished apart."""

WHOLE = "whole"
"""Rendered whole, finished apart."""

FINAL = "final"
"""Rendered and finished by one Blender."""

APPROXIMATE = "approximate"
"""Promised to be near, not equal."""

REFUSED = "refused"
"""Not rendered; the reason is said."""
