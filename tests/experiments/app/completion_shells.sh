#!/usr/bin/env bash
# completion_shells.sh SHELL SCRIPT: types lines into a real SHELL that has sourced SCRIPT, and prints what became of each.
# aqlm-exp is a stand-in that answers __complete. Run in an empty folder.
shell=$1 script=$2
lines=("aqlm-exp sh" "aqlm-exp show c" "aqlm-exp show config wi" "aqlm-exp show config sweep.yaml quantizer.n"
       "aqlm-exp show config sweep.yaml x=1 model=lla")
mkdir -p bin
cat > bin/aqlm-exp <<'PROGRAM'
#!/bin/sh
shift # __complete
for word in "$@"; do :; done
offer() { for c in "$@"; do case $c in "$word"*) echo "$c" ;; esac; done; }
case $# in
  1) offer run plan show ;;
  2) offer config sweep ;;
  3) echo ":files yaml" ;;
  *) offer quantizer.nbits= model=qwen model=llama ;;
esac
PROGRAM
chmod +x bin/aqlm-exp
touch "with space.yaml" sweep.yaml
export PATH="$PWD/bin:$PATH"

case $shell in
bash)
  source "./$script"
  compopt() { :; }
  for line in "${lines[@]}"; do
    COMP_LINE=$line COMP_POINT=${#line} COMP_WORDS=()
    # bash cuts words at blanks, and "=" is a word of its own
    spaced=${line//=/ = }
    read -r -a COMP_WORDS <<< "$spaced"
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _aqlm_exp_complete
    # what readline replaces is the last of its words
    whole=${line##* }
    echo "$line => ${whole%"${COMP_WORDS[COMP_CWORD]}"}${COMPREPLY[0]}"
  done
  ;;
fish)
  for line in "${lines[@]}"; do
    echo "$line => $(fish --no-config -c "source ./$script; complete -C '$line'" | sed 's/\\ / /g' | head -1)"
  done
  ;;
zsh)
  cat > driver.zsh <<'DRIVER'
zmodload zsh/zpty
zpty z "env TERM=vt100 zsh -f -i"
zpty -w z "PS1=''; autoload -Uz compinit; compinit -u -D; unsetopt zle_bracketed_paste beep; bindkey -e; stty cols 200"
# A widget prints the line as it stands between marks, so that nothing has to be guessed from the terminal's codes.
zpty -w z "show-buffer() { print -r -- \"<<\$BUFFER>>\"; BUFFER=''; }; zle -N show-buffer; bindkey '^G' show-buffer"
zpty -w z "source ./$1; print READY"
read_until() {
  local piece
  all=
  for i in {1..600}; do
    while zpty -r -t z piece; do all+=$piece; done
    [[ $all == *$~1* ]] && return 0
    sleep 0.05
  done
  print -u2 "zsh did not answer: $all"
  exit 1
}
read_until 'READY[^"]'
shift
for line in "$@"; do
  zpty -n -w z "$line"$'\t\a'
  read_until '<<*>>'
  text=${${all##*<<}%%>>*}
  print -r -- "$line => $text"
done
zpty -d z
DRIVER
  zsh -f driver.zsh "$script" "${lines[@]}" | while IFS= read -r result; do
    typed=${result%% => *} became=${result#* => }
    became=${became//\\ / }
    case $became in *"with space.yaml"*) became="with space.yaml" ;; *) became=${became% } became=${became##* } ;; esac
    echo "$typed => $became"
  done
  ;;
esac
