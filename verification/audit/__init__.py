# SPDX-License-Identifier: GPL-3.0-or-later
"""Which work is audited, where and by whom, and what is decided of what was found."""
