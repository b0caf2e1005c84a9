# SPDX-License-Identifier: GPL-3.0-or-later
"""Small scenes that exercise the farm, each built from nothing by a script."""
