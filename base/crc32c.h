/* SPDX-License-Identifier: Apache-2.0 */
/* CRC32C (Castagnoli, as in iSCSI, RFC 3720) of values and datagrams; isa-l does the work. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* crc32c(0, "123456789", 9) == 0xe3069283. Continue with the previous result as crc. */
uint32_t crc32c(uint32_t crc, const void *bytes, size_t len);

/* The same of len bytes at once, of which the 4 at `at` (a multiple of 4) count as 0: a datagram
 * that holds its own CRC. */
uint32_t crc32c_blank(const void *bytes, size_t len, size_t at);
