# SPDX-License-Identifier: GPL-3.0-or-later
"""The way to a chain, and the contracts on it."""
