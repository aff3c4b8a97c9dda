//! `gatelet pair`: prints a setup code as eight characters, as a link and as a QR code. All three
//! carry the same secret.

use super::args::PairCommand;
use super::context::Context;
use super::devices::parse;
use super::format::{clean, number, texts, word};
use super::{CommandError, Done, Exit, Output};
use crate::config::nearest_word;
use crate::gate::ids::Role;
use crate::gate::scopes::Scope;
use crate::qr;
use crate::wire::json::{self, Value};

/// Requests a setup code from the running gateway and prints it.
pub fn run(context: &Context, what: &PairCommand) -> Done {
    let scopes = what.scopes.iter().map(|name| scope(name)).collect::<Result<Vec<_>, _>>()?;
    let params = json::object(|o| {
        o.str("bootstrapProfile", if what.role == Role::Node { "node" } else { "full" });
        o.bool("includeQr", false);
        if !scopes.is_empty() {
            o.strs("scopes", scopes.iter().map(|scope| scope.name()));
        }
    });
    let text =
        context.running()?.call("device.pair.setupCode", &String::from_utf8_lossy(&params))?;
    if context.json {
        return Output::json(text.as_bytes());
    }
    let value = parse(&text)?;
    let mut out = words(context, what.role, &value);
    let link = word(&value, "link");
    let drawn =
        (what.qr || context.terminal).then(|| qr::lines(&link, context.style.colour)).flatten();
    if let Some(drawn) = drawn {
        out.push('\n');
        out.push_str(&drawn);
    }
    Ok(Output { text: out, note: note(&value), exit: Exit::Ok })
}

fn words(context: &Context, role: Role, value: &Value<'_>) -> String {
    let code = word(value, "code");
    let shown = match code.split_at_checked(4) {
        Some((front, back)) if !back.is_empty() => format!("{front}-{back}"),
        _ => code,
    };
    let expires = number(value, "expiresAtMs");
    let minutes = (expires.saturating_sub(context.now.0) + 30_000) / 60_000;
    format!(
        "code   {}\nlink   {}\nat     {}\n\nlets one {} in, once, within {minutes} minutes\n",
        context.style.bold(&shown),
        word(value, "link"),
        word(value, "gatewayUrl"),
        role.name()
    )
}

fn note(value: &Value<'_>) -> String {
    let urls: Vec<String> =
        texts(value, "gatewayUrls").into_iter().chain([word(value, "gatewayUrl")]).collect();
    let near =
        |url: &String| ["//127.", "//localhost", "//[::1]"].iter().any(|mark| url.contains(mark));
    if urls.iter().all(near) {
        "the link names this machine only; for other machines set gateway.bind: \"lan\" or gateway.publicOrigin"
            .to_string()
    } else {
        String::new()
    }
}

/// Parses the name of a scope, with or without the prefix `operator.`.
pub(super) fn scope(name: &str) -> Result<Scope, CommandError> {
    let bare = name.strip_prefix("operator.").unwrap_or(name);
    let names =
        Scope::ALL.map(|scope| scope.name().strip_prefix("operator.").unwrap_or(scope.name()));
    let found = Scope::ALL.into_iter().zip(names).find(|(_, known)| *known == bare);
    found.map(|(scope, _)| scope).ok_or_else(|| {
        let hint = match nearest_word(bare, &names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}", names.join(", ")),
        };
        CommandError::new(Exit::Usage, format!("there is no scope `{}`; {hint}", clean(name)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_accepted_by_long_and_short_name() {
        assert_eq!(scope("read").unwrap(), Scope::Read);
        assert_eq!(scope("operator.talk.secrets").unwrap(), Scope::TalkSecrets);
        assert!(scope("raed").unwrap_err().message.contains("did you mean `read`"));
        assert!(scope("zzz").unwrap_err().message.contains("there are admin, read"));
    }
}
