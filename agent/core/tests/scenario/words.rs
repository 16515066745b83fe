//! The lines of a story that change the world.

use super::world::{Heard, World, blank_report, instance_of, role};
use agent_core::ids::*;
use agent_core::observation::*;
use agent_core::record::*;
use agent_core::report::{Electable, Frozen, LogReport};
use agent_core::time::Boot;
use agent_core::{Lineage, LineageEntry, Policy, Timing};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub struct Line<'a> {
    pub words: Vec<&'a str>,
    pub keys: BTreeMap<&'a str, &'a str>,
}

impl<'a> Line<'a> {
    pub fn of(text: &'a str) -> Self {
        let (keys, words): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|w| w.contains('='));
        let keys = keys.into_iter().filter_map(|w| w.split_once('=')).collect();
        Self { words, keys }
    }

    fn word(&self, n: usize) -> &'a str {
        self.words.get(n).copied().unwrap_or("")
    }

    fn has(&self, word: &str) -> bool {
        self.words.contains(&word)
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        self.keys
            .get(key)
            .map(|v| v.parse().map_err(|_| format!("{key}={v} is no number")))
            .transpose()
    }
}

pub fn apply(world: &mut World, text: &str) -> Result<(), String> {
    let line = Line::of(text);
    match line.word(0) {
        "me" => me(world, &line),
        "policy" => policy(world, &line),
        "lease" => lease(world, &line),
        "volume" => volume(world, &line),
        "launcher" => launcher(world, &line),
        "broker" => broker(world, &line),
        "peer" => peer(world, &line),
        "pod" => pod(world, &line),
        "write" => write(world, &line),
        "replica" => replica(world, &line),
        "upstream" => upstream(world, &line),
        "proof" => proof(world, &line),
        "job" => job(world, &line),
        "agent" => agent(world, &line),
        other => Err(format!("no such line: {other:?}")),
    }
}

pub fn millis(text: &str) -> Result<u64, String> {
    let bad = || format!("{text:?} is no time: write 12s, 1.5s or 300ms");
    if let Some(ms) = text.strip_suffix("ms") {
        return ms.parse().map_err(|_| bad());
    }
    let seconds: f64 = text
        .strip_suffix('s')
        .ok_or_else(bad)?
        .parse()
        .map_err(|_| bad())?;
    Ok(Duration::from_secs_f64(seconds)
        .as_millis()
        .try_into()
        .unwrap())
}

fn me(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    if let Some(name) = line.words.get(1) {
        world.me.member = (*name).into();
    }
    if let Some(members) = line.keys.get("members") {
        world.me.expected = members.split(',').map(Member::from).collect();
    }
    if let Some(priority) = line.keys.get("priority") {
        world.me.priority = priority.parse().map_err(|_| "priority is no number")?;
    }
    if let Some(containers) = line.keys.get("containers") {
        world.me.containers = containers.split(',').map(str::to_owned).collect();
    }
    world.me.no_failover |= line.has("nofailover");
    Ok(())
}

fn policy(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let qos = u8::try_from(line.number("qos")?.unwrap_or(0)).map_err(|e| e.to_string())?;
    world.policy =
        Policy::new(Timing::default(), Qos::try_from(qos)?).map_err(|e| e.to_string())?;
    if let Some(limit) = line.keys.get("opening_limit") {
        world.policy.opening_limit = Duration::from_millis(millis(limit)?);
    }
    Ok(())
}

/// Terms of a story have nonce 0; `7'` is another term 7, with nonce 1.
fn term(text: &str) -> Result<TermId, String> {
    let (number, nonce) = text.strip_suffix('\'').map_or((text, 0), |n| (n, 1));
    let epoch = number.parse().map_err(|_| format!("{text:?} is no term"))?;
    Ok(TermId {
        epoch: Epoch::new(epoch),
        nonce: Nonce::new(nonce),
    })
}

/// `5@100:a-0,6@900:a-1`
fn lineage(text: &str) -> Result<Lineage, String> {
    let mut entries = Vec::new();
    for part in text.split(',').filter(|p| !p.is_empty() && *p != "-") {
        let bad = || format!("{part:?} is no lineage entry: write 5@100:a-0");
        let (id, rest) = part.split_once('@').ok_or_else(bad)?;
        let (start, master) = rest.split_once(':').ok_or_else(bad)?;
        let id = term(id)?;
        let start = Offset::new(start.parse().map_err(|_| bad())?);
        entries.push(LineageEntry {
            epoch: id.epoch,
            nonce: id.nonce,
            start,
            master: master.into(),
        });
    }
    Lineage::new(entries).map_err(|i| format!("lineage entry {i} is out of order"))
}

fn who(text: &str) -> MemberSession {
    let (member, session) = text.split_once(':').unwrap_or((text, "s1"));
    MemberSession {
        member: member.into(),
        session: session.into(),
        volume: format!("v-{member}").as_str().into(),
    }
}

fn lease(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    world.rv += 1;
    let rv = Rv::new(world.rv);
    if line.keys.contains_key("term") && line.word(1) != "switchover" {
        return record(world, line, rv);
    }
    match line.word(1) {
        "absent" => world.set_lease(LeaseSeen::Absent),
        "unreadable" => world.lease_current = false,
        "read-last" => {
            world.lease_at = world.now().tick;
            world.lease_current = false;
        }
        "readable" => world.lease_current = true,
        "stranger" => world.set_lease(LeaseSeen::Stranger { whose: "x".into() }),
        "newer" => world.set_lease(LeaseSeen::Newer { format: 9 }),
        "damaged" => {
            let (why, requests) = ("edited".into(), Requests::default());
            world.set_lease(LeaseSeen::Damaged { rv, why, requests });
        }
        "touched" => {
            // A bystander's edit: another version, nothing of ours.
            match &mut world.lease {
                Some(LeaseSeen::Record { rv: old, .. } | LeaseSeen::Damaged { rv: old, .. }) => {
                    *old = rv;
                }
                _ => return Err("no object".into()),
            }
        }
        "renewed" => {
            world.record_mut()?.seq += 1;
            let Some(LeaseSeen::Record { rv: old, .. }) = &mut world.lease else {
                return Err("no record".into());
            };
            *old = rv;
        }
        "paused" | "resumed" | "switchover" => ask(world, line, rv)?,
        other => return Err(format!("no such lease: {other:?}")),
    }
    Ok(())
}

fn ask(world: &mut World, line: &Line<'_>, newer: Rv) -> Result<(), String> {
    let current = world.record_mut()?.term.id;
    let Some(LeaseSeen::Record { rv, requests, .. }) = &mut world.lease else {
        return Err("no record".into());
    };
    *rv = newer;
    match line.word(1) {
        "paused" => requests.paused = true,
        "resumed" => requests.paused = false,
        _ => {
            let limit_ms = line.keys.get("limit").map(|l| millis(l)).transpose()?;
            let target = line.keys.get("to").map(|t| Member::from(*t));
            let of = line.keys.get("term").map_or(Ok(current), |t| term(t))?;
            let id = line.keys.get("id").copied().unwrap_or("one").to_owned();
            requests.switchover = Some(SwitchoverRequest {
                id,
                term: of,
                target,
                limit_ms,
            });
        }
    }
    Ok(())
}

/// `lease term=5 start=100 holder=a-0 [stage=opening] [r=a-0:s1] [k=a-1,a-2] [acks=1] [lineage=…] [released] …`
fn record(world: &mut World, line: &Line<'_>, rv: Rv) -> Result<(), String> {
    let id = term(line.keys.get("term").ok_or("lease term=… is missing")?)?;
    let start = Offset::new(line.number("start")?.unwrap_or(0));
    let holder = line.keys.get("holder").copied().unwrap_or("a-0");
    let nonce = line.keys.get("nonce").copied().unwrap_or("n1");
    let stage = if line.keys.get("stage") == Some(&"opening") {
        Stage::Opening
    } else {
        Stage::Serving
    };
    let members: BTreeSet<MemberSession> = line
        .keys
        .get("k")
        .map(|k| k.split(',').map(who).collect())
        .unwrap_or_default();
    let r_term = line.keys.get("r_term").map_or(Ok(id), |t| term(t))?;
    let replication = Replication {
        term: r_term,
        master: who(line.keys.get("r").copied().unwrap_or(holder)),
        members,
        acks: u32::try_from(line.number("acks")?.unwrap_or(0)).map_err(|e| e.to_string())?,
        confirmed: Offset::new(line.number("confirmed")?.unwrap_or(0)),
    };
    let history = match line.keys.get("lineage") {
        Some(text) => lineage(text)?,
        None => Lineage::new(vec![LineageEntry {
            epoch: id.epoch,
            nonce: id.nonce,
            start,
            master: holder.into(),
        }])
        .map_err(|i| i.to_string())?,
    };
    let expected = world.me.expected.iter();
    let members = expected
        .map(|m| (m.clone(), VolumeId::new(format!("v-{m}"))))
        .collect();
    let qos = u8::try_from(line.number("qos")?.unwrap_or(0)).map_err(|e| e.to_string())?;
    let record = GroupRecord {
        format: FORMAT,
        term: Term {
            id,
            start,
            master: holder.into(),
            stage,
        },
        holder: if line.has("released") {
            Instance::default()
        } else {
            instance_of(holder, nonce)
        },
        containers: line
            .keys
            .get("containers")
            .map_or(vec![], |c| c.split(',').map(str::to_owned).collect()),
        seq: line.number("seq")?.unwrap_or(7),
        replication: if line.has("unserved") {
            None
        } else {
            Some(replication)
        },
        members,
        lineage: history,
        log_min: Offset::new(line.number("min")?.unwrap_or(0)),
        qos_enforced: Qos::try_from(qos)?,
        phase: Phase::Single,
        target: line.keys.get("target").map(|t| Member::from(*t)),
        take_wait_ms: line.keys.get("wait").map_or(Ok(10_000), |w| millis(w))?,
    };
    let requests = Requests {
        paused: line.has("paused"),
        switchover: None,
    };
    world.set_lease(LeaseSeen::Record {
        rv,
        record: Box::new(record),
        requests,
    });
    Ok(())
}

/// `volume end=900 [min=0] [lineage=…] [session=s2] [highest=7] [joined=5] [seeding=2000] [pending-cut=…] [unwalked]`
fn volume(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    if line.has("unknown") {
        world.volume = None;
        return Ok(());
    }
    let history = line
        .keys
        .get("lineage")
        .map_or(Ok(Lineage::default()), |l| lineage(l))?;
    let last = history.last().map_or(0, |e| e.epoch.get());
    let min = Offset::new(line.number("min")?.unwrap_or(0));
    let end = Offset::new(line.number("end")?.unwrap_or(0));
    let session = line.keys.get("session").copied().unwrap_or("s1");
    world.volume = Some(Volume {
        who: who(&format!("{}:{session}", world.me.member)),
        lineage: history,
        highest_epoch: Epoch::new(line.number("highest")?.unwrap_or(last)),
        extent: if line.has("unwalked") {
            None
        } else {
            Some(Extent { min, end })
        },
        frozen: None,
        pending_cut: line.number("pending-cut")?.map(Offset::new),
        repaired: None,
        proof: None,
        joined: line.keys.get("joined").map(|t| term(t)).transpose()?,
        seeding: line.number("seeding")?.map(Offset::new),
    });
    Ok(())
}

/// `launcher idle | silent | answers | new n2 | runs master term=5 permit=7s | crashed | fenced | gone`
fn launcher(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    match line.word(1) {
        "idle" => world.process = Process::Idle,
        "silent" => world.launcher_silent = true,
        "answers" => world.launcher_silent = false,
        "new" => {
            world.launcher_nonce = line.word(2).to_owned();
            world.end(EndCause::Crashed);
            world.process = Process::Idle;
        }
        "runs" => {
            let role = role(line.word(2))?;
            let id = term(
                line.keys
                    .get("term")
                    .ok_or("launcher runs … term=… is missing")?,
            )?;
            let left = line.keys.get("permit").map_or(Ok(7_000), |p| millis(p))?;
            let permit = Boot::from_millis(world.now().boot.as_millis() + left);
            world.process = Process::Live {
                role,
                term: id,
                instance: world.instance(),
                permit,
            };
            if let Some(volume) = world.volume.as_mut() {
                volume.extent = None;
            }
        }
        "crashed" => world.end(EndCause::Crashed),
        "fenced" => world.end(EndCause::Fenced),
        other => return Err(format!("no such launcher: {other:?}")),
    }
    Ok(())
}

/// `broker end=900 [min=0] [recovered=900] [gate=shut]`, `broker silent`, or `broker hangs`: found so now
fn broker(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    if line.has("hangs") {
        let seen = world.now().tick;
        let since = world.hung.map_or(seen, |hung| hung.since);
        world.hung = Some(Hung { since, seen });
        return Ok(());
    }
    world.hung = None;
    if line.has("silent") {
        world.broker = None;
        return Ok(());
    }
    let end = Offset::new(line.number("end")?.ok_or("broker end=… is missing")?);
    let gate = if line.keys.get("gate") == Some(&"shut") {
        Gate::Shut
    } else {
        Gate::Open
    };
    let recovered = match line.keys.get("recovered") {
        Some(&"none") => None,
        Some(_) => line.number("recovered")?.map(Offset::new),
        None => Some(end),
    };
    let min = Offset::new(line.number("min")?.unwrap_or(0));
    world.broker_seen(Broker {
        min,
        end,
        recovered,
        gate,
    });
    Ok(())
}

/// `peer a-1 silent` or `peer a-1 end=900 lineage=… [frozen] [role=slave term=5] [joined] [hollow] [session=s2] …`
fn peer(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let name = line.word(1);
    let key = Member::from(name);
    if line.has("silent") {
        if let Some((_, heard)) = world.peers.get_mut(&key) {
            *heard = Heard::Past;
        }
        return Ok(());
    }
    let mut report = blank_report(name);
    let history = line
        .keys
        .get("lineage")
        .map_or(Ok(Lineage::default()), |l| lineage(l))?;
    let min = Offset::new(line.number("min")?.unwrap_or(0));
    let end = Offset::new(line.number("end")?.unwrap_or(0));
    report.who.session = line.keys.get("session").copied().unwrap_or("s1").into();
    if let Some(volume) = line.keys.get("volume") {
        report.who.volume = (*volume).into();
    }
    report.instance = instance_of(name, line.keys.get("nonce").copied().unwrap_or("n1"));
    report.priority = line
        .keys
        .get("priority")
        .map_or(Ok(0), |p| p.parse().map_err(|_| "priority"))?;
    report.role = line.keys.get("role").map(|r| role(r)).transpose()?;
    report.term = line.keys.get("term").map(|t| term(t)).transpose()?;
    report.joined = line.has("joined");
    report.log = Some(LogReport { min, end });
    report.last_epoch = history.last_epoch(end);
    let last = history.last().map_or(Epoch::new(0), |e| e.epoch);
    report.highest_epoch = line.number("highest")?.map_or(last, Epoch::new);
    report.blank = history.is_empty() && end <= min;
    report.lineage = Some(history);
    report.electable = electable(line);
    if line.has("frozen") {
        // For the vacancy that we are frozen for ourselves, if we are.
        let ours = world.volume.as_ref().and_then(|v| v.frozen.as_ref());
        let vacancy = match (ours, &world.lease) {
            (Some(ours), _) => ours.vacancy.clone(),
            (None, Some(LeaseSeen::Record { record, .. })) => record.tuple(),
            (None, _) => Tuple::default(),
        };
        report.frozen = Some(Frozen {
            vacancy,
            end,
            last_epoch: report.last_epoch,
        });
    }
    let heard = if line.has("published") {
        Heard::Published
    } else {
        Heard::Spoken
    };
    world.peers.insert(key, (report, heard));
    Ok(())
}

fn electable(line: &Line<'_>) -> Electable {
    if line.has("hollow") {
        return Electable::Hollow;
    }
    if line.has("backed-off") {
        Electable::BackedOff
    } else {
        Electable::Yes
    }
}

/// `pod a-0 terminated=c1,c2 [uid=…]`
fn pod(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let name = line.word(1);
    let uid = line
        .keys
        .get("uid")
        .map_or_else(|| format!("{name}-uid"), |u| (*u).to_owned());
    let terminated = line.keys.get("terminated").map_or("", |t| t);
    let terminated = terminated
        .split(',')
        .filter(|t| !t.is_empty())
        .map(str::to_owned)
        .collect();
    world.pods.insert(name.into(), PodSeen { uid, terminated });
    Ok(())
}

/// `write conflict | refused | unknown`: what became of the last write, which did not commit as far as anyone knows.
fn write(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let result = match line.word(1) {
        "conflict" => WriteResult::Conflict,
        "refused" => WriteResult::Refused,
        "unknown" => WriteResult::Unknown,
        other => return Err(format!("no such outcome: {other:?}")),
    };
    let pending = world
        .state
        .pending
        .as_ref()
        .ok_or("no write is under way")?;
    world.write = Some(WriteOutcome {
        id: pending.id,
        sent: world.now().boot,
        result,
    });
    // An answer came, so whatever was read before it is older than it.
    world.lease_at = world.now().tick;
    Ok(())
}

fn replica(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let name = Member::from(line.word(1));
    match line.number("acked")? {
        Some(acked) => world.replicas.insert(name, Offset::new(acked)),
        None => world.replicas.remove(&name),
    };
    Ok(())
}

fn upstream(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let id = || term(line.keys.get("term").copied().unwrap_or("0"));
    world.upstream = match line.word(1) {
        "parked" => Upstream::Parked,
        "streaming" => Upstream::Streaming { term: id()? },
        "connecting" => Upstream::Connecting { term: id()? },
        "diverged" => Upstream::Diverged {
            term: id()?,
            at: Offset::new(line.number("at")?.unwrap_or(0)),
        },
        other => return Err(format!("no such upstream: {other:?}")),
    };
    Ok(())
}

/// `proof term=6 upto=900 equal=850`: what comparing with the master found.
fn proof(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    let id = term(line.keys.get("term").ok_or("proof term=… is missing")?)?;
    let upto = Offset::new(line.number("upto")?.ok_or("proof upto=… is missing")?);
    let equal = Offset::new(line.number("equal")?.ok_or("proof equal=… is missing")?);
    world.volume_mut()?.proof = Some(Proof {
        term: id,
        upto,
        equal,
    });
    Ok(())
}

fn job(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    world.job = if line.has("busy") {
        Job::Busy
    } else {
        Job::Idle
    };
    Ok(())
}

/// `agent restarted` forgets everything; `agent stopping` was asked to stop.
fn agent(world: &mut World, line: &Line<'_>) -> Result<(), String> {
    match line.word(1) {
        "restarted" => {
            world.state = agent_core::State::default();
            world.write = None;
        }
        "stopping" => world.stopping = Stopping::Yes,
        other => return Err(format!("no such agent: {other:?}")),
    }
    Ok(())
}
