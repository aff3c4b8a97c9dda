//! Schema of the `gateway` section, from the table of keys that reads it: `config.schema` and
//! `config.schema.lookup`.

use super::params::{Nothing, SchemaLookup};
use super::{Call, Failure, Reply};
use crate::config::{Key, Kind, KEYS};
use crate::gate::facts::Protocol;
use crate::wire::json::{self, Writer};

/// Handles `config.schema {}`.
pub fn schema(call: &mut Call<'_>, _: Nothing) -> Result<Reply, Failure> {
    let version = call.status.version;
    let v3 = call.caller.protocol() == Protocol::V3;
    Ok(Reply::of(json::object(|o| {
        o.obj("schema", |schema| {
            schema.fields(
                r#""$schema":"http://json-schema.org/draft-07/schema#","title":"OpenClawConfig","type":"object""#,
            );
            schema.obj("properties", |properties| {
                properties.obj("gateway", |gateway| section(gateway, "", true));
                if v3 {
                    properties.fields(NO_CHANNELS);
                }
            });
        });
        o.obj("uiHints", |hints| {
            hints.fields(HINTS);
            let secrets = KEYS.iter().filter(|key| matches!(key.kind, Kind::Secret));
            secrets.for_each(|key| hints.raw(&["gateway.", key.path].concat(), SENSITIVE));
        });
        o.str("version", version);
        // The schema is as old as the build, whose time is not recorded.
        o.str("generatedAt", "1970-01-01T00:00:00.000Z");
    })))
}

/// Handles `config.schema.lookup {path}`.
pub fn lookup(_call: &mut Call<'_>, params: SchemaLookup) -> Result<Reply, Failure> {
    let path = params.path.trim().replace("[]", ".*").replace('[', ".").replace(']', "");
    let path = path.trim_matches('.');
    let inside = path.strip_prefix("gateway").map(|rest| rest.trim_start_matches('.'));
    let key = inside.and_then(|inside| KEYS.iter().find(|key| key.path == inside));
    let item = inside.and_then(|inside| inside.strip_suffix(".*")).and_then(find_list);
    let found = match (path, key, item) {
        ("" | "gateway", ..) => None,
        (_, Some(key), _) => Some(key.kind),
        (_, None, Some(_)) => Some(Kind::Text),
        _ => return Err(Failure::invalid("config schema path not found")),
    };
    Ok(Reply::of(json::object(|o| {
        o.str("path", if path.is_empty() { "." } else { path });
        o.obj("schema", |schema| match found {
            Some(kind) => bare(schema, kind),
            None => bare(schema, Kind::Section),
        });
        o.str("reloadKind", reload(inside.unwrap_or(""), found.unwrap_or(Kind::Section)));
        if matches!(found, Some(Kind::Secret)) {
            o.raw("hint", SENSITIVE);
            o.str("hintPath", path);
        }
        o.arr("children", |list| match (inside, found) {
            (None, _) => child(list, "gateway", "gateway", "", Kind::Section),
            (Some(_), Some(Kind::List)) => child(list, "*", &[path, ".*"].concat(), "", Kind::Text),
            (Some(inside), _) => members(inside).for_each(|(name, key)| {
                child(list, name, &["gateway.", key.path].concat(), key.path, key.kind);
            }),
        });
    })))
}

const SENSITIVE: &[u8] = br#"{"sensitive":true,"advanced":false}"#;

/// UI hints. Pages of protocol 4 collapse every setting without the hint `"advanced": false`.
const HINTS: &str = concat!(
    r#""gateway":{"label":"Gateway","group":"Gateway","order":30,"advanced":false},"#,
    r#""gateway.*":{"advanced":false},"gateway.*.*":{"advanced":false}"#
);

/// Schema for channels. Pages of protocol 3 report each channel that is missing from the schema.
const NO_CHANNELS: &str = concat!(
    r#""channels":{"type":"object","properties":{},"additionalProperties":{"type":"object","properties":{},"#,
    r#""description":"Channels need an agent runtime, and gatelet has none."}}"#
);

fn find_list(path: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.path == path && matches!(key.kind, Kind::List))
}

/// Returns the keys directly below a section with their last names. Keys that are accepted but not
/// used are left out.
fn members<'p>(section: &'p str) -> impl Iterator<Item = (&'static str, &'static Key)> + 'p {
    KEYS.iter().filter(|key| !matches!(key.kind, Kind::NotUsed)).filter_map(move |key| {
        let rest = key.path.strip_prefix(section)?;
        let name = if section.is_empty() { rest } else { rest.strip_prefix('.')? };
        (!name.is_empty() && !name.contains('.')).then_some((name, key))
    })
}

fn section(o: &mut Writer<'_>, path: &str, titled: bool) {
    o.str("type", "object");
    if titled {
        o.str("title", "Gateway");
    }
    o.obj("properties", |properties| {
        for (name, key) in members(path) {
            properties.obj(name, |value| match key.kind {
                Kind::Section => section(value, key.path, false),
                Kind::List => value.fields(r#""type":"array","items":{"type":"string"}"#),
                kind => bare(value, kind),
            });
        }
    });
}

/// Writes the schema of a value without its members.
fn bare(o: &mut Writer<'_>, kind: Kind) {
    o.str("type", type_name(kind));
    match kind {
        Kind::Flag(default) => o.bool("default", default),
        Kind::Number(least, greatest, default) => {
            o.u64("minimum", u64::from(least));
            o.u64("maximum", u64::from(greatest));
            o.u64("default", u64::from(default));
        }
        Kind::Word(words) => o.strs("enum", words.iter().copied()),
        _ => {}
    }
}

fn type_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Section | Kind::NotUsed => "object",
        Kind::Flag(_) => "boolean",
        Kind::Number(..) => "integer",
        Kind::Text | Kind::Word(_) | Kind::Secret => "string",
        Kind::List => "array",
    }
}

fn child(list: &mut Writer<'_>, key: &str, path: &str, inside: &str, kind: Kind) {
    list.item_obj(|o| {
        o.str("key", key);
        o.str("path", path);
        o.str("type", type_name(kind));
        o.bool("required", false);
        o.bool("hasChildren", matches!(kind, Kind::Section | Kind::List));
        o.str("reloadKind", reload(inside, kind));
        if matches!(kind, Kind::Secret) {
            o.raw("hint", SENSITIVE);
            o.str("hintPath", path);
        }
    });
}

/// Returns how a change takes effect: `hot` (at once), `restart` (at the next start) or `none`.
fn reload(path: &str, kind: Kind) -> &'static str {
    match path {
        "port" | "bind" | "customBindHost" | "pairing.capacity" | "mode" => "restart",
        _ if matches!(kind, Kind::NotUsed) => "none",
        _ => "hot",
    }
}
