//! The broker's process group: signals to all of it, and what `/proc` tells about its members.
//!
//! The group's number cannot be reused while one process of the group lives or waits to be reaped, so a signal never
//! reaches somebody else as long as the launcher reaps (it is the reaper of every orphan below it).

use std::{fs, time::Duration};

use nix::{
    errno::Errno,
    sys::signal::{Signal, killpg},
    unistd::{Pid, SysconfVar, sysconf},
};

use crate::protocol::Activity;

/// A process group that was started here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    id: Pid,
}

/// One living process of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) pid: i32,
    pub(crate) name: String,
    frozen: bool,
    cpu_ticks: u64,
    major_faults: u64,
}

impl Group {
    pub(crate) fn new(id: Pid) -> Self {
        Self { id }
    }

    pub(crate) fn id(self) -> Pid {
        self.id
    }

    /// Sends a signal to every process of the group. A group that is gone already is no error.
    pub(crate) fn signal(self, signal: Signal) -> Result<(), Errno> {
        match killpg(self.id, signal) {
            Err(Errno::ESRCH) => Ok(()),
            other => other,
        }
    }

    /// True when no process of the group is left, dead but unreaped ones included.
    pub(crate) fn is_gone(self) -> bool {
        killpg(self.id, None) == Err(Errno::ESRCH)
    }

    /// The group's living processes, by a walk over `/proc`.
    pub(crate) fn members(self) -> Vec<Member> {
        let Ok(entries) = fs::read_dir("/proc") else {
            return Vec::new();
        };
        entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter_map(|pid| self.member(pid))
            .collect()
    }

    /// One process, if it lives and is of this group.
    pub(crate) fn member(self, pid: i32) -> Option<Member> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let (group, member) = parse_stat(&stat)?;
        (group == self.id.as_raw()).then_some(member)
    }

    /// The process that is the JVM, or else the command's first one.
    pub(crate) fn jvm(self) -> Pid {
        let jvm = self
            .members()
            .into_iter()
            .find(|member| member.name == "java");
        jvm.map_or(self.id, |member| Pid::from_raw(member.pid))
    }
}

/// Fields of `/proc/<pid>/stat` (proc_pid_stat(5)); `None` for a zombie, too.
fn parse_stat(stat: &str) -> Option<(i32, Member)> {
    let (head, tail) = stat.rsplit_once(')')?;
    let (pid, name) = head.split_once(" (")?;
    let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
    // tail[0] is field 3 of the manual page.
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let state = *fields.first()?;
    if matches!(state, "Z" | "X" | "x") {
        return None;
    }
    let member = Member {
        pid: pid.parse().ok()?,
        name: name.to_owned(),
        frozen: matches!(state, "T" | "t"),
        cpu_ticks: number(14)?.saturating_add(number(15)?),
        major_faults: number(12)?,
    };
    Some((fields.get(2)?.parse().ok()?, member))
}

/// Bytes that a process moved by system calls; 0 when they may not be read.
fn io_bytes(pid: i32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let field = |name: &str| {
        text.lines()
            .find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok())
    };
    field("rchar:")
        .unwrap_or(0)
        .saturating_add(field("wchar:").unwrap_or(0))
}

/// Reads a group's activity about once per second, and looks for new members only now and then: a machine with many
/// processes has a large `/proc`.
#[derive(Debug)]
pub(crate) struct ActivityMeter {
    group: Group,
    pids: Vec<i32>,
    searched_ms: Option<u64>,
    last: Option<Activity>,
    tick_ms: u64,
}

/// How old a reading may be.
const FRESH: Duration = Duration::from_millis(900);

/// How often the group's members are looked for anew.
const SEARCH: Duration = Duration::from_secs(5);

impl ActivityMeter {
    pub(crate) fn new(group: Group) -> Self {
        let per_second = sysconf(SysconfVar::CLK_TCK)
            .ok()
            .flatten()
            .and_then(|ticks| u64::try_from(ticks).ok());
        let tick_ms = 1_000
            / per_second
                .filter(|ticks| (1..=1_000).contains(ticks))
                .unwrap_or(100);
        Self {
            group,
            pids: Vec::new(),
            searched_ms: None,
            last: None,
            tick_ms,
        }
    }

    /// The activity, read anew when the last reading is older than about a second.
    pub(crate) fn read(&mut self, now_ms: u64) -> Option<Activity> {
        if self
            .last
            .is_none_or(|last| is_older(last.at_ms, now_ms, FRESH))
        {
            self.last = self.sample(now_ms);
        }
        self.last
    }

    fn sample(&mut self, now_ms: u64) -> Option<Activity> {
        let mut members: Vec<Member> = self
            .pids
            .iter()
            .filter_map(|pid| self.group.member(*pid))
            .collect();
        let lost_one = members.len() < self.pids.len();
        if lost_one
            || self
                .searched_ms
                .is_none_or(|at| is_older(at, now_ms, SEARCH))
        {
            members = self.group.members();
            self.pids = members.iter().map(|member| member.pid).collect();
            // A young group (script, script, JVM) is looked at again soon.
            self.searched_ms = members
                .iter()
                .any(|member| member.name == "java")
                .then_some(now_ms);
        }
        if members.is_empty() {
            return None;
        }
        let cpu_ticks: u64 = members
            .iter()
            .map(|member| member.cpu_ticks)
            .fold(0, u64::saturating_add);
        let faults: u64 = members
            .iter()
            .map(|member| member.major_faults)
            .fold(0, u64::saturating_add);
        let io: u64 = members
            .iter()
            .map(|member| io_bytes(member.pid))
            .fold(0, u64::saturating_add);
        Some(Activity {
            at_ms: now_ms,
            cpu_ms: cpu_ticks.saturating_mul(self.tick_ms),
            io_bytes: io.saturating_add(faults.saturating_mul(4_096)),
            frozen: members.iter().any(|member| member.frozen),
        })
    }
}

fn is_older(at_ms: u64, now_ms: u64, limit: Duration) -> bool {
    u128::from(now_ms.saturating_sub(at_ms)) >= limit.as_millis()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_blanks_and_brackets_is_read() {
        let stat = "42 (a) b (c) T 1 40 40 0 -1 4194304 10 20 30 40 50 60 70 80 20 0 1 0 100 0 0";
        let (group, member) = parse_stat(stat).unwrap();
        assert_eq!(group, 40);
        let wanted = Member {
            pid: 42,
            name: "a) b (c".into(),
            frozen: true,
            cpu_ticks: 110,
            major_faults: 30,
        };
        assert_eq!(member, wanted);
        assert!(parse_stat("42 (x) Z 1 40 40 0 -1 0 0 0 0 0 0 0").is_none());
        assert!(parse_stat("").is_none());
    }

    #[test]
    fn this_process_is_a_member_of_its_own_group() {
        let group = Group::new(nix::unistd::getpgrp());
        assert!(!group.is_gone());
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(group.members().iter().any(|member| member.pid == own));
        let activity = ActivityMeter::new(group).read(5).unwrap();
        assert!(activity.io_bytes > 0);
    }
}
