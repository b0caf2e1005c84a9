# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure rules of the farm: what a job is, how it becomes tasks, and how tiles become frames again.

Nothing here opens a socket or starts a process; of the project's packages only `farm_protocol` is imported.
"""
