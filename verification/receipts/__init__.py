# SPDX-License-Identifier: GPL-3.0-or-later
"""What a farm publishes of its work, and how anybody checks it: receipts, heads of its log, replays."""
