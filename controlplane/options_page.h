/* SPDX-License-Identifier: Apache-2.0 */
/* The option table as people read it. Slow path. */
#pragma once

#include <stdio.h>

void page_help(FILE *out); /* kvraild --help */
void page_man(FILE *out);  /* docs/man/kvrail.yaml.5.scd */
void page_yaml(FILE *out); /* dist/kvrail.yaml: every key with its default, commented out */
