# SPDX-License-Identifier: GPL-3.0-or-later
"""The farm from Python: what the commands use, and what a studio's own scripts can use."""
