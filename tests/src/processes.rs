//! The processes of this machine: the functions of a local AWS, and the owners of connections.
//!
//! They are killed, stopped and continued without warning, as the kernel or a hypervisor does it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a test without its surroundings can only fail"
)]

use std::process::Command;

/// The states of a socket in `/proc/net/tcp`.
const ESTABLISHED: &str = "01";
const LISTENING: &str = "0A";

/// The processes of a function of the AWS at `aws_url`, and of no other stack's on this machine.
pub fn of_function(function: &str, aws_url: &str) -> Vec<u32> {
    let function = format!("AWS_LAMBDA_FUNCTION_NAME={function}");
    let aws = format!("AWS_ENDPOINT_URL={aws_url}");
    let is_of_function = |process: &u32| {
        let variables = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let has = |wanted: &str| {
            variables
                .split(|byte| *byte == 0)
                .any(|variable| variable == wanted.as_bytes())
        };
        has(&function) && has(&aws)
    };
    all().filter(is_of_function).collect()
}

/// The process that listens on a port of this machine.
pub fn listening_on(port: u16) -> u32 {
    let listens = |socket: &Socket| socket.state == LISTENING && socket.local_port == port;
    owner(listens).expect("somebody listens on the port")
}

/// The process that is connected from one port of this machine to another; none if it has ended the
/// connection.
pub fn connected(from: u16, to: u16) -> Option<u32> {
    owner(|socket| {
        socket.state == ESTABLISHED && (socket.local_port, socket.remote_port) == (from, to)
    })
}

/// Whether anybody on this machine has a connection to a port.
pub fn anybody_is_connected_to(port: u16) -> bool {
    sockets()
        .iter()
        .any(|socket| socket.state == ESTABLISHED && socket.remote_port == port)
}

/// Kills a process, which may have ended by itself meanwhile.
pub fn kill(process: u32) {
    signal("KILL", process);
}

/// Processes that are stopped in the middle of their work, until this is dropped.
pub struct Stopped(Vec<u32>);

impl Stopped {
    /// Stops them.
    pub fn all(processes: Vec<u32>) -> Self {
        for process in &processes {
            signal("STOP", *process);
        }
        Self(processes)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        for process in &self.0 {
            signal("CONT", *process);
        }
    }
}

fn signal(name: &str, process: u32) {
    Command::new("kill")
        .args([&format!("-{name}"), &process.to_string()])
        .status()
        .unwrap();
}

fn all() -> impl Iterator<Item = u32> {
    std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// A row of `/proc/net/tcp`.
struct Socket {
    local_port: u16,
    remote_port: u16,
    state: String,
    inode: String,
}

fn sockets() -> Vec<Socket> {
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().collect::<Vec<_>>());
    let port =
        |address: &str| u16::from_str_radix(address.split(':').next_back().unwrap(), 16).unwrap();
    rows.map(|row| Socket {
        local_port: port(row[1]),
        remote_port: port(row[2]),
        state: row[3].to_owned(),
        inode: row[9].to_owned(),
    })
    .collect()
}

/// The process that has the first socket of this kind open.
fn owner(is_it: impl Fn(&Socket) -> bool) -> Option<u32> {
    let inode = sockets().into_iter().find(is_it)?.inode;
    let link = format!("socket:[{inode}]");
    let has_it = |process: &u32| {
        let Ok(files) = std::fs::read_dir(format!("/proc/{process}/fd")) else {
            return false;
        };
        files.flatten().any(|file| {
            std::fs::read_link(file.path()).is_ok_and(|path| path.as_os_str() == &*link)
        })
    };
    all().find(has_it)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_function_of_another_stack_is_left_alone() {
        let start = |aws_url: &str| {
            let function = ("AWS_LAMBDA_FUNCTION_NAME", "executor-of-a-test");
            let mut process = Command::new("cat")
                .envs([function, ("AWS_ENDPOINT_URL", aws_url)])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            // Its environment can be read only once it runs, a moment after `spawn`.
            let echo = process.stdout.as_mut().unwrap();
            process.stdin.as_mut().unwrap().write_all(b"x").unwrap();
            echo.read_exact(&mut [0]).unwrap();
            process
        };
        let [our_aws, other_aws] =
            ["ours", "another"].map(|aws| format!("http://{aws}-{}", std::process::id()));
        let [mut ours, mut stranger] = [&our_aws, &other_aws].map(|aws| start(aws));
        let found = of_function("executor-of-a-test", &our_aws);
        for process in [&mut ours, &mut stranger] {
            process.kill().unwrap();
            process.wait().unwrap();
        }
        assert_eq!(found, [ours.id()]);
    }

    #[test]
    fn the_owner_of_a_socket_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        assert_eq!(listening_on(port), std::process::id());
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (_server, peer) = listener.accept().unwrap();
        assert!(anybody_is_connected_to(port));
        assert_eq!(connected(peer.port(), port), Some(std::process::id()));
        drop(client);
        assert_eq!(connected(peer.port(), port), None);
    }
}
