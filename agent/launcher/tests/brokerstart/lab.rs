//! One brokerStart with a fake broker: a tree of shells around a `sleep`, as the stock scripts are around java.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use launcher::{
    client::{Client, ClientError},
    clock::boottime_ms,
    protocol::{ErrorKind, Op, Permit, Role, StartOrder, Status, Term},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use tempfile::TempDir;

/// Generous: the machine may be busy. What must be quick is measured where it matters.
pub(crate) const LIMIT: Duration = Duration::from_secs(10);

/// How the fake broker takes SIGTERM.
#[derive(Clone, Copy)]
pub(crate) enum Manners {
    Obeys,
    Ignores,
}

pub(crate) struct Lab {
    pub(crate) folder: TempDir,
    pub(crate) launcher: Child,
}

impl Lab {
    /// A launcher whose broker is sh → sh → sleep. The three write their pids to `pids`.
    pub(crate) fn with_tree(manners: Manners) -> Self {
        let trap = match manners {
            Manners::Obeys => "",
            Manners::Ignores => "trap '' TERM\n",
        };
        Self::with_scripts(
            "echo $$ >> pids.part; sh ./inner.sh \"$@\"; exit $?\n",
            &format!(
                "{trap}echo $$ >> pids.part; sleep 1000 & echo $! >> pids.part; mv pids.part pids; wait; exit 7\n"
            ),
        )
    }

    pub(crate) fn with_scripts(outer: &str, inner: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("outer.sh"), outer).unwrap();
        fs::write(folder.path().join("inner.sh"), inner).unwrap();
        Self::launch(folder, &["sh", "./outer.sh"], &[])
    }

    pub(crate) fn with_command(command: &[&str]) -> Self {
        Self::launch(tempfile::tempdir().unwrap(), command, &[])
    }

    pub(crate) fn launch(folder: TempDir, command: &[&str], flags: &[&str]) -> Self {
        fs::write(folder.path().join("broker.conf"), "listenPort=1\n").unwrap();
        let launcher = Self::spawn(folder.path(), command, flags);
        let lab = Self { folder, launcher };
        wait_until("the launcher's socket", || {
            Client::connect(&lab.socket()).is_ok()
        });
        lab
    }

    /// A brokerStart in `folder`, maybe not the first one there.
    pub(crate) fn spawn(folder: &Path, command: &[&str], flags: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_brokerStart"))
            .args(["--socket", folder.join("s").to_str().unwrap()])
            .arg("--termination-log")
            .arg(folder.join("termination-log"))
            .args(flags)
            .arg("--")
            .args(command)
            .current_dir(folder)
            .env_remove("JAVA_OPT_EXT")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.join("stderr")).unwrap())
            .spawn()
            .unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("s")
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(&self.socket()).unwrap()
    }

    pub(crate) fn agent(&self) -> Client {
        let mut client = self.connect();
        client.hello("test", LIMIT).unwrap();
        client
    }

    pub(crate) fn status(&self) -> Status {
        self.connect().ask(Op::Status, LIMIT).unwrap()
    }

    pub(crate) fn order(&self, epoch: u64, permit_ms: u64) -> StartOrder {
        StartOrder {
            role: Role::Master,
            term: Term { epoch, nonce: 1 },
            instance: format!("uid.{}", self.status().launcher_nonce),
            conf: self.path("broker.conf"),
            permit_until_ms: boottime_ms() + permit_ms,
            jvm_options: Vec::new(),
        }
    }

    /// Starts the fake broker and waits until its tree stands.
    pub(crate) fn start(&self, agent: &mut Client, permit_ms: u64) -> Tree {
        let order = self.order(1, permit_ms);
        self.start_as(agent, order)
    }

    pub(crate) fn start_as(&self, agent: &mut Client, order: StartOrder) -> Tree {
        let _ = fs::remove_file(self.path("pids"));
        agent.ask(Op::Start(order), LIMIT).unwrap();
        wait_until("the fake broker's tree", || self.path("pids").exists());
        let pids = fs::read_to_string(self.path("pids")).unwrap();
        Tree {
            pids: pids
                .lines()
                .map(|line| line.trim().parse().unwrap())
                .collect(),
        }
    }

    pub(crate) fn permit(&self, order: &StartOrder, until_ms: u64) -> Op {
        Op::Permit(Permit {
            term: order.term,
            instance: order.instance.clone(),
            until_ms,
        })
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(self.launcher.id()), signal).unwrap();
    }

    pub(crate) fn wait_for_exit(&mut self) -> ExitStatus {
        let mut status = None;
        wait_until("the launcher's end", || {
            status = self.launcher.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Direct children of the launcher: (pid, name, state).
    pub(crate) fn children(&self) -> Vec<(i32, String, char)> {
        processes()
            .into_iter()
            .filter(|p| p.parent == pid(self.launcher.id()).as_raw())
            .map(|p| (p.pid, p.name, p.state))
            .collect()
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        // Its guard ends what it leaves behind.
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        if std::thread::panicking() {
            let said = fs::read_to_string(self.folder.path().join("stderr")).unwrap_or_default();
            eprintln!("brokerStart said:\n{said}");
        }
    }
}

/// The fake broker's three processes: outer shell, inner shell, sleep.
pub(crate) struct Tree {
    pub(crate) pids: Vec<i32>,
}

impl Tree {
    pub(crate) fn living(&self) -> usize {
        self.pids.iter().filter(|pid| is_alive(**pid)).count()
    }

    pub(crate) fn signal(&self, which: usize, signal: Signal) {
        kill(Pid::from_raw(self.pids[which]), signal).unwrap();
    }
}

struct Process {
    pid: i32,
    name: String,
    state: char,
    parent: i32,
}

fn processes() -> Vec<Process> {
    let entries = fs::read_dir("/proc").unwrap().flatten();
    entries
        .filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?))
        .collect()
}

fn process(pid: i32) -> Option<Process> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (head, tail) = stat.rsplit_once(") ")?;
    let mut fields = tail.split(' ');
    let state = fields.next()?.chars().next()?;
    Some(Process {
        pid,
        name: head.split_once('(')?.1.to_owned(),
        state,
        parent: fields.next()?.parse().ok()?,
    })
}

/// Alive, and not a zombie.
pub(crate) fn is_alive(pid: i32) -> bool {
    process(pid).is_some_and(|process| process.state != 'Z')
}

pub(crate) fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap())
}

pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = boottime_ms() + 10_000;
    while !condition() {
        assert!(boottime_ms() < deadline, "{what}: not within 10 s");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The kind of a refusal.
pub(crate) fn refused(result: Result<Status, ClientError>) -> ErrorKind {
    match result {
        Err(ClientError::Refused(error)) => error.kind,
        other => panic!("not refused: {other:?}"),
    }
}
