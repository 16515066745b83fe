//! Answers the other members' questions, on the admin port.

use std::sync::Arc;

use agent_core::report::Report;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::header::HeaderValue;
use hyper::{Method, Request, StatusCode};
use serve::answer::{self, Answer};
use store::{Layout, Store};
use tokio::sync::{Semaphore, watch};
use tracing::{debug, warn};

use super::{CRC, FROM, NONCE, NONCE_LENGTH, Question, REPORT, Seal, TAG, TO};

/// The most bytes whose checksums are answered at once: a tenth of a second of reading.
const MOST_BYTES: u64 = 32 << 20;
/// The most checksums in one answer.
const MOST_BLOCKS: u64 = 1024;

/// The answering side.
#[derive(Clone)]
pub struct Server {
    seal: Seal,
    report: watch::Receiver<Option<Arc<Report>>>,
    layout: Layout,
    /// One reader at a time: checksums must not starve the broker of disk and processor.
    readers: Arc<Semaphore>,
}

impl Server {
    /// Answers with the newest of `report`, and with checksums of the log in `layout`.
    #[must_use]
    pub fn new(seal: Seal, report: watch::Receiver<Option<Arc<Report>>>, layout: Layout) -> Self {
        Self {
            seal,
            report,
            layout,
            readers: Arc::new(Semaphore::new(1)),
        }
    }

    /// The answer to a question under `/peer/`.
    pub async fn answer(&self, request: &Request<Bytes>) -> Answer {
        if request.method() != Method::GET {
            return answer::method_not_allowed("GET");
        }
        let target = request
            .uri()
            .path_and_query()
            .map_or("", |target| target.as_str());
        let header = |name| {
            request
                .headers()
                .get(name)
                .and_then(|value: &HeaderValue| value.to_str().ok())
                .unwrap_or_default()
        };
        let question = Question {
            from: header(FROM),
            to: header(TO),
            nonce: header(NONCE),
            target,
        };
        if let Err(why) = self.check(question, header(TAG)) {
            debug!(from = question.from, why, "a question was refused");
            return answer::text(StatusCode::FORBIDDEN, format!("{why}\n"));
        }
        let answer = match request.uri().path() {
            REPORT => self.report(),
            CRC => {
                self.checksums(request.uri().query().unwrap_or_default())
                    .await
            }
            _ => answer::not_found(),
        };
        self.signed(question, answer).await
    }

    fn check(&self, question: Question<'_>, tag: &str) -> Result<(), &'static str> {
        if question.nonce.len() != NONCE_LENGTH {
            return Err("the question carries no nonce of 32 hexadecimal digits");
        }
        if !self.seal.knows_question(question, tag) {
            return Err("the question is not signed with this group's key");
        }
        if question.to != self.seal.me.as_str() {
            return Err("the question is for another member: the address it came by is old");
        }
        Ok(())
    }

    async fn signed(&self, question: Question<'_>, answer: Answer) -> Answer {
        let (mut head, body) = answer.into_parts();
        let body = body
            .collect()
            .await
            .map_or_else(|never| match never {}, http_body_util::Collected::to_bytes);
        let tag = self.seal.sign_answer(question, head.status, &body);
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            head.headers.insert(TAG, tag);
        }
        Answer::from_parts(head, http_body_util::Full::new(body))
    }

    fn report(&self) -> Answer {
        let report = self.report.borrow().clone();
        let Some(report) = report else {
            return unready("this agent cannot speak for its member now\n");
        };
        match serde_json::to_vec(&*report) {
            Ok(body) => answer::json(StatusCode::OK, body),
            Err(error) => {
                warn!(%error, "own report not written as JSON");
                unready("the report cannot be written\n")
            }
        }
    }

    async fn checksums(&self, query: &str) -> Answer {
        let range = match Range::parse(query) {
            Ok(range) => range,
            Err(why) => return answer::text(StatusCode::BAD_REQUEST, format!("{why}\n")),
        };
        let Ok(reader) = Arc::clone(&self.readers).try_acquire_owned() else {
            return unready("checksums are being made for somebody else\n");
        };
        let layout = self.layout.clone();
        let sums = tokio::task::spawn_blocking(move || {
            let sums = range.checksums(layout);
            drop(reader);
            sums
        });
        match sums.await {
            Ok(Ok(sums)) => answer::json(StatusCode::OK, serde_json::Value::from(sums).to_string()),
            Ok(Err(error)) => answer::text(
                StatusCode::RANGE_NOT_SATISFIABLE,
                format!("{}\n", crate::error_chain(&error)),
            ),
            Err(_) => unready("the reader ended\n"),
        }
    }
}

fn unready(why: &'static str) -> Answer {
    answer::text(StatusCode::SERVICE_UNAVAILABLE, why)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    from: u64,
    upto: u64,
    block: u64,
}

impl Range {
    fn parse(query: &str) -> Result<Self, &'static str> {
        let number = |name: &str| {
            query
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .find(|(key, _)| *key == name)
                .and_then(|(_, value)| value.parse::<u64>().ok())
        };
        let (Some(from), Some(upto), Some(block)) =
            (number("from"), number("upto"), number("block"))
        else {
            return Err("give from, upto and block in bytes");
        };
        if from >= upto || block == 0 {
            return Err("the range is empty");
        }
        if upto - from > MOST_BYTES || (upto - from).div_ceil(block) > MOST_BLOCKS {
            return Err("the range is too long: ask for 32 MiB in 1024 pieces at most");
        }
        Ok(Self { from, upto, block })
    }

    fn checksums(self, layout: Layout) -> Result<Vec<u32>, store::StoreError> {
        let store = Store::open(layout)?;
        let mut sums = Vec::new();
        let mut at = self.from;
        while at < self.upto {
            let end = self.upto.min(at.saturating_add(self.block));
            sums.push(store.crc_of(at, end)?);
            at = end;
        }
        Ok(sums)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_bounded() {
        let range = Range::parse("from=0&upto=65536&block=65536").unwrap();
        assert_eq!((range.from, range.upto, range.block), (0, 65536, 65536));
        for bad in [
            "",
            "from=0&upto=1",
            "from=1&upto=1&block=1",
            "from=0&upto=1&block=0",
            "from=0&upto=1025&block=1",
            "from=0&upto=33554433&block=65536",
            "from=-1&upto=1&block=1",
            "from=0&upto=18446744073709551616&block=1",
        ] {
            assert!(Range::parse(bad).is_err(), "{bad}");
        }
    }
}
