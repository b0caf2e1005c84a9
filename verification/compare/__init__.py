# SPDX-License-Identifier: GPL-3.0-or-later
"""Two pictures side by side: what differs, and by how much."""
