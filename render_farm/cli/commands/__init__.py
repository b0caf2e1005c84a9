# SPDX-License-Identifier: GPL-3.0-or-later
"""Each command of `render-farm`: its options, its help and what it does."""
