# SPDX-License-Identifier: GPL-3.0-or-later
"""The node's side of the wire: what it says to its farm, what it signs, and what it believes."""
