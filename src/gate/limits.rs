//! All limits of the gateway, in one place, with the relations between them.
//!
//! These limits and the configuration bound memory use; the behavior of peers does not. Sizes are
//! in bytes and times in milliseconds unless stated otherwise. Values in parentheses are those of
//! the protocol version named there. `_OF_ONE` is the maximum of one holder; see "Pools" in
//! `src/ARCHITECTURE.md`.

// --- frames and heads ---------------------------------------------------------------------------

/// Maximum size of a frame before hello (protocol 4).
pub const FRAME_BEFORE_HELLO: usize = 64 * 1024;
/// Maximum size of a frame after hello of a client that may call a method which relays parameters
/// (protocol 4; protocol 3: 512 KiB). Others have a smaller limit; see [`FRAME_ORDINARY`]. It is
/// also the maximum size of a frame that the gateway sends: the clients of both protocols give the
/// `ws` library a `maxPayload` of 25 MiB, and a larger frame ends their connection with code 1009.
/// A frame of exactly this size is accepted.
pub const FRAME_AFTER_HELLO: usize = 25 * 1024 * 1024;
/// Maximum size of an HTTP request head.
pub const HEAD_LEN: usize = 16 * 1024;
/// Maximum number of header lines in a request head.
pub const HEAD_LINES: usize = 64;
/// Maximum nesting depth of JSON in a frame.
pub const JSON_DEPTH: usize = 64;
/// Number of keys of one JSON object that are checked for duplicates; keys beyond it are not.
pub const JSON_KEYS: usize = 64;
/// Total number of keys checked for duplicates in an object and all objects that enclose it. Up to
/// eight nested objects are always checked.
pub const JSON_KEYS_OPEN: usize = 8 * JSON_KEYS;
/// Maximum number of pairs of different keys with equal hashes in one JSON text.
pub const JSON_CLASHES: u32 = 64;
/// Initial size of the read buffer of a WebSocket connection; it grows to the largest frame
/// received.
pub const READ_BUFFER: usize = 1024;
/// Size of the largest message after which a connection keeps its read buffer; after a larger one
/// the buffer is replaced by a small one.
pub const BUFFER_KEPT: usize = 16 * 1024;
/// Number of reads of [`READ_BUFFER`] bytes from one WebSocket before other tasks run.
pub const READS_PER_TURN: u32 = 16;
/// Number of bytes that are written to one WebSocket before other tasks run.
pub const WRITTEN_PER_TURN: usize = 128 * 1024;
/// Number of bytes that one write counts at least, because a small one takes as long.
pub const WRITE_COST: usize = 4 * 1024;
/// Unsent pongs to one client at which the gateway stops reading from it.
pub const PINGS_WAITING: u32 = 16;

// --- time ---------------------------------------------------------------------------------------

/// Maximum time from accept to hello (protocol 4: 15 s).
pub const HANDSHAKE_MS: u64 = 15_000;
/// Maximum time from challenge to proof.
pub const PROOF_FRESH_MS: u64 = 120_000;
/// Maximum skew of `signedAt` under `gateway.auth.strictClock`; without that option a larger skew
/// is only logged (protocol 4).
pub const CLOCK_SKEW_MS: u64 = 120_000;
/// Interval between `tick` events (protocol 3 and 4).
pub const TICK_MS: u64 = 30_000;
/// Interval between `health` events (protocol 3 and 4).
pub const HEALTH_MS: u64 = 60_000;
/// Interval between WebSocket pings to an admitted client. The connection is closed if no pong
/// arrives before the next ping (protocol 4: 25 s).
pub const PING_MS: u64 = 25_000;
/// Maximum duration of a close handshake, and of the final writes at shutdown.
pub const CLOSE_GRACE_MS: u64 = 1_000;
/// Lifetime of a pending request; renewed when the device asks again (protocol 3 and 4: 5 min).
pub const PENDING_MS: u64 = 300_000;
/// Lifetime of a setup code (protocol 4: 10 min).
pub const SETUP_CODE_MS: u64 = 600_000;
/// Retries at start while a command holds the lock of the table, [`LOCK_RETRY_MS`] apart.
pub const LOCK_TRIES: u32 = 5;
/// Delay before each of the [`LOCK_TRIES`].
pub const LOCK_RETRY_MS: u64 = 100;
/// Minimum interval between deferred writes of "last seen".
pub const SEEN_FLUSH_MS: u64 = 3_600_000;
/// Minimum interval between log lines about connections that cannot be accepted.
pub const ACCEPT_WARNING_MS: u64 = 10_000;
/// Minimum interval between warnings about the same fault of one peer.
pub const PEER_WARNING_MS: u64 = 3_600_000;
/// Hours of table age without a connection after which a silent pairing becomes evictable from a
/// full table.
pub const EVICTION_AGE_HOURS: u32 = 30 * 24;
/// Maximum number of device tokens of one role that are valid at the same time.
pub const TOKEN_GENERATIONS: u32 = 4;

/// Time that the Windows service control manager is asked to allow for a start or stop.
pub const SERVICE_PENDING_MS: u64 = 30_000;
/// Retries on Windows for a file held open by another program such as a virus scanner or backup,
/// [`FILE_RETRY_MS`] apart.
pub const FILE_TRIES: u32 = 10;
/// Delay before each of the [`FILE_TRIES`].
pub const FILE_RETRY_MS: u64 = 50;

/// Timeout of the command line for an answer of the running gateway.
pub const CLI_CALL_MS: u64 = 10_000;
/// Polling interval of a command that follows the log.
pub const CLI_POLL_MS: u64 = 1_000;
/// Silence after which a command that follows events fails; longer than two ticks.
pub const CLI_SILENCE_MS: u64 = 75_000;
/// Same as [`CLI_CALL_MS`], for `gatelet health`.
pub const CLI_HEALTH_MS: u64 = 3_000;

/// First delay before `gatelet node run` reconnects. Doubled after each attempt; a random part, up
/// to half of it, is subtracted.
pub const NODE_RETRY_MS: u64 = 1_000;
/// Maximum reconnect delay. A connection that lasted this long resets the delay to
/// [`NODE_RETRY_MS`].
pub const NODE_RETRY_MAX_MS: u64 = 60_000;
/// Maximum number of addresses of the gateway's name that a node tries.
pub const NODE_ADDRESSES: usize = 8;
/// Timeout of a command on gatelet's node if neither the call nor the gateway gives one.
pub const NODE_RUN_MS: u64 = 30_000;
/// Maximum timeout of such a command, whatever the call or the gateway asks for.
pub const NODE_RUN_MAX_MS: u64 = 600_000;
/// Time to wait for the rest of the output after a command exits while a process it started keeps
/// the output open.
pub const NODE_REST_MS: u64 = 200;
/// Maximum interval at which a node checks a running command.
pub const NODE_LOOK_MS: u64 = 50;

// --- counts -------------------------------------------------------------------------------------

/// Maximum number of unauthenticated connections, not counting those delayed by the rate limiter
/// ([`ATTEMPTS_WAITING`]).
pub const UNAUTHENTICATED: usize = 256;
/// Maximum number of unauthenticated connections per IPv4 address or IPv6 /64 (protocol 4: 32;
/// larger here because clients behind NAT share an address). Loopback is limited only by
/// [`UNAUTHENTICATED`]. Both are lower if the process may open few descriptors.
pub const UNAUTHENTICATED_PER_ADDRESS: usize = 64;
/// Maximum number of jobs queued for one worker thread: two for each unauthenticated connection.
pub const OFFLOADED: usize = 2 * UNAUTHENTICATED;
/// Maximum number of admitted connections; fewer if the process may open few descriptors, see
/// [`super::connection_limits`].
pub const CONNECTIONS: usize = 16 * 1024;
/// Maximum number of pending pairing requests.
pub const PENDING: usize = 64;
/// Maximum number of pending pairing requests from one network.
pub const PENDING_OF_ONE: usize = 32;
/// Time for which a pending request that was shown to an operator is not evicted.
pub const PENDING_SHOWN_MS: u64 = 120_000;
/// Maximum number of valid setup codes.
pub const SETUP_CODES: usize = 16;
/// Maximum number of valid setup codes of one holder.
pub const SETUP_CODES_OF_ONE: usize = 8;
/// Entries of the rate limiter that counts wrong passwords by address and device; a caller may fix
/// one of the two to count by the other alone.
pub const RATE_LIMITED_PAIRS: usize = 256;
/// Wrong passwords of one entry after which further ones are rejected unchecked (protocol 4: 10 in
/// 60 s, then 300 s).
pub const RATE_LIMIT_TRIES: u32 = 10;
/// Window in which wrong passwords are counted.
pub const RATE_LIMIT_WINDOW_MS: u64 = 60_000;
/// Time for which such an entry is locked.
pub const RATE_LIMIT_LOCK_MS: u64 = 300_000;
/// Number of password attempts, and of setup code attempts, that all unauthenticated clients
/// together may make without delay before the fixed rate applies.
pub const ATTEMPTS_AT_ONCE: u64 = 60;
/// Interval between password attempts beyond [`ATTEMPTS_AT_ONCE`].
pub const PASSWORD_EVERY_MS: u64 = 200;
/// Interval between setup code attempts beyond [`ATTEMPTS_AT_ONCE`]: in ten minutes 12,000 of 2^40
/// codes.
pub const CODE_EVERY_MS: u64 = 50;
/// Maximum number of delayed attempts for each of the two kinds of credential.
pub const ATTEMPTS_WAITING: usize = 48;
/// Number of accepted signatures without a nonce that are remembered to detect replays.
pub const SIGNATURES: usize = 256;
/// The same of one device.
pub const SIGNATURES_OF_ONE: usize = 64;
/// Maximum number of presence entries shown (protocol 3 and 4: 200).
pub const PRESENCE: usize = 200;
/// Maximum number of presence entries of one device, and of reports that it made.
pub const PRESENCE_OF_ONE: usize = 8;
/// Time for which a device's report about itself is shown (protocol 3 and 4: 5 min).
pub const REPORT_MS: u64 = 300_000;
/// Maximum length of one text in such a report; longer texts are truncated.
pub const REPORT_TEXT_LEN: usize = 160;
/// Kinds of admissions logged per minute: by client, role, rule and network. Further admissions are
/// only counted.
pub const ADMISSIONS_LOGGED: usize = 60;
/// Lines logged per minute about commands of nodes, and about paired devices that ask for more.
pub const REQUESTS_LOGGED: u32 = 10;
/// Lines logged per minute about connections that the gateway had to end.
pub const CLOSES_LOGGED: u32 = 10;
/// Refusals logged per minute; further ones are only counted.
pub const REFUSALS_LOGGED: u32 = 60;
/// Refusals kept for `gatelet explain --last`.
pub const REFUSALS_KEPT: usize = 64;
/// Peers remembered for an hourly warning. Further peers are not logged.
pub const PEER_WARNINGS: usize = 32;
/// Maximum number of frames in a send queue, whatever their size.
pub const SEND_QUEUE_FRAMES: usize = 1024;
/// Maximum number of bytes in a send queue before the client is closed as a slow consumer (protocol
/// 3: 1.5 MiB; protocol 4: 50 MiB).
pub const SEND_QUEUE_BYTES: usize = 4 * 1024 * 1024;
/// Size from which a frame is large. Large frames may exceed [`SEND_QUEUE_BYTES`] by up to
/// [`FRAME_AFTER_HELLO`] bytes.
pub const SEND_QUEUE_LARGE: usize = 256 * 1024;
/// Maximum number of calls and device admissions waiting for a durable write, over all clients.
pub const COMMITS_QUEUED: usize = 256;
/// The same for one holder.
pub const COMMITS_OF_ONE: usize = 32;
/// Calls answered `unauthorized role` before the connection is closed (protocol 4: 10).
pub const UNAUTHORIZED_CALLS: u32 = 10;

// --- shares of connections ----------------------------------------------------------------------

/// Maximum number of admitted connections of one device as an operator; a further one evicts the
/// least recently active of them.
pub const OPERATOR_CONNECTIONS: usize = 32;
/// Same, as a node: the connection in use, and one that was lost and did not time out yet.
pub const NODE_CONNECTIONS: usize = 2;
/// Number of connections of one device that may be evicted by newer ones of that device without
/// delay: all of them once, for example when a network with many lost connections returns.
pub const EVICTIONS_AT_ONCE: u64 = OPERATOR_CONNECTIONS as u64;
/// Interval between such evictions beyond [`EVICTIONS_AT_ONCE`]; a connection in between is
/// rejected. Otherwise clients that reconnect at once would evict each other for ever.
pub const EVICTION_EVERY_MS: u64 = 10_000;
/// Devices whose evictions are counted at a time.
pub const EVICTIONS_COUNTED: usize = 64;
/// Admitted connections reserved for the command line of this machine.
pub const LOCAL_CONNECTIONS: usize = 16;
/// Unauthenticated connections reserved for programs on this machine: probes and commands.
pub const UNAUTHENTICATED_LOCAL: usize = 16;
/// Descriptors reserved for everything but connections: listeners, the pairing table, the log, the
/// configuration, and those of the system's event queue. An idle gateway has about 16.
pub const OWN_DESCRIPTORS: usize = 32;

// --- send queues --------------------------------------------------------------------------------

/// Maximum number of bytes in all send queues together. An event that many queues share counts
/// once. Beyond it the largest holder is closed as a slow consumer.
pub const SEND_QUEUES: usize = 32 * 1024 * 1024;
/// Part of [`SEND_QUEUES`] that large frames ([`SEND_QUEUE_LARGE`]) leave free for all others.
pub const SEND_QUEUES_RESERVE: usize = 1024 * 1024;
/// Maximum number of bytes of droppable events in a send queue, beside the newest presence list.
pub const SEND_QUEUE_EVENTS: usize = 64 * 1024;
/// Number of bytes that a queued frame counts in addition to its own.
pub const SEND_QUEUE_ENTRY: usize = 64;
/// Time for which a send queue has not been empty after which its client is a slow consumer if
/// [`SEND_QUEUES`] is used up.
pub const SEND_QUEUE_SLOW_MS: u64 = 5_000;
/// Minimum interval between two presence events.
pub const PRESENCE_MS: u64 = 250;
/// Maximum number of bytes per second of presence events to all clients together. With many clients
/// the interval grows: 100 clients that list each other get one in about a second, and 300 clients
/// the longest list in about five. It is a third of a 100 Mbit/s line.
pub const PRESENCE_BYTES_PER_S: usize = 4 * 1024 * 1024;
/// Minimum interval between two events with the statistics of one node, and between two with the
/// wake words.
pub const NODE_STATE_MS: u64 = 1_000;

// --- the relay ----------------------------------------------------------------------------------

/// Maximum number of connected nodes.
pub const NODES: usize = 1024;
/// Size of a list of nodes, in bytes, after which search paths and permissions of further nodes are
/// left out.
pub const NODES_IN_FULL: usize = 8 * 1024 * 1024;
/// Maximum number of unanswered calls to nodes, over all operators.
pub const INVOKES: usize = 4096;
/// Maximum number of unanswered calls to nodes of one holder.
pub const INVOKES_OF_ONE: usize = 256;
/// Timeout of a call to a node if the caller gives none (protocol 3 and 4: 30 s).
pub const INVOKE_MS: u64 = 30_000;
/// Maximum timeout of a call to a node; a longer one is reduced to it. The longest that clients of
/// both protocols ask for is that of their agents' commands, 30 minutes and 5 seconds by default.
pub const INVOKE_MS_MAX: u64 = 3_600_000;
/// Maximum size of one progress chunk of a node (protocol 4: 16 KiB).
pub const PROGRESS_LEN: usize = 16 * 1024;
/// Maximum length of a node's error message; longer ones are truncated when relayed.
pub const NODE_ERROR_LEN: usize = 4 * 1024;
/// Maximum size of the whole error of a node that is relayed in `details`; with a larger one,
/// message and envelope might not fit into a frame.
pub const NODE_ERROR_WHOLE: usize =
    FRAME_AFTER_HELLO - 6 * (NODE_ERROR_LEN + WORD_LEN + ID_LEN) - 2048;
/// Maximum number of actions queued for one phone until its app is in the foreground (protocol 4:
/// 64), and of actions of one holder for all phones.
pub const ACTIONS_OF_ONE: usize = 64;
/// Same as [`ACTIONS_OF_ONE`], over all nodes.
pub const ACTIONS: usize = 128;
/// Maximum size of the parameters and the idempotency key of a queued action.
pub const ACTION_LEN: usize = 8 * 1024;
/// Lifetime of a queued action (protocol 4: 10 min).
pub const ACTION_MS: u64 = 600_000;
/// Maximum number of work items waiting for nodes to fetch them, over all nodes; a node has at most
/// one item of each of the two kinds.
pub const WORK: usize = 512;
/// Maximum number of work items of one holder.
pub const WORK_OF_ONE: usize = 128;
/// Lifetime of a work item if the caller gives none (protocol 4: 24 h).
pub const WORK_MS: u64 = 24 * 3_600_000;
/// Work items that a node fetches at once by default (protocol 4: 4).
pub const WORK_FETCHED: u64 = 4;
/// Maximum number of work items that a node can ask for at once (protocol 4: 10).
pub const WORK_FETCHED_MAX: u64 = 10;
/// Maximum number of ids in one acknowledgement of a node.
pub const IDS_ACKED: usize = 64;
/// Maximum number of pending command approvals, and of those decided less than
/// [`EXEC_APPROVAL_KEPT_MS`] ago.
pub const EXEC_APPROVALS: usize = 64;
/// Maximum number of pending command approvals of one holder, and of its decided ones.
pub const EXEC_APPROVALS_OF_ONE: usize = 8;
/// Maximum size of the description of a command to approve, as received.
pub const EXEC_APPROVAL_LEN: usize = 32 * 1024;
/// Lifetime of a command approval if a protocol 3 caller gives none (protocol 3: 2 min).
pub const EXEC_APPROVAL_MS_V3: u64 = 120_000;
/// Lifetime of a command approval if a protocol 4 caller gives none (protocol 4: 30 min).
pub const EXEC_APPROVAL_MS_V4: u64 = 1_800_000;
/// Maximum lifetime of a command approval; a longer one is reduced to it.
pub const EXEC_APPROVAL_MS_MAX: u64 = 3_600_000;
/// Time after which a command approval ends whose answer no connection can receive: none waits for
/// it, and its device has none. Clients of protocol 4 request and wait on two connections, one
/// after the other.
pub const EXEC_APPROVAL_ABANDONED_MS: u64 = 60_000;
/// Time for which a decision can still be queried (protocol 4: 15 s).
pub const EXEC_APPROVAL_KEPT_MS: u64 = 15_000;
/// Maximum number of calls waiting for one decision, not counting those of the client that asked.
pub const EXEC_APPROVAL_WAITERS: usize = 16;
/// Maximum number of calls of one holder waiting for one decision.
pub const EXEC_APPROVAL_WAITERS_OF_ONE: usize = 4;
/// Maximum number of wake words (protocol 3 and 4).
pub const WAKE_WORDS: usize = 32;
/// Maximum length of a wake word (protocol 3 and 4).
pub const WAKE_WORD_LEN: usize = 64;

// --- values of the protocol ---------------------------------------------------------------------

/// Maximum number of scopes in one connect.
pub const SCOPES_SENT: usize = 32;
/// Maximum number of caps, of commands, and of permissions in one connect.
pub const NAMES_SENT: usize = 256;
/// Maximum length of the search path (`pathEnv`) that a node sends.
pub const PATH_ENV_LEN: usize = 16 * 1024;
/// Maximum number of different parameters read by one method.
pub const PARAMS: usize = 40;
/// Maximum length of a scope, role, client id or mode as sent.
pub const WORD_LEN: usize = 64;
/// Maximum length of a host name (DNS).
pub const HOST_LEN: usize = 253;
/// Maximum length of an origin that can be listed in the configuration, and of the Host and Origin
/// headers in logs and hints.
pub const ORIGIN_LEN: usize = HOST_LEN + 64;
/// Maximum length of a token, password or nonce as sent.
pub const SECRET_LEN: usize = 4096;
/// Number of characters below which a shared token causes a warning if other machines can reach the
/// gateway.
pub const TOKEN_SHORT: usize = 16;
/// Number of bytes from which a secret is identified by a fingerprint: 128 bits in hexadecimal.
/// Shorter secrets are usually chosen by people, and a fingerprint would allow finding them by
/// brute force.
pub const FINGERPRINTED: usize = 32;
/// Maximum length of a public key as sent (protocol 4: 4096, for PEM).
pub const KEY_TEXT_LEN: usize = 4096;
/// Maximum length of any other short text of connect.
pub const FIELD_LEN: usize = 1024;
/// Maximum length of a method name, and of a declared cap or command name, as sent.
pub const METHOD_LEN: usize = 128;
/// Maximum length of a request id, which is echoed.
pub const ID_LEN: usize = 256;
/// Maximum length of a text that lists the problems of a frame or of parameters; further problems
/// are omitted.
pub const PROBLEMS_LEN: usize = 1024;
/// Maximum length of a close reason (RFC 6455 allows 123; the protocol's clients expect at most
/// 120).
pub const CLOSE_REASON: usize = 120;

// --- gatelet's node -----------------------------------------------------------------------------

/// Maximum number of commands running at the same time.
pub const NODE_RUNS: usize = 4;
/// Maximum size of standard output, and of standard error, in an answer; the end is kept.
pub const NODE_OUTPUT: usize = 200_000;
/// Maximum number of arguments of one command, including the program.
pub const NODE_WORDS: usize = 256;
/// Maximum number of programs in one `system.which`.
pub const NODE_BINS: usize = 64;
/// Maximum number of thermal zones read.
pub const NODE_ZONES: usize = 32;
/// Maximum size of the file of allowed commands.
pub const NODE_ALLOW_LEN: u64 = 64 * 1024;

// --- frames of admitted clients -----------------------------------------------------------------

/// Maximum size of a frame of a client that may call no method with larger parameters (protocol 3:
/// 512 KiB for all), and of the parameters of such a method.
pub const FRAME_ORDINARY: usize = 512 * 1024;
/// Maximum number of JSON values in a request whose parameters are not relayed.
pub const FRAME_VALUES: usize = 50_000;
/// Maximum size of a request that writes a configuration: each byte of it escaped in a string.
pub const FRAME_CONFIG: usize = 6 * CONFIG_LEN as usize + 64 * 1024;
/// Budget of all unfinished frames of admitted clients together. Frames of up to [`BUFFER_KEPT`]
/// bytes do not count, because each connection has that buffer anyway.
pub const UNFINISHED_FRAMES: usize = 64 * 1024 * 1024;
/// Part of [`UNFINISHED_FRAMES`] for frames of at most [`FRAME_ORDINARY`] bytes.
pub const UNFINISHED_ORDINARY: usize = 8 * 1024 * 1024;
/// Maximum time for a frame, or for all frames of a message, from its first byte. It is checked at
/// each ping.
pub const FRAME_MS: u64 = 60_000;
/// Average number of bytes a second with which a frame may take longer than [`FRAME_MS`].
pub const FRAME_RATE: u64 = 64 * 1024;
/// Maximum size of a message that is read on the event loop; larger ones are read on another
/// thread.
pub const FRAME_AT_ONCE: usize = 64 * 1024;

// --- the pairing table --------------------------------------------------------------------------

/// Default capacity of a table in devices (`gateway.pairing.capacity`).
pub const CAPACITY_DEFAULT: u16 = 256;
/// Maximum capacity of a table in devices.
pub const CAPACITY_MAX: u16 = 8192;
/// One of this many slots of a table is kept for devices that the owner pairs by a setup code, an
/// approval or an authorized key.
pub const CAPACITY_PER_RESERVED: u16 = 16;
/// Size of one replica of a record in the file: two sectors of 512 bytes.
pub const RECORD_LEN: usize = 1024;
/// Maximum length of a display name or label (protocol 4: labels up to 64).
pub const NAME_LEN: usize = 64;
/// Maximum length of a platform or device family.
pub const PLATFORM_LEN: usize = 32;
/// Maximum length of a client id.
pub const CLIENT_ID_LEN: usize = 32;
/// Maximum length of a client mode.
pub const CLIENT_MODE_LEN: usize = 16;
/// Size of the buffer for the approved names of a node that have no number; each name takes two
/// bytes more than its length.
pub const SURFACE_TEXT_LEN: usize = 512;
/// Maximum length of a command, capability or permission that can be approved.
pub const SURFACE_NAME_LEN: usize = 128;

// --- files --------------------------------------------------------------------------------------

/// Maximum size of a configuration file.
pub const CONFIG_LEN: u64 = 1024 * 1024;
/// Maximum number of members of one list or object in a configuration; bounds the time to compare
/// two configurations.
pub const CONFIG_MEMBERS: usize = 2048;
/// Maximum number of paths in one configuration patch (protocol 4).
pub const CONFIG_PATHS: usize = 256;
/// Number of configuration problems listed; further ones are only counted.
pub const CONFIG_PROBLEMS: usize = 100;
/// Maximum size of a secret file.
pub const SECRET_FILE_LEN: u64 = 4096;
/// Maximum size of the index page of a Control UI served from a directory.
pub const INDEX_LEN: u64 = 256 * 1024;
/// Maximum part of a served file held in memory.
pub const FILE_PIECE: u64 = 32 * 1024;
/// Maximum size of a file read by `gatelet table import`.
pub const IMPORT_LEN: u64 = 16 * 1024 * 1024;

/// Maximum size of a log file; a full one is rotated to a single second file.
pub const LOG_LEN: u64 = 1024 * 1024;
/// Maximum number of log lines kept in memory.
pub const LOG_LINES: usize = 512;
/// Maximum number of bytes of log lines kept in memory.
pub const LOG_BYTES: usize = 128 * 1024;
/// Part of [`LOG_LINES`] that is kept for warnings and errors, so that other lines do not displace
/// them.
pub const LOG_WARNINGS: usize = LOG_LINES / 4;
/// Same as [`LOG_WARNINGS`], of [`LOG_BYTES`].
pub const LOG_WARNING_BYTES: usize = LOG_BYTES / 4;
/// Maximum number of bytes of information lines logged in a minute, and of warnings and errors. At
/// the levels `debug` and `trace` the log has no limit.
pub const LOG_BYTES_PER_MINUTE: usize = 48 * 1024;
/// Time for which the lines are kept in the form of an answer, which takes twice as much memory.
pub const LOG_FORM_KEPT_MS: u64 = 2_000;
/// Maximum length of a log line in memory; longer lines are truncated.
pub const LOG_LINE_LEN: usize = 2048;

// --- changes by admitted clients ----------------------------------------------------------------

/// Time in which changes are counted.
pub const CHANGES_WINDOW_MS: u64 = 60_000;
/// Maximum number of changes of one client by one method in [`CHANGES_WINDOW_MS`] (protocol 4: 30
/// in 60 s).
pub const CHANGES_OF_METHOD: usize = 30;
/// Number of bytes written for a changed record: both replicas.
pub const CHANGE_LEN: usize = 2 * RECORD_LEN;
/// Maximum number of bytes written for one client in [`CHANGES_WINDOW_MS`]. Together with the log
/// lines about the client they stay below 50 kB, because SD cards wear out.
pub const CHANGE_BYTES_OF_ONE: usize = 22 * CHANGE_LEN;
/// Same as [`CHANGE_BYTES_OF_ONE`], over all clients but the command line of this machine.
pub const CHANGE_BYTES: usize = 10 * CHANGE_BYTES_OF_ONE;
/// Maximum number of changes counted at the same time, over all clients.
pub const CHANGES: usize = 1024;

// --- memory -------------------------------------------------------------------------------------

/// Memory in which the gateway keeps working under any load: `MemoryMax` of the service. Greater
/// than the sum of [`MEMORY_PARTS`].
pub const MEMORY: usize = 128 * 1024 * 1024;
/// Number of admitted connections that [`DESCRIPTORS`] allow. A process that may open more
/// descriptors takes up to [`CONNECTION_LEN`] bytes more for each further connection.
pub const CONNECTIONS_IN_MEMORY: usize = 2048;
/// Descriptors of the service, `LimitNOFILE`: connections, a file for each unauthenticated one, and
/// what else the gateway opens.
pub const DESCRIPTORS: usize =
    CONNECTIONS_IN_MEMORY + 2 * UNAUTHENTICATED + 2 * ATTEMPTS_WAITING + OWN_DESCRIPTORS;
/// Memory of an idle admitted connection.
pub const CONNECTION_LEN: usize = 4_700;
/// Memory of a pending call to a node beside the queued frames.
pub const INVOKE_LEN: usize = 320;
/// Memory of the idle gateway that is not part of a file.
pub const PROGRAM_LEN: usize = 1024 * 1024;

/// Users of memory, with the most bytes of each. Descriptions of nodes and devices, of which the
/// owner approved each, are not counted.
pub const MEMORY_PARTS: [(&str, usize); 9] = [
    ("program", PROGRAM_LEN),
    ("send queues", SEND_QUEUES),
    ("unfinished frames", UNFINISHED_FRAMES),
    ("unauthenticated connections", UNAUTHENTICATED * FRAME_BEFORE_HELLO),
    ("connections", CONNECTIONS_IN_MEMORY * CONNECTION_LEN),
    ("calls to nodes", INVOKES * INVOKE_LEN),
    ("command approvals", EXEC_APPROVALS * EXEC_APPROVAL_LEN),
    ("actions for phones", 2 * ACTIONS * ACTION_LEN),
    // the lines, and twice escaped in the form of an answer
    ("log", 4 * LOG_BYTES + LOG_LINES * 128),
];

/// Returns the sum of [`MEMORY_PARTS`].
pub const fn memory_used() -> usize {
    let (mut sum, mut at) = (0, 0);
    while at < MEMORY_PARTS.len() {
        sum += MEMORY_PARTS[at].1;
        at += 1;
    }
    sum
}

const _: () = assert!(memory_used() < MEMORY, "all budgets at their limits fit into the memory");
const _: () = assert!(FRAME_BEFORE_HELLO < FRAME_AFTER_HELLO);
const _: () = assert!(
    FRAME_ORDINARY < FRAME_CONFIG && FRAME_CONFIG <= FRAME_AFTER_HELLO,
    "the default is the smallest limit of a method"
);
const _: () = assert!(
    2 * FRAME_AFTER_HELLO + UNFINISHED_ORDINARY <= UNFINISHED_FRAMES,
    "the largest message is read when no other is, even in several frames"
);
const _: () = assert!(BUFFER_KEPT < FRAME_ORDINARY && 2 * FRAME_ORDINARY <= UNFINISHED_ORDINARY);
const _: () = assert!(
    2 * SECRET_LEN + KEY_TEXT_LEN + SCOPES_SENT * WORD_LEN + 16 * FIELD_LEN <= FRAME_BEFORE_HELLO
);
const _: () = assert!(UNAUTHENTICATED_PER_ADDRESS <= UNAUTHENTICATED);
const _: () = assert!(NODE_CONNECTIONS >= 2 && NODE_CONNECTIONS <= OPERATOR_CONNECTIONS);
const _: () = assert!(2 * UNAUTHENTICATED_LOCAL <= UNAUTHENTICATED);
const _: () = assert!(CAPACITY_DEFAULT <= CAPACITY_MAX);
const _: () = assert!(
    2 * NAME_LEN + 2 * PLATFORM_LEN + CLIENT_ID_LEN + CLIENT_MODE_LEN + SURFACE_TEXT_LEN + 256
        <= RECORD_LEN
);
const _: () = assert!(SURFACE_NAME_LEN + 2 <= SURFACE_TEXT_LEN);
const _: () = assert!(CLOSE_REASON <= 123);
const _: () = assert!(
    PROOF_FRESH_MS > HANDSHAKE_MS,
    "a signature sent within the handshake timeout is fresh"
);
const _: () = assert!(
    ATTEMPTS_WAITING as u64 * PASSWORD_EVERY_MS < HANDSHAKE_MS - 5_000,
    "a delayed attempt is checked before the handshake times out"
);
const _: () = assert!(CODE_EVERY_MS <= PASSWORD_EVERY_MS);
const _: () = assert!(PING_MS < TICK_MS);
const _: () = assert!(CLI_SILENCE_MS > 2 * TICK_MS);
const _: () = assert!(NODE_RETRY_MS <= NODE_RETRY_MAX_MS && NODE_RUN_MS <= NODE_RUN_MAX_MS);
const _: () = assert!(
    2 * 2 * 6 * NODE_OUTPUT < FRAME_AFTER_HELLO,
    "two outputs, escaped twice, fit into a frame"
);
const _: () = assert!(SERVICE_PENDING_MS > 2 * CLOSE_GRACE_MS);
// a control character of one byte is written as six
const _: () = assert!(
    EXEC_APPROVALS * (EXEC_APPROVAL_LEN + 6 * ID_LEN + 512) < FRAME_AFTER_HELLO,
    "all approvals fit into one response"
);
const _: () = assert!(
    ACTIONS_OF_ONE * (6 * (ACTION_LEN + SURFACE_NAME_LEN) + 512) < FRAME_AFTER_HELLO,
    "all actions of a node fit into one response"
);
const _: () = assert!(
    4 * 6 * (CONFIG_LEN as usize) < FRAME_AFTER_HELLO - 64 * 1024,
    "a configuration fits into one response as text and as three trees"
);
const _: () = assert!(
    6 * LOG_BYTES + LOG_LINES * 512 < FRAME_AFTER_HELLO,
    "the whole log fits into one response"
);
const _: () = assert!(EXEC_APPROVAL_MS_V4 <= EXEC_APPROVAL_MS_MAX);
const _: () = assert!(INVOKES_OF_ONE <= SEND_QUEUE_FRAMES && INVOKES_OF_ONE <= INVOKES);
const _: () = assert!(PARAMS < JSON_KEYS, "duplicate keys of a closed object are always detected");
const _: () = assert!(CHANGE_BYTES_OF_ONE < 50_000 && CHANGE_BYTES_OF_ONE < CHANGE_BYTES);
const _: () = assert!(
    REFUSALS_LOGGED as usize * 640 < LOG_BYTES_PER_MINUTE,
    "refusals of usual length are all logged"
);
const _: () = assert!(
    FRAME_AFTER_HELLO + SEND_QUEUES_RESERVE < SEND_QUEUES,
    "the largest answer fits beside the reserve"
);
const _: () = assert!(
    SEND_QUEUE_BYTES + FRAME_AFTER_HELLO + SEND_QUEUES_RESERVE < SEND_QUEUES,
    "one client may fill its send queue"
);
