//! The suite every store passes: one claim a case, the same on every store.
//!
//! A store's tests name a [`Harness`] and get one test for each case:
//!
//! ```ignore
//! store::store_suite!(Folder::new());
//! ```
//!
//! To add a case: write it in the file of its area and name it in [`store_suite!`](crate::store_suite);
//! a test here fails when it is forgotten there.
#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "this module holds tests; it is compiled for the tests of stores only"
)]

use async_trait::async_trait;
use model::{Change, ChangeSet};

use crate::{CommitError, Store};

pub mod attempts;
pub mod bans;
pub mod challenges;
pub mod change_sets;
pub mod connections;
pub mod crls;
pub mod devices;
pub mod durability;
pub mod events;
pub mod formers;
pub mod grounds;
pub mod groups;
pub mod listings;
pub mod marks;
pub mod messages;
pub mod modules;
pub mod receipts;
pub mod scene;
pub mod service;
pub mod values;

/// One database of a store under test, empty at first.
#[async_trait]
pub trait Harness: Send + Sync {
    /// The store; clones share it.
    type Store: Store + Clone;

    /// Opens the database; again after [`Self::close`], with what was written before.
    async fn open(&self) -> Self::Store;

    /// Closes what [`Self::open`] opened.
    async fn close(&self, store: Self::Store);
}

/// Commits changes that expect nothing.
///
/// # Panics
/// When the store does not take them.
pub async fn write(store: &impl Store, changes: impl IntoIterator<Item = Change>) {
    let changes = ChangeSet { expects: Vec::new(), changes: changes.into_iter().collect() };
    store.commit(changes).await.expect("the store takes a change set");
}

/// Commits a change set that must conflict.
///
/// # Panics
/// When it does not.
pub async fn conflicts(store: &impl Store, changes: ChangeSet) {
    match store.commit(changes.clone()).await {
        Err(CommitError::Conflict) => {}
        Ok(()) => panic!("should conflict and was written: {changes:?}"),
        Err(CommitError::Fault(fault)) => panic!("should conflict and failed: {fault:?}"),
    }
}

/// Compares values in every letter: ids that differ in case are equal and yet not the same.
///
/// # Panics
/// When they differ.
pub fn assert_same<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) {
    assert_eq!(found, expected);
    assert_eq!(format!("{found:?}"), format!("{expected:?}"));
}

/// Makes a test of each case of the suite: `store_suite!(harness)`, where `harness` is an
/// expression that makes a new [`Harness`].
#[macro_export]
macro_rules! store_suite {
    ($harness:expr) => {
        $crate::store_suite! { @cases $harness;
            change_sets {
                a_change_set_is_all_or_nothing
                a_stale_expectation_writes_nothing_and_conflicts
                of_two_change_sets_decided_from_one_version_one_wins
                of_many_that_need_the_last_room_one_gets_it
                expecting_absence_conflicts_with_presence
                expecting_the_records_of_an_identity_conflicts_with_any_other
                expecting_presence_conflicts_with_absence
                a_row_made_anew_has_a_new_version
                a_write_stamps_the_rows_it_writes_and_no_others
                replacing_a_part_of_no_device_conflicts
                deleting_what_is_not_there_changes_nothing
                changes_of_one_set_are_made_in_order
                an_instance_setting_is_never_overwritten
                policies_are_replaced_by_scope_and_name
                everything_reads_back_as_it_was_written
            }
            marks {
                marks_move_with_what_is_written
                marks_stay_where_nothing_is_written
            }
            listings {
                pages_follow_one_another_without_gap_or_repetition
                paging_is_stable_under_inserts_and_deletes
                records_of_a_deleted_group_stay_listed_and_count_as_orphaned
                a_group_made_anew_has_its_records_again
                records_are_orphaned_when_their_enrollment_is_gone
                orphans_are_told_apart_by_group_and_age
                a_record_that_changes_its_enrollment_is_listed_under_the_new_one
                spelling_is_kept_and_keys_are_compared
                usage_counts_what_is_there
            }
            groups {
                the_version_of_groups_moves_with_groups_and_ca_certificates_only
                groups_are_found_by_the_subjects_of_their_certificates
                groups_are_found_by_both_slots
                groups_are_found_through_the_issuers_of_stored_certificates
                groups_are_found_by_the_ca_certificates_they_refer_to
                a_group_is_not_found_by_certificates_it_no_longer_has
                a_circle_of_issuers_ends
                symmetric_key_groups_are_those_of_the_moment
                facts_hold_the_devices_of_three_names_on_all_hubs
                facts_are_one_snapshot
            }
            bans {
                bans_are_found_by_their_keys_and_listed_in_their_order
                the_version_of_bans_moves_with_bans_only
                a_ban_is_expected_by_its_version
                of_a_ban_and_what_was_decided_without_it_the_ban_wins
                a_ban_on_whoever_was_decided_about_is_seen_by_every_decision
                a_ban_on_somebody_else_disturbs_no_decision
                facts_hold_the_bans_on_whoever_asks
                facts_hold_the_bans_on_what_could_admit
                bans_that_were_lifted_are_in_no_facts
                facts_of_a_pending_assignment_hold_the_bans_on_it
                facts_of_a_connection_hold_the_bans_on_it
                bans_and_their_version_are_one_snapshot
            }
            formers {
                an_identity_is_found_by_the_registration_that_had_it
                an_identity_that_its_record_left_is_found
                a_name_on_a_remote_hub_is_remembered_until_it_is_gone
                a_name_that_was_on_its_way_to_a_remote_hub_is_remembered
                registrations_without_a_record_are_found_by_their_group
            }
            grounds {
                grounds_go_with_their_record
                what_rests_on_a_certificate_is_found_by_every_key
                what_rests_on_an_endorsement_key_is_found_by_it
                shown_certificates_are_found_by_their_thumbprints
                enrolled_certificates_are_known_by_their_thumbprints
                an_origin_is_the_registration_that_was_assigned_last
                an_origin_outlives_its_record_and_its_group
                what_a_registration_rested_on_is_kept_as_long_as_an_identity_came_from_it
                all_registrations_of_an_identity_are_known
                an_individual_enrollment_has_the_word_of_the_group_it_took_its_device_from
                what_an_origin_was_read_from_is_expected
                facts_lead_up_to_banned_cas_through_those_that_are_known
                an_origin_tells_what_its_enrollment_is_worth_now
            }
            attempts {
                attempts_read_back_as_they_were_written
                attempts_are_found_by_what_is_known_of_them
                pages_of_attempts_follow_one_another
                repetitions_are_counted_with_what_they_repeat
                no_more_attempts_are_kept_than_are_to_be
                attempts_of_known_devices_are_not_displaced_by_those_of_strangers
                attempts_are_there_after_reopening
            }
            challenges {
                challenges_read_back_as_they_were_written
                the_latest_challenges_of_a_name_stay
                challenges_to_an_enrolled_storage_root_key_stay
                challenges_are_forgotten_when_their_time_is_over
                challenges_come_and_go_without_enrollments
                groups_are_found_by_the_names_of_waiting_challenges
                groups_of_tpms_count_as_groups_with_certificates
            }
            crls {
                revocation_lists_read_back_as_they_were_written
                a_list_goes_with_its_serial_numbers
                serial_numbers_come_and_go_one_by_one
                facts_say_what_is_revoked_of_what_was_asked
                facts_ask_for_the_certificates_of_groups_and_stored_cas_too
                the_cas_of_lists_are_asked_about_as_well
                facts_of_a_connection_are_about_what_its_device_rests_on
                the_version_of_bans_moves_with_revocation_lists
                due_lists_come_the_longest_due_first
                cas_are_found_by_their_name_wherever_they_are
                the_last_list_that_there_is_room_for_is_written_and_no_other
            }
            devices {
                a_device_and_its_twin_are_deleted_together
                hubs_are_separate_registries
                devices_are_listed_by_the_bytes_of_their_names
                device_counts_follow_every_change
            }
            modules {
                modules_read_back_as_they_were_written
                modules_are_none_of_the_hubs_devices
                a_module_is_not_written_without_its_device
                a_devices_modules_go_with_it
                a_device_has_no_more_modules_than_there_is_room_for
                facts_of_a_modules_connection_hold_its_device
                a_start_disconnects_modules_as_well
            }
            connections {
                a_connection_shows_in_its_device_and_moves_no_version
                only_the_last_connection_is_ended_by_its_end
                registry_writes_leave_connections_alone
                what_belongs_to_connections_needs_its_device
                a_mark_holds_until_the_registry_writes
                subscriptions_are_kept_until_they_are_forgotten
                a_start_disconnects_all_that_were_connected
                facts_of_a_connection_hold_what_decides_it
                facts_of_a_connection_are_one_snapshot
            }
            events {
                offsets_grow_by_one_in_each_partition
                events_read_back_as_they_were_appended
                a_change_set_that_is_taken_back_leaves_no_gap
                concurrent_appends_leave_no_gap
                no_event_follows_the_write_that_moved_its_mark
                a_partition_never_goes_back_in_time
                reading_begins_at_an_offset_or_a_moment
                a_read_ends_at_its_limits_but_not_before_the_first_event
                the_oldest_events_are_trimmed_by_age_and_by_size
                offsets_go_on_after_everything_was_trimmed
                events_outlive_their_device_and_their_hub
                the_log_behaves_like_a_list
            }
            messages {
                messages_wait_in_the_order_of_their_numbers
                messages_read_back_as_they_were_enqueued
                a_queue_takes_no_more_than_it_has_room_for
                a_message_is_expected_by_its_version
                a_devices_messages_go_with_it_and_stay_when_it_is_replaced
                expired_messages_are_found_the_longest_over_first
                feedback_is_numbered_and_the_last_ten_thousand_are_kept
                the_queue_behaves_like_a_list
            }
            receipts {
                receipts_read_back_as_they_were_written
                receipt_items_read_back_as_they_were_written
                counts_follow_the_items
                a_device_is_in_a_plan_once
                receipts_and_items_are_expected_by_their_versions
                receipts_are_listed_the_latest_first
                open_deprovisionings_and_items_are_found
                old_plans_and_receipts_are_forgotten
                what_remote_hubs_are_told_reads_back
                what_reports_to_nobody_silences_nobody
                removals_are_due_hub_by_hub
                a_plan_that_gives_way_is_no_longer_one
            }
            service {
                a_store_that_was_told_nothing_answers_the_first_settings
                settings_read_back_as_they_were_written
                linked_hubs_are_those_of_the_moment
                the_version_of_hubs_moves_with_hubs_and_settings_only
                ca_certificates_policies_and_removals_are_expected_by_version
                ca_certificates_are_listed_with_the_groups_that_refer_to_them
                what_is_due_is_found_in_its_turn
                pending_facts_hold_all_that_an_assignment_goes_on_with
                the_audit_log_is_one_chain
                concurrent_audit_lines_leave_no_gap
                audit_lines_are_filtered
                hubs_are_parsed_once_for_one_version
            }
            durability {
                many_concurrent_commits_all_land
                versions_go_on_after_reopening
                a_read_sees_what_was_acknowledged_before_it
                connections_logs_and_queues_are_there_after_reopening
            }
        }
    };
    (@cases $harness:expr; $($area:ident { $($case:ident)* })*) => {
        $(
            mod $area {
                use super::*;

                $(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        $crate::suite::$area::$case(&$harness).await;
                    }
                )*
            }
        )*
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_case_is_in_the_list() {
        let list = include_str!("suite.rs");
        let areas = [
            include_str!("suite/attempts.rs"),
            include_str!("suite/bans.rs"),
            include_str!("suite/challenges.rs"),
            include_str!("suite/change_sets.rs"),
            include_str!("suite/connections.rs"),
            include_str!("suite/crls.rs"),
            include_str!("suite/devices.rs"),
            include_str!("suite/durability.rs"),
            include_str!("suite/events.rs"),
            include_str!("suite/formers.rs"),
            include_str!("suite/grounds.rs"),
            include_str!("suite/groups.rs"),
            include_str!("suite/listings.rs"),
            include_str!("suite/marks.rs"),
            include_str!("suite/messages.rs"),
            include_str!("suite/modules.rs"),
            include_str!("suite/receipts.rs"),
            include_str!("suite/service.rs"),
        ];
        for area in areas {
            let cases: Vec<&str> = area
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn "))
                .filter_map(|rest| rest.split('(').next())
                .collect();
            assert!(!cases.is_empty());
            for case in cases {
                let listed = list.lines().any(|line| line.trim() == case);
                assert!(listed, "{case} is not in the list of store_suite!");
            }
        }
    }
}
