//! The port for clients: the lists, the long-poll, and the page for people.
//!
//! | path | answer |
//! |---|---|
//! | `/rocketmq/<list>` | 200 with the line; 304 to a known tag; 503 while there is none; 404 if nobody set it up |
//! | `/rocketmq/<list>?wait=30s&index=<index>` | the same, but while the index is the current one it waits for another |
//! | `/`, `/status.json` | for people |
//!
//! Any other query is ignored: clients send `?nofix=1` and more (facts §7.1).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::IF_NONE_MATCH;
use hyper::{Method, Request, StatusCode};
use serve::answer::{self, Answer};
use serve::{Asked, Prepared, Quick, Unsecured};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::board::{Board, Place, Published};
use crate::list::Index;
use crate::metrics::Metrics;
use crate::status::Status;

/// The longest wait of a long-poll; a longer wish is cut to it.
pub const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// What every list's path begins with.
const PREFIX: &str = "/rocketmq/";

/// Answers on the port for clients.
#[derive(Clone, Debug)]
pub struct Http {
    board: Arc<Board>,
    metrics: Metrics,
    status: Status,
    unavailable: Arc<Prepared>,
    closing: watch::Receiver<bool>,
}

impl Http {
    /// `closing` turns true when nobody may be kept waiting any more.
    pub fn new(
        board: Arc<Board>,
        metrics: Metrics,
        status: Status,
        closing: watch::Receiver<bool>,
    ) -> Self {
        let headers = vec![
            (
                hyper::header::CONTENT_TYPE,
                hyper::header::HeaderValue::from_static("text/plain"),
            ),
            (
                hyper::header::RETRY_AFTER,
                hyper::header::HeaderValue::from_static("1"),
            ),
        ];
        let unavailable = Prepared::new(
            StatusCode::SERVICE_UNAVAILABLE,
            headers,
            "no name server is known yet\n",
        );
        Self {
            board,
            metrics,
            status,
            unavailable: Arc::new(unavailable),
            closing,
        }
    }

    /// What has no prepared answer.
    pub async fn answer(self, request: Request<Bytes>) -> Answer {
        let answer = self.judged(&request).await;
        self.metrics.count(answer.status());
        answer
    }

    async fn judged(&self, request: &Request<Bytes>) -> Answer {
        let path = request.uri().path();
        let list = path
            .strip_prefix(PREFIX)
            .and_then(|name| self.board.find(name));
        if list.is_none() && !matches!(path, "/" | "/status.json") {
            return answer::not_found();
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return answer::method_not_allowed("GET, HEAD");
        }
        let Some(place) = list else {
            return self.status.answer(path, request.uri().query());
        };
        let wish = match request.uri().query().map_or(Ok(None), wish) {
            Ok(wish) => wish,
            Err(what) => return answer::text(StatusCode::BAD_REQUEST, what),
        };
        let now = match wish {
            Some(wish) => self.awaited(place, wish).await,
            None => place.published.borrow().clone(),
        };
        let tag = request.headers().get(IF_NONE_MATCH);
        let tag = tag.map(hyper::header::HeaderValue::as_bytes);
        self.prepared(now.as_deref(), tag).answer()
    }

    fn prepared(&self, now: Option<&Published>, tag: Option<&[u8]>) -> Arc<Prepared> {
        let Some(now) = now else {
            return Arc::clone(&self.unavailable);
        };
        match tag {
            Some(tag) if is_known(tag, now.list.index()) => Arc::clone(&now.not_modified),
            _ => Arc::clone(&now.whole),
        }
    }

    /// The list when it is another one than the client knows, or when the time is over, or when we are about to end.
    async fn awaited(&self, place: &Place, wish: Wish) -> Option<Arc<Published>> {
        let mut published = place.published.clone();
        let mut closing = self.closing.clone();
        let is_news = |now: &Option<Arc<Published>>| {
            now.as_ref()
                .is_some_and(|now| wish.index != Some(now.list.index()))
        };
        let news = timeout(wish.wait, published.wait_for(is_news));
        tokio::select! {
            // Whatever ended the wait, what counts is the list of this moment.
            _ = news => {}
            _ = closing.wait_for(|closing| *closing) => {}
        }
        place.published.borrow().clone()
    }
}

impl Quick for Http {
    fn find(&self, asked: &Asked<'_>) -> Option<Arc<Prepared>> {
        if asked.query().is_some_and(|query| query.contains("wait=")) {
            return None;
        }
        let place = self.board.find(asked.path().strip_prefix(PREFIX)?)?;
        let now = place.published.borrow();
        let found = self.prepared(now.as_deref(), asked.header("if-none-match"));
        self.metrics.count(found.status());
        Some(found)
    }

    fn refused(&self, status: StatusCode) {
        self.metrics.count(status);
    }

    fn unsecured(&self, why: Unsecured) {
        self.metrics.unsecured(why);
    }
}

/// What a long-poll asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Wish {
    wait: Duration,
    /// The list the client knows; without one it waits for the first.
    index: Option<Index>,
}

/// The long-poll in a query; none if it is none. Only what is ours is judged.
fn wish(query: &str) -> Result<Option<Wish>, &'static str> {
    let find = |key: &str| {
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(name, _)| *name == key).map(|(_, value)| value)
    };
    let Some(wait) = find("wait") else {
        return Ok(None);
    };
    let wait = span(wait).ok_or("wait is a time such as 30s or 500ms\n")?;
    // An index we cannot read is not the current one: the answer comes at once.
    let index = find("index").filter(|text| !text.is_empty());
    Ok(Some(Wish {
        wait: match index {
            Some(text) if Index::parse(text).is_none() => Duration::ZERO,
            _ => wait.min(LONGEST_WAIT),
        },
        index: index.and_then(Index::parse),
    }))
}

fn span(text: &str) -> Option<Duration> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(digits)?;
    let number: u64 = number.parse().ok()?;
    match unit {
        "ms" => Some(Duration::from_millis(number)),
        "" | "s" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_secs(number.checked_mul(60)?)),
        _ => None,
    }
}

/// Whether an `If-None-Match` names this list.
fn is_known(header: &[u8], index: Index) -> bool {
    let Ok(header) = std::str::from_utf8(header) else {
        return false;
    };
    header.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        let bare = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        tag == "*" || bare.and_then(Index::parse) == Some(index)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_query_is_judged() {
        for query in ["", "nofix=1", "nofix=1&a=b&=", "index=1", "&&=&"] {
            assert_eq!(wish(query), Ok(None), "{query}");
        }
        let seconds = |query: &str| wish(query).unwrap().unwrap().wait.as_millis();
        assert_eq!(seconds("wait=30s&index=0123456789abcdef"), 30_000);
        assert_eq!(seconds("nofix=1&wait=5"), 5_000);
        assert_eq!(seconds("wait=250ms"), 250);
        assert_eq!(seconds("wait=9999999m"), LONGEST_WAIT.as_millis());
        assert_eq!(seconds("wait=30s&index=7"), 0);
        for bad in [
            "wait=",
            "wait=x",
            "wait=-1s",
            "wait=1h",
            "wait=99999999999999999999",
        ] {
            assert!(wish(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tag_is_known_in_all_its_forms() {
        let index = Index::parse("0123456789abcdef").unwrap();
        let tag = index.etag();
        for known in [
            tag.clone(),
            format!("W/{tag}"),
            format!("\"x\", {tag}"),
            "*".to_owned(),
        ] {
            assert!(is_known(known.as_bytes(), index), "{known}");
        }
        for other in ["", "\"0123456789abcdee\"", "0123456789abcdef", "\"", "W/"] {
            assert!(!is_known(other.as_bytes(), index), "{other}");
        }
    }
}
