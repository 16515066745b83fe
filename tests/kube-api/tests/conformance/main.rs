//! What our programs rely on in a Kubernetes API, case by case.
//!
//! Each case gets a client and a namespace of its own and knows nothing about the server behind it. By default that is
//! the in-memory one; with `CONFORMANCE_KUBECONFIG=<file>` it is the one named there, with the rights of an
//! administrator, no admission plugin that wants service accounts, and no controllers needed.

#![allow(
    clippy::unwrap_used,
    reason = "a helper of a test may panic like the test itself"
)]
#![allow(
    clippy::needless_pass_by_value,
    reason = "cases write their labels as literals"
)]

mod leases;
mod others;
mod refusals;
mod selections;
mod server;
mod watches;

/// Lists every case by its path; one test each, so that a report names the behaviour that is wrong.
macro_rules! cases {
    ($($module:ident: $($case:ident)+;)+) => {
        $(mod $module {
            $(#[tokio::test]
            async fn $case() {
                crate::server::run(stringify!($case), crate::$module::$case).await;
            })+
        })+
    };
}

mod on_the_server {
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
            dry_run_writes_nothing;
        selections:
            lists_are_selected_by_label
            lists_are_selected_by_name
            lists_span_namespaces
            delete_collection_takes_only_what_is_selected
            versions_are_one_sequence;
        refusals:
            bad_values_are_invalid
            large_annotations_have_a_limit
            names_in_body_and_path_must_agree
            unknown_paths_and_methods_are_refused
            malformed_bodies_are_bad_requests;
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
            the_runtime_watcher_can_stream_its_list;
        others:
            config_maps_may_be_replaced_without_a_version
            finalizers_delay_a_deletion
            a_pod_begins_pending_and_its_status_is_separate
            a_pod_on_a_node_gets_its_grace
            pod_labels_are_patched_either_way
            endpoint_slices_count_their_generations
            an_event_has_two_faces
            the_runtime_recorder_publishes_and_repeats
            a_namespace_can_be_made;
    }
}
