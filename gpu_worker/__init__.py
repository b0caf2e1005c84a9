# SPDX-License-Identifier: GPL-3.0-or-later
"""The node: leases tasks, renders them with Blender on Ray actors, uploads and submits."""
