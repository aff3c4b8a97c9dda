//! Every number that bounds something, in one place, with the relations between them.
//!
//! Memory is bounded by these and by the configuration, never by what peers do. Sizes are bytes, times milliseconds.

// --- frames and heads -----------------------------------------------------------------------------------------------

/// Largest frame before hello (protocol 4).
pub const FRAME_BEFORE_HELLO: usize = 64 * 1024;
/// Largest frame after hello, the `policy.maxPayload` of hello (protocol 4; protocol 3 said 512 KiB). It is also the largest
/// frame that is ever sent: the clients of both protocols, operators and nodes, give the `ws` library a `maxPayload` of 25 MiB,
/// and a larger frame ends their connection with 1009. One of exactly this size is taken.
pub const FRAME_AFTER_HELLO: usize = 25 * 1024 * 1024;
/// Largest HTTP request head.
pub const HEAD_LEN: usize = 16 * 1024;
/// Most header lines in a request head.
pub const HEAD_LINES: usize = 64;
/// Deepest nesting of JSON in a frame.
pub const JSON_DEPTH: usize = 64;
/// Keys of one JSON object that are watched for a second one of the same name.
pub const JSON_KEYS: usize = 64;
/// The same in all objects that enclose each other: objects up to the eighth level are always watched.
pub const JSON_KEYS_OPEN: usize = 8 * JSON_KEYS;
/// Pairs of keys in one text that differ and have one hash.
pub const JSON_CLASHES: u32 = 64;
/// Bytes of a WebSocket connection's read buffer at the start; it grows to the largest frame seen.
pub const READ_BUFFER: usize = 1024;
/// Reads of that size for one WebSocket before the others have their turn.
pub const READS_PER_TURN: u32 = 16;
/// Tasks that run before the operating system is asked for what else became ready.
pub const TASKS_PER_TURN: usize = 32;
/// What the operating system may name as ready at one time.
pub const EVENTS_PER_TURN: usize = 64;
/// Pings of one client whose answers it may leave unread before it is heard no more.
pub const PINGS_WAITING: u32 = 16;

// --- time -----------------------------------------------------------------------------------------------------------

/// From accept to hello (protocol 4: 15 s).
pub const HANDSHAKE_MS: u64 = 15_000;
/// From challenge to proof.
pub const PROOF_FRESH_MS: u64 = 120_000;
/// Skew of `signedAt` that `gateway.auth.strictClock` allows, and that is logged otherwise (protocol 4).
pub const CLOCK_SKEW_MS: u64 = 120_000;
/// Between two `tick` events (protocol 3 and 4).
pub const TICK_MS: u64 = 30_000;
/// Between two `health` events (protocol 3 and 4).
pub const HEALTH_MS: u64 = 60_000;
/// Between two WebSocket pings to an admitted client; no pong until the next one ends the connection (protocol 4: 25 s).
pub const PING_MS: u64 = 25_000;
/// How long a close handshake, or the last writes at stop, may take.
pub const CLOSE_GRACE_MS: u64 = 1_000;
/// Life of a pending pairing request, renewed when the device asks again (protocol 3 and 4: 5 min).
pub const PENDING_MS: u64 = 300_000;
/// Life of a setup code (protocol 4: 10 min).
pub const SETUP_CODE_MS: u64 = 600_000;
/// How often, and after how long each time, a start waits for a command that is looking at the table.
pub const LOCK_TRIES: u32 = 5;
/// See [`LOCK_TRIES`].
pub const LOCK_RETRY_MS: u64 = 100;
/// Least time between two lazy writes of "last seen".
pub const SEEN_FLUSH_MS: u64 = 3_600_000;
/// Least time between two lines of the log about connections that cannot be accepted.
pub const ACCEPT_WARNING_MS: u64 = 10_000;
/// Least time between two warnings about the proxy headers of one untrusted peer.
pub const PROXY_WARNING_MS: u64 = 3_600_000;
/// Hours of table age that a silent, absent pairing keeps its place in a full table.
pub const GIVE_WAY_AGE_HOURS: u32 = 30 * 24;
/// Device tokens of one role that are good at the same time.
pub const TOKEN_GENERATIONS: u32 = 4;

/// How long the Windows service control manager is asked to wait for a start or a stop.
pub const SERVICE_PENDING_MS: u64 = 30_000;
/// How often on Windows, and after how long each time, a file is tried again that a virus scanner or a backup holds open.
pub const FILE_TRIES: u32 = 10;
/// See [`FILE_TRIES`].
pub const FILE_RETRY_MS: u64 = 50;

/// How long the command line waits for the running gateway's answer.
pub const CLI_CALL_MS: u64 = 10_000;
/// Between two looks of a command that follows the log.
pub const CLI_POLL_MS: u64 = 1_000;
/// After which silence a command that follows events gives up: two ticks would have come.
pub const CLI_SILENCE_MS: u64 = 75_000;
/// The same as [`CLI_CALL_MS`] for `gatelet health`.
pub const CLI_HEALTH_MS: u64 = 3_000;

/// First wait before `gatelet node run` connects again; doubled each time, and up to half of it is left out by chance.
pub const NODE_RETRY_MS: u64 = 1_000;
/// Longest of these waits. A connection that lasted that long begins with the first again.
pub const NODE_RETRY_MAX_MS: u64 = 60_000;
/// How long a command may run on a node of ours if neither the call nor the gateway says.
pub const NODE_RUN_MS: u64 = 30_000;
/// How long it may run whatever they say.
pub const NODE_RUN_MAX_MS: u64 = 600_000;
/// How long its output is waited for when it ended, and something it left behind still holds that.
pub const NODE_REST_MS: u64 = 200;
/// A node looks at a command that runs at least every so many milliseconds.
pub const NODE_LOOK_MS: u64 = 50;

// --- counts ---------------------------------------------------------------------------------------------------------

/// Sockets that have not said hello yet, in all; those that wait with a guess ([`GUESSES_WAITING`]) are not among them.
pub const UNAUTHENTICATED: usize = 256;
/// The same from one address, IPv6: from its /64 (protocol 4: 32; behind NAT many share one, so ours is wider). Loopback has
/// the whole lot.
pub const UNAUTHENTICATED_PER_ADDRESS: usize = 64;
/// Pieces of work that wait for one thread: as many as those sockets may ask for, twice.
pub const OFFLOADED: usize = 2 * UNAUTHENTICATED;
/// Admitted connections.
pub const CONNECTIONS: usize = 16 * 1024;
/// Pending pairing requests.
pub const PENDING: usize = 64;
/// Setup codes alive at once.
pub const SETUP_CODES: usize = 8;
/// Pairs of address and device, one of them perhaps left out, whose wrong passwords are counted.
pub const THROTTLES: usize = 256;
/// Wrong passwords of one pair before the next is refused unread (protocol 4: 10 in 60 s, then 300 s).
pub const THROTTLE_TRIES: u32 = 10;
/// Window in which they count.
pub const THROTTLE_WINDOW_MS: u64 = 60_000;
/// How long the pair then waits.
pub const THROTTLE_LOCK_MS: u64 = 300_000;
/// Guesses of strangers at the password, and at setup codes, that are looked at at once, whoever makes them.
pub const GUESSES_AT_ONCE: u64 = 60;
/// Beyond these: from one wrong guess at the password to the next that is looked at.
pub const PASSWORD_EVERY_MS: u64 = 200;
/// The same for setup codes: in ten minutes 12,000 of 2^40.
pub const CODE_EVERY_MS: u64 = 50;
/// Guesses that wait for that, of each of the two kinds.
pub const GUESSES_WAITING: usize = 48;
/// Signatures without a nonce that let somebody in: the last ones are remembered.
pub const SIGNATURES: usize = 256;
/// Presence entries shown (protocol 3 and 4: 200).
pub const PRESENCE: usize = 200;
/// How long a device's own word on itself is shown (protocol 3 and 4: 5 min).
pub const REPORT_MS: u64 = 300_000;
/// One text of it.
pub const REPORT_TEXT_LEN: usize = 160;
/// Refusals written to the log in a minute; the others are counted.
pub const REFUSALS_LOGGED: u32 = 60;
/// Refusals kept for `gatelet explain --last`.
pub const REFUSALS_KEPT: usize = 64;
/// Untrusted proxies remembered for the hourly warning.
pub const PROXY_WARNINGS: usize = 32;
/// Frames waiting for one client, whatever their size.
pub const OUTBOX_FRAMES: usize = 1024;
/// Bytes waiting for one client before it counts as slow (protocol 3: 1.5 MiB; protocol 4: 50 MiB).
pub const OUTBOX_BYTES: usize = 4 * 1024 * 1024;
/// Bytes from which on a frame is large, and may wait beside those.
pub const OUTBOX_LARGE: usize = 256 * 1024;
/// Calls and admissions of devices that may wait for the disk at a time, of all clients together.
pub const COMMITS_QUEUED: usize = 256;
/// Calls answered `unauthorized role` before the connection is closed (protocol 4: 10).
pub const UNAUTHORIZED_CALLS: u32 = 10;

// --- the relay ------------------------------------------------------------------------------------------------------

/// Nodes that are connected.
pub const NODES: usize = 1024;
/// Bytes of a list of nodes after which those that follow are shown without search path and permissions.
pub const NODES_IN_FULL: usize = 8 * 1024 * 1024;
/// Calls on their way to nodes and not answered yet, of all operators together.
pub const INVOKES: usize = 4096;
/// The same of one operator's connection.
pub const INVOKES_OF_ONE: usize = 1024;
/// How long a node may take to answer when the caller names no time (protocol 3 and 4: 30 s).
pub const INVOKE_MS: u64 = 30_000;
/// The longest time that a caller can name.
pub const INVOKE_MS_MAX: u64 = 24 * 3_600_000;
/// A piece of progress that a node tells (protocol 4: 16 KiB).
pub const PROGRESS_LEN: usize = 16 * 1024;
/// The message of a node's error as it is passed on.
pub const NODE_ERROR_LEN: usize = 4 * 1024;
/// The whole error of a node, which goes along in the details: more, with message and envelope, might fit no frame.
pub const NODE_ERROR_WHOLE: usize = FRAME_AFTER_HELLO - 6 * (NODE_ERROR_LEN + WORD_LEN + ID_LEN) - 2048;
/// Actions that wait for a phone to come to the foreground, for one node (protocol 4: 64) and in all.
pub const ACTIONS_OF_ONE: usize = 64;
/// See [`ACTIONS_OF_ONE`].
pub const ACTIONS: usize = 512;
/// Parameters of such an action.
pub const ACTION_LEN: usize = 16 * 1024;
/// How long such an action waits (protocol 4: 10 min).
pub const ACTION_MS: u64 = 600_000;
/// Work that waits for nodes to fetch it, in all; a node has at most one item of each of the two kinds.
pub const WORK: usize = 512;
/// How long it waits if the caller names no time (protocol 4: 24 h).
pub const WORK_MS: u64 = 24 * 3_600_000;
/// Items that a node fetches at once (protocol 4: 4, and 10 if it asks for them).
pub const WORK_FETCHED: u64 = 4;
/// See [`WORK_FETCHED`].
pub const WORK_FETCHED_MAX: u64 = 10;
/// Ids in one acknowledgement of a node.
pub const IDS_ACKED: usize = 64;
/// Approvals of a command that wait for somebody to decide, or were decided a moment ago.
pub const EXEC_APPROVALS: usize = 64;
/// What such an approval is about, as it came.
pub const EXEC_APPROVAL_LEN: usize = 32 * 1024;
/// How long one waits when the caller names no time (protocol 3: 2 min; protocol 4: 30 min).
pub const EXEC_APPROVAL_MS_V3: u64 = 120_000;
/// See [`EXEC_APPROVAL_MS_V3`].
pub const EXEC_APPROVAL_MS_V4: u64 = 1_800_000;
/// How long a decision can still be asked for (protocol 4: 15 s).
pub const EXEC_APPROVAL_KEPT_MS: u64 = 15_000;
/// Callers that wait for one decision.
pub const EXEC_APPROVAL_WAITERS: usize = 16;
/// Wake words, and the length of one (protocol 3 and 4).
pub const WAKE_WORDS: usize = 32;
/// See [`WAKE_WORDS`].
pub const WAKE_WORD_LEN: usize = 64;

// --- values of the protocol -----------------------------------------------------------------------------------------

/// Scopes in one connect.
pub const SCOPES_SENT: usize = 32;
/// Caps, commands or permissions in one connect.
pub const NAMES_SENT: usize = 256;
/// The search path that a node sends.
pub const PATH_ENV_LEN: usize = 16 * 1024;
/// Different parameters of one method.
pub const PARAMS: usize = 40;
/// A scope, role, client id or mode as sent.
pub const WORD_LEN: usize = 64;
/// A token, password or nonce as sent.
pub const SECRET_LEN: usize = 4096;
/// A shared token of fewer characters earns a warning where others can reach the gateway.
pub const TOKEN_SHORT: usize = 16;
/// Bytes from which a secret is shown as a fingerprint: those of 128 bits in hexadecimal. Shorter ones are words of people, which
/// a fingerprint would let others find by trying.
pub const FINGERPRINTED: usize = 32;
/// A public key as sent (protocol 4: 4096, for PEM).
pub const KEY_TEXT_LEN: usize = 4096;
/// Any other short text of connect.
pub const FIELD_LEN: usize = 1024;
/// A request's id and method as sent.
pub const METHOD_LEN: usize = 128;
/// A request id that is echoed.
pub const ID_LEN: usize = 256;
/// Text that lists what is wrong with a frame or with parameters; what does not fit is left out.
pub const PROBLEMS_LEN: usize = 1024;
/// A close reason (RFC 6455 allows 123; the protocol's clients know 120).
pub const CLOSE_REASON: usize = 120;

// --- our own node ---------------------------------------------------------------------------------------------------

/// Commands that run at the same time.
pub const NODE_RUNS: usize = 4;
/// The end of standard output, and of error output, that an answer holds.
pub const NODE_OUTPUT: usize = 200_000;
/// Words of one command.
pub const NODE_WORDS: usize = 256;
/// Programs that one `system.which` looks for.
pub const NODE_BINS: usize = 64;
/// Thermal zones that are read.
pub const NODE_ZONES: usize = 32;
/// Largest file of allowed commands.
pub const NODE_ALLOW_LEN: u64 = 64 * 1024;

// --- the pairing table ----------------------------------------------------------------------------------------------

/// Devices a table holds unless `gateway.pairing.capacity` says otherwise.
pub const CAPACITY_DEFAULT: u16 = 256;
/// Most devices a table can hold.
pub const CAPACITY_MAX: u16 = 8192;
/// One copy of a record in the file: two sectors of 512 bytes.
pub const RECORD_LEN: usize = 1024;
/// A display name or label (protocol 4: labels up to 64).
pub const NAME_LEN: usize = 64;
/// A platform or device family.
pub const PLATFORM_LEN: usize = 32;
/// A client id.
pub const CLIENT_ID_LEN: usize = 32;
/// A client mode.
pub const CLIENT_MODE_LEN: usize = 16;
/// What was approved of a node and has no number: names, each with two bytes in front.
pub const SURFACE_TEXT_LEN: usize = 512;
/// A command, capability or permission that can be approved.
pub const SURFACE_NAME_LEN: usize = 128;

// --- files ----------------------------------------------------------------------------------------------------------

/// Largest configuration file that is read.
pub const CONFIG_LEN: u64 = 1024 * 1024;
/// Values side by side in one list or object of a configuration, so that comparing two of them is quick.
pub const CONFIG_MEMBERS: usize = 2048;
/// Paths that one patch of the configuration names (protocol 4).
pub const CONFIG_PATHS: usize = 256;
/// Problems of a configuration that are listed; the rest is only mentioned.
pub const CONFIG_PROBLEMS: usize = 100;
/// Largest secret file that is read.
pub const SECRET_FILE_LEN: u64 = 4096;
/// Largest index of a Control UI that is served from a directory.
pub const INDEX_LEN: u64 = 256 * 1024;
/// What is in memory of a file on its way to a browser.
pub const FILE_PIECE: u64 = 32 * 1024;
/// Largest file that `gatelet table import` reads.
pub const IMPORT_LEN: u64 = 16 * 1024 * 1024;

/// A log file; a full one is kept beside it.
pub const LOG_LEN: u64 = 1024 * 1024;
/// Lines of the log that are kept in memory.
pub const LOG_LINES: usize = 512;
/// The same in bytes.
pub const LOG_BYTES: usize = 128 * 1024;
/// One of these lines; a longer one is cut.
pub const LOG_LINE_LEN: usize = 2048;

const _: () = assert!(FRAME_BEFORE_HELLO < FRAME_AFTER_HELLO);
const _: () = assert!(2 * SECRET_LEN + KEY_TEXT_LEN + SCOPES_SENT * WORD_LEN + 16 * FIELD_LEN <= FRAME_BEFORE_HELLO);
const _: () = assert!(UNAUTHENTICATED_PER_ADDRESS <= UNAUTHENTICATED);
const _: () = assert!(CAPACITY_DEFAULT <= CAPACITY_MAX);
const _: () =
    assert!(2 * NAME_LEN + 2 * PLATFORM_LEN + CLIENT_ID_LEN + CLIENT_MODE_LEN + SURFACE_TEXT_LEN + 256 <= RECORD_LEN);
const _: () = assert!(SURFACE_NAME_LEN + 2 <= SURFACE_TEXT_LEN);
const _: () = assert!(CLOSE_REASON <= 123);
const _: () = assert!(PROOF_FRESH_MS > HANDSHAKE_MS, "a proof in time for the handshake is fresh");
const _: () =
    assert!(GUESSES_WAITING as u64 * PASSWORD_EVERY_MS < HANDSHAKE_MS - 5_000, "a guess has its turn in time");
const _: () = assert!(CODE_EVERY_MS <= PASSWORD_EVERY_MS);
const _: () = assert!(PING_MS < TICK_MS);
const _: () = assert!(CLI_SILENCE_MS > 2 * TICK_MS);
const _: () = assert!(NODE_RETRY_MS <= NODE_RETRY_MAX_MS && NODE_RUN_MS <= NODE_RUN_MAX_MS);
const _: () = assert!(2 * 2 * 6 * NODE_OUTPUT < FRAME_AFTER_HELLO, "two outputs, escaped twice, fit into a frame");
const _: () = assert!(SERVICE_PENDING_MS > 2 * CLOSE_GRACE_MS);
// a control character of one byte is written as six
const _: () = assert!(
    EXEC_APPROVALS * (EXEC_APPROVAL_LEN + 6 * FIELD_LEN + 512) < FRAME_AFTER_HELLO,
    "all approvals fit one answer"
);
const _: () = assert!(
    ACTIONS_OF_ONE * (6 * (ACTION_LEN + SURFACE_NAME_LEN) + 512) < FRAME_AFTER_HELLO,
    "all actions of a node fit"
);
const _: () = assert!(
    4 * 6 * (CONFIG_LEN as usize) < FRAME_AFTER_HELLO - 64 * 1024,
    "a configuration as text and as three trees fits"
);
const _: () = assert!(6 * LOG_BYTES + LOG_LINES * 512 < FRAME_AFTER_HELLO, "the whole log fits one answer");
const _: () = assert!(INVOKES_OF_ONE <= OUTBOX_FRAMES && INVOKES_OF_ONE <= INVOKES);
const _: () = assert!(PARAMS < JSON_KEYS, "a closed object is watched as a whole");
