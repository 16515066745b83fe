//! What the group's Kubernetes objects are called.
//!
//! Names carry a hash of the true names, because `Broker_A` and `broker-a` have the same slug (safety H13); the true
//! names stand in annotations and are checked at every read.

use agent_core::Member;
use ring::digest::{SHA256, digest};

/// The prefix of our annotations and labels.
pub const PREFIX: &str = "rocketmq-ha.io/";

/// The annotation with the group's record.
pub const STATE: &str = "rocketmq-ha.io/state";
/// The annotation with a member's report.
pub const REPORT: &str = "rocketmq-ha.io/report";
/// The annotation with the true cluster name.
pub const CLUSTER: &str = "rocketmq-ha.io/cluster";
/// The annotation with the true broker name.
pub const BROKER: &str = "rocketmq-ha.io/broker";
/// The request to rest elections, switchovers and cuts: `"true"`.
pub const PAUSED: &str = "rocketmq-ha.io/paused";
/// The request for a planned switchover: JSON.
pub const SWITCHOVER: &str = "rocketmq-ha.io/switchover";
/// The label that every object of a group carries: the name of its Lease.
pub const GROUP_LABEL: &str = "rocketmq-ha.io/group";
/// The label that tells a group's Lease from its members' Leases: `group` or `member`.
pub const KIND_LABEL: &str = "rocketmq-ha.io/kind";
/// The label with a pod's role.
pub const ROLE_LABEL: &str = "rocketmq-ha.io/role";
/// The annotation with a pod's member name, where it is not the pod's own name.
pub const MEMBER: &str = "rocketmq-ha.io/member";

/// The longest slug, so that a Lease's name also fits into a label value (63 characters).
const MAX_SLUG: usize = 48;

/// The names of one group's objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupNames {
    /// `brokerClusterName`, as it is.
    pub cluster: String,
    /// `brokerName`, as it is.
    pub broker: String,
    /// The group Lease, and the value of [`GROUP_LABEL`].
    pub lease: String,
}

impl GroupNames {
    /// The names of the group of these true names.
    pub fn new(cluster: &str, broker: &str) -> Self {
        let hash = short_hash(&format!("{cluster}\0{broker}"));
        let slug = slug(&format!("{cluster}-{broker}"));
        Self {
            cluster: cluster.to_owned(),
            broker: broker.to_owned(),
            lease: format!("rmq-{slug}-{hash}"),
        }
    }

    /// The Lease of one member. A name that is not a DNS label already gets a hash of its own.
    pub fn member_lease(&self, member: &Member) -> String {
        let slug = slug(member.as_str());
        if slug == member.as_str() {
            return format!("{}-{slug}", self.lease);
        }
        format!("{}-{slug}-{}", self.lease, short_hash(member.as_str()))
    }

    /// Selects every object of the group of one kind.
    pub fn selector(&self, kind: &str) -> String {
        format!("{GROUP_LABEL}={},{KIND_LABEL}={kind}", self.lease)
    }
}

/// Lower-case letters, digits and single dashes.
fn slug(name: &str) -> String {
    let mut slug = String::new();
    for c in name.chars() {
        if c.is_ascii_alphanumeric() {
            slug.push(c.to_ascii_lowercase());
        } else if !slug.is_empty() && !slug.ends_with('-') {
            slug.push('-');
        }
        if slug.len() >= MAX_SLUG {
            break;
        }
    }
    slug.trim_end_matches('-').to_owned()
}

/// The first 8 hex digits of the name's SHA-256.
fn short_hash(name: &str) -> String {
    hex(digest(&SHA256, name.as_bytes()).as_ref())
        .chars()
        .take(8)
        .collect()
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h13_two_groups_with_one_slug_have_two_leases() {
        let a = GroupNames::new("c", "Broker_A");
        let b = GroupNames::new("c", "broker-a");
        assert_ne!(a.lease, b.lease);
        assert_eq!(a.lease.len(), b.lease.len());
        // The border between the two names counts as well.
        assert_ne!(
            GroupNames::new("a", "b-c").lease,
            GroupNames::new("a-b", "c").lease
        );
    }

    #[test]
    fn names_fit_into_a_label_and_are_dns_names() {
        let long = GroupNames::new(&"Käse_".repeat(30), "брокер");
        assert!(long.lease.len() <= 63, "{}", long.lease);
        let ok = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        assert!(long.lease.chars().all(ok), "{}", long.lease);
        assert!(!GroupNames::new("", "").lease.contains("--x"));
    }

    #[test]
    fn members_that_differ_only_in_case_have_two_leases() {
        let group = GroupNames::new("c", "b");
        assert_ne!(
            group.member_lease(&"A-0".into()),
            group.member_lease(&"a-0".into())
        );
        assert_eq!(
            group.member_lease(&"a-0".into()),
            format!("{}-a-0", group.lease)
        );
    }
}
