//! `gatelet table check|dump|repair|export`: inspects and repairs the pairing table file.

use super::args::{action, Command};
use super::context::{store_error, Context};
use super::format::Grid;
use super::output::{parse_answer, pretty, CommandResult, Exit, Output};
use crate::gate::device::Device;
use crate::gate::ids::{DeviceId, Slot};
use crate::rpc::device_json;
use crate::store::{self, Check, CheckLine, OpenError, ReplicaState, SlotPosition};
use crate::wire::json::{self, Value, Writer};

pub const COMMANDS: &[Command] = &[
    Command {
        name: "table",
        usage: "COMMAND",
        summary: "check, dump, repair, export or import the pairing table",
        details: "
  gatelet table check                     check whether the file is intact
  gatelet table export > paired.json      a backup, without secrets
  gatelet table import paired.json        import devices, also from OpenClaw

check, dump, repair and import work only while the gateway is stopped.
",
        ..Command::BASE
    },
    Command {
        name: "table check",
        summary: "check the file without changing it; exit code 5 if it is damaged",
        details: "\n  gatelet table check\n",
        parse: |_| action((), |context, ()| check(context)),
        ..Command::BASE
    },
    Command {
        name: "table dump",
        summary: "list every record with both replicas",
        details: "\n  gatelet table dump\n  gatelet table dump --json\n",
        parse: |_| action((), |context, ()| dump(context)),
        ..Command::BASE
    },
    Command {
        name: "table repair",
        summary: "repair a damaged table; keeps every intact device",
        details: "
  gatelet table repair

The damaged file is first copied to a file next to it. An intact table is not changed.
",
        parse: |_| action((), |context, ()| repair(context)),
        ..Command::BASE
    },
    Command {
        name: "table export",
        summary: "print all devices as JSON (OpenClaw's paired.json), without secrets",
        details: "\n  gatelet table export > paired.json\n",
        parse: |_| action((), |context, ()| export(context)),
        ..Command::BASE
    },
];

/// Checks the file without changing it. Exit code 5 if a gateway would not start with it.
fn check(context: &Context) -> CommandResult {
    let check = store::check_at(context.state_dir()?).map_err(store_error)?;
    let exit = exit(&check);
    let text = if context.json {
        pretty(&json::object(|o| summary(o, &check)))
    } else {
        verdict(context, &check)
    };
    Output::with(text, exit)
}

/// Prints both replicas of the header and of every record. The text output omits free records.
fn dump(context: &Context) -> CommandResult {
    let check = store::check_at(context.state_dir()?).map_err(store_error)?;
    let exit = exit(&check);
    if context.json {
        let text = pretty(&json::object(|o| {
            summary(o, &check);
            o.arr("places", |list| {
                check.lines.iter().for_each(|line| list.item_obj(|o| slot_fields(o, line, &check)))
            });
        }));
        return Output::with(text, exit);
    }
    let mut grid = Grid::new(&["SLOT", "REPLICA 0", "REPLICA 1", "DEVICE", "NAME"]);
    let free = |replica: &ReplicaState| matches!(replica, ReplicaState::Free { .. });
    let shown = check.lines.iter().filter(|line| !line.replicas.iter().all(free));
    for line in shown {
        let device = device_at(&check, line.place);
        let id = device.map_or_else(
            || id_in(line).map(|id| id.to_string()).unwrap_or_default(),
            |device| device.id.to_string(),
        );
        let name = device.map(|device| device.shown_name().to_string()).unwrap_or_default();
        grid.row(vec![
            line.place.to_string(),
            state(&line.replicas[0]),
            state(&line.replicas[1]),
            id,
            name,
        ]);
    }
    let hidden = check.lines.iter().filter(|line| line.replicas.iter().all(free)).count();
    let text = format!(
        "{}{hidden} records are free\n\n{}",
        grid.text(context.style),
        verdict(context, &check)
    );
    Output::with(text, exit)
}

/// Repairs a damaged table. An intact table is not changed.
fn repair(context: &Context) -> CommandResult {
    let repaired =
        store::repair_at(context.state_dir()?, context.capacity()).map_err(store_error)?;
    if context.json {
        return Output::json(&json::object(|o| {
            o.bool("repaired", repaired.table_copy.is_some());
            if let Some(copy) = &repaired.table_copy {
                o.shown("damagedCopy", &copy.display());
            }
            o.u64("devices", repaired.devices as u64);
            o.arr("lost", |list| {
                repaired.lost.iter().for_each(|slot| list.item_u64(u64::from(slot.0)))
            });
            o.bool("newKey", repaired.new_key);
        }));
    }
    let mut out = match &repaired.table_copy {
        None => "the table is intact; nothing was changed\n".to_string(),
        Some(copy) => format!("repaired; a copy of the damaged file is {}\n", copy.display()),
    };
    if repaired.empty {
        out.push_str("no record could be read: the table is new and empty\n");
    } else if !repaired.lost.is_empty() {
        let lost: Vec<String> = repaired.lost.iter().map(|slot| slot.0.to_string()).collect();
        out.push_str(&format!(
            "lost records: {}; their devices have to pair again\n",
            lost.join(", ")
        ));
    }
    if repaired.new_key {
        out.push_str(
            "created a new key; every device receives a new token at its next connection\n",
        );
    }
    out.push_str(&format!("devices: {}\n", repaired.devices));
    Output::ok(out)
}

/// Prints all devices as JSON, in the format of OpenClaw's `devices/paired.json`.
fn export(context: &Context) -> CommandResult {
    let text = context.device_access()?.operations().list_all()?;
    let list = parse_answer(&text)?;
    Output::json(&json::object(|o| {
        for device in list.at("paired").items() {
            if let Some(id) = device.get("deviceId").and_then(|id| id.as_str()) {
                o.obj(&id, |o| exported(o, &device));
            }
        }
    }))
}

/// Writes the fields of a device except its tokens, its connection state and derived values.
fn exported(o: &mut Writer<'_>, device: &Value<'_>) {
    for (key, value) in device
        .fields()
        .filter(|(key, _)| !matches!(key.as_ref(), "tokens" | "connected" | "approvedVia"))
    {
        o.raw(&key, value.raw().as_bytes());
    }
}

fn exit(check: &Check) -> Exit {
    if check.verdict.is_ok() && check.key {
        Exit::Ok
    } else {
        Exit::Damaged
    }
}

fn summary(o: &mut Writer<'_>, check: &Check) {
    match &check.verdict {
        Ok(loaded) => {
            o.bool("ok", check.key);
            o.u64("capacity", u64::from(loaded.contents.shape.capacity));
            o.u64("devices", loaded.contents.devices.len() as u64);
            o.u64("ageHours", u64::from(loaded.contents.age.0));
            o.u64("odd", loaded.unused.len() as u64);
        }
        Err(error) => {
            o.bool("ok", false);
            o.shown("error", error);
        }
    }
    o.bool("key", check.key);
}

fn verdict(context: &Context, check: &Check) -> String {
    let mut out = String::new();
    match &check.verdict {
        Ok(loaded) => {
            let contents = &loaded.contents;
            let devices = contents.devices.len();
            out.push_str(&format!(
                "{}: {devices} of {} devices, used for {} hours\n",
                context.style.good("the table is intact"),
                contents.shape.capacity,
                contents.age.0
            ));
            let odd = loaded.unused.len();
            if odd > 0 {
                out.push_str(&format!(
                    "outdated or torn replicas: {odd}; their other replicas are used, and the next start repairs them\n"
                ));
            }
            loaded.unused.iter().for_each(|oddity| out.push_str(&format!("  {oddity}\n")));
        }
        Err(error @ OpenError::Newer(_)) => {
            out.push_str(&format!(
                "{}: {error}; update gatelet\n",
                context.style.bad("the table cannot be read")
            ));
        }
        Err(error) => {
            out.push_str(&format!("{}: {error}\n", context.style.bad("the table is damaged")));
            out.push_str(
                "the file is not changed; `gatelet table repair` keeps every intact device\n",
            );
        }
    }
    if !check.key {
        out.push_str(&format!(
            "{}; `gatelet table repair` creates a new one\n",
            context.style.bad("the table's key is missing or damaged")
        ));
    }
    out
}

fn slot_fields(o: &mut Writer<'_>, line: &CheckLine, check: &Check) {
    match line.place {
        SlotPosition::Header => o.str("place", "header"),
        SlotPosition::Record(slot) => o.u64("record", u64::from(slot.0)),
    }
    o.arr("copies", |list| {
        for replica in &line.replicas {
            list.item_obj(|o| replica_fields(o, replica));
        }
    });
    if let Some(device) = device_at(check, line.place) {
        o.obj("device", |o| {
            device_json::device_fields(o, device, false);
            device_json::approved_surface(o, device);
        });
    }
}

fn replica_fields(o: &mut Writer<'_>, replica: &ReplicaState) {
    let (state, generation) = match replica {
        ReplicaState::Header { generation, .. } => ("header", Some(*generation)),
        ReplicaState::Free { generation } => ("free", Some(*generation)),
        ReplicaState::Device { generation, .. } => ("device", Some(*generation)),
        ReplicaState::Newer(_) => ("newer", None),
        ReplicaState::Torn(_) => ("torn", None),
    };
    o.str("state", state);
    o.opt_u64("generation", generation);
    match replica {
        ReplicaState::Device { id, .. } => o.shown("deviceId", id),
        ReplicaState::Torn(fault) => o.shown("fault", fault),
        ReplicaState::Newer(format) => o.u64("format", u64::from(*format)),
        ReplicaState::Header { .. } | ReplicaState::Free { .. } => {}
    }
}

fn state(replica: &ReplicaState) -> String {
    match replica {
        ReplicaState::Header { generation, .. } => format!("header #{generation}"),
        ReplicaState::Free { generation } => format!("free #{generation}"),
        ReplicaState::Device { generation, .. } => format!("device #{generation}"),
        ReplicaState::Newer(format) => format!("format {format}"),
        ReplicaState::Torn(fault) => format!("torn: {fault}"),
    }
}

fn id_in(line: &CheckLine) -> Option<DeviceId> {
    line.replicas.iter().find_map(|replica| match replica {
        ReplicaState::Device { id, .. } => Some(*id),
        _ => None,
    })
}

fn device_at(check: &Check, place: SlotPosition) -> Option<&Device> {
    let SlotPosition::Record(slot) = place else { return None };
    let devices = &check.verdict.as_ref().ok()?.contents.devices;
    devices.iter().find(|(at, _): &&(Slot, Device)| *at == slot).map(|(_, device)| device)
}
