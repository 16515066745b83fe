//! The two ends of the replication relay, and which of the agent's orders reach them (safety §1.8).
//!
//! They live here and not in the agent, so that an agent's restart does not break replication.

use relay::{GroupKey, GroupName, MasterRelay, SlaveOrders, SlaveRelay};

use crate::{
    orders::{self, Reign, refuse},
    protocol::{ErrorKind, RelayOrders, RelayStatus, ReplyError, Role, Term},
    settings::RelaySettings,
};

/// Why the relays cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RelaysError {
    #[error(transparent)]
    Key(#[from] relay::KeyError),
    #[error(transparent)]
    Relay(#[from] relay::RelayError),
}

/// What a member's launcher relays with; either end may be left out.
#[derive(Debug, Default)]
pub(crate) struct Relays {
    master: Option<MasterRelay>,
    slave: Option<SlaveRelay>,
    member: Option<String>,
    /// The term of the master's orders.
    reign: Option<Term>,
}

impl Relays {
    /// Listens, without orders: refuses every slave, parks the JVM.
    pub(crate) fn bind(settings: Option<RelaySettings>) -> Result<Self, RelaysError> {
        let Some(RelaySettings {
            listen,
            local,
            key_file,
            cluster,
            broker,
            member,
        }) = settings
        else {
            return Ok(Self::default());
        };
        let key = GroupKey::from_file(&key_file)?;
        let group = GroupName { cluster, broker };
        let master = listen
            .map(|listen| MasterRelay::bind(listen, group.clone(), key.clone()))
            .transpose()?;
        let slave = local
            .map(|local| SlaveRelay::bind(local, group, key))
            .transpose()?;
        Ok(Self {
            master,
            slave,
            member,
            reign: None,
        })
    }

    /// Gives the agent's orders to both ends, or refuses them whole. `reign` is whom the living broker was started as,
    /// with its permit's end.
    pub(crate) fn order(
        &mut self,
        wanted: &RelayOrders,
        reign: Option<(&Reign, u64)>,
        nonce: &str,
    ) -> Result<(), ReplyError> {
        self.check_master(wanted, reign)?;
        self.check_slave(wanted, reign, nonce)?;
        if let Some(slave) = &self.slave {
            slave.order(wanted.slave.clone());
        }
        if let Some(master) = &self.master {
            master.order(wanted.master.clone());
        }
        self.reign = wanted.master.as_ref().map(|orders| orders.term);
        if let (Some(term), Some((_, until_ms))) = (self.reign, reign) {
            self.permit(term, until_ms);
        }
        Ok(())
    }

    /// One term is one JVM process: a master's relay serves only the master that runs here.
    fn check_master(
        &self,
        wanted: &RelayOrders,
        reign: Option<(&Reign, u64)>,
    ) -> Result<(), ReplyError> {
        let Some(orders) = &wanted.master else {
            return Ok(());
        };
        if self.master.is_none() {
            return not_configured("--relay-listen");
        }
        self.check_member(orders.member.as_str())?;
        let is_this = reign.is_some_and(|(reign, _)| {
            reign.role == Role::Master
                && reign.term == orders.term
                && reign.instance == orders.instance.as_str()
        });
        if !is_this {
            return refuse(
                ErrorKind::Relay,
                format!(
                    "no master of term {} and instance {} runs here: start it first",
                    orders.term, orders.instance
                ),
            );
        }
        Ok(())
    }

    fn check_slave(
        &self,
        wanted: &RelayOrders,
        reign: Option<(&Reign, u64)>,
        nonce: &str,
    ) -> Result<(), ReplyError> {
        let SlaveOrders::Attach(attach) = &wanted.slave else {
            return Ok(());
        };
        if self.slave.is_none() {
            return not_configured("--relay-local");
        }
        self.check_member(attach.member.as_str())?;
        orders::check_instance(attach.instance.as_str(), nonce)?;
        if reign.is_some_and(|(reign, _)| reign.role == Role::Master) {
            return refuse(
                ErrorKind::Relay,
                "a master runs here: it attaches to nobody".to_owned(),
            );
        }
        Ok(())
    }

    fn check_member(&self, named: &str) -> Result<(), ReplyError> {
        match &self.member {
            Some(member) if member != named => refuse(
                ErrorKind::Relay,
                format!("this launcher is member {member} (--member), the orders are for {named}"),
            ),
            _ => Ok(()),
        }
    }

    /// Tells the master's end of a later permit. It matters only when that end has orders of this term.
    pub(crate) fn permit(&self, term: Term, until_ms: u64) {
        if let Some(master) = &self.master {
            let _has_orders = master.permit(term, until_ms);
        }
    }

    /// Whether the master's end has orders.
    pub(crate) fn serves(&self) -> bool {
        self.reign.is_some()
    }

    /// Takes the master's orders away: no slave and no acknowledgement any more.
    pub(crate) fn silence_master(&mut self) {
        self.reign = None;
        if let Some(master) = &self.master {
            master.order(None);
        }
    }

    /// Parks the slave's end: it attaches to nobody.
    pub(crate) fn park_slave(&self) {
        if let Some(slave) = &self.slave {
            slave.order(SlaveOrders::Park);
        }
    }

    /// How both ends go.
    pub(crate) fn status(&self) -> RelayStatus {
        RelayStatus {
            master: self.master.as_ref().map(MasterRelay::status),
            slave: self.slave.as_ref().map(SlaveRelay::status),
        }
    }
}

fn not_configured(flag: &str) -> Result<(), ReplyError> {
    refuse(
        ErrorKind::Relay,
        format!("this launcher has no such relay: start brokerStart with {flag}"),
    )
}
