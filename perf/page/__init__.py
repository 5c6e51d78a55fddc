# SPDX-License-Identifier: Apache-2.0
"""The page about saved results: its text and its plots."""
