//! `gatelet table import`: imports devices from `devices/paired.json` and `nodes/paired.json` of
//! OpenClaw 2026.1.29, or from `gatelet table export`.
//!
//! Tokens are not imported: devices authenticate with their keys. A role whose token was revoked is
//! imported as revoked. Records of nodes hold no key, so they only add a name and approved commands
//! to a device. Existing devices are not replaced without `--overwrite`. A missing table is
//! created, so that a migration is possible before the first start.

use sha2::{Digest, Sha256};

use super::args::{action, Command};
use super::context::{unreadable, Context};
use super::format::{clean, number, short, text};
use super::output::{CommandError, CommandResult, Output};
use crate::config::{self, Env, SystemEnv};
use crate::gate::device::{Device, Provenance};
use crate::gate::ids::{DeviceId, PublicKey, Role, Roles, Slot, TableAge, WallMs};
use crate::gate::limits;
use crate::gate::scopes::{Scope, Scopes};
use crate::gate::surface::{DoesNotFit, Surface};
use crate::gate::text::clip;
use crate::store::{Contents, Shape, TableId};
use crate::wire::base64;
use crate::wire::json::{self, Value};

pub const COMMANDS: &[Command] = &[Command {
    name: "table import",
    usage: "FILE... [--dry-run] [--overwrite]",
    min_arguments: 1,
    max_arguments: usize::MAX,
    options: &["dry-run", "overwrite"],
    summary: "import devices from OpenClaw's files or from an export",
    details: "
  gatelet table import ~/.openclaw/devices/paired.json --dry-run
  gatelet table import ~/.openclaw/devices/paired.json ~/.openclaw/nodes/paired.json

Devices authenticate with their own keys; tokens are not imported. A device that is already in the
table is not changed without --overwrite. With --dry-run nothing is written.
",
    parse: |args| {
        let options = ImportOptions {
            files: args.arguments.clone(),
            dry_run: args.has("dry-run"),
            overwrite: args.has("overwrite"),
        };
        action(options, import)
    },
}];

/// `table import ...`
#[derive(Debug)]
struct ImportOptions {
    files: Vec<String>,
    dry_run: bool,
    overwrite: bool,
}

/// Reads the files, prints the outcome of each record, and writes the changes unless `--dry-run` is
/// given.
fn import(context: &Context, options: ImportOptions) -> CommandResult {
    let ImportOptions { files, dry_run, overwrite } = options;
    let texts = files.iter().map(|file| read(file)).collect::<Result<Vec<_>, _>>()?;
    let files = files
        .iter()
        .zip(&texts)
        .map(|(file, text)| parse(file, text))
        .collect::<Result<Vec<_>, _>>()?;
    let plan = if dry_run && context.has_no_table()? {
        Plan::make(&empty_table(context.capacity()), &files, overwrite)
    } else {
        let mut opened = context.open_or_create_table()?;
        let plan = Plan::make(&opened.loaded.contents, &files, overwrite);
        if !dry_run && !plan.changes.is_empty() {
            let written = opened.file.commit_all(&plan.changes);
            written.map_err(|error| {
                CommandError::failed(format!(
                    "cannot write the pairing table: {error}; run the import again"
                ))
            })?;
        }
        plan
    };
    if context.json {
        return Output::json(&plan.json(dry_run));
    }
    Output::ok(plan.text(dry_run))
}

/// Returns the contents of a table that does not exist yet.
fn empty_table(capacity: u16) -> Contents {
    Contents {
        shape: Shape { id: TableId([0; 16]), capacity },
        age: TableAge(0),
        devices: Vec::new(),
    }
}

fn read(file: &str) -> Result<Vec<u8>, CommandError> {
    let path = config::home_path(file, &SystemEnv);
    SystemEnv.read(&path, limits::IMPORT_LEN).map_err(|error| unreadable(&path, &error))
}

fn parse<'a>(file: &str, text: &'a [u8]) -> Result<Value<'a>, CommandError> {
    let text = text.strip_prefix("\u{feff}".as_bytes()).unwrap_or(text);
    let value = json::parse(text, limits::JSON_DEPTH)
        .map_err(|bad| CommandError::failed(format!("{file} is not JSON: {bad}")))?;
    match value.kind() {
        json::Kind::Object => Ok(value),
        _ => Err(CommandError::failed(format!(
            "{file} is not a JSON object of devices, such as OpenClaw's devices/paired.json"
        ))),
    }
}

/// Effect of one record on the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Effect {
    Imported,
    Replaced,
    Named,
    /// The node's commands were approved.
    Approved,
}

/// Result of one record; the error is the reason why it is skipped.
type RecordResult = Result<Effect, &'static str>;

struct RecordOutcome {
    id: String,
    name: String,
    result: RecordResult,
}

impl RecordOutcome {
    fn word(&self) -> &'static str {
        match self.result {
            Ok(Effect::Imported) => "imported",
            Ok(Effect::Replaced) => "replaced",
            Ok(Effect::Named) => "named",
            Ok(Effect::Approved) => "approved",
            Err(_) => "skipped",
        }
    }
}

/// Changes of an import to the table.
struct Plan {
    outcomes: Vec<RecordOutcome>,
    /// At most one entry per slot.
    changes: Vec<(Slot, Option<Device>)>,
    /// Devices of the table after the changes.
    devices: Vec<(Slot, Device)>,
    /// All slots below this one are in use.
    next: u16,
    capacity: u16,
    age: TableAge,
    /// Replace existing devices and approved commands.
    overwrite: bool,
}

impl Plan {
    fn make(contents: &Contents, files: &[Value<'_>], overwrite: bool) -> Plan {
        let mut plan = Plan {
            outcomes: Vec::new(),
            changes: Vec::new(),
            devices: contents.devices.clone(),
            next: 0,
            capacity: contents.shape.capacity,
            age: contents.age,
            overwrite,
        };
        let records = files.iter().flat_map(|file| file.fields());
        let (nodes, devices): (Vec<_>, Vec<_>) = records.partition(|(_, record)| is_node(record));
        for (key, record) in devices {
            let result = device(&key, &record).and_then(|device| plan.add_device(device));
            plan.note(&key, &record, result);
        }
        for (key, record) in nodes {
            let result = plan.add_node(&key, &record);
            plan.note(&key, &record, result);
        }
        plan
    }

    fn add_device(&mut self, mut device: Device) -> RecordResult {
        device.seen_age = self.age;
        let known = self.devices.iter().find(|(_, known)| known.id == device.id);
        let (slot, effect) = match known {
            Some(_) if !self.overwrite => {
                return Err("it is already in the table (see --overwrite)")
            }
            Some((slot, known)) => {
                // Keep the token generations of the existing device: its revoked tokens must stay
                // invalid.
                for (window, old) in device.tokens.iter_mut().zip(&known.tokens) {
                    *window = if old.current == 0 { *window } else { *old };
                }
                (*slot, Effect::Replaced)
            }
            None => (self.free_slot().ok_or("the table is full")?, Effect::Imported),
        };
        self.change(slot, device);
        Ok(effect)
    }

    fn free_slot(&mut self) -> Option<Slot> {
        let is_free = |slot: &u16| self.devices.iter().all(|(taken, _)| taken.0 != *slot);
        let free = (self.next..self.capacity).find(is_free);
        self.next = free.unwrap_or(self.capacity);
        free.map(Slot)
    }

    /// Applies a record of `nodes/paired.json`, which names a node and lists what was approved for
    /// it.
    fn add_node(&mut self, key: &str, record: &Value<'_>) -> RecordResult {
        let id = DeviceId::parse(key);
        let known = self.devices.iter().find(|(_, device)| Some(device.id) == id);
        let (slot, mut device) = known
            .cloned()
            .ok_or("there is no device with this id, and the record of a node holds no key")?;
        if !device.roles.contains(Role::Node) {
            return Err("the device with this id is not a node");
        }
        let surface = surface(record).map_err(|_| TOO_MUCH)?;
        let can_approve = self.overwrite || device.surface_approved == WallMs(0);
        let approves = can_approve && !surface.is_empty() && surface != device.surface;
        let name = text(record, "displayName");
        let names = !name.is_empty() && device.label.is_empty() && *device.name != *name;
        if names {
            device.label = clip(&name);
        }
        if approves {
            device.surface = surface;
            device.surface_approved = WallMs(number(record, "approvedAtMs").max(1));
        }
        let effect = match (approves, names) {
            (true, _) => Effect::Approved,
            (false, true) => Effect::Named,
            (false, false) => return Err("it adds nothing"),
        };
        self.change(slot, device);
        Ok(effect)
    }

    fn change(&mut self, slot: Slot, device: Device) {
        self.devices.retain(|(at, _)| *at != slot);
        self.devices.push((slot, device.clone()));
        self.changes.retain(|(at, _)| *at != slot);
        self.changes.push((slot, Some(device)));
    }

    fn note(&mut self, key: &str, record: &Value<'_>, result: RecordResult) {
        let name = clean(&text(record, "displayName"));
        self.outcomes.push(RecordOutcome { id: clean(key), name, result });
    }

    fn text(&self, dry_run: bool) -> String {
        let mut out = String::new();
        for record in &self.outcomes {
            let reason = record.result.err().map(|reason| format!(": {reason}"));
            out.push_str(&format!(
                "{:<9} {}  {}{}\n",
                record.word(),
                short(&record.id),
                record.name,
                reason.unwrap_or_default()
            ));
        }
        let imported = self.outcomes.iter().filter(|record| record.result.is_ok()).count();
        let skipped = self.outcomes.len() - imported;
        let note = if dry_run { " (dry run: nothing was written)" } else { "" };
        out.push_str(&format!("{imported} imported, {skipped} skipped{note}\n"));
        out
    }

    fn json(&self, dry_run: bool) -> Vec<u8> {
        json::object(|o| {
            o.bool("dryRun", dry_run);
            o.arr("records", |list| {
                for record in &self.outcomes {
                    list.item_obj(|o| {
                        o.str("id", &record.id);
                        o.str("outcome", record.word());
                        o.opt_str("reason", record.result.err());
                    });
                }
            });
        })
    }
}

const TOO_MUCH: &str = "it has too many or too long commands, caps or permissions";

fn is_node(record: &Value<'_>) -> bool {
    record.get("nodeId").is_some() && record.get("publicKey").is_none()
}

/// Reads a record of `devices/paired.json`. The error is the reason why it is skipped.
pub fn device(key: &str, record: &Value<'_>) -> Result<Device, &'static str> {
    let public =
        base64::public_key(&text(record, "publicKey")).ok_or("its public key cannot be read")?;
    let id = DeviceId(Sha256::digest(public).into());
    let named = record
        .get("deviceId")
        .map_or(key.to_string(), |id| id.as_str().unwrap_or_default().into_owned());
    if DeviceId::parse(key) != Some(id) || DeviceId::parse(&named) != Some(id) {
        return Err("its id does not match its key");
    }
    let (roles, revoked) = roles(record);
    if roles.with(revoked).is_empty() {
        return Err("it has no role that this gateway knows");
    }
    let approved = WallMs(number(record, "approvedAtMs"));
    let mut device = Device::new(id, PublicKey(public), Provenance::Import);
    if roles.with(revoked).contains(Role::Node) {
        device.surface = surface(record).map_err(|_| TOO_MUCH)?;
        device.surface_approved = WallMs(number(record, "surfaceApprovedAtMs"));
    }
    roles.with(revoked).iter().for_each(|role| device.approve(role, scopes(record), approved));
    revoked.iter().for_each(|role| device.revoke(role));
    device.created = WallMs(number(record, "createdAtMs"));
    device.name = clip(&text(record, "displayName"));
    device.label = clip(&text(record, "label"));
    device.platform = clip(&text(record, "platform"));
    device.family = clip(&text(record, "deviceFamily"));
    device.client_id = clip(&text(record, "clientId"));
    device.client_mode = clip(&text(record, "clientMode"));
    device.remote = text(record, "remoteIp").parse().ok();
    device.seen = WallMs(number(record, "lastSeenAtMs"));
    Ok(device)
}

/// Returns the device's active roles and its revoked roles.
fn roles(record: &Value<'_>) -> (Roles, Roles) {
    let set = |key: &str| -> Roles {
        let items = record.at(key).items();
        items
            .filter_map(|name| Role::parse(&name.as_str()?))
            .fold(Roles::NONE, |all, role| all.with(Roles::of(role)))
    };
    let single = Role::parse(&text(record, "role")).map_or(Roles::NONE, Roles::of);
    let mut revoked = set("revokedRoles");
    for (name, token) in record.at("tokens").fields() {
        if let (Some(role), true) = (Role::parse(&name), number(&token, "revokedAtMs") > 0) {
            revoked = revoked.with(Roles::of(role));
        }
    }
    (set("roles").with(single).without(revoked), revoked)
}

fn scopes(record: &Value<'_>) -> Scopes {
    let items = record.at("scopes").items();
    items.filter_map(|name| Scope::parse(&name.as_str()?)).collect()
}

/// Reads the approved `commands`, `caps` and granted `permissions` of a node.
fn surface(record: &Value<'_>) -> Result<Surface, DoesNotFit> {
    let mut surface = Surface::NONE;
    let names = |key: &str| record.at(key).items().filter_map(|name| name.as_str());
    names("commands").try_for_each(|name| surface.add_command(name.trim()))?;
    names("caps").try_for_each(|name| surface.add_cap(name.trim()))?;
    let permissions = record.at("permissions").fields();
    let mut granted = permissions.filter(|(_, value)| value.as_bool() == Some(true));
    granted.try_for_each(|(name, _)| surface.add_permission(name.trim()))?;
    Ok(surface)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> (String, String) {
        let public = [n; 32];
        (DeviceId(Sha256::digest(public).into()).to_string(), base64::encode_url(&public))
    }

    /// Returns a record as OpenClaw 2026.1.29 writes it, with `more` appended.
    fn record(n: u8, more: &str) -> String {
        let (id, public) = key(n);
        format!(
            r#""{id}":{{"deviceId":"{id}","publicKey":"{public}","displayName":"Phone {n}","platform":"ios","clientId":"openclaw-ios","clientMode":"ui",
            "role":"operator","roles":["operator"],"scopes":["operator.read","operator.zzz"],"remoteIp":"10.0.0.{n}",
            "tokens":{{"operator":{{"token":"00","role":"operator","scopes":[],"createdAtMs":1}}}},"createdAtMs":1700000000000,"approvedAtMs":1700000001000{more}}}"#
        )
    }

    fn table(capacity: u16, devices: Vec<(Slot, Device)>) -> Contents {
        Contents { shape: Shape { id: TableId([1; 16]), capacity }, age: TableAge(7), devices }
    }

    fn plan(contents: &Contents, files: &[String], overwrite: bool) -> Plan {
        let files: Vec<Value<'_>> =
            files.iter().map(|file| parse("f", file.as_bytes()).unwrap()).collect();
        Plan::make(contents, &files, overwrite)
    }

    fn names(plan: &Plan) -> Vec<&'static str> {
        plan.outcomes.iter().map(|record| record.word()).collect()
    }

    #[test]
    fn openclaw_record_is_imported_without_its_token() {
        let plan = plan(&table(4, vec![]), &[format!("{{{}}}", record(1, ""))], false);
        assert_eq!(names(&plan), ["imported"]);
        let (slot, Some(device)) = &plan.changes[0] else { panic!() };
        assert_eq!(*slot, Slot(0));
        assert_eq!(device.id.to_string(), key(1).0);
        assert_eq!(
            (device.roles, device.scopes),
            (Roles::of(Role::Operator), Scopes::of(Scope::Read))
        );
        assert_eq!((device.provenance, device.seen_age), (Provenance::Import, TableAge(7)));
        assert_eq!(
            (device.created, device.approved),
            (WallMs(1700000000000), WallMs(1700000001000))
        );
        assert_eq!((device.name.as_str(), device.client_id.as_str()), ("Phone 1", "openclaw-ios"));
        assert_eq!(device.remote, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn invalid_records_are_skipped_with_a_reason() {
        let (id, public) = key(1);
        let other = key(2).0;
        for (text, reason) in [
            (format!(r#"{{"{id}":{{}}}}"#), "its public key cannot be read"),
            (format!(r#"{{"{id}":7}}"#), "its public key cannot be read"),
            (
                format!(r#"{{"{other}":{{"publicKey":"{public}","role":"operator"}}}}"#),
                "its id does not match its key",
            ),
            (
                format!(
                    r#"{{"{id}":{{"deviceId":"{other}","publicKey":"{public}","role":"operator"}}}}"#
                ),
                "its id does not match its key",
            ),
            (
                format!(r#"{{"{id}":{{"publicKey":"{public}","role":"king"}}}}"#),
                "it has no role that this gateway knows",
            ),
            (
                format!(r#"{{"{id}":{{"nodeId":"{id}"}}}}"#),
                "there is no device with this id, and the record of a node holds no key",
            ),
        ] {
            let plan = plan(&table(4, vec![]), &[text], true);
            assert_eq!(plan.outcomes[0].result, Err(reason));
            assert!(plan.changes.is_empty());
        }
    }

    #[test]
    fn existing_device_is_replaced_only_on_request() {
        let file = [format!("{{{}}}", record(1, ""))];
        let mut known =
            device(&key(1).0, &parse("f", file[0].as_bytes()).unwrap().get(&key(1).0).unwrap())
                .unwrap();
        known.revoke(Role::Operator);
        let contents = table(4, vec![(Slot(2), known.clone())]);
        assert_eq!(names(&plan(&contents, &file, false)), ["skipped"]);
        let plan = plan(&contents, &file, true);
        assert_eq!(names(&plan), ["replaced"]);
        let (slot, Some(device)) = &plan.changes[0] else { panic!() };
        assert_eq!((*slot, device.tokens), (Slot(2), known.tokens), "old tokens stay dead");
        assert!(device.revoked.is_empty());
    }

    #[test]
    fn import_into_a_full_table_takes_what_fits() {
        let file = [format!("{{{},{},{}}}", record(1, ""), record(2, ""), record(3, ""))];
        let plan = plan(&table(2, vec![]), &file, false);
        assert_eq!(names(&plan), ["imported", "imported", "skipped"]);
        assert_eq!(plan.changes.iter().map(|(slot, _)| slot.0).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn revoked_role_stays_revoked_after_import() {
        let both = r#","revokedRoles":["operator"],"label":"Mine""#;
        let (id, public) = key(1);
        let token = format!(
            r#""{id}":{{"publicKey":"{public}","role":"operator","tokens":{{"operator":{{"revokedAtMs":5}}}}}}"#
        );
        for text in [record(1, both), token] {
            let plan = plan(&table(2, vec![]), &[format!("{{{text}}}")], false);
            let (_, Some(device)) = &plan.changes[0] else { panic!() };
            assert_eq!((device.roles, device.revoked), (Roles::NONE, Roles::of(Role::Operator)));
        }
    }

    #[test]
    fn approved_commands_are_imported_unless_some_exist() {
        let (id, public) = key(1);
        let devices =
            format!(r#"{{"{id}":{{"publicKey":"{public}","roles":["node"],"displayName":"pi"}}}}"#);
        let nodes = |names: &str| {
            format!(
                r#"{{"{id}":{{"nodeId":"{id}","displayName":"pi","token":"x","caps":["voice"],"commands":[{names}],
                "permissions":{{"microphone":true,"camera":false,"speech":1}},"approvedAtMs":77}}}}"#
            )
        };
        let first = plan(
            &table(2, vec![]),
            &[nodes(r#""system.run"," robot.walk ",7"#), devices.clone()],
            false,
        );
        assert_eq!(names(&first), ["imported", "approved"]);
        let [(slot, Some(device))] = first.changes.as_slice() else { panic!("one change a slot") };
        assert!(
            device.surface.commands().eq(["system.run", "robot.walk"])
                && device.surface.caps().eq(["voice"])
        );
        assert!(device.surface.permissions().eq(["microphone"]), "only what is granted");
        assert_eq!(device.surface_approved, WallMs(77));

        let there = table(2, vec![(*slot, device.clone())]);
        let other = [nodes(r#""camera.snap""#)];
        assert_eq!(names(&plan(&there, &other, false)), ["skipped"], "something is approved");
        let overwritten = plan(&there, &other, true);
        assert_eq!(names(&overwritten), ["approved"]);
        let Some((_, Some(device))) = overwritten.changes.first() else { panic!() };
        assert!(device.surface.commands().eq(["camera.snap"]));

        let many = (0..99).map(|n| format!("\"robot.{n}\"")).collect::<Vec<_>>().join(",");
        let too_much = plan(&table(2, vec![]), &[nodes(&many), devices], false);
        assert_eq!(names(&too_much), ["imported", "skipped"]);
        assert_eq!(too_much.outcomes[1].result, Err(TOO_MUCH));
    }

    #[test]
    fn node_record_labels_its_device_in_any_file_order() {
        let (id, public) = key(1);
        let nodes = format!(r#"{{"{id}":{{"nodeId":"{id}","displayName":"Garage","token":"x"}}}}"#);
        let devices =
            format!(r#"{{"{id}":{{"publicKey":"{public}","roles":["node"],"displayName":"pi"}}}}"#);
        let plan = plan(&table(2, vec![]), &[nodes, devices], false);
        assert_eq!(names(&plan), ["imported", "named"]);
        let [(_, Some(device))] = plan.changes.as_slice() else { panic!("one change a slot") };
        assert_eq!((device.name.as_str(), device.label.as_str()), ("pi", "Garage"));
    }
}
