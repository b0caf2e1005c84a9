# SPDX-License-Identifier: GPL-3.0-or-later
"""A scene on the artist's machine: what it reads, what may leave the machine, what a farm makes of it."""
