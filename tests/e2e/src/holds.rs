//! That something stays as it is can only be told by watching it for a while.

use std::time::Duration;

use anyhow::{Context, Result};
use playground::clock::Deadline;

/// Between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Looks again and again for `span`; every look must succeed.
///
/// # Errors
/// What the first look that failed said.
pub async fn holds(
    what: &str,
    span: Duration,
    mut look: impl AsyncFnMut() -> Result<()>,
) -> Result<()> {
    let end = Deadline::after(span);
    while !end.is_over() {
        let before_end = span.saturating_sub(end.left());
        look()
            .await
            .with_context(|| format!("see that {what} for {span:?}: not after {before_end:?}"))?;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    #[tokio::test]
    async fn one_look_that_fails_is_enough() {
        let mut looks = 0;
        let watched = holds("it is dry", Duration::from_secs(5), async || {
            looks += 1;
            ensure!(looks < 3, "rain");
            Ok(())
        });
        let error = format!("{:#}", watched.await.unwrap_err());
        assert!(
            error.contains("it is dry") && error.ends_with("rain"),
            "{error}"
        );
        assert_eq!(looks, 3);
    }

    #[tokio::test]
    async fn it_watches_for_the_whole_span() {
        let span = Duration::from_millis(120);
        let end = Deadline::after(span);
        holds("nothing happens", span, async || Ok(()))
            .await
            .unwrap();
        assert!(end.is_over());
    }
}
