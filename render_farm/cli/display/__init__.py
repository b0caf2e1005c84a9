# SPDX-License-Identifier: GPL-3.0-or-later
"""What people are shown: rows, steps, progress, and where words go."""
