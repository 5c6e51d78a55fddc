/* SPDX-License-Identifier: Apache-2.0 */
/* Status codes in words, generated from the one list. */
#include "kvrail/client.h"

const char *kvr_status_name(enum kvr_status status)
{
    switch ((int)status) {
#define STATUS_NAME(name, number, text)                                                            \
    case number:                                                                                   \
        return #name;
        KVR_STATUS_LIST(STATUS_NAME)
#undef STATUS_NAME
    default:
        return "UNKNOWN";
    }
}

const char *kvr_status_text(enum kvr_status status)
{
    switch ((int)status) {
#define STATUS_TEXT(name, number, text)                                                            \
    case number:                                                                                   \
        return text;
        KVR_STATUS_LIST(STATUS_TEXT)
#undef STATUS_TEXT
    default:
        return "unknown status";
    }
}
