//! A member without an agent: we give its launcher the orders, so that only launcher and broker are measured.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use e2e::group::LIMIT;
use launcher::client::Client;
use launcher::clock::boottime_ms;
use launcher::protocol::{
    BrokerState, MAX_PERMIT_MS, Op, Permit, RelayOrders, Role, StartOrder, Status, Term,
};
use playground::Member;
use playground::wait::until;

/// The launcher answers in well under a millisecond; the machine may be busy.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// The only term of a measurement.
pub(crate) const TERM: Term = Term { epoch: 1, nonce: 1 };

/// A launcher that obeys us, and its broker.
#[derive(Debug)]
pub(crate) struct Launched {
    /// Its files and addresses.
    pub(crate) member: Member,
    client: Client,
    /// The launcher's life.
    pub(crate) instance: String,
}

impl Launched {
    /// Starts the launcher; no broker yet.
    pub(crate) async fn new(mut member: Member) -> Result<Self> {
        member.start_launcher()?;
        let socket = member.socket();
        let client = until("the launcher's socket", LIMIT, async || {
            Client::connect(&socket)
        });
        let mut client = client.await?;
        let status = client.hello("bench", ANSWER_LIMIT)?;
        Ok(Self {
            member,
            client,
            instance: format!("bench.{}", status.launcher_nonce),
        })
    }

    /// Starts the broker with the base conf and these settings; back when it answers.
    pub(crate) async fn start(&mut self, role: Role, owned: &[(&str, String)]) -> Result<()> {
        let order = StartOrder {
            role,
            term: TERM,
            instance: self.instance.clone(),
            conf: self.write_conf(owned)?,
            permit_until_ms: boottime_ms() + PERMIT_MS,
            jvm_options: Vec::new(),
        };
        self.ask(Op::Start(order))?;
        let contact = self.member.contact();
        until("the broker to answer", LIMIT, async || {
            contact.runtime().await
        })
        .await
        .map(drop)
    }

    /// Nobody renews permits but us.
    pub(crate) fn prolong(&mut self) -> Result<()> {
        self.ask(Op::Permit(Permit {
            term: TERM,
            instance: self.instance.clone(),
            until_ms: boottime_ms() + PERMIT_MS,
        }))
        .map(drop)
    }

    /// What the relay is to do.
    pub(crate) fn relay(&mut self, orders: RelayOrders) -> Result<()> {
        self.ask(Op::Relay(orders)).map(drop)
    }

    /// Kills the broker, if one runs; back when it is gone.
    pub(crate) async fn kill(&mut self) -> Result<()> {
        self.ask(Op::Kill)?;
        until("the broker to be gone", LIMIT, async || {
            let state = self.ask(Op::Status)?.broker.state;
            let gone = matches!(state, BrokerState::Ended | BrokerState::Waiting);
            ensure!(gone, "it is {}", state.as_str());
            Ok(())
        })
        .await
    }

    fn ask(&mut self, op: Op) -> Result<Status> {
        let status = self.client.ask(op, ANSWER_LIMIT);
        status.with_context(|| format!("ask the launcher of {}", self.member.name()))
    }

    fn write_conf(&self, owned: &[(&str, String)]) -> Result<PathBuf> {
        let base = self.member.base_conf();
        let mut text =
            fs::read_to_string(&base).with_context(|| format!("read {}", base.display()))?;
        for (key, value) in owned {
            text.push_str(&format!("{key}={value}\n"));
        }
        let conf = self.member.home().join("broker.conf");
        fs::write(&conf, text).with_context(|| format!("write {}", conf.display()))?;
        Ok(conf)
    }
}

/// As long as a launcher allows, but for the way to it.
const PERMIT_MS: u64 = MAX_PERMIT_MS - 5_000;
