# SPDX-License-Identifier: GPL-3.0-or-later
"""Pure rules of the farm: what a job is, how it becomes tasks, and how tiles become frames again.

Nothing here opens a socket or starts a process, and nothing here imports another package of the
project, so that both the coordinator and the nodes can stand on it.
"""
