# SPDX-License-Identifier: GPL-3.0-or-later
"""Programs that run inside the sandbox before the sandboxed one; they import nothing from the project."""
