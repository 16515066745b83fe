//! One request: a deadline, a count, and what its failure means.

use std::future::Future;
use std::time::Duration;

use prometheus::{IntCounterVec, Opts, Registry};
use thiserror::Error;

/// What an unsuccessful request means. Every error of the client is one of these, in this one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// 409: the object had changed, or existed.
    Conflict,
    /// 404.
    NotFound,
    /// 410: the version asked for is too old.
    Gone,
    /// 401, 403: we may not.
    Forbidden,
    /// Other 4xx: the server did not want it.
    Refused,
    /// 429: too many requests.
    Throttled,
    /// 5xx, or no code at all that a request should get.
    Server,
    /// No answer in time, or 408.
    Timeout,
    /// No connection, or one that broke, or an answer that made no sense.
    Transport,
}

impl Failure {
    /// The word used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Conflict => "conflict",
            Self::NotFound => "not_found",
            Self::Gone => "gone",
            Self::Forbidden => "forbidden",
            Self::Refused => "refused",
            Self::Throttled => "throttled",
            Self::Server => "server_error",
            Self::Timeout => "timeout",
            Self::Transport => "transport",
        }
    }

    /// The failure behind a status code.
    pub const fn of_code(code: u16) -> Self {
        match code {
            404 => Self::NotFound,
            409 => Self::Conflict,
            410 => Self::Gone,
            401 | 403 => Self::Forbidden,
            408 => Self::Timeout,
            429 => Self::Throttled,
            400..500 => Self::Refused,
            // Beside 5xx: a redirect, or a code that makes no sense. Whether something was carried out is not known.
            _ => Self::Server,
        }
    }

    fn of(error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_code(status.code),
            _ => Self::Transport,
        }
    }
}

/// A request that did not succeed.
#[derive(Debug, Error)]
pub enum ApiError {
    /// The server or the connection said no.
    #[error("{verb} {resource}: {}", failure.as_str())]
    Answered {
        /// What was asked.
        verb: &'static str,
        /// Of what.
        resource: &'static str,
        /// What it means.
        failure: Failure,
        /// The client's own error.
        #[source]
        source: Box<kube::Error>,
    },
    /// Nothing was heard.
    #[error("{verb} {resource}: no answer within {} ms", limit.as_millis())]
    Timeout {
        /// What was asked.
        verb: &'static str,
        /// Of what.
        resource: &'static str,
        /// For how long we waited.
        limit: Duration,
    },
}

impl ApiError {
    /// What it means.
    pub const fn failure(&self) -> Failure {
        match self {
            Self::Answered { failure, .. } => *failure,
            Self::Timeout { .. } => Failure::Timeout,
        }
    }
}

/// Counts every request by verb, resource and outcome.
#[derive(Clone, Debug)]
pub struct ApiCounter {
    requests: IntCounterVec,
}

impl ApiCounter {
    /// Registers `<program>_api_requests_total{verb,resource,code}`, such as `rocketmq_ha_api_requests_total`.
    ///
    /// # Errors
    /// The name is taken in this registry.
    pub fn register(registry: &Registry, program: &str) -> Result<Self, prometheus::Error> {
        let opts = Opts::new(
            format!("{program}_api_requests_total"),
            "Requests to the Kubernetes API server",
        );
        let requests = IntCounterVec::new(opts, &["verb", "resource", "code"])?;
        registry.register(Box::new(requests.clone()))?;
        Ok(Self { requests })
    }

    /// One request under a deadline, counted and classified.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn call<T>(
        &self,
        verb: &'static str,
        resource: &'static str,
        limit: Duration,
        request: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, ApiError> {
        let outcome = match tokio::time::timeout(limit, request).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(source)) => {
                let failure = Failure::of(&source);
                Err(ApiError::Answered {
                    verb,
                    resource,
                    failure,
                    source: Box::new(source),
                })
            }
            Err(_) => Err(ApiError::Timeout {
                verb,
                resource,
                limit,
            }),
        };
        let code = outcome
            .as_ref()
            .map_or_else(|error| error.failure().as_str(), |_| "ok");
        self.count(verb, resource, code);
        outcome
    }

    /// Counts one outcome.
    pub fn count(&self, verb: &'static str, resource: &'static str, code: &'static str) {
        self.requests
            .with_label_values(&[verb, resource, code])
            .inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_that_says_so_is_a_refusal() {
        let refusals = (0..1000).filter(|code| Failure::of_code(*code) == Failure::Refused);
        let all: Vec<u16> = refusals.collect();
        assert!(all.iter().all(|code| (400..500).contains(code)), "{all:?}");
        for told_apart in [401, 403, 404, 408, 409, 410, 429] {
            assert!(!all.contains(&told_apart), "{told_apart}");
        }
        assert_eq!(Failure::of_code(409), Failure::Conflict);
        assert_eq!(Failure::of_code(0), Failure::Server);
        assert_eq!(Failure::of_code(302), Failure::Server);
    }
}
