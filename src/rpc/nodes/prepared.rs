//! Parameters of `node.invoke` and `node.invoke.result`, in the form in which both are handled:
//! read from the message when it is handled, or on another thread if it is large.
//!
//! Whatever takes time in proportion to the size of a large message is done in [`PreparedInvoke`]
//! and [`PreparedResult`]: reading the members, escaping parameters and unescaping answers.

use super::pending_invokes::AnswerText;
use super::pending_work;
use crate::gate::limits;
use crate::gate::text::cut;
use crate::rpc::params::{Invoke, InvokeResult};
use crate::wire::json::{self, Kind, Place, Value};
use crate::wire::message::Params;

/// Parameters of a call to a node.
#[derive(Clone, Copy)]
pub enum CallParams<'a> {
    /// JSON.
    Json(&'a str),
    /// JSON inside a string.
    Escaped(&'a EscapedParams),
}

/// JSON inside a string.
pub struct EscapedParams {
    /// Length of the string without its quotes.
    len: usize,
    /// The string; empty if no frame can hold it.
    text: Vec<u8>,
}

impl EscapedParams {
    fn new(json: &str) -> EscapedParams {
        let (len, mut text) = (json::escaped_len(json), Vec::new());
        if len <= limits::FRAME_AFTER_HELLO {
            text.reserve_exact(len + 2);
            json::write_string(&mut text, json);
        }
        EscapedParams { len, text }
    }
}

impl CallParams<'_> {
    /// Returns the number of bytes of the parameters inside a string.
    pub fn escaped_len(self) -> usize {
        match self {
            CallParams::Json(json) => json::escaped_len(json),
            CallParams::Escaped(params) => params.len,
        }
    }

    /// Writes the parameters as a string.
    pub fn write(self, key: &str, o: &mut json::Writer<'_>) {
        match self {
            CallParams::Json(json) => o.str(key, json),
            CallParams::Escaped(params) => o.raw(key, &params.text),
        }
    }
}

/// Large parameters of `node.invoke`.
pub struct PreparedInvoke {
    /// The members except `params`.
    pub sent: Invoke<'static>,
    params: Option<EscapedParams>,
    /// Whether the parameters mark a command as approved.
    pub is_marked: bool,
}

impl PreparedInvoke {
    /// Reads the parameters. The error is that of [`Params::read`].
    pub fn read(params: Params<'_>) -> Result<PreparedInvoke, String> {
        let Invoke { params, node_id, command, timeout_ms, idempotency_key } = params.read()?;
        Ok(PreparedInvoke {
            sent: Invoke { params: None, node_id, command, timeout_ms, idempotency_key },
            params: params.map(|params| EscapedParams::new(params.raw())),
            is_marked: is_marked(params),
        })
    }

    /// Returns the parameters for the node.
    pub fn params(&self) -> Option<CallParams<'_>> {
        self.params.as_ref().map(CallParams::Escaped)
    }
}

/// Returns whether parameters of `system.run` mark the command as approved, or could do so.
pub fn is_marked(params: Option<Value<'_>>) -> bool {
    let marks = ["approved", "approvalDecision", "approvalSource"];
    let given = params.unwrap_or(Value::EMPTY);
    // Keys after those that are checked for duplicates could repeat a mark.
    let hidden = given.members().nth(limits::JSON_KEYS).is_some();
    hidden
        || marks.iter().any(|mark| {
            given.get(mark).is_some_and(|value| !value.is_null() && value.as_bool() != Some(false))
        })
}

/// Result that a node sent.
pub struct NodeResult<'a> {
    /// The members except those that follow.
    pub sent: &'a InvokeResult<'a>,
    pub payload: Option<Value<'a>>,
    pub text: Option<AnswerText<'a>>,
    /// Error, if the node sent one.
    pub error: Option<Value<'a>>,
    pub error_text: &'a NodeError,
}

/// Texts of an error of a node.
#[derive(Default)]
pub struct NodeError {
    pub code: String,
    /// Message, truncated to [`limits::NODE_ERROR_LEN`].
    pub message: String,
    /// Whether the node is in the background.
    pub is_background: bool,
}

impl NodeError {
    /// Reads the error of a result that has failed.
    pub fn of(sent: &InvokeResult<'_>) -> NodeError {
        let error = sent.error.filter(|_| !sent.ok);
        let text =
            |name: &str| error.and_then(|error| error.get(name)?.as_str()).unwrap_or_default();
        let (code, message) = (text("code"), text("message"));
        NodeError {
            code: cut(&code, limits::WORD_LEN).to_string(),
            message: cut(&message, limits::NODE_ERROR_LEN).to_string(),
            is_background: pending_work::is_background(&code, &message),
        }
    }
}

/// Large parameters of `node.invoke.result`. Values are places in the parameters.
pub struct PreparedResult {
    sent: InvokeResult<'static>,
    payload: Option<Place>,
    text: Option<Place>,
    /// JSON inside `text`, if it is JSON.
    held: Option<Vec<u8>>,
    error: Option<Place>,
    error_text: NodeError,
}

impl PreparedResult {
    /// Reads the parameters. The error is that of [`Params::read`].
    pub fn read(params: Params<'_>) -> Result<PreparedResult, String> {
        let (value, sent) = (params.value(), params.read::<InvokeResult<'_>>()?);
        let (payload, text) = payload_and_text(&sent);
        let place = |inner: Value<'_>| value.place_of(&inner);
        Ok(PreparedResult {
            payload: payload.map(place),
            text: text.map(place),
            held: text.filter(|_| sent.ok).and_then(|text| json::held(&text)),
            error: sent.error.map(place),
            error_text: NodeError::of(&sent),
            sent: InvokeResult { payload: None, payload_json: None, error: None, ..sent },
        })
    }

    /// Returns the result; `value` are the parameters from which it was read.
    pub fn result<'a>(&'a self, value: Value<'a>) -> NodeResult<'a> {
        let [payload, text, error] = [self.payload, self.text, self.error]
            .map(|place| place.map(|place| value.at_place(place)));
        let text = text.map(|text| match &self.held {
            Some(held) => AnswerText::Json(text, held),
            None => AnswerText::NotJson(text),
        });
        NodeResult { sent: &self.sent, payload, text, error, error_text: &self.error_text }
    }
}

impl<'a> NodeResult<'a> {
    /// Returns the result of a message that is not large.
    pub fn of(sent: &'a InvokeResult<'a>, error_text: &'a NodeError) -> NodeResult<'a> {
        let (payload, text) = payload_and_text(sent);
        let text = text.map(AnswerText::Unread);
        NodeResult { sent, payload, text, error: sent.error, error_text }
    }
}

/// Returns the payload, and the string that contains it as JSON. A `payloadJSON` that is not a
/// string is the payload itself.
fn payload_and_text<'a>(sent: &InvokeResult<'a>) -> (Option<Value<'a>>, Option<Value<'a>>) {
    match sent.payload_json {
        Some(text) if text.kind() == Kind::String => {
            (sent.payload, Some(text).filter(|text| !text.is_str("")))
        }
        other => (sent.payload.or(other), None),
    }
}
