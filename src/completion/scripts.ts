/** The names of this program. */
const NAMES = 'pgbq pg-background-queue'

const BASH = `# completion of pgbq for bash: eval "$(pgbq completion bash)"
_pgbq() {
  local line=\${COMP_LINE:0:COMP_POINT} part=\${COMP_WORDS[COMP_CWORD]} value text word cut files=
  # what breaks words for readline, : and =, does not break them for us
  case $part in :|=) part= ;; esac
  COMPREPLY=()
  while IFS=$'\\t' read -r value text; do
    case $value in
      :word) word=$text; cut=\${word%"$part"}; [[ $part == [\\'\\"]* ]] && cut=\${word%"\${part:1}"}; continue ;;
      :files) files=1; continue ;;
    esac
    value=\${value#"$cut"}
    [[ $part == [\\'\\"]* ]] || printf -v value %q "$value"
    COMPREPLY+=("$value")
  done < <(printf %s "$line" | "\${COMP_WORDS[0]}" complete line 2>/dev/null)
  if [[ $files ]]; then
    compopt -o filenames 2>/dev/null
    while IFS= read -r value; do COMPREPLY+=("$value"); done < <(compgen -f -- "$part")
  fi
}
complete -F _pgbq ${NAMES}
`

const ZSH = `#compdef ${NAMES}
# completion of pgbq for zsh: eval "$(pgbq completion zsh)", after compinit
_pgbq() {
  local -a values
  local line value files=
  while IFS= read -r line; do
    case $line in
      :word*) continue ;;
      :files*) files=1; continue ;;
    esac
    value=\${line%%$'\\t'*}
    values+=("\${value//:/\\\\:}:\${line#*$'\\t'}")
  done < <(printf '%s\\0' "\${(@Q)words[2,CURRENT]}" | $words[1] complete words 2>/dev/null)
  _describe pgbq values
  [[ -n $files ]] && _files
}
compdef _pgbq ${NAMES}
`

const FISH = `# completion of pgbq for fish: pgbq completion fish | source
function __pgbq_complete
    set -l words (commandline -opc) (commandline -ct)
    for line in (string join0 -- $words[2..-1] | $words[1] complete words 2>/dev/null)
        switch $line
            case ':word*'
            case ':files*'
                __fish_complete_path (commandline -ct)
            case '*'
                echo $line
        end
    end
end
for name in ${NAMES}
    complete -c $name -f -a '(__pgbq_complete)'
end
`

export const SHELLS = ['bash', 'zsh', 'fish'] as const
export const SCRIPTS: Record<string, string> = { bash: BASH, zsh: ZSH, fish: FISH }
