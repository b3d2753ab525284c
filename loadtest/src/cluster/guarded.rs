//! A process that nothing outlives.

use std::{
    io,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

/// Of the shell: the process is `$0`, its directory, if it has one, `$1`. What is being killed may still
/// write when its directory is removed for the first time.
const WATCH: &str = r#"
read -r nothing
kill -9 "$0" 2>/dev/null
[ -n "$1" ] || exit 0
for again in 1 2 3 4 5; do rm -rf "$1" && break; sleep 0.1; done
"#;

/// A child that ends when this is dropped, and when the process that started it ends, however that comes, kill -9
/// included.
///
/// A shell waits beside it for the end of a pipe. It is in a process group of its own: a signal to
/// everybody in the terminal, or from `timeout`, ends us and not the shell, which then ends the child.
#[derive(Debug)]
pub(crate) struct Guarded {
    child: Child,
    shell: Child,
}

impl Guarded {
    /// Watches over what was just started; its directory is removed with it when we end first.
    ///
    /// # Errors
    /// There is no shell; the child has ended then.
    pub(crate) fn new(mut child: Child, directory: Option<&Path>) -> io::Result<Self> {
        let shell = Command::new("/bin/sh")
            .args(["-c", WATCH])
            .arg(child.id().to_string())
            .args(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match shell {
            Ok(shell) => Ok(Self { child, shell }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// What it prints, once, if that is piped.
    pub(crate) fn take_stdout(&mut self) -> Option<ChildStdout> {
        self.child.stdout.take()
    }

    /// kill -9; does nothing to what has ended.
    pub(crate) fn kill(&mut self) {
        // Before the child, whose pid is free from then on.
        end(&mut self.shell);
        end(&mut self.child);
    }

    /// Closes the pipe, as the end of this process would.
    #[cfg(test)]
    pub(super) fn let_go(&mut self) {
        drop(self.shell.stdin.take());
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.kill();
    }
}

fn end(child: &mut Child) {
    // Both fail only for a process that has ended.
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use nix::unistd::{Pid, getpgid, getpgrp};

    use super::*;

    #[test]
    fn the_shell_hears_no_signal_that_is_for_our_group() {
        let child = Command::new("sleep").arg("60").spawn().unwrap();
        let guarded = Guarded::new(child, None).unwrap();
        let group = |pid: u32| getpgid(Some(Pid::from_raw(pid as i32))).unwrap();
        assert_eq!(group(guarded.child.id()), getpgrp());
        assert_eq!(
            group(guarded.shell.id()).as_raw(),
            guarded.shell.id() as i32
        );
    }
}
