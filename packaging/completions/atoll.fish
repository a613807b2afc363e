# Completion of the command atoll for fish.
# tests/e2e checks that every command and option of --help is here.

function __atoll_names
    command atoll ls --timeout 1 2>/dev/null | awk 'NR > 1 { print $1 }'
end

set -l commands status create ls show inspect manifest send recv tail put get rm gc bench stop
complete -c atoll -f
complete -c atoll -s h -l help -d 'show help'
complete -c atoll -l json -d 'print JSON, errors too'
complete -c atoll -l timeout -x -d 'give up after this time altogether'
complete -c atoll -l socket -r -F -d "the broker's socket"
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -l version -d 'show the version'

complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a status -d 'tell how the broker is'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a create -d 'create a segment'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a ls -d 'list the segments'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a 'show inspect' -d 'show one segment'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a manifest -d "print a segment's manifest"
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a send -d 'send records to a stream'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a recv -d 'take records from a stream'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a tail -d "look at a stream's records"
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a put -d 'make something the content of a bytes segment'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a get -d 'print the content of a bytes segment'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a rm -d 'remove segments, or one group of a stream'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a gc -d 'tell what is left over, or remove it'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a bench -d 'measure this machine'
complete -c atoll -n "not __fish_seen_subcommand_from $commands" -a stop -d 'stop the broker'
complete -c atoll -n '__fish_seen_subcommand_from ls show inspect manifest send recv tail put get rm' -a '(__atoll_names)'

complete -c atoll -n '__fish_seen_subcommand_from create' -l kind -x -a 'stream bytes' -d 'what it is'
complete -c atoll -n '__fish_seen_subcommand_from create' -l capacity -x -d "room in each producer's lane"
complete -c atoll -n '__fish_seen_subcommand_from create' -l when-full -x -a 'block drop-new overwrite' -d 'when consumers are behind'
complete -c atoll -n '__fish_seen_subcommand_from create' -l alignment -x -a '16 64' -d 'of each record in memory'
complete -c atoll -n '__fish_seen_subcommand_from create' -l size -x -d 'how large it is'
complete -c atoll -n '__fish_seen_subcommand_from create' -l put-size -x -d 'the longest put'
complete -c atoll -n '__fish_seen_subcommand_from create' -l backing -x -a 'shm file memfd' -d 'what it lies in'
complete -c atoll -n '__fish_seen_subcommand_from create' -l directory -r -a '(__fish_complete_directories)' -d 'where the files lie'
complete -c atoll -n '__fish_seen_subcommand_from create' -l access -x -d 'USER:RIGHTS: who else may use it'
complete -c atoll -n '__fish_seen_subcommand_from ls gc' -l bytes -d 'sizes in bytes'
complete -c atoll -n '__fish_seen_subcommand_from gc' -l apply -d 'remove what was found'
complete -c atoll -n '__fish_seen_subcommand_from send' -l lines -d 'each line is a record'
complete -c atoll -n '__fish_seen_subcommand_from send put' -l file -r -F -d 'read this file'
complete -c atoll -n '__fish_seen_subcommand_from send put' -l text -x -d 'use this text'
complete -c atoll -n '__fish_seen_subcommand_from send' -l content -x -a 'text json bytes' -d 'what the records are'
complete -c atoll -n '__fish_seen_subcommand_from send' -l finish -d 'say that nothing more will come'
complete -c atoll -n '__fish_seen_subcommand_from send' -l count -d 'print how many records were sent'
complete -c atoll -n '__fish_seen_subcommand_from send recv tail put get' -l wait -d 'wait for it to appear'
complete -c atoll -n '__fish_seen_subcommand_from recv rm' -s g -l group -x -d 'the group'
complete -c atoll -n '__fish_seen_subcommand_from recv tail' -s n -l count -x -d 'this many records'
complete -c atoll -n '__fish_seen_subcommand_from recv tail' -s f -l follow -d 'go on until the stream ends'
complete -c atoll -n '__fish_seen_subcommand_from recv tail' -l from -x -a 'earliest latest' -d 'where to start'
complete -c atoll -n '__fish_seen_subcommand_from recv' -l exclusive -d 'a new group has one consumer at a time'
complete -c atoll -n '__fish_seen_subcommand_from recv' -l ephemeral -d 'a new group ends with its last consumer'
complete -c atoll -n '__fish_seen_subcommand_from recv tail get' -l raw -d 'write the bytes only'
complete -c atoll -n '__fish_seen_subcommand_from get' -l after -x -d 'only a higher version'
complete -c atoll -n '__fish_seen_subcommand_from rm' -l force -d 'also if in use'
complete -c atoll -n '__fish_seen_subcommand_from bench' -l size -x -d 'of the records; may be repeated'
complete -c atoll -n '__fish_seen_subcommand_from bench' -l seconds -x -d 'measure this long'
complete -c atoll -n '__fish_seen_subcommand_from bench' -l cpu -x -d 'A,B: where the two processes run'
