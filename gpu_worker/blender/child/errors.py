# SPDX-License-Identifier: GPL-3.0-or-later
"""What the child says instead of an answer."""


class SceneError(Exception):
    """The scene cannot be rendered as asked; the text is for the artist."""
