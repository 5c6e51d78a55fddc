/* SPDX-License-Identifier: Apache-2.0 */
/* Writes --help, the manual page of the configuration file and the example file from the table. */
#include "controlplane/options_page.h"

#include <ctype.h>
#include <string.h>

#include "controlplane/options.h"

#define WIDTH 78u

/* Words up to the width, each line behind the same indent. */
static void wrap(FILE *out, const char *indent, const char *text)
{
    size_t column = 0, word;

    for (; *text; text += word + (text[word] == ' ')) {
        word = strcspn(text, " ");
        if (column && column + 1 + word > WIDTH) {
            fputc('\n', out);
            column = 0;
        }
        fprintf(out, "%s%.*s", column ? " " : indent, (int)word, text);
        column += (column ? 1 : strlen(indent)) + word;
    }
    fputc('\n', out);
}

static bool group_begins(unsigned id)
{
    return id == 0 || strcmp(option_table[id].group, option_table[id - 1].group) != 0;
}

static void flag_print(FILE *out, const char *name)
{
    for (; *name; name++)
        fputc(*name == '_' ? '-' : *name, out);
}

void page_help(FILE *out)
{
    char allowed[256], text[1024];

    fputs("usage: kvraild [FLAG...]\n"
          "The daemon of kvrail: creates the cache, runs the dataplane, answers `kvrail`.\n\n"
          "  -c, --config FILE   read settings from FILE; else KVRAIL_CONFIG, else\n"
          "                      /etc/kvrail/kvrail.yaml if there is one\n"
          "      --set KEY=VALUE any setting below\n"
          "      --control PATH  the same as --control-socket\n"
          "      --check-config  check all settings, then exit\n"
          "  -V, --version       print the version\n"
          "  -h, --help          print this\n\n"
          "Each setting can be given as --key-name VALUE, as KVRAIL_KEY_NAME in the environment,\n"
          "or as 'key_name: VALUE' in the file; the first of these that is there wins.\n",
          out);
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];

        if (group_begins(id))
            fprintf(out, "\n%s:\n", option->group);
        fputs("  --", out);
        flag_print(out, option->name);
        fprintf(out, " %s%s\n", option_type_name(option->type), option->live ? "  (live)" : "");
        option_allowed(option, allowed, sizeof(allowed));
        wrap(out, "      ", option->help);
        snprintf(text, sizeof(text), "%s; default %s", allowed,
                 *option->init ? option->init : "empty");
        wrap(out, "      ", text);
    }
    fputs("\nSettings marked live change while kvraild runs: `kvrail config set KEY VALUE`, or\n"
          "edit the file and send SIGHUP.\n"
          "Exit status: 0 stopped cleanly, 1 failed, 2 wrong flags or settings.\n",
          out);
}

/* Underscores would start underlining in scdoc. */
static void scd_text(FILE *out, const char *text)
{
    for (; *text; text++) {
        if (strchr("_*\\<", *text))
            fputc('\\', out);
        fputc(*text, out);
    }
}

void page_man(FILE *out)
{
    char allowed[256];

    fputs("kvrail.yaml(5)\n\n# NAME\n\nkvrail.yaml - settings of kvraild\n\n# DESCRIPTION\n\n"
          "One YAML mapping of keys to plain values. *kvraild*(8) reads the file named by\n"
          "*--config* or KVRAIL\\_CONFIG, else /etc/kvrail/kvrail.yaml if it exists. Every key is\n"
          "also a flag (*--cache-size 4GiB*) and an environment variable (KVRAIL\\_CACHE\\_SIZE);\n"
          "flags win over the environment, the environment over the file, the file over the\n"
          "defaults. Unknown keys and values out of range are refused, all of them at once.\n\n"
          "Sizes take B, KiB, MiB, GiB, TiB, or KB, MB, GB, TB (powers of 1000); durations take\n"
          "ms (also without unit), s, min, h; flags take on or off.\n\n"
          "Settings marked _live_ can change while kvraild runs, by *kvrail config set* or by\n"
          "SIGHUP after a change of the file.\n",
          out);
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];

        if (group_begins(id))
            fprintf(out, "\n# %c%s\n", toupper(option->group[0]), option->group + 1);
        fputs("\n*", out);
        scd_text(out, option->name);
        fprintf(out, "* (%s%s)\n\t", option_type_name(option->type),
                option->live ? ", _live_" : "");
        scd_text(out, option->help);
        option_allowed(option, allowed, sizeof(allowed));
        fputs("\n\tAllowed: ", out);
        scd_text(out, allowed);
        fputs(". Default: ", out);
        scd_text(out, *option->init ? option->init : "empty");
        fputs(".\n", out);
    }
    fputs("\n# EXAMPLE\n\n```\ncache_size: 16GiB\nworkers: 4\ncpus: 2-5\ndevice: \"0000:41:00.0\"\n"
          "ipv4: 192.0.2.10/24\nipv6: \"\"\nidle: spin\n```\n\n# SEE ALSO\n\n*kvraild*(8), "
          "*kvrail*(1)\n",
          out);
}

void page_yaml(FILE *out)
{
    char allowed[256], text[1024];
    const char *quote;

    fputs("# Settings of kvraild; kvrail.yaml(5) is the manual. Each key is shown with its\n"
          "# default: take the # away to change it. `kvraild --check-config` checks the file.\n",
          out);
    for (unsigned id = 0; id < NR_OPTIONS; id++) {
        const struct option_row *option = &option_table[id];

        fprintf(out, group_begins(id) ? "\n# ---- %s ----\n\n" : "\n", option->group);
        wrap(out, "# ", option->help);
        option_allowed(option, allowed, sizeof(allowed));
        snprintf(text, sizeof(text), "%s%s", allowed,
                 option->live ? "; may change while running" : "");
        wrap(out, "# ", text);
        quote = !*option->init || strpbrk(option->init, ":=,") ? "\"" : "";
        fprintf(out, "#%s: %s%s%s\n", option->name, quote, option->init, quote);
    }
}
