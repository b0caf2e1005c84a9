# SPDX-License-Identifier: GPL-3.0-or-later
"""The real parts a laptop runs for itself, and how to start each of them."""
