//! Starts, runs and stops a gateway with a given configuration.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use smol::channel::{unbounded, Receiver, Sender};
use smol::Task;

use super::config_file::ConfigFile;
use super::error::StartError;
use super::gateway::write_queue::DiskJob;
use super::gateway::{Event, Gateway};
use super::net::bind::{self, Listeners};
use super::net::listener;
use super::os::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use super::os::host_info::{command, machine_name, program, Shell};
use super::os::signals::Stop;
use super::os::{descriptors, logger, systemd};
use super::runtime::{self, sleep, spawn, start_thread, within};
use super::shared::Shared;
use super::start_context::{shared_secret, StartContext};
use crate::config::{
    self, AuthMode, Config, Env, Loaded, Overrides, Paths, Secret, Setting, Source, Sourced,
    SystemEnv,
};
use crate::gate::connection_limits::ConnectionLimits;
use crate::gate::ids::Hex;
use crate::gate::limits;
use crate::rpc::{Devices, Status};
use crate::store::{self, Disk, Opened, PairingFile, StdDisk, StoreError};

/// Page to open. The code that displays it decides whether the token may be visible.
pub struct Page {
    /// Address with a slash at the end.
    pub url: String,
    /// Addresses for other devices, without a slash at the end.
    pub others: Vec<String>,
    /// Absent if no token is needed, or the secret is a password.
    pub token: Option<Secret>,
    /// Command that runs `gatelet` here, for hints.
    pub command: String,
}

/// Runs a gateway until it is stopped. Calls `show` with the page to open when the gateway listens.
pub fn run(loaded: Loaded, show: &mut dyn FnMut(&Page)) -> Result<(), StartError> {
    let log_file = loaded.paths.as_ref().and_then(|paths| paths.log_file.as_deref());
    logger::start(SystemEnv.var("GATELET_LOG").as_deref().map(config::trimmed), log_file);
    let clock = SystemClock::start();
    let warnings: Vec<String> = loaded.problems.iter().map(|problem| problem.to_string()).collect();
    let (Some(config), Some(paths)) = (&loaded.config, &loaded.paths) else {
        return Err(StartError::Config);
    };
    let mut opened = open_table(&paths.state_dir.value, config.pairing.capacity)?;
    let listeners = bind::open(config.bind, config.port, paths.in_image)?;
    let secret = shared_secret(config, paths)?;
    let stop = Stop::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let address_file = AddressFile::write(&paths.state_dir.value, &listeners);
    let start_context = start_context(&loaded.args, config, paths, &listeners, &opened);
    let status = start_context.status(config, secret.as_ref(), warnings);
    log_start(&loaded, &status, &opened);
    log_secret(config.auth.mode, secret.as_ref());
    let token = secret.as_ref().filter(|_| config.auth.mode == AuthMode::Token);
    let token = token.map(|secret| secret.value.clone());
    let page = Page {
        url: format!("{}/", status.url),
        others: status.urls.clone(),
        token,
        command: start_context.command.clone(),
    };
    show(&page);
    repair_replicas(&mut opened);
    let runtime_config = Rc::new(start_context.runtime_config(config, secret.as_ref()));
    let mut gateway = Gateway::new(
        runtime_config,
        devices(&opened),
        status,
        Box::new(SystemEntropy),
        clock.now(),
    );
    gateway.connection_limits = connection_limits();
    let in_force = start_context.in_force(&loaded.settings, &[], secret.as_ref());
    let file = ConfigFile::new(start_context, in_force);
    gateway.applied_hash = file.hash(loaded.text.as_ref().map(Secret::expose).unwrap_or_default());
    gateway.config_len = loaded.text.as_ref().map_or(0, |text| text.expose().len());
    let (shared, jobs) = Shared::new(gateway, Box::new(clock));
    let served = runtime::run(async {
        let disk = start_disk_thread(shared.clone(), jobs, (opened.file, file))?;
        serve(&shared, listeners, stop).await?;
        shared.end_jobs();
        // while the disk thread holds the table's lock: afterwards another gateway may write its
        // own
        drop(address_file);
        disk.await;
        Ok::<_, std::io::Error>(())
    });
    served.map_err(|error| StartError::Other(format!("cannot serve: {error}")))?;
    log::info!("stopped");
    Ok(())
}

/// Returns the limits that the descriptors of this process allow. Logs them if they are lower than
/// usual.
fn connection_limits() -> ConnectionLimits {
    let wanted = ConnectionLimits::FULL.descriptors();
    let allowed = descriptors::allow(wanted);
    let limits = ConnectionLimits::within(allowed);
    if limits != ConnectionLimits::FULL {
        log::info!(
            "{allowed} descriptors, so at most {} admitted clients; {wanted} allow {} (LimitNOFILE, ulimit -n)",
            limits.admitted,
            ConnectionLimits::FULL.admitted
        );
    }
    limits
}

/// Collects the values that do not change while the gateway runs.
fn start_context(
    args: &Overrides,
    config: &Config,
    paths: &Paths,
    listeners: &Listeners,
    opened: &Opened,
) -> StartContext {
    StartContext {
        args: args.clone(),
        paths: paths.clone(),
        listening: listeners.addresses().map(|address| address.to_string()).collect(),
        bind: config.bind,
        port: listeners.port,
        key: opened.key.clone(),
        boot_id: Hex(&(&mut SystemEntropy as &mut dyn Entropy).bytes::<8>()).to_string(),
        machine: machine_name(),
        command: command(paths, &SystemEnv, Shell::Any),
        program: program(paths, &SystemEnv),
        warnings: table_warnings(opened, config.pairing.capacity),
    }
}

/// Returns the warnings about the pairing table.
fn table_warnings(opened: &Opened, configured: u16) -> Vec<String> {
    let mut warnings: Vec<String> =
        opened.loaded.unused.iter().map(|oddity| format!("pairing table: {oddity}")).collect();
    let capacity = opened.loaded.contents.shape.capacity;
    if capacity != configured && !opened.created {
        warnings.push(format!(
            "the pairing table was created for {capacity} devices, which cannot be changed; gateway.pairing.capacity: {configured} is not used \
             (see `gatelet table export`)"
        ));
    }
    warnings
}

/// Logs the lines at the start, without those about the secret.
fn log_start(loaded: &Loaded, status: &Status, opened: &Opened) {
    for warning in &status.warnings {
        log::warn!("{warning}");
    }
    if !loaded.accepted_not_used.is_empty() {
        log::info!("accepted, not used: {}", loaded.accepted_not_used.join(", "));
    }
    log::info!("gatelet {} listening on {}", status.version, status.listening.join(", "));
    let Some(paths) = &loaded.paths else { return };
    let is_default =
        |setting: &Setting| setting.path == "gateway.bind" && setting.source == Source::Default;
    if paths.in_image && loaded.settings.iter().any(is_default) {
        log::info!(
            "in a container, so on all interfaces: a published port cannot reach loopback; gateway.bind or GATELET_BIND \
             changes that"
        );
    }
    let contents = &opened.loaded.contents;
    log::info!(
        "pairing table: {} of {} devices in {}",
        contents.devices.len(),
        contents.shape.capacity,
        paths.state_dir.value.display()
    );
}

/// Logs the source of the secret and its fingerprint.
fn log_secret(mode: AuthMode, secret: Option<&Sourced<Secret>>) {
    let Some(secret) = secret else {
        return log::info!("gateway.auth.mode is {}: no token", mode.name());
    };
    let kind = if mode == AuthMode::Password { "password" } else { "token" };
    let fingerprint = secret.value.fingerprint();
    log::info!("{kind} from {} (fingerprint {fingerprint})", secret.source);
}

/// Builds the table in memory.
fn devices(opened: &Opened) -> Devices {
    let contents = &opened.loaded.contents;
    let seed = u64::from_le_bytes((&mut SystemEntropy as &mut dyn Entropy).bytes());
    let mut devices = Devices::new(contents.shape.capacity, seed, contents.age);
    for (slot, device) in &contents.devices {
        devices.put(*slot, device.clone());
    }
    devices
}

/// Opens the table. Retries while it is locked, because a command that checks whether a gateway
/// runs holds the lock for a moment.
fn open_table(dir: &Path, capacity: u16) -> Result<Opened, StartError> {
    let mut tries = 0;
    loop {
        match store::open_at(dir, capacity) {
            Err(StoreError::Busy { .. }) if tries < limits::LOCK_TRIES => tries += 1,
            done => return done.map_err(StartError::Store),
        }
        std::thread::sleep(Duration::from_millis(limits::LOCK_RETRY_MS));
    }
}

/// Makes the loaded records durable and repairs damaged replicas, before any client is admitted.
fn repair_replicas(opened: &mut Opened) {
    match opened.file.repair_replicas() {
        Ok(()) if opened.loaded.unused.is_empty() => {}
        Ok(()) => log::info!("pairing table: damaged replicas were repaired from the intact ones"),
        Err(error) => {
            log::error!("pairing table: its content could not be made durable: {error}")
        }
    }
}

/// File with an address of the gateway for the command line; it exists while the gateway runs. Only
/// the process that holds the table's lock writes and removes it, so that commands do not connect
/// to an unrelated program on the port of a killed gateway.
struct AddressFile(PathBuf);

impl AddressFile {
    /// Writes the file. On failure only the command line is affected, and a warning is logged.
    fn write(dir: &Path, listeners: &Listeners) -> AddressFile {
        let path = dir.join(store::ADDRESS_FILE);
        let line = format!("{}\n", listeners.own_address());
        if let Err(error) = store::write_private(&path, line.as_bytes()) {
            log::warn!(
                "cannot write {}, which commands need to find this gateway: {error}",
                path.display()
            );
        }
        AddressFile(path)
    }
}

impl Drop for AddressFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

// --- serving -----------------------------------------------------------------------------

/// Serves clients until a stop is requested and the connections are closed.
async fn serve(shared: &Rc<Shared>, listeners: Listeners, stop: Stop) -> std::io::Result<()> {
    let ticks = spawn(tick(shared.clone()));
    listener::accept_all(shared, listeners.sockets)?;
    systemd::notify("READY=1");
    let signal = stop.asked().await?;
    log::info!("stopping: {signal}");
    systemd::notify("STOPPING=1");
    shared.dispatch(Event::Stop);
    drop(ticks);
    wait_until_closed(shared).await;
    Ok(())
}

/// Files that are written while the gateway runs.
type Files = (PairingFile<StdDisk>, ConfigFile);

/// Starts the disk thread, and the task that passes its results to the gateway state. The task ends
/// when there are no more jobs and the thread has closed the files.
///
/// The thread is not one of smol's, so that it exists before the first change, even if the system
/// has no thread left later. A panic in it ends the process (`panic = "abort"`), because a gateway
/// that stores nothing must not go on.
fn start_disk_thread(
    shared: Rc<Shared>,
    jobs: Receiver<DiskJob>,
    files: Files,
) -> std::io::Result<Task<()>> {
    let (sender, results) = unbounded();
    start_thread("gatelet-disk", move || run_jobs(files, &jobs, &sender))?;
    Ok(spawn(async move {
        while let Ok((job, error)) = results.recv().await {
            shared.dispatch(Event::Committed { job, error });
        }
    }))
}

/// Runs one job after the other until there are no more.
fn run_jobs(
    (mut table, config): Files,
    jobs: &Receiver<DiskJob>,
    results: &Sender<(DiskJob, Option<String>)>,
) {
    while let Ok(mut job) = jobs.recv_blocking() {
        let error = commit(&mut table, &job).err().map(|error| error.to_string());
        if let Some(work) = &mut job.file {
            config.run(work);
        }
        let _ = results.try_send((job, error));
    }
}

/// Writes the changes of a job to the table. After an error each record has its old or its new
/// content.
pub fn commit<D: Disk>(file: &mut PairingFile<D>, job: &DiskJob) -> std::io::Result<()> {
    match job.changes.as_slice() {
        [] => {}
        [(slot, device)] => file.commit(*slot, device.as_ref())?,
        many => file.commit_all(many)?,
    }
    job.age.map_or(Ok(()), |age| file.commit_age(age))
}

/// Sends [`Event::Tick`] at each deadline.
async fn tick(shared: Rc<Shared>) {
    loop {
        shared.wait_for_deadline().await;
        shared.dispatch(Event::Tick);
    }
}

/// Waits until all connections are closed, at most [`limits::CLOSE_GRACE_MS`] and 250 ms.
async fn wait_until_closed(shared: &Rc<Shared>) {
    let closed = async {
        while shared.with_gateway(|gateway| gateway.connections()) > 0 {
            sleep(5).await;
        }
    };
    within(limits::CLOSE_GRACE_MS + 250, closed).await;
}
