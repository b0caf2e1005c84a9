# SPDX-License-Identifier: GPL-3.0-or-later
"""What a node sells, what it was promised for it, and how its operator gets it."""
