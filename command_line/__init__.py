# SPDX-License-Identifier: GPL-3.0-or-later
"""How commands are written: programs, types of options, and the options that several programs share."""
