//! Waiting for a condition under a deadline.

use std::time::Duration;

use anyhow::{Result, anyhow};

use crate::clock::{Deadline, LOOK_AGAIN};

/// Looks again and again until `look` succeeds.
///
/// # Errors
/// When it did not within `limit`: `what` was waited for, and why the last look failed.
pub async fn until<T, E: Into<anyhow::Error>>(
    what: &str,
    limit: Duration,
    mut look: impl AsyncFnMut() -> Result<T, E>,
) -> Result<T> {
    let deadline = Deadline::after(limit);
    loop {
        let failure = match tokio::time::timeout(deadline.left(), look()).await {
            Ok(Ok(found)) => return Ok(found),
            Ok(Err(error)) => error.into(),
            Err(_) => anyhow!("no answer"),
        };
        if deadline.is_over() {
            return Err(failure.context(format!("wait for {what}: not within {limit:?}")));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[tokio::test]
    async fn it_looks_until_it_sees() {
        let mut looks = 0;
        let seen = until("the third look", Duration::from_secs(5), async || {
            looks += 1;
            if looks < 3 {
                bail!("look {looks}")
            } else {
                Ok(looks)
            }
        });
        assert_eq!(seen.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn the_error_tells_what_and_why() {
        let seen = until("rain", Duration::from_millis(30), async || -> Result<()> {
            bail!("blue sky")
        });
        let error = format!("{:#}", seen.await.unwrap_err());
        assert!(
            error.contains("wait for rain") && error.contains("blue sky"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_look_that_never_ends_is_given_up() {
        let seen = until(
            "an answer",
            Duration::from_millis(30),
            async || -> Result<()> { std::future::pending().await },
        );
        assert!(seen.await.is_err());
    }
}
