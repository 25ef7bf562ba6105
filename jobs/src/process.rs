//! Processes of this machine: which they are, and how they are told to end.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

/// A process: a number is given to another one later, a number and a start are not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// When it started, in clock ticks since the machine did.
    pub started: u64,
}

/// What a process is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To end what it does and leave.
    Interrupt,
    /// To leave, as a service manager says it.
    Terminate,
    /// Nothing: it is ended.
    Kill,
}

impl Process {
    /// The process of this number; `None` when there is none, or it has ended and waits to be
    /// asked how.
    ///
    /// # Errors
    /// When this machine does not say (`/proc`).
    pub fn of(pid: u32) -> io::Result<Option<Self>> {
        let stat = match fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat,
            Err(error) if is_gone(&error) => {
                fs::metadata("/proc/self/stat")?;
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        // The name stands in parentheses and may hold anything, parentheses too.
        let fields: Vec<&str> = stat
            .rsplit_once(')')
            .map_or("", |(_, fields)| fields)
            .split_whitespace()
            .collect();
        // Fields 3 and 22 of proc(5).
        let started = fields.get(19).and_then(|field| field.parse().ok());
        match (fields.first(), started) {
            (Some(&"Z" | &"X"), _) => Ok(None),
            (Some(_), Some(started)) => Ok(Some(Self { pid, started })),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("/proc/{pid}/stat cannot be understood"),
            )),
        }
    }

    /// Whether it has not ended yet.
    ///
    /// # Errors
    /// When this machine does not say.
    pub fn is_running(&self) -> io::Result<bool> {
        Ok(Self::of(self.pid)? == Some(*self))
    }
}

/// The running processes whose environment has this variable at this value.
///
/// # Errors
/// When this machine does not say.
pub fn marked(name: &str, value: &Path) -> io::Result<Vec<Process>> {
    let wanted = [name.as_bytes(), b"=", value.as_os_str().as_bytes()].concat();
    let mut found = vec![];
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let environment = match fs::read(entry.path().join("environ")) {
            Ok(environment) => environment,
            // Another user's process is none that this user started; one that has just ended is none.
            Err(error) if is_gone(&error) || error.kind() == io::ErrorKind::PermissionDenied => {
                continue;
            }
            Err(error) => return Err(error),
        };
        if environment
            .split(|byte| *byte == 0)
            .any(|pair| pair == wanted)
        {
            found.extend(Process::of(pid)?);
        }
    }
    Ok(found)
}

/// Signals the process group that this process leads. A group that has ended is no error.
///
/// # Errors
/// When the group may not be signalled.
pub fn signal_group(leader: u32, signal: Signal) -> io::Result<()> {
    let number = match signal {
        Signal::Interrupt => libc::SIGINT,
        Signal::Terminate => libc::SIGTERM,
        Signal::Kill => libc::SIGKILL,
    };
    // 0 and 1 would be this process's own group and every process there is.
    let group = i32::try_from(leader).ok().filter(|group| *group > 1);
    let group = group.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    #[expect(
        unsafe_code,
        reason = "kill(2) reads no memory; std signals single processes only"
    )]
    let sent = unsafe { libc::kill(-group, number) };
    if sent == 0 {
        return Ok(());
    }
    let error = io::Error::last_os_error();
    if error.raw_os_error() == Some(libc::ESRCH) {
        return Ok(());
    }
    Err(error)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ESRCH)
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_process_is_known_by_its_start_and_its_mark_until_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        // Under a script's background SIGINT is ignored, and stays so in what is started.
        let mut child = Command::new("env")
            .args(["--default-signal=INT", "cat"])
            .env("ALMANAC_TEST_MARK", folder.path())
            .stdin(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let process = Process::of(child.id()).unwrap().expect("it runs");
        assert!(process.is_running().unwrap());
        let later = Process {
            started: process.started + 1,
            ..process
        };
        assert!(!later.is_running().unwrap(), "another one of that number");
        // Between fork and exec, a process still has its parent's environment.
        let found = loop {
            let found = marked("ALMANAC_TEST_MARK", folder.path()).unwrap();
            if !found.is_empty() {
                break found;
            }
        };
        assert_eq!(found, [process]);
        assert_eq!(
            marked("ALMANAC_TEST_MARK", &folder.path().join("x")).unwrap(),
            []
        );

        signal_group(child.id(), Signal::Interrupt).unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(libc::SIGINT));
        assert!(!process.is_running().unwrap());
        assert_eq!(marked("ALMANAC_TEST_MARK", folder.path()).unwrap(), []);
        signal_group(child.id(), Signal::Kill).unwrap();
    }

    #[test]
    fn no_signal_goes_to_this_group_or_to_all() {
        for leader in [0, 1, u32::MAX] {
            assert!(signal_group(leader, Signal::Interrupt).is_err());
        }
    }
}
