# SPDX-License-Identifier: Apache-2.0
# bash completion for kvrail: commands and options come from the program's own tables.
# shellcheck shell=bash

_kvrail() {
    local word=${COMP_WORDS[COMP_CWORD]} last=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
    local command='' at words=()

    COMPREPLY=()
    [ "$last" = = ] && last=${COMP_WORDS[COMP_CWORD - 2]}
    [ "$word" = = ] && word=
    case $last in
    --priority)
        mapfile -t COMPREPLY < <(compgen -W 'critical high normal low background' -- "$word")
        return
        ;;
    --dist)
        mapfile -t COMPREPLY < <(compgen -W 'zipf:0.99 uniform sequential' -- "$word")
        return
        ;;
    --ops)
        mapfile -t COMPREPLY < <(compgen -W 'get put del touch match ping mix' -- "$word")
        return
        ;;
    --beyond)
        mapfile -t COMPREPLY < <(compgen -W 'touch get put' -- "$word")
        return
        ;;
    --arrival)
        mapfile -t COMPREPLY < <(compgen -W 'fixed poisson' -- "$word")
        return
        ;;
    --control | --output | -o | --file | -f)
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
        return
        ;;
    esac
    if [ "${COMP_WORDS[COMP_CWORD - 2]-} $last" = "config set" ] || [ "$last" = get ] &&
        [ "${COMP_WORDS[COMP_CWORD - 2]-}" = config ]; then
        mapfile -t words < <("$program" config keys 2> /dev/null)
        words=("${words[@]:1}")
        mapfile -t COMPREPLY < <(compgen -W "${words[*]%% *}" -- "$word")
        return
    fi
    if [ "$last" = config ] && [[ $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W 'list get set check keys' -- "$word")
        return
    fi
    for ((at = 1; at < COMP_CWORD; at++)); do
        case ${COMP_WORDS[at]} in
        -s | --server | -t | --timeout | --control | --priority) at=$((at + 1)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[at]}
            break
            ;;
        esac
    done
    mapfile -t words < <("$program" --words "$command" 2> /dev/null)
    if [ -z "$command" ] && [[ $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${words[*]/#--*/}" -- "$word")
    elif [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "${words[*]}" -- "$word")
        [[ ${COMPREPLY[0]-} == *= && ${#COMPREPLY[@]} -eq 1 ]] && compopt -o nospace 2> /dev/null
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}

complete -F _kvrail kvrail
