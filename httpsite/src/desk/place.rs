//! Where the desk is, and what changes there.

use std::future::pending;
use std::sync::Arc;

use tokio::sync::{Notify, watch};
use tracing::warn;

use crate::clock::Clock;
use crate::desk::Desk;
use crate::event::{Announcer, announce};
use crate::kubernetes::{Kube, needed};
use crate::settings::{DeskPlace, Settings};
use crate::source::{configmap, file};
use crate::tasks::Tasks;

/// Follows the desk where the settings put it. What it returns tells of changes there.
///
/// # Errors
/// When it is in Kubernetes, and no way there is known.
pub(crate) fn follow_desk(
    settings: &Settings,
    kube: Option<&Kube>,
    desk: watch::Sender<Desk>,
    bell: &Arc<Notify>,
    clock: Clock,
    tasks: &mut Tasks,
) -> anyhow::Result<Announcer> {
    let (names, bell) = (settings.names, Arc::clone(bell));
    let take = move |desk: &watch::Sender<Desk>, read: &dyn Fn(&Desk) -> Desk| {
        let changed = desk.send_if_modified(|now| {
            let new = read(now);
            let changed = *now != new;
            for fault in new
                .faults
                .iter()
                .filter(|fault| !now.faults.contains(fault))
            {
                warn!(
                    fault,
                    "an order on the desk cannot be read; the one before it stays"
                );
            }
            *now = new;
            changed
        });
        if changed {
            bell.notify_one();
        }
    };
    match &settings.desk {
        DeskPlace::None => {
            // The receivers stay valid as long as somebody holds the sender.
            tasks.spawn("desk", async move {
                pending::<()>().await;
                drop(desk);
            });
            Ok(Announcer::silent())
        }
        DeskPlace::File(path) => {
            let sink = move |text: file::Text| match text {
                Ok(text) => take(&desk, &|before| Desk::of_text(&text, before, names)),
                Err(fault) => take(&desk, &|before| Desk {
                    faults: vec![fault.clone()],
                    ..before.clone()
                }),
            };
            tasks.spawn("desk", file::follow(path.clone(), sink));
            Ok(Announcer::silent())
        }
        DeskPlace::ConfigMap(object) => {
            let kube = needed(kube)?;
            let (announcer, task) = announce(
                kube.client.clone(),
                object.clone(),
                clock,
                kube.counter.clone(),
            );
            tasks.spawn("events", task);
            let counter = kube.counter.clone();
            let task =
                configmap::follow(kube.client.clone(), object.clone(), counter, move |seen| {
                    match seen {
                        Ok(Some(map)) => {
                            take(&desk, &|before| Desk::of_config_map(map, before, names));
                        }
                        Ok(None) => take(&desk, &|_| Desk::default()),
                        Err(fault) => take(&desk, &|before| Desk {
                            faults: vec![fault.clone()],
                            ..before.clone()
                        }),
                    }
                });
            tasks.spawn("desk", task);
            Ok(announcer)
        }
    }
}
