//! Finds the process that uses a TCP port. Implemented for Linux, with `/proc`.

/// Returns `name (pid 123)` of the process that listens on the port, if it can be determined.
#[cfg(target_os = "linux")]
pub fn process_on(port: u16) -> Option<String> {
    let inodes: Vec<String> = ["/proc/net/tcp", "/proc/net/tcp6"]
        .iter()
        .filter_map(|table| std::fs::read_to_string(table).ok())
        .flat_map(|table| {
            table.lines().filter_map(|line| listening(line, port)).collect::<Vec<_>>()
        })
        .collect();
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .find(|pid| has_socket(*pid, &inodes))
        .map(|pid| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("{} (pid {pid})", name.trim())
        })
}

/// Returns the socket of a line of `/proc/net/tcp` as `socket:[INODE]`, if it listens on the port.
#[cfg(target_os = "linux")]
fn listening(line: &str, port: u16) -> Option<String> {
    let mut fields = line.split_whitespace();
    let local = fields.nth(1)?;
    let (state, inode) = (fields.nth(1)?, fields.nth(5)?);
    let local_port = u16::from_str_radix(local.rsplit_once(':')?.1, 16).ok()?;
    (local_port == port && state == "0A").then(|| format!("socket:[{inode}]"))
}

#[cfg(target_os = "linux")]
fn has_socket(pid: u32, inodes: &[String]) -> bool {
    let Ok(files) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    files.flatten().filter_map(|file| std::fs::read_link(file.path()).ok()).any(|link| {
        let link = link.to_string_lossy();
        inodes.iter().any(|inode| *inode == link)
    })
}

/// Returns `None`: not implemented on this system.
#[cfg(not(target_os = "linux"))]
pub fn process_on(_port: u16) -> Option<String> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    #[test]
    fn finds_the_process_that_listens_on_a_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let process = super::process_on(port).unwrap();
        assert!(process.ends_with(&format!("(pid {})", std::process::id())), "{process}");
        drop(socket);
        assert_eq!(super::process_on(port), None);
    }
}
