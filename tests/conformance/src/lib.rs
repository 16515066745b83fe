//! What our programs rely on in a Kubernetes API, case by case.
//!
//! One suite for two servers (`tests/servers.rs`): the in-memory one, `tests/kube-api`, and a real kube-apiserver with
//! etcd, so that the first cannot drift from the second. Each case gets a client and a namespace of its own and does not
//! ask which server is behind it. Leases first: everything that decides is written there.
//!
//! - [`bench`] — what a case works with;
//! - `leases`, `refusals`, `selections`, `watches`, `others` — the cases;
//! - `outages` — cases that break the server, or need it quiet: one at a time.
//!
//! Not here, because nothing of ours uses it: server-side apply, discovery, admission, protobuf.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic like the test itself"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "cases write their labels as literals"
)]

pub mod bench;

mod leases;
mod others;
mod outages;
mod refusals;
mod selections;
mod watches;

use std::pin::Pin;

use crate::bench::Bench;

/// A case that is being run.
type Running = Pin<Box<dyn Future<Output = ()>>>;

/// One behaviour.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    /// Its module.
    pub module: &'static str,
    /// What it says.
    pub name: &'static str,
    /// Panics when it is not so.
    pub run: fn(Bench) -> Running,
}

impl Case {
    /// Whether it breaks the server, or needs it quiet: no other case of this kind may run on it meanwhile.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.module == "outages"
    }
}

/// Every case by its path, so that a report names the behaviour that is wrong.
macro_rules! cases {
    ($($module:ident: $($case:ident)+;)+) => {
        vec![$($(Case {
            module: stringify!($module),
            name: stringify!($case),
            run: |bench| Box::pin($module::$case(bench)),
        },)+)+]
    };
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    cases! {
        leases:
            create_fills_in_what_the_server_owns
            create_of_an_existing_name_is_refused
            create_in_an_absent_namespace_is_refused
            create_with_a_version_is_refused
            create_generates_a_name
            get_of_an_absent_name_is_not_found
            replace_with_the_current_version_wins
            replace_with_a_stale_version_conflicts
            replace_without_a_version_is_invalid
            replace_of_an_absent_lease_by_its_uid_conflicts
            replace_of_an_absent_lease_without_a_uid_creates_it
            replace_with_another_uid_conflicts
            replace_that_changes_nothing_writes_nothing
            of_two_writers_with_one_version_one_wins
            merge_patch_changes_and_removes_fields
            merge_patch_with_a_stale_version_conflicts
            merge_patch_of_an_absent_lease_is_not_found
            json_patch_with_a_failed_test_is_refused
            patch_of_an_unknown_format_is_refused
            times_keep_their_microseconds
            times_of_the_client_library_survive
            delete_checks_its_preconditions
            dry_run_writes_nothing
            create_ignores_what_only_the_server_writes
            replace_keeps_what_it_sends_back
            replace_can_release
            merge_patch_that_changes_nothing_writes_nothing
            merge_patch_with_another_uid_is_invalid
            merge_patch_to_a_bad_value_is_invalid
            metadata_alone_can_be_patched
            a_deleted_name_can_be_taken_again;
        selections:
            lists_are_selected_by_label
            lists_are_selected_by_name
            lists_span_namespaces
            delete_collection_takes_only_what_is_selected
            versions_are_one_sequence
            a_limited_list_can_be_read_to_its_end
            a_list_may_be_any_version_that_was
            an_empty_list_is_a_list;
        refusals:
            bad_values_are_invalid
            large_annotations_have_a_limit
            names_in_body_and_path_must_agree
            unknown_paths_and_methods_are_refused
            malformed_bodies_are_bad_requests
            lease_values_have_bounds
            names_and_labels_have_lengths
            annotations_may_have_256_kib_in_all
            unknown_fields_are_dropped
            large_bodies_are_refused
            without_rights_everything_is_forbidden
            an_unknown_token_is_unauthorized
            answers_say_that_they_are_json;
        watches:
            watch_begins_after_its_version
            watch_without_a_version_begins_with_the_state
            watch_ignores_other_namespaces_and_names
            watch_reports_entering_and_leaving_a_selection
            watch_ends_at_its_timeout
            watch_gets_a_bookmark_before_its_end
            watch_can_stream_the_list_first
            watch_from_a_bad_version_is_refused
            many_changes_arrive_in_order
            the_runtime_watcher_follows_a_lease
            the_runtime_watcher_can_stream_its_list
            watch_tells_each_state
            watch_goes_on_from_a_list
            watch_without_bookmarks_gets_none
            watch_goes_on_from_a_bookmark
            watch_of_an_absent_namespace_waits_for_it;
        others:
            config_maps_may_be_replaced_without_a_version
            finalizers_delay_a_deletion
            a_pod_begins_pending_and_its_status_is_separate
            a_pod_on_a_node_gets_its_grace
            pod_labels_are_patched_either_way
            endpoint_slices_count_their_generations
            an_event_has_two_faces
            the_runtime_recorder_publishes_and_repeats
            a_namespace_can_be_made
            an_event_about_a_lease_can_be_told
            a_role_label_comes_and_goes
            the_end_of_a_container_and_of_its_pod_are_told
            sources_are_followed_by_name_and_by_label;
        outages:
            a_forgotten_version_is_a_410_inside_the_stream
            what_was_written_is_there_after_it
            a_quiet_kind_gets_no_bookmark;
    }
}
