# SPDX-License-Identifier: GPL-3.0-or-later
"""The agent: leases tasks for its slots, keeps the leases, and keeps the slots' Ray running."""
