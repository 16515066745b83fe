//! Asks the other members.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::Member;
use agent_core::observation::Reading;
use agent_core::record::FORMAT;
use agent_core::report::Report;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tracing::{debug, info, warn};

use super::{CRC, FROM, NONCE, PeerError, Question, REPORT, Seal, TAG, TO, hex};
use crate::act::volume::CrcSource;
use crate::clock::Clock;
use crate::metrics::Metrics;
use crate::observe::broker::Pace;

/// How long a report may take.
const REPORT_DEADLINE: Duration = Duration::from_millis(500);
/// How long checksums may take: the other side reads up to 16 MiB from its disk.
const CRC_DEADLINE: Duration = Duration::from_secs(8);
/// Between two questions in calm times, and while an election or a join is going on.
const CALM: Duration = Duration::from_secs(1);
const HURRY: Duration = Duration::from_millis(50);
/// The longest report: a lineage of ten thousand terms.
const MOST_BYTES: usize = 4 << 20;

/// Where the members' agents are.
pub type Addresses = BTreeMap<Member, SocketAddr>;

/// What the members said.
pub type Answers = BTreeMap<Member, Reading<Report>>;

/// The asking side.
#[derive(Clone)]
pub struct Caller {
    seal: Seal,
    http: Client<HttpConnector, Empty<Bytes>>,
}

impl Caller {
    /// Asks with this seal. Keeps one idle connection per member.
    #[must_use]
    pub fn new(seal: Seal) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(REPORT_DEADLINE));
        let http = Client::builder(TokioExecutor::new())
            .pool_max_idle_per_host(1)
            .pool_idle_timeout(Duration::from_secs(5))
            .build(connector);
        Self { seal, http }
    }

    /// A member's report.
    ///
    /// # Errors
    /// Any [`PeerError`].
    pub async fn report(&self, member: &Member, address: SocketAddr) -> Result<Report, PeerError> {
        let body = self.get(member, address, REPORT, REPORT_DEADLINE).await?;
        let report: Report = parse(member, &body)?;
        if report.format > FORMAT {
            return Err(PeerError::Content {
                member: member.clone(),
                why: format!(
                    "it has format {}, this version knows {FORMAT}; upgrade this agent",
                    report.format
                ),
            });
        }
        if report.who.member != *member {
            return Err(PeerError::Content {
                member: member.clone(),
                why: format!("it is the report of {}", report.who.member),
            });
        }
        Ok(report)
    }

    /// Checksums of a member's log.
    ///
    /// # Errors
    /// Any [`PeerError`].
    pub async fn blocks(
        &self,
        member: &Member,
        address: SocketAddr,
        from: u64,
        upto: u64,
        block: u64,
    ) -> Result<Vec<u32>, PeerError> {
        let target = format!("{CRC}?from={from}&upto={upto}&block={block}");
        let body = self.get(member, address, &target, CRC_DEADLINE).await?;
        parse(member, &body)
    }

    async fn get(
        &self,
        member: &Member,
        address: SocketAddr,
        target: &str,
        deadline: Duration,
    ) -> Result<Bytes, PeerError> {
        let exchange = self.exchange(member, address, target);
        timeout(deadline, exchange)
            .await
            .map_err(|_| PeerError::Silent {
                member: member.clone(),
                after_ms: u64::try_from(deadline.as_millis()).unwrap_or(u64::MAX),
            })?
    }

    async fn exchange(
        &self,
        member: &Member,
        address: SocketAddr,
        target: &str,
    ) -> Result<Bytes, PeerError> {
        let failed = |source: Box<dyn std::error::Error + Send + Sync>| PeerError::Http {
            member: member.clone(),
            source,
        };
        let mut raw = [0_u8; 16];
        getrandom::fill(&mut raw).map_err(|error| failed(error.to_string().into()))?;
        let nonce = hex(&raw);
        let question = Question {
            from: self.seal.me.as_str(),
            to: member.as_str(),
            nonce: &nonce,
            target,
        };
        let request = Request::get(format!("http://{address}{target}"))
            .header(FROM, question.from)
            .header(TO, question.to)
            .header(NONCE, question.nonce)
            .header(TAG, self.seal.sign_question(question))
            .body(Empty::new())
            .map_err(|error| failed(error.into()))?;
        let answer = self
            .http
            .request(request)
            .await
            .map_err(|error| failed(error.into()))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MOST_BYTES)
            .collect()
            .await
            .map_err(failed)?
            .to_bytes();
        let tag = head
            .headers
            .get(TAG)
            .and_then(|tag| tag.to_str().ok())
            .unwrap_or_default();
        if !self.seal.knows_answer(question, head.status, &body, tag) {
            // Its refusal of our signature cannot be signed for us: say what it said.
            return Err(if head.status == StatusCode::FORBIDDEN {
                refused(member, head.status, &body)
            } else {
                PeerError::Unsigned {
                    member: member.clone(),
                }
            });
        }
        if head.status != StatusCode::OK {
            return Err(refused(member, head.status, &body));
        }
        Ok(body)
    }
}

fn refused(member: &Member, status: StatusCode, body: &[u8]) -> PeerError {
    let text = String::from_utf8_lossy(body.get(..body.len().min(300)).unwrap_or_default());
    PeerError::Refused {
        member: member.clone(),
        status,
        why: text.trim().to_owned(),
    }
}

fn parse<T: serde::de::DeserializeOwned>(member: &Member, body: &[u8]) -> Result<T, PeerError> {
    serde_json::from_slice(body).map_err(|error| PeerError::Content {
        member: member.clone(),
        why: error.to_string(),
    })
}

/// Lets a blocking job ask.
pub struct BlockingCaller {
    /// Who asks.
    pub caller: Caller,
    /// Where the members are.
    pub addresses: watch::Receiver<Addresses>,
    /// The runtime that does the asking.
    pub runtime: Handle,
}

impl CrcSource for BlockingCaller {
    fn blocks(
        &self,
        member: &Member,
        from: u64,
        upto: u64,
        block: u64,
    ) -> Result<Vec<u32>, PeerError> {
        let address = self.addresses.borrow().get(member).copied();
        let address = address.ok_or_else(|| PeerError::NoAddress {
            member: member.clone(),
        })?;
        self.runtime
            .block_on(self.caller.blocks(member, address, from, upto, block))
    }
}

/// Keeps the members' answers up to date for ever.
pub async fn watch_peers(
    caller: Caller,
    clock: Clock,
    metrics: Metrics,
    mut addresses: watch::Receiver<Addresses>,
    mut pace: watch::Receiver<Pace>,
    seen: watch::Sender<Answers>,
) {
    let mut asked = BTreeSet::new();
    let mut troubles = BTreeMap::new();
    let mut questions = JoinSet::new();
    let mut tick = ticks(*pace.borrow_and_update());
    loop {
        tokio::select! {
            _ = tick.tick() => {
                for (member, address) in addresses.borrow_and_update().clone() {
                    if asked.insert(member.clone()) {
                        let caller = caller.clone();
                        let at = clock.tick();
                        questions.spawn(async move {
                            let answer = caller.report(&member, address).await;
                            (member, at, answer)
                        });
                    }
                }
            }
            Some(answered) = questions.join_next() => {
                // A question that panicked is asked again by nobody: better to end where it can be seen.
                let Ok((member, at, answer)) = answered else { return };
                asked.remove(&member);
                tell(&mut troubles, &member, answer.as_ref().err(), &metrics);
                match answer {
                    Ok(report) => seen.send_modify(|seen| {
                        seen.insert(member, Reading::known(report, at));
                    }),
                    // Silence leaves what was said, and it grows old; an answer that cannot be believed replaces it.
                    Err(PeerError::Unsigned { .. } | PeerError::Content { .. }) => {
                        seen.send_modify(|seen| {
                            seen.insert(member, Reading::Unknown);
                        });
                    }
                    Err(_) => {}
                }
            }
            changed = pace.changed() => {
                if changed.is_err() { return }
                tick = ticks(*pace.borrow_and_update());
            }
            changed = addresses.changed() => {
                if changed.is_err() { return }
                tick.reset_immediately();
            }
        }
    }
}

fn ticks(pace: Pace) -> tokio::time::Interval {
    let mut ticks = interval(match pace {
        Pace::Calm => CALM,
        Pace::Hurry => HURRY,
    });
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// One line per change: a member that is away is no news every second.
fn tell(
    troubles: &mut BTreeMap<Member, &'static str>,
    member: &Member,
    trouble: Option<&PeerError>,
    metrics: &Metrics,
) {
    let Some(trouble) = trouble else {
        if troubles.remove(member).is_some() {
            info!(%member, "member answers again");
        }
        return;
    };
    metrics
        .peer_failures
        .with_label_values(&[trouble.word()])
        .inc();
    if troubles.insert(member.clone(), trouble.word()) == Some(trouble.word()) {
        return;
    }
    let error = crate::error_chain(trouble);
    match trouble {
        PeerError::NoAddress { .. } | PeerError::Silent { .. } | PeerError::Http { .. } => {
            info!(%member, error, "member does not answer");
        }
        PeerError::Refused { status, .. } if *status == StatusCode::SERVICE_UNAVAILABLE => {
            debug!(%member, error, "member has no report yet");
        }
        PeerError::Refused { .. } | PeerError::Unsigned { .. } | PeerError::Content { .. } => {
            warn!(%member, error, "member's answer is of no use");
        }
    }
}
