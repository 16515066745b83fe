//! The Kubernetes Events on a group's Lease: what the agents announced.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Event;
use kube::ResourceExt as _;
use serde::Serialize;

use super::desk::Desk;

/// One announcement.
#[derive(Clone, Debug, Serialize)]
pub struct Told {
    /// The Event's name: tells two of them apart.
    pub id: String,
    /// When, by the announcing member's wall clock.
    pub time: Option<Timestamp>,
    /// The stable word.
    pub reason: String,
    /// Whether a person should look.
    pub warning: bool,
    /// The member and the sentence.
    pub message: String,
}

/// The announcements of a group, oldest first. A server keeps them for about an hour.
///
/// # Errors
/// The API server gave no list.
pub async fn events(desk: &Desk, lease: &str) -> anyhow::Result<Vec<Told>> {
    let field = format!("involvedObject.name={lease}");
    let found: Vec<Event> = desk.list("events", "", Some(field)).await?;
    let mut told: Vec<Told> = found.into_iter().map(told).collect();
    told.sort_by_key(|told| told.time);
    Ok(told)
}

fn told(event: Event) -> Told {
    let time = event.last_timestamp.as_ref().map(|time| time.0);
    Told {
        id: event.name_any(),
        time: time.or_else(|| event.metadata.creation_timestamp.as_ref().map(|t| t.0)),
        reason: event.reason.unwrap_or_default(),
        warning: event.type_.as_deref() == Some("Warning"),
        message: event.message.unwrap_or_default(),
    }
}
