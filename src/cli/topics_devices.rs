//! Commands for pairing and managing devices, see [`super::topics`]. Data only.

use super::topics::Topic;

pub(super) const TOPICS: &[Topic] = &[
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
        name: "nodes",
        usage: "[COMMAND]",
        least: 0,
        most: 0,
        options: &[],
        about: "the nodes: list, describe, invoke, pending, approve, reject, remove, rename",
        body: "\
  gatelet nodes                           who is here, what it may be asked, what waits
  gatelet nodes approve --latest          let the node that asked last do what it offers
  gatelet nodes invoke kitchen system.which '{\"bins\": [\"git\"]}'

NODE is a node's id, the first 6 or more digits of one, or its name. REQUEST is a request id or its
first digits. What a node offers may be asked of it only when you have approved it.
",
    },
    Topic {
        name: "nodes list",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "who is here, what it may be asked, what waits",
        body: "  gatelet nodes list\n  gatelet nodes list --json\n",
    },
    Topic {
        name: "nodes describe",
        usage: "NODE",
        least: 1,
        most: 1,
        options: &[],
        about: "all about one node",
        body: "  gatelet nodes describe kitchen\n",
    },
    Topic {
        name: "nodes invoke",
        usage: "NODE COMMAND [PARAMS-JSON] [--timeout SECONDS]",
        least: 2,
        most: 3,
        options: &["timeout"],
        about: "ask a node to do something, and print what it answers",
        body: "\
  gatelet nodes invoke kitchen location.get
  gatelet nodes invoke kitchen system.which '{\"bins\": [\"git\"]}' --timeout 5

Without --timeout it has 30 seconds.
",
    },
    Topic {
        name: "nodes pending",
        usage: "",
        least: 0,
        most: 0,
        options: &[],
        about: "what waits for approval",
        body: "  gatelet nodes pending\n",
    },
    Topic {
        name: "nodes approve",
        usage: "REQUEST|NODE|--latest",
        least: 0,
        most: 1,
        options: &["latest"],
        about: "let a node do what it offers; lets it in, too, if that waits",
        body: "\
  gatelet nodes approve 3f2a91c4          a request or a node from `gatelet nodes`
  gatelet nodes approve --latest          the one that asked last

Prints each command, and what it means where it means much.
",
    },
    Topic {
        name: "nodes reject",
        usage: "REQUEST|NODE|--latest",
        least: 0,
        most: 1,
        options: &["latest"],
        about: "turn down what it offers; it may ask again, and keeps what it had",
        body: "  gatelet nodes reject 3f2a91c4\n",
    },
    Topic {
        name: "nodes remove",
        usage: "NODE",
        least: 1,
        most: 1,
        options: &[],
        about: "forget it as a node, and what was approved of it",
        body: "\
  gatelet nodes remove kitchen

Its connection is closed. A device that is an operator as well stays one.
",
    },
    Topic {
        name: "nodes rename",
        usage: "NODE NAME",
        least: 2,
        most: 2,
        options: &[],
        about: "give it a name of yours",
        body: "  gatelet nodes rename 9b1c55e0d2aa kitchen\n",
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
];
