# SPDX-License-Identifier: GPL-3.0-or-later
"""The sandbox strangers' files are opened in, and what a machine gives for it."""
