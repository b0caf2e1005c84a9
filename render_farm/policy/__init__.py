# SPDX-License-Identifier: GPL-3.0-or-later
"""What is decided, and by which rule. Pure: no store, no clock, no network."""
