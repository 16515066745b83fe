//! Which name servers there are: a list that was given, or the one an httpSite publishes.
//!
//! [`NameServers`] is what the agent writes into the broker's conf and probes. Once it is not empty it never is again: a
//! source that answers nothing sensible leaves the last list in force, as RocketMQ's own clients do (facts §7.2), and
//! says why in `fault`.

mod host_port;
mod site;

pub use host_port::{HostPort, HostPortError, MAX_SERVERS, parse_list};
pub use site::{FETCH_DEADLINE, FetchError, Found, Index, Site};

use crate::clock::Clock;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

/// How often an httpSite is asked, as by a 5.1.3 broker (facts §6.4).
const PERIOD: Duration = Duration::from_secs(10);

/// How often it is asked while there is no list at all, since nothing starts without one.
const FIRST_PERIOD: Duration = Duration::from_secs(1);

/// Where the list comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Given once, for good.
    List(Vec<HostPort>),
    /// Asked again and again.
    HttpSite(Site),
}

impl Source {
    /// A list such as `10.0.0.1:9876;10.0.0.2:9876`.
    pub fn list(text: &str) -> Result<Self, HostPortError> {
        parse_list(text).map(Self::List)
    }

    /// The URL of an httpSite; without a path it is `/rocketmq/nsaddr`.
    pub fn http_site(url: &str) -> Result<Self, FetchError> {
        url.parse().map(Self::HttpSite)
    }
}

/// The list in force.
#[derive(Clone, Debug, Default)]
pub struct NameServers {
    /// The servers, in the order of the source. Empty until a source has answered for the first time.
    pub servers: Arc<[HostPort]>,
    /// Why the last look-up brought nothing; none if it did.
    pub fault: Option<Arc<FetchError>>,
}

/// The looking-up itself; [`Lookup::run`] is a task of the caller's.
#[derive(Debug)]
pub struct Lookup {
    source: Source,
    found: watch::Sender<NameServers>,
    period: Duration,
    first_period: Duration,
}

impl Lookup {
    /// A given list is in force at once, an httpSite's after the first answer.
    pub fn new(source: Source) -> (Self, watch::Receiver<NameServers>) {
        let servers = match &source {
            Source::List(servers) => servers.as_slice().into(),
            Source::HttpSite(_) => Arc::default(),
        };
        let (found, receiver) = watch::channel(NameServers {
            servers,
            fault: None,
        });
        (
            Self {
                source,
                found,
                period: PERIOD,
                first_period: FIRST_PERIOD,
            },
            receiver,
        )
    }

    /// Publishes every change until nobody listens any more.
    pub async fn run(self) {
        let Source::HttpSite(site) = &self.source else {
            return self.found.closed().await;
        };
        let mut index = None;
        loop {
            let asked = Clock.tick();
            let answer = tokio::select! {
                () = self.found.closed() => return,
                answer = site.fetch(index.as_ref()) => answer,
            };
            let next = answer.as_ref().ok().and_then(|found| found.index.clone());
            // A site that waits may be asked again at once; one that says the same at once was not waiting.
            let waits =
                next.is_some() && (next != index || Clock.tick().since(asked) >= self.first_period);
            index = next;
            self.take(answer.map(|found| found.servers));
            let known = !self.found.borrow().servers.is_empty();
            let pause = if known && !waits {
                self.period
            } else {
                self.first_period
            };
            tokio::select! {
                () = self.found.closed() => return,
                () = sleep(pause) => {}
            }
        }
    }

    fn take(&self, answer: Result<Vec<HostPort>, FetchError>) {
        self.found.send_if_modified(|now| match answer {
            Ok(servers) => {
                let cured = now.fault.take().is_some();
                let other = !same_servers(&now.servers, &servers);
                if other {
                    let list: Vec<_> = servers.iter().map(ToString::to_string).collect();
                    info!(servers = list.join(";"), "name servers changed");
                    now.servers = servers.into();
                }
                cured || other
            }
            Err(error) => {
                let news = now
                    .fault
                    .as_ref()
                    .is_none_or(|fault| fault.to_string() != error.to_string());
                if news {
                    warn!(%error, known = now.servers.len(), "look up name servers");
                    now.fault = Some(Arc::new(error));
                }
                news
            }
        });
    }
}

/// Order alone is no change.
fn same_servers(one: &[HostPort], other: &[HostPort]) -> bool {
    one.len() == other.len() && one.iter().all(|server| other.contains(server))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nameservers::site::tests::Answers;
    use tokio::time::timeout;

    fn shown(now: &NameServers) -> String {
        let list: Vec<_> = now.servers.iter().map(ToString::to_string).collect();
        list.join(";")
    }

    #[tokio::test]
    async fn a_given_list_is_in_force_at_once_and_ends_with_its_listeners() {
        let (lookup, found) = Lookup::new(Source::list("a:1;b:2").unwrap());
        assert_eq!(shown(&found.borrow()), "a:1;b:2");
        let task = tokio::spawn(lookup.run());
        drop(found);
        timeout(Duration::from_secs(8), task)
            .await
            .expect("ends")
            .unwrap();
    }

    #[tokio::test]
    async fn the_last_list_stays_while_the_site_answers_nothing_sensible() {
        let site = Answers::start(&[
            "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nnone",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\na:1;b:2",
            "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nb:2;a:1",
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nc:3",
        ])
        .await;
        let (mut lookup, found) = Lookup::new(Source::http_site(&site.url()).unwrap());
        (lookup.period, lookup.first_period) = (Duration::from_millis(1), Duration::from_millis(1));
        let task = tokio::spawn(lookup.run());
        let now = || found.borrow().clone();
        site.taken().await;
        assert!(now().servers.is_empty() && now().fault.unwrap().to_string().contains("503"));
        site.next().await;
        assert_eq!(
            (shown(&now()).as_str(), now().fault.is_none()),
            ("a:1;b:2", true)
        );
        site.next().await;
        assert_eq!(shown(&now()), "a:1;b:2", "order alone is no change");
        site.next().await;
        assert_eq!(
            (shown(&now()).as_str(), now().fault.is_some()),
            ("a:1;b:2", true)
        );
        site.next().await;
        assert_eq!(
            (shown(&now()).as_str(), now().fault.is_none()),
            ("c:3", true)
        );
        task.abort();
    }
}
