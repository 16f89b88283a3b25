# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_rekindle_global_optspecs
    string join \n h/help V/version
end

function __fish_rekindle_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_rekindle_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_rekindle_using_subcommand
    set -l cmd (__fish_rekindle_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c rekindle -n "__fish_rekindle_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c rekindle -n "__fish_rekindle_needs_command" -s V -l version -d 'Print version'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "run" -d 'Start a process and keep it healthy'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "check" -d 'Validate a configuration and print what would happen when'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "probe" -d 'Ask once whether something is healthy: exit code 0 if it is, 1 if not'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "status" -d 'Show what the service is doing, since when, and what comes next'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "incidents" -d 'Show what broke, when, for how long and why'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "drill" -d 'Break a service on purpose, and report how it comes back'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "demo-gateway" -d 'Serve a small gateway that can be broken on purpose, to try things out'
complete -c rekindle -n "__fish_rekindle_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l config -d 'Configuration file [default: /etc/rekindle/rekindle.toml if no COMMAND is given]' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l name -d 'Name of this instance: its directories and its control socket are named after it' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l listen -d 'Address that serves the page, /metrics, /livez, /readyz and /status [default: 127.0.0.1:7354]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l state-dir -d 'Directory for what must outlive a restart' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l log-level -d 'Least important level that is logged: error, warn, info, debug, trace [default: info]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l log-format -d 'How log lines look: auto, human, json [default: auto]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l notify -d 'Whether anybody is told of incidents at all [default: true]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l health -d 'URL that answers with a good status while the service is healthy' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l boot-hook -d 'Program that must end well before every launch [default: /etc/openshell/boot.sh]' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l on-boot-failure -d 'What follows a boot hook that fails before the first launch: retry, exit [default: retry]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l startup-timeout -d 'How long a launch may take until its first passed probe [default: 10m]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l stop-timeout -d 'The whole budget of a stop; what is left at its end is killed [default: 8s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l period -d 'Time from the start of one liveness probe to the start of the next [default: 10s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l timeout -d 'How long one liveness probe may take [default: 5s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l failure-threshold -d 'How many failed liveness probes in a row make the service unhealthy [default: 3]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l expect-status -d 'HTTP statuses that are good [default: 200-299]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -l no-boot-hook -d 'Run no boot hook'
complete -c rekindle -n "__fish_rekindle_using_subcommand run" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l name -d 'Name of this instance: its directories and its control socket are named after it' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l listen -d 'Address that serves the page, /metrics, /livez, /readyz and /status [default: 127.0.0.1:7354]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l state-dir -d 'Directory for what must outlive a restart' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l log-level -d 'Least important level that is logged: error, warn, info, debug, trace [default: info]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l log-format -d 'How log lines look: auto, human, json [default: auto]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l notify -d 'Whether anybody is told of incidents at all [default: true]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l health -d 'URL that answers with a good status while the service is healthy' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l boot-hook -d 'Program that must end well before every launch [default: /etc/openshell/boot.sh]' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l on-boot-failure -d 'What follows a boot hook that fails before the first launch: retry, exit [default: retry]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l startup-timeout -d 'How long a launch may take until its first passed probe [default: 10m]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l stop-timeout -d 'The whole budget of a stop; what is left at its end is killed [default: 8s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l period -d 'Time from the start of one liveness probe to the start of the next [default: 10s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l timeout -d 'How long one liveness probe may take [default: 5s]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l failure-threshold -d 'How many failed liveness probes in a row make the service unhealthy [default: 3]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l expect-status -d 'HTTP statuses that are good [default: 200-299]' -r -f
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -l no-boot-hook -d 'Run no boot hook'
complete -c rekindle -n "__fish_rekindle_using_subcommand check" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l name -d 'Which rekindle to ask, if several run here' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l state-dir -d 'Its state directory, if it was given one' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l timeout -d 'How long the answer may take in all' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l expect-status -d 'Statuses that are good, with URL' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l ready -d 'Ask the running rekindle whether its service serves'
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -l live -d 'Ask the running rekindle whether it is alive itself'
complete -c rekindle -n "__fish_rekindle_using_subcommand probe" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand status" -l name -d 'Which rekindle to ask, if several run here' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand status" -l state-dir -d 'Its state directory, if it was given one' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand status" -l watch -d 'Show it again every second, until interrupted'
complete -c rekindle -n "__fish_rekindle_using_subcommand status" -l json -d 'Print the document of /status, on one line'
complete -c rekindle -n "__fish_rekindle_using_subcommand status" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -l last -d 'Only the latest so many [default: 20, with --json all]' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -l config -d 'Configuration file that says where they are kept' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -l name -d 'Which rekindle to ask, if several run here' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -l state-dir -d 'Its state directory, if it was given one' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -l json -d 'Print them as they are kept, one JSON object a line'
complete -c rekindle -n "__fish_rekindle_using_subcommand incidents" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l config -d 'Drill the service of this file instead of the demo gateway' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l live -d 'Drill the running instance of this name, where it runs' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l state-dir -d 'Its state directory, if it was given one [default: `$REKINDLE_STATE_DIR`]' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l scenario -d 'Only these scenarios; may be given several times [default: all]' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l repeat -d 'Do everything so often' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l seed -d 'Choose the random moments as in the drill that reported this' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l rto -d 'Fail if a recovery takes longer [default: the objective of FILE]' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l output -d 'Form of the report: table, json, junit, html' -r -f -a "table\t'For people'
json\t'For programs: one document'
junit\t'For CI: one test case for each scenario'
html\t'A page of its own, with a picture of each scenario'"
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l inside -d 'Be the first process of the drill\'s sandbox in this directory' -r -F
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l yes -d 'Break the running service without asking'
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l list -d 'Name the scenarios, and do nothing'
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -l own-tree -d 'Use no namespaces even where they are allowed'
complete -c rekindle -n "__fish_rekindle_using_subcommand drill" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -l host -d 'Address to listen on' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -l port -d 'Port to listen on; 0 takes a free one' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -l slow-start -d 'Open the port only after this' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -l ready-after -d 'Answer /readyz with 503 until this has passed' -r
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -l orphan -d 'Be the orphan that a broken gateway leaves behind'
complete -c rekindle -n "__fish_rekindle_using_subcommand demo-gateway" -s h -l help -d 'Print help'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "run" -d 'Start a process and keep it healthy'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "check" -d 'Validate a configuration and print what would happen when'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "probe" -d 'Ask once whether something is healthy: exit code 0 if it is, 1 if not'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "status" -d 'Show what the service is doing, since when, and what comes next'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "incidents" -d 'Show what broke, when, for how long and why'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "drill" -d 'Break a service on purpose, and report how it comes back'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "demo-gateway" -d 'Serve a small gateway that can be broken on purpose, to try things out'
complete -c rekindle -n "__fish_rekindle_using_subcommand help; and not __fish_seen_subcommand_from run check probe status incidents drill demo-gateway help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
