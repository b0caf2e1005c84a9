# SPDX-License-Identifier: GPL-3.0-or-later
"""What is signed and logged: attestations, trees, the log, beacons."""
