//! Wake words of the assistant, the same on all nodes: `voicewake.get`, `voicewake.set` (protocol 3
//! and 4).
//!
//! They are in memory only: after a restart the default words are used until a client sets others.

use crate::gate::limits;
use crate::gate::text::cut;
use crate::rpc::{Call, Effect, Failure, Reply};
use crate::wire::json::{self, Kind};
use crate::wire::message::Params;

/// Wake words; empty for the default ones.
#[derive(Default, PartialEq, Eq, Debug)]
pub struct Triggers(Vec<String>);

const USUAL: [&str; 3] = ["openclaw", "claude", "computer"];

impl Triggers {
    /// Writes `{"triggers":[...]}`.
    pub fn json(&self) -> Vec<u8> {
        json::object(|o| match self.0.as_slice() {
            [] => o.strs("triggers", USUAL),
            words => o.strings("triggers", words),
        })
    }
}

/// Handles `voicewake.get {}`.
pub fn get(call: &mut Call<'_>, _: Params<'_>) -> Result<Reply, Failure> {
    Ok(Reply::of(call.nodes.triggers.json()))
}

/// Handles `voicewake.set {triggers}`: at most [`limits::WAKE_WORDS`] words of
/// [`limits::WAKE_WORD_LEN`] bytes; the rest is left out.
pub fn set(call: &mut Call<'_>, params: Params<'_>) -> Result<Reply, Failure> {
    let words = params.value().get("triggers").filter(|list| list.kind() == Kind::Array);
    let words =
        words.ok_or_else(|| Failure::invalid("voicewake.set requires triggers: string[]"))?;
    let texts = words.items().filter_map(|word| word.as_str());
    let kept = texts
        .map(|word| cut(word.trim(), limits::WAKE_WORD_LEN).to_string())
        .filter(|word| !word.is_empty());
    let triggers = Triggers(kept.take(limits::WAKE_WORDS).collect());
    let reply = Reply::of(triggers.json());
    if triggers == call.nodes.triggers {
        return Ok(reply);
    }
    Ok(reply.with(vec![Effect::SetWakeWords(triggers)]))
}
