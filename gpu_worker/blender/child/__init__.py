# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs inside Blender: inspection, rendering and finishing.

Only `gpu_worker/blender/child_program.py` imports this package, in a process of its own (usually sandboxed).
It imports nothing from the rest of the project, and nothing the rest of the project may trust.
"""
