//! The launcher's answers: every order checked by [`crate::orders`], then done.

use std::{env, path::PathBuf};

use nix::sys::{signal::Signal, wait::WaitStatus};

use crate::{
    broker::{Hands, Life},
    clock,
    command::Template,
    conf::Conf,
    guard::Guard,
    journal::Journal,
    orders::{self, Reign, refuse},
    protocol::{
        EndReason, ErrorKind, Op, PROTOCOL, Permit, Reply, ReplyError, Request, Role, StartOrder,
        Status,
    },
    relays::Relays,
    server::Session,
    spawn,
};

/// Everything that orders act on.
#[derive(Debug)]
pub(crate) struct Launcher {
    pub(crate) exe: PathBuf,
    pub(crate) command: Template,
    pub(crate) nonce: String,
    /// The nonce stands where the kubelet shows it once this container is gone.
    pub(crate) epitaph: bool,
    pub(crate) boot_id: String,
    pub(crate) stop_grace_ms: u64,
    pub(crate) journal: Journal,
    pub(crate) guard: Guard,
    pub(crate) relays: Relays,
    pub(crate) life: Life,
    /// The newest epoch that was started as master, or whose permit was withdrawn: nothing starts under it again.
    pub(crate) burned: Option<u64>,
    pub(crate) is_leaving: bool,
    /// A broker lived when SIGTERM came: how it ends is how the launcher ends.
    pub(crate) had_broker: bool,
    /// The last refusal that was written down, and when.
    pub(crate) last_refusal: Option<(String, u64)>,
    pub(crate) has_agent: bool,
}

impl Launcher {
    /// Answers one request.
    pub(crate) fn answer(&mut self, session: &mut Session, request: &Request) -> Reply {
        let error = self.obey(session, request).err();
        self.follow();
        if let Some(error) = &error {
            self.note_refusal(&error.message);
        }
        Reply {
            id: request.id,
            error,
            status: self.status(),
        }
    }

    /// The same refusal again and again is written down now and then.
    fn note_refusal(&mut self, message: &str) {
        const REPEAT_MS: u64 = 10_000;
        let now_ms = clock::boottime_ms();
        let is_known = |(last, at_ms): &(String, u64)| {
            last == message && now_ms.saturating_sub(*at_ms) < REPEAT_MS
        };
        if !self.last_refusal.as_ref().is_some_and(is_known) {
            self.journal
                .say(format_args!("refused an order: {message}"));
            self.last_refusal = Some((message.to_owned(), now_ms));
        }
    }

    fn obey(&mut self, session: &mut Session, request: &Request) -> Result<(), ReplyError> {
        match &request.op {
            Op::Status => Ok(()),
            Op::Watch => {
                session.watch = Some(request.id);
                Ok(())
            }
            Op::Hello(hello) => {
                orders::check_hello(hello, &self.boot_id, clock::boottime_ms())?;
                session.is_agent = true;
                self.has_agent = true;
                self.journal.say(format_args!(
                    "agent connected: version={:?}",
                    hello.agent_version
                ));
                Ok(())
            }
            _ if !session.is_agent => refuse(
                ErrorKind::HelloFirst,
                "an order before a hello: say hello first".to_owned(),
            ),
            Op::Start(order) => self.start(order),
            Op::Permit(permit) => self.permit(permit),
            Op::Stop { grace_ms } => self.stop(*grace_ms),
            Op::Relay(wanted) => {
                self.relays
                    .order(wanted, self.life.reign_and_permit(), &self.nonce)
            }
            Op::Kill => {
                self.with_life(|life, hands| life.kill(EndReason::Killed, hands));
                Ok(())
            }
        }
    }

    fn start(&mut self, order: &StartOrder) -> Result<(), ReplyError> {
        let now_ms = clock::boottime_ms();
        if self.is_leaving {
            return refuse(
                ErrorKind::Leaving,
                "the launcher is stopping: wait for the next one".to_owned(),
            );
        }
        if self.life.is_alive() {
            return refuse(
                ErrorKind::Alive,
                "a broker is alive: kill it and wait for its end".to_owned(),
            );
        }
        orders::check_start(order, &self.nonce, self.burned, now_ms)?;
        let conf = Conf::read(&order.conf).map_err(|error| ReplyError {
            kind: ErrorKind::Conf,
            message: format!("read conf {}: {error}", order.conf.display()),
        })?;
        if order.role == Role::Master {
            // Before the first instruction: even a start that fails half-way has used its term up.
            self.burned = self.burned.max(Some(order.term.epoch));
        }
        // Before it can write its first byte: a master follows nobody.
        if order.role == Role::Master {
            self.relays.park_slave();
        }
        let ext = env::var_os("JAVA_OPT_EXT");
        let ready = self
            .command
            .ready(&order.conf, &order.jvm_options, ext.as_deref());
        match spawn::start(&self.exe, &ready, &mut self.guard, order.permit_until_ms) {
            Ok(group) => {
                let reign = Reign {
                    role: order.role,
                    term: order.term,
                    instance: order.instance.clone(),
                };
                let (port, until_ms) = (conf.listen_port(), order.permit_until_ms);
                self.with_life(|life, hands| life.begin(group, reign, port, until_ms, hands));
                Ok(())
            }
            Err(error) => {
                self.guard.disarm();
                let reason = std::error::Error::source(&error).map(|source| format!(": {source}"));
                let message = format!("{error}{}", reason.unwrap_or_default());
                refuse(ErrorKind::Start, message)
            }
        }
    }

    fn permit(&mut self, permit: &Permit) -> Result<(), ReplyError> {
        let Some(reign) = self.life.reign() else {
            return refuse(
                ErrorKind::NoBroker,
                "no broker is alive: a permit comes with its start".to_owned(),
            );
        };
        orders::check_permit(permit, reign, clock::boottime_ms())?;
        if permit.until_ms == 0 {
            self.burned = self.burned.max(Some(permit.term.epoch));
        }
        self.with_life(|life, hands| life.permit(permit.until_ms, hands));
        self.relays.permit(permit.term, permit.until_ms);
        Ok(())
    }

    fn stop(&mut self, grace_ms: u64) -> Result<(), ReplyError> {
        orders::check_grace(grace_ms)?;
        self.with_life(|life, hands| life.stop(grace_ms, hands));
        Ok(())
    }

    /// The status now.
    pub(crate) fn status(&mut self) -> Status {
        let boottime_ms = clock::boottime_ms();
        Status {
            protocol: PROTOCOL,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            launcher_nonce: self.nonce.clone(),
            boot_id: self.boot_id.clone(),
            boottime_ms,
            guarded: self.is_guarded(),
            epitaph: self.epitaph,
            leaving: self.is_leaving,
            broker: self.life.status(boottime_ms),
            relay: self.relays.status(),
        }
    }

    fn is_guarded(&self) -> bool {
        std::process::id() == 1 || self.guard.is_up()
    }

    /// Acts on a signal to the launcher.
    pub(crate) fn on_signal(&mut self, signal: Signal) {
        match signal {
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP if self.is_leaving => {
                self.journal
                    .say(format_args!("{signal} again: killing the broker"));
                self.with_life(|life, hands| life.kill(EndReason::StopForced, hands));
            }
            Signal::SIGTERM | Signal::SIGINT | Signal::SIGHUP => {
                self.journal.say(format_args!("{signal}: stopping"));
                self.is_leaving = true;
                self.had_broker = self.life.is_alive();
                let grace_ms = self.stop_grace_ms;
                self.with_life(|life, hands| life.stop(grace_ms, hands));
            }
            Signal::SIGQUIT => self.life.signal_jvm(Signal::SIGQUIT),
            // SIGCHLD: the caller reaps after every wake-up. Others are not asked for.
            _ => {}
        }
    }

    /// Notes a reaped process.
    pub(crate) fn on_reaped(&mut self, status: WaitStatus) {
        let is_guard = status.pid().is_some_and(|pid| self.guard.on_reaped(pid));
        if is_guard {
            self.journal
                .say(format_args!("the guard ended and is started again"));
        } else {
            self.life.on_reaped(status);
        }
    }

    /// Looks at deadlines; returns when to look again.
    pub(crate) fn tick(&mut self) -> Option<u64> {
        if let Err(error) = self.guard.tick(&self.exe, clock::boottime_ms()) {
            self.journal.say(format_args!("start the guard: {error}"));
        }
        let wake_ms = self.with_life(Life::tick);
        self.follow();
        wake_ms
    }

    /// A broker that is gone or being killed serves no slave.
    fn follow(&mut self) {
        if self.relays.serves() && !self.life.is_serving() {
            self.relays.silence_master();
        }
    }

    fn with_life<T>(&mut self, act: impl FnOnce(&mut Life, &mut Hands<'_>) -> T) -> T {
        let mut hands = Hands {
            guard: &mut self.guard,
            journal: &mut self.journal,
            now_ms: clock::boottime_ms(),
            has_agent: self.has_agent,
        };
        act(&mut self.life, &mut hands)
    }
}
