# SPDX-License-Identifier: GPL-3.0-or-later
"""All of the farm's state, on a server that speaks the Redis protocol. No process keeps any of it."""
