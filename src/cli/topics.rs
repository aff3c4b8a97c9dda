//! The commands, as used by the parser and the help text. Data only.
//!
//! There is one [`Topic`] per command. Commands for devices are in [`super::topics_devices`], those
//! of the node host in [`super::topics_node`].

/// A command, or a family of commands.
#[derive(PartialEq, Eq, Debug)]
pub struct Topic {
    /// Name as typed, such as `devices approve`.
    pub name: &'static str,
    /// Syntax of its arguments.
    pub usage: &'static str,
    /// Minimum number of arguments.
    pub least: usize,
    /// Maximum number of arguments.
    pub most: usize,
    /// Accepted options in addition to the global ones.
    pub options: &'static [&'static str],
    /// Summary in one line.
    pub about: &'static str,
    /// Help text: examples, then details.
    pub body: &'static str,
}

pub fn all() -> impl Iterator<Item = &'static Topic> {
    TOPICS.iter().chain(super::topics_devices::TOPICS).chain(super::topics_node::TOPICS)
}

const TOPICS: &[Topic] = &[
    Topic {
        name: "run",
        usage: "[--port PORT] [--bind BIND] [--auth MODE] [--log-file FILE]",
        least: 0,
        most: 0,
        options: &["log-file"],
        about: "start the gateway (also without any command)",
        body: "\
  gatelet                          on 127.0.0.1:18789; prints the link to open
  gatelet run --bind lan           reachable from other machines
  gatelet run --port 8080

BIND is loopback (the default), lan (the default in a container), tailnet, auto or custom.
MODE is token, password, trusted-proxy or none.
Without any token configured, one is made and kept in the state directory.
The log goes to standard error, and to FILE too if one is given (GATELET_LOG_FILE does the same): at
1 MiB it becomes FILE.1. GATELET_LOG is how much of it: error, warn, info (the default) or debug.
",
    },
    #[cfg(windows)]
    Topic {
        name: "service",
        usage: "[--state-dir DIR] [--config FILE] [--port PORT] [--bind BIND]",
        least: 0,
        most: 0,
        options: &[],
        about: "what the Windows service runs; install.ps1 makes the service",
        body: "\
The service control manager starts this. By hand: `gatelet run`.
The log is gatelet.log in the state directory. Stop and start it with
Stop-Service gatelet and Start-Service gatelet.
",
    },
    Topic {
        name: "url",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "the link to open in a browser, with the token in it",
        body: "\
  gatelet url
  docker exec CONTAINER /gatelet url

The token stands behind `#`, which a browser never sends anywhere. Whoever has the link is let in.
",
    },
    Topic {
        name: "status",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "is it running, where, with what, and who is connected",
        body: "  gatelet status\n  gatelet status --json\n",
    },
    Topic {
        name: "health",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "exit code 0 if the gateway answers, else 1 (for HEALTHCHECK)",
        body: "\
  HEALTHCHECK CMD [\"/gatelet\", \"health\"]

Asks GET /healthz on this machine, at the address the running gateway wrote down, else at the
configured port. Needs no token.
",
    },
    Topic {
        name: "logs",
        usage: "[--follow] [--level LEVEL] [--limit NUMBER]",
        least: 0,
        most: 0,
        options: &["follow", "level", "limit"],
        about: "the log of the running gateway",
        body: "\
  gatelet logs                            the last 200 lines
  gatelet logs --follow --level warn      warnings and errors, as they come

The gateway keeps its last 512 lines in memory; no file is needed. LEVEL is error, warn, info, debug
or trace; how much is logged at all is for GATELET_LOG to say when the gateway starts. --follow (-f)
waits for a gateway that is restarted.
",
    },
    Topic {
        name: "events",
        usage: "[--filter LIST]",
        least: 0,
        most: 0,
        options: &["filter"],
        about: "what happens at the running gateway, as it happens",
        body: "\
  gatelet events
  gatelet events --filter node.,device.pair
  gatelet events --json | jq .payload

LIST is of names of events, or of how they begin. Ends with exit code 4 when the gateway is gone.
",
    },
    Topic {
        name: "token",
        usage: "COMMAND",
        least: 0,
        most: 0,
        options: &[],
        about: "the gateway's token: show, rotate",
        body: "  gatelet token show\n  gatelet token rotate\n",
    },
    Topic {
        name: "token show",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "print the token in force, and nothing else",
        body: "  gatelet token show\n  TOKEN=$(gatelet token show)\n",
    },
    Topic {
        name: "token rotate",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "make a new token; paired devices stay paired",
        body: "\
  gatelet token rotate

Only for the token that gatelet made itself. One that comes from a variable or the configuration is
changed there; the error says where. A running gateway uses the new one from its
next start, or the next change of its configuration.
",
    },
    Topic {
        name: "config",
        usage: "COMMAND",
        least: 0,
        most: 0,
        options: &[],
        about: "the configuration: check, print",
        body: "  gatelet config check\n  gatelet config print\n",
    },
    Topic {
        name: "config check",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "every problem at once, with line and remedy",
        body: "  gatelet config check\n  gatelet config check --config ./openclaw.json\n",
    },
    Topic {
        name: "config print",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "every setting in force, and where it comes from",
        body: "  gatelet config print\n  gatelet config print --json\n",
    },
    Topic {
        name: "table",
        usage: "COMMAND",
        least: 0,
        most: 0,
        options: &[],
        about: "the pairing table: check, dump, repair, export, import",
        body: "\
  gatelet table check                     is the file sound?
  gatelet table export > paired.json      a backup, without secrets
  gatelet table import paired.json        take devices over, also from OpenClaw

check, dump, repair and import need the gateway to be stopped.
",
    },
    Topic {
        name: "table check",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "look at the file and change nothing; exit code 5 if it is damaged",
        body: "  gatelet table check\n",
    },
    Topic {
        name: "table dump",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "every record and both of its copies",
        body: "  gatelet table dump\n  gatelet table dump --json\n",
    },
    Topic {
        name: "table repair",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "make a damaged table usable; keeps every intact device",
        body: "\
  gatelet table repair

The damaged file is first copied beside itself. A sound table is left as it is.
",
    },
    Topic {
        name: "table export",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "all devices as JSON, in the shape of OpenClaw's paired.json, without secrets",
        body: "  gatelet table export > paired.json\n",
    },
    Topic {
        name: "table import",
        usage: "FILE... [--dry-run] [--overwrite]",
        least: 1,
        most: usize::MAX,
        options: &["dry-run", "overwrite"],
        about: "take devices over from OpenClaw's files, or from an export",
        body: "\
  gatelet table import ~/.openclaw/devices/paired.json --dry-run
  gatelet table import ~/.openclaw/devices/paired.json ~/.openclaw/nodes/paired.json

The devices sign in with the keys they have; tokens are not taken over. A device that is in the
table already is left as it is, unless --overwrite. --dry-run only says what would happen.
",
    },
    Topic {
        name: "call",
        usage: "METHOD [PARAMS-JSON]",
        least: 1,
        most: 2,
        options: &[],
        about: "call a method of the running gateway and print what it answers",
        body: "\
  gatelet call health
  gatelet call device.pair.list
  gatelet call device.pair.rename '{\"deviceId\":\"...\",\"label\":\"Desk\"}'
",
    },
    Topic {
        name: "help",
        usage: "[COMMAND]",
        least: 0,
        most: 2,
        options: &[],
        about: "this, or all about one command",
        body: "  gatelet help devices\n",
    },
    Topic {
        name: "version",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "print the version",
        body: "",
    },
];

/// Returns the topic with that name.
pub fn topic(name: &str) -> Option<&'static Topic> {
    all().find(|topic| topic.name == name)
}

/// Returns the names of the commands in a family, without the family's name.
pub fn members(family: &str) -> impl Iterator<Item = &'static str> + '_ {
    all().filter_map(move |topic| topic.name.strip_prefix(family)?.strip_prefix(' '))
}
