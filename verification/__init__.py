# SPDX-License-Identifier: GPL-3.0-or-later
"""Attestations, audit sampling, image metrics and verdicts (verification/README.md)."""
