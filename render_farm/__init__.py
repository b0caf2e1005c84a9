# SPDX-License-Identifier: GPL-3.0-or-later
"""The coordinator: API, scheduler and store, and the artist's command line."""
