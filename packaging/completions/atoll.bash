# Completion of the command atoll for bash.
# tests/e2e checks that every command and option of --help is here.

_atoll() {
  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command= word
  local -a socket=()
  local index
  COMPREPLY=()
  for ((index = 1; index < COMP_CWORD; index++)); do
    word=${COMP_WORDS[index]}
    case $word in
      --socket) socket=(--socket "${COMP_WORDS[index+1]}") ;;
      -*) ;;
      *)
        case ${COMP_WORDS[index-1]} in
          --socket | --timeout) ;;
          *) [ -n "$command" ] || command=$word ;;
        esac
        ;;
    esac
  done

  case $previous in
    --socket | --file) COMPREPLY=($(compgen -f -- "$current")); return ;;
    --directory) COMPREPLY=($(compgen -d -- "$current")); return ;;
    --kind) COMPREPLY=($(compgen -W 'stream bytes' -- "$current")); return ;;
    --when-full) COMPREPLY=($(compgen -W 'block drop-new overwrite' -- "$current")); return ;;
    --alignment) COMPREPLY=($(compgen -W '16 64' -- "$current")); return ;;
    --backing) COMPREPLY=($(compgen -W 'shm file memfd' -- "$current")); return ;;
    --content) COMPREPLY=($(compgen -W 'text json bytes' -- "$current")); return ;;
    --from) COMPREPLY=($(compgen -W 'earliest latest' -- "$current")); return ;;
    --timeout | --capacity | --size | --put-size | --access | --text | --count | -n | --after | --seconds | --cpu | --group | -g) return ;;
  esac

  local common='--help --json --timeout --socket'
  if [ -z "$command" ]; then
    COMPREPLY=($(compgen -W "status create ls show inspect manifest send recv tail put get rm gc bench stop $common --version" -- "$current"))
    return
  fi
  local options=
  case $command in
    create) options='--kind --capacity --when-full --alignment --size --put-size --backing --directory --access' ;;
    ls) options='--bytes' ;;
    send) options='--lines --file --text --content --finish --count --wait' ;;
    recv) options='--group --count --follow --from --exclusive --ephemeral --raw --wait' ;;
    tail) options='--from --count --follow --raw --wait' ;;
    put) options='--file --text --wait' ;;
    get) options='--after --wait --raw' ;;
    rm) options='--group --force' ;;
    gc) options='--apply --bytes' ;;
    bench) options='--size --seconds --cpu' ;;
  esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$options $common" -- "$current")) ;;
    *)
      case $command in
        ls | show | inspect | manifest | send | recv | tail | put | get | rm)
          COMPREPLY=($(compgen -W "$(command atoll ls "${socket[@]}" --timeout 1 2>/dev/null | awk 'NR > 1 { print $1 }')" -- "$current"))
          ;;
      esac
      ;;
  esac
}
complete -F _atoll atoll
