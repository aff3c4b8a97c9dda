//! The commands: what the parser accepts and what help says of each.
//!
//! One [`Topic`] a command, in the order of the overview. Only data.

/// One command, or a family of them.
#[derive(PartialEq, Eq, Debug)]
pub struct Topic {
    /// As typed, such as `devices approve`.
    pub name: &'static str,
    /// Its arguments.
    pub usage: &'static str,
    /// Fewest arguments.
    pub least: usize,
    /// Most arguments.
    pub most: usize,
    /// Options it has beside the global ones.
    pub options: &'static [&'static str],
    /// What it does, in one line.
    pub about: &'static str,
    /// Examples, then the rest.
    pub body: &'static str,
}

/// Every command, in the order of the overview.
pub const TOPICS: &[Topic] = &[
    Topic {
        name: "run",
        usage: "[--port PORT] [--bind BIND] [--auth MODE]",
        least: 0,
        most: 0,
        options: &[],
        about: "start the gateway (also without any command)",
        body: "\
  gatelet                          on 127.0.0.1:18789; prints the link to open
  gatelet run --bind lan           reachable from other machines
  gatelet run --port 8080

BIND is loopback (the default), lan (the default in a container), tailnet, auto or custom.
MODE is token, password, trusted-proxy or none.
Without any token configured, one is made and kept in the state directory.
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
        name: "devices",
        usage: "[COMMAND]",
        least: 0,
        most: 0,
        options: &[],
        about: "who waits, who is paired: list, approve, reject, remove, rename, rotate, revoke",
        body: "\
  gatelet devices                         who waits and who is paired
  gatelet devices approve --latest        let in the one that asked last
  gatelet devices revoke \"Old phone\"      shut it out until you approve it again

DEVICE is a device id, the first 6 or more digits of one, or its name. REQUEST is a request id or
its first digits. Works through the running gateway, or on the file when none runs.
",
    },
    Topic {
        name: "devices list",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "who waits and who is paired",
        body: "  gatelet devices list\n  gatelet devices list --json\n",
    },
    Topic {
        name: "devices approve",
        usage: "REQUEST|DEVICE|--latest",
        least: 0,
        most: 1,
        options: &["latest"],
        about: "let in who waits, or a revoked device again",
        body: "\
  gatelet devices approve 3f2a91c4        a request or a device from `gatelet devices`
  gatelet devices approve --latest        the one that asked last
",
    },
    Topic {
        name: "devices reject",
        usage: "REQUEST|DEVICE|--latest",
        least: 0,
        most: 1,
        options: &["latest"],
        about: "turn down who waits; it may ask again",
        body: "  gatelet devices reject 3f2a91c4\n",
    },
    Topic {
        name: "devices remove",
        usage: "DEVICE",
        least: 1,
        most: 1,
        options: &[],
        about: "forget a device; with the gateway's token it can pair again",
        body: "\
  gatelet devices remove 9b1c55e0d2aa

Its open connections are closed. To keep it out although it has the token, revoke it instead.
",
    },
    Topic {
        name: "devices rename",
        usage: "DEVICE NAME",
        least: 2,
        most: 2,
        options: &[],
        about: "give it a name of yours",
        body: "  gatelet devices rename 9b1c55e0d2aa \"Kitchen tablet\"\n",
    },
    Topic {
        name: "devices rotate",
        usage: "DEVICE [--role ROLE]",
        least: 1,
        most: 1,
        options: &["role"],
        about: "new device token; the old one works until the new one is used",
        body: "\
  gatelet devices rotate 9b1c55e0d2aa

The device gets the new token by itself when it next connects. Without --role: for each role it has.
",
    },
    Topic {
        name: "devices revoke",
        usage: "DEVICE [--role ROLE]",
        least: 1,
        most: 1,
        options: &["role"],
        about: "shut it out, token or not, until you approve it again",
        body: "\
  gatelet devices revoke 9b1c55e0d2aa
  gatelet devices approve 9b1c55e0d2aa     takes that back

Its open connections are closed at once. Without --role: for each role it has.
",
    },
    Topic {
        name: "pair",
        usage: "[--role ROLE] [--scopes LIST] [--qr]",
        least: 0,
        most: 0,
        options: &["role", "scopes", "qr"],
        about: "a code, link and QR that let one new device in, for ten minutes",
        body: "\
  gatelet pair                            for a phone or another computer
  gatelet pair --role node                for a headless node
  gatelet pair --scopes read              may look, may not touch

ROLE is operator (default) or node. LIST is of admin, read, write, approvals, pairing, questions,
talk, talk.secrets, sessions.read, sessions.write; without it the code gives all of them. The QR is
drawn in a terminal, or anywhere with --qr. Needs the running gateway.
",
    },
    Topic {
        name: "explain",
        usage: "[--last [N]] [--peer IP] [--token right|wrong|none] [--device WORD] ...",
        least: 0,
        most: 1,
        options: &[
            "last",
            "peer",
            "host",
            "origin",
            "xff",
            "real-ip",
            "device-token",
            "code",
            "device",
            "role",
            "client",
            "user",
            "scopes",
            "protocol",
        ],
        about: "why somebody was refused, or would be: rule by rule",
        body: "\
  gatelet explain --last                  the last refusals of the running gateway
  gatelet explain --peer 172.18.0.1 --token right --device new
  gatelet explain --host gate.example --origin https://gate.example --token right

The second form asks the same rules about a connection that you describe, with the configuration in
force. It needs no running gateway and sends nothing. Exit code 3 if it would be refused.

  --peer IP              where the socket comes from (default 127.0.0.1)
  --host HOST            the Host header (default 127.0.0.1:PORT)
  --origin ORIGIN        the Origin header; without it, it is no browser
  --xff LIST             X-Forwarded-For; --real-ip IP: X-Real-IP
  --token, --password    the shared secret: right, wrong or none (default)
  --device-token, --code the device's own token, a setup code: right, wrong or none (default)
  --device WORD          new (default), known, revoked, none, or a device of the table
  --role, --client, --scopes, --protocol, --user     as the client would send them
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
changed there; the error says where. A running gateway uses the new one after a restart.
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
    Topic { name: "version", usage: "", least: 0, most: 0, options: &[], about: "print the version", body: "" },
];

/// The topic of that name.
pub fn topic(name: &str) -> Option<&'static Topic> {
    TOPICS.iter().find(|topic| topic.name == name)
}

/// The commands of a family, without its name.
pub fn members(family: &str) -> impl Iterator<Item = &'static str> + '_ {
    TOPICS.iter().filter_map(move |topic| topic.name.strip_prefix(family)?.strip_prefix(' '))
}
