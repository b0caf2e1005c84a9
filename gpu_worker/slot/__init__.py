# SPDX-License-Identifier: GPL-3.0-or-later
"""A slot: what is done for one task, from its scene to files that are ready to be uploaded."""
