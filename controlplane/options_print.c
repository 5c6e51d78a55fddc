/* SPDX-License-Identifier: Apache-2.0 */
/* Build tool: prints a page made from the option table. `options-print man|yaml|help` */
#include <string.h>

#include "controlplane/options_page.h"

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "man") == 0)
        page_man(stdout);
    else if (argc == 2 && strcmp(argv[1], "yaml") == 0)
        page_yaml(stdout);
    else if (argc == 2 && strcmp(argv[1], "help") == 0)
        page_help(stdout);
    else
        return 2;
    return 0;
}
