# SPDX-License-Identifier: Apache-2.0
"""What the scenarios stand on; one file, one noun."""
