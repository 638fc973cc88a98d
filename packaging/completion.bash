# Bash completion for cria: asks the program's own help, so that it cannot fall behind.
_cria() {
    local word=${COMP_WORDS[COMP_CWORD]} command=() w
    for w in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        [[ $w == -* || $w == */* || ${#command[@]} -ge 2 ]] || command+=("$w")
    done
    [[ " debug data train tune " == *" ${command[0]} "* ]] || command=("${command[@]:0:1}")
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cria help "${command[@]}" 2>/dev/null |
            grep -oE '^ .{0,6}--[a-z0-9-]+' | grep -oE -- '--[a-z0-9-]+')" -- "$word")
    elif [[ ${#command[@]} -eq 0 || " debug data train " == *" ${command[*]} "* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(cria help "${command[@]}" 2>/dev/null |
            sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p')" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -o filenames -F _cria cria
