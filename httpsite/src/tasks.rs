//! What runs beside each other until the process ends.

use anyhow::anyhow;
use tokio::task::JoinSet;
use tracing::{Instrument as _, error_span};

/// The parts that run until the process ends, by name.
#[derive(Default)]
pub(crate) struct Tasks(JoinSet<&'static str>);

impl Tasks {
    /// Lets a part run.
    pub(crate) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let span = error_span!("task", name);
        self.0.spawn(
            async move {
                task.await;
                name
            }
            .instrument(span),
        );
    }

    /// Waits for the first that ends, which none should.
    pub(crate) async fn first_end(&mut self) -> anyhow::Error {
        match self.0.join_next().await {
            Some(Ok(name)) => anyhow!("the part {name:?} ended by itself"),
            Some(Err(error)) => anyhow!(error).context("a part of httpsite panicked"),
            None => anyhow!("no part of httpsite runs"),
        }
    }
}
