# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator: an API over the store that decides which node renders what, and what counts."""
