# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures of pictures and of what lies between two of them, one a module."""
