# SPDX-License-Identifier: GPL-3.0-or-later
"""What all programs of the farm speak with each other: ids, errors, records and their JSON, links, HTTP.

Nothing here imports another package of the project: the coordinator, the nodes, the command line and the
library stand on it alike.
"""
