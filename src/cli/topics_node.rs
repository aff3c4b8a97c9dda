//! Commands of the node host, see [`super::topics`]. Data only.

use super::topics::Topic;

pub(super) const TOPICS: &[Topic] = &[
    Topic {
        name: "node",
        usage: "COMMAND",
        least: 0,
        most: 0,
        options: &[],
        about: "this machine as a node: run, show, allow, disallow, allowed",
        body: "\
  gatelet pair --role node                on the gateway: a code for a node
  gatelet node run --host 192.168.1.5 --code ABCD2345

A node lets the gateway's operators ask this machine how it is, and start the programs you allow.
",
    },
    Topic {
        name: "node run",
        usage: "[--host ADDRESS] [--code CODE] [--display-name NAME]",
        least: 0,
        most: 0,
        options: &["host", "code", "display-name"],
        about: "say what is exposed, connect, answer, and come back when the gateway does",
        body: "\
  gatelet node run                        the gateway it knows, else the one on this machine
  gatelet node run --host 192.168.1.5:18789 --code ABCD2345
  gatelet node run --token TOKEN          or GATELET_TOKEN, instead of a code

After the first time neither --host nor --code is needed. ADDRESS is an IP address, with or without
a port: names are not looked up. Its key and what it may run are in node/ in the state directory.
Ends with exit code 3 when the gateway refuses it for good, for example because it was revoked.
",
    },
    Topic {
        name: "node show",
        usage: "[--host ADDRESS] [--display-name NAME]",
        least: 0,
        most: 0,
        options: &["host", "code", "display-name"],
        about: "what `node run` would expose, to whom and under which key; connects nowhere",
        body: "  gatelet node show\n  gatelet node show --json\n",
    },
    Topic {
        name: "node allow",
        usage: "PROGRAM [ARGUMENT...] [$]",
        least: 1,
        most: usize::MAX,
        options: &[],
        about: "let operators start a program here; until one is allowed none can be",
        body: "\
  gatelet node allow uptime               with any arguments
  gatelet node allow /usr/bin/git status  only with this first argument; more may follow
  gatelet node allow -- systemctl restart printer '$'        exactly this

Without a shell: arguments are given to the program as they are. A shell, an interpreter, `env` or
`sudo` without `$` allows everything. The node takes it over when it next connects.
",
    },
    Topic {
        name: "node disallow",
        usage: "PROGRAM [ARGUMENT...] [$]",
        least: 1,
        most: usize::MAX,
        options: &[],
        about: "take that back",
        body: "  gatelet node disallow /usr/bin/git status\n",
    },
    Topic {
        name: "node allowed",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "what operators can start here",
        body: "  gatelet node allowed\n",
    },
];
