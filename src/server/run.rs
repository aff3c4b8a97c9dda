//! Starts, runs and stops a gateway with a given configuration.

use std::fmt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use smol::channel::{bounded, Receiver, Sender};
use smol::Task;

use super::config_file::ConfigFile;
use super::gateway::write_queue::DiskJob;
use super::gateway::{Event, Gateway};
use super::net::listener::{self, Listeners};
use super::os::clock::{Clock, Entropy, SystemClock, SystemEntropy};
use super::os::host_info::{command, machine_name};
use super::os::signals::Stop;
use super::os::{logger, systemd};
use super::runtime::{self, sleep, spawn, start_thread, within};
use super::shared::Shared;
use super::start_context::{shared_secret, StartContext};
use crate::config::{AuthMode, Config, Loaded, Secret, Source, Sourced};
use crate::gate::ids::Hex;
use crate::gate::limits;
use crate::gate::table::{Cell, Table};
use crate::rpc::{Devices, Status};
use crate::store::{self, Disk, Opened, PairingFile, StdDisk, StoreError};

/// Error that prevents the start. Its text says what to do.
#[derive(Debug)]
pub enum StartError {
    /// The configuration has errors, which were printed.
    Config,
    /// The pairing table cannot be used.
    Store(StoreError),
    /// Any other error.
    Other(String),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config => {
                f.write_str("the configuration has errors; run `gatelet config check`")
            }
            StartError::Store(error) => error.fmt(f),
            StartError::Other(what) => f.write_str(what),
        }
    }
}

impl From<String> for StartError {
    fn from(what: String) -> StartError {
        StartError::Other(what)
    }
}

/// Page to open. The code that displays it decides whether the token may be visible.
pub struct Page {
    /// Address with a slash at the end.
    pub url: String,
    /// Absent if no token is needed, or the secret is a password.
    pub token: Option<Secret>,
}

/// Runs a gateway until it is stopped. Calls `show` with the page to open when the gateway listens.
pub fn run(loaded: Loaded, show: &mut dyn FnMut(&Page)) -> Result<(), StartError> {
    let log_file = loaded.paths.as_ref().and_then(|paths| paths.log_file.as_deref());
    logger::start(std::env::var("GATELET_LOG").ok().as_deref(), log_file);
    let clock = SystemClock::start();
    let warnings: Vec<String> = loaded.problems.iter().map(|problem| problem.to_string()).collect();
    let (Some(config), Some(paths)) = (loaded.config, loaded.paths) else {
        return Err(StartError::Config);
    };
    let bind = loaded.settings.into_iter().find(|setting| setting.path == "gateway.bind");
    let bind_unsaid = bind.is_some_and(|bind| bind.source == Source::Default);
    let mut opened = open_table(&paths.state_dir.value, config.pairing.capacity)?;
    let listeners = listener::open(config.bind, config.port, paths.in_container)?;
    let secret = shared_secret(&config, &paths)?;
    let stop = Stop::listen().map_err(|error| format!("cannot listen for signals: {error}"))?;
    let address_file = AddressFile::write(&paths.state_dir.value, &listeners);
    let not_used = loaded.accepted_not_used;
    let here = StartContext {
        args: loaded.args,
        listening: listeners
            .sockets
            .iter()
            .filter_map(|socket| Some(socket.local_addr().ok()?.to_string()))
            .collect(),
        bind: config.bind,
        port: listeners.port,
        key: opened.key.clone(),
        boot_id: Hex(&(&mut SystemEntropy as &mut dyn Entropy).bytes::<8>()).to_string(),
        machine: machine_name(),
        command: command(),
        warnings: Vec::new(),
        paths,
    };
    let mut beginning = Beginning { config, here, secret, not_used, bind_unsaid };
    beginning.warn_of(&opened);
    let Beginning { config, here, secret, .. } = &beginning;
    let status = here.status(config, secret.as_ref(), warnings);
    beginning.announce(&status, &opened, show);
    repair_replicas(&mut opened);
    let setup = Rc::new(here.setup(config, secret.as_ref()));
    let devices = devices(&opened);
    let mut gateway = Gateway::new(setup, devices, status, Box::new(SystemEntropy), clock.now());
    let file = ConfigFile(beginning.here);
    gateway.applied = file.hash(loaded.text.as_ref().map(Secret::expose).unwrap_or_default());
    let shared = Shared::new(gateway, Box::new(clock));
    let served = runtime::run(serve(shared, listeners, address_file, (opened.file, file), stop));
    served.map_err(|error| StartError::Other(format!("cannot serve: {error}")))?;
    log::info!("stopped");
    Ok(())
}

/// Values that are known before the gateway starts.
struct Beginning {
    config: Config,
    here: StartContext,
    secret: Option<Sourced<Secret>>,
    not_used: Vec<String>,
    /// Whether the bind is the default.
    bind_unsaid: bool,
}

impl Beginning {
    fn warn_of(&mut self, opened: &Opened) {
        for oddity in &opened.loaded.unused {
            self.here.warnings.push(format!("pairing table: {oddity}"));
        }
        let held = opened.loaded.contents.shape.capacity;
        if held != self.config.pairing.capacity && !opened.created {
            let text = format!(
                "the pairing table has room for {held} devices, fixed when it was made; gateway.pairing.capacity: {} is not used \
                 (see `gatelet table export`)",
                self.config.pairing.capacity
            );
            self.here.warnings.push(text);
        }
    }

    /// Logs the lines at the start, without the token, and shows the page.
    fn announce(&self, status: &Status, opened: &Opened, show: &mut dyn FnMut(&Page)) {
        status.warnings.iter().for_each(|warning| log::warn!("{warning}"));
        if !self.not_used.is_empty() {
            log::info!("accepted, not used: {}", self.not_used.join(", "));
        }
        let used = opened.loaded.contents.devices.len();
        log::info!("gatelet {} listening on {}", status.version, status.listening.join(", "));
        if self.bind_unsaid && self.here.paths.in_container {
            log::info!(
                "in a container, so on all interfaces: a published port cannot reach loopback; gateway.bind or GATELET_BIND \
                 changes that"
            );
        }
        log::info!(
            "pairing table: {used} of {} devices in {}",
            opened.loaded.contents.shape.capacity,
            self.here.paths.state_dir.value.display()
        );
        match &self.secret {
            Some(secret) => {
                let what =
                    if self.config.auth.mode == AuthMode::Password { "password" } else { "token" };
                log::info!(
                    "{what} from {} (fingerprint {})",
                    secret.source,
                    secret.value.fingerprint()
                );
            }
            None => log::info!("gateway.auth.mode is {}: no token", status.auth_mode),
        }
        let page = match &self.secret {
            Some(secret) if self.config.auth.mode == AuthMode::Token => {
                Page { url: format!("{}/", status.url), token: Some(secret.value.clone()) }
            }
            _ => Page { url: format!("{}/", status.url), token: None },
        };
        show(&page);
    }
}

fn devices(opened: &Opened) -> Devices {
    let contents = &opened.loaded.contents;
    let cells = vec![Cell::FREE; contents.shape.capacity as usize].into_boxed_slice();
    let seed = u64::from_le_bytes((&mut SystemEntropy as &mut dyn Entropy).bytes());
    let mut devices = Table::new(cells, seed, contents.age);
    contents.devices.iter().for_each(|(slot, device)| devices.put(*slot, device.clone()));
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

/// Makes the loaded records durable and writes damaged replicas anew, before any client is
/// admitted.
fn repair_replicas(opened: &mut Opened) {
    match opened.file.repair_replicas() {
        Ok(()) if opened.loaded.unused.is_empty() => {}
        Ok(()) => {
            log::info!("pairing table: the damaged copies were written anew from the good ones")
        }
        Err(error) => log::error!(
            "pairing table: what it says could not be made certain on the disk: {error}"
        ),
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

async fn serve(
    shared: Rc<Shared>,
    listeners: Listeners,
    address_file: AddressFile,
    files: Files,
    stop: Stop,
) -> std::io::Result<()> {
    let disk = commit_all(shared.clone(), files)?;
    let ticks = spawn(tick(shared.clone()));
    listener::accept_all(&shared, listeners.sockets)?;
    systemd::notify("READY=1");
    let signal = stop.asked().await?;
    log::info!("stopping: {signal}");
    systemd::notify("STOPPING=1");
    shared.happen(Event::Stop);
    drop(ticks);
    wait_until_quiet(&shared).await;
    shared.end_jobs();
    // while the disk thread holds the table's lock: afterwards another gateway may write its own
    drop(address_file);
    disk.await;
    Ok(())
}

/// Files that are written while the gateway runs.
type Files = (PairingFile<StdDisk>, ConfigFile);

/// Starts the disk thread, and the task that gives it one job at a time. The task ends when there
/// are no more jobs and the thread has closed the files.
fn commit_all(shared: Rc<Shared>, files: Files) -> std::io::Result<Task<()>> {
    let (jobs, waiting) = bounded(1);
    let (done, results) = bounded(1);
    start_thread("gatelet-disk", move || write_all(files, &waiting, &done))?;
    Ok(spawn(async move {
        let mut more = true;
        while more {
            more = shared.jobs().await;
            while let Some(job) = shared.ask(Gateway::next_job) {
                // a gateway that stores nothing must not go on
                jobs.send(job)
                    .await
                    .expect("the thread that writes the files takes jobs until the last");
                let (job, error) = results
                    .recv()
                    .await
                    .expect("the thread that writes the files answers each job");
                shared.happen(Event::Committed { job, error });
            }
        }
        drop(jobs);
        let _ = results.recv().await;
    }))
}

/// Writes one job after the other until there are no more. Has its own thread and not one of
/// smol's, so that it exists before the first change, even if the system has no thread left later.
fn write_all(
    (mut table, config): Files,
    jobs: &Receiver<DiskJob>,
    done: &Sender<(DiskJob, Option<String>)>,
) {
    while let Ok(mut job) = jobs.recv_blocking() {
        let error = commit(&mut table, &job).err().map(|error| error.to_string());
        job.file.iter_mut().for_each(|work| config.run(work));
        if done.send_blocking((job, error)).is_err() {
            return;
        }
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

async fn tick(shared: Rc<Shared>) {
    loop {
        shared.due().await;
        shared.happen(Event::Tick);
    }
}

/// Waits until all connections are closed, at most [`limits::CLOSE_GRACE_MS`] and 250 ms.
async fn wait_until_quiet(shared: &Rc<Shared>) {
    let quiet = async {
        while shared.ask(|gateway| gateway.connections()) > 0 {
            sleep(5).await;
        }
    };
    within(limits::CLOSE_GRACE_MS + 250, quiet).await;
}
