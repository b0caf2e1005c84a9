# SPDX-License-Identifier: GPL-3.0-or-later
"""The artist's commands. `program` is the way in; each command lives in a module named after it."""
