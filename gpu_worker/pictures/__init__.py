# SPDX-License-Identifier: GPL-3.0-or-later
"""Pictures of strangers: decoded in a process of their own, compared, taken out of folders."""
