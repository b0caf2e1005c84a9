# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender: the child program, what it does inside, and the process that holds it."""
