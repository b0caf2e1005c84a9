# SPDX-License-Identifier: GPL-3.0-or-later
"""What every server process of the farm needs: connections held to deadlines, certificates, a log."""
