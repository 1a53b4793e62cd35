//! What every store promises, as sentences, run against each of them; and what only one of them can promise.
//!
//! The etcd tests run a real etcd on free ports of the loopback interface.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
// Nothing here runs on a node; etcd, etcdctl and openssl are what is tested against.
#![allow(clippy::disallowed_types)]
#![forbid(unsafe_code)]

mod directory_only;
mod etcd_faults;
mod etcd_only;
mod etcd_security;
mod etcd_server;
mod holding;
#[allow(dead_code)] // what only the Kubernetes store's tests need: daemon/tests/kubernetes
mod node;
mod place;
mod telling;

/// One test for each sentence and store.
macro_rules! contract {
    ($($store:ident)* => $sentences:tt) => { $(contract!(@ $store $sentences);)* };
    (@ $store:ident { $($module:ident: $($sentence:ident)*;)* }) => {
        mod $store { $(mod $module { $(
            #[tokio::test]
            async fn $sentence() {
                crate::$module::$sentence(crate::place::Place::$store(stringify!($sentence))).await;
            }
        )* })* }
    };
}

contract! { directory etcd => {
    holding:
        a_fresh_store_gives_a_lease
        two_nodes_that_want_one_subnet_get_two
        two_nodes_that_want_one_ipv6_subnet_get_two
        twenty_nodes_at_once_get_twenty_subnets
        a_restarted_node_holds_its_lease_again_and_nothing_is_written
        the_previous_subnet_is_taken_when_it_is_free
        a_deleted_lease_is_taken_again_on_the_same_subnet
        a_lease_that_became_another_nodes_is_replaced
        changed_attributes_are_published_under_the_same_subnet
        a_released_lease_is_gone
        a_lease_is_renewed_before_it_ends
        a_lease_that_does_not_fit_the_network_any_more_is_replaced
        a_second_lease_of_the_same_node_is_removed
        both_families_are_held_in_one_lease;
    telling:
        the_network_is_told_first_and_when_it_changes
        a_missing_network_is_a_trouble_with_an_example
        leases_that_come_change_and_go_are_told_one_by_one
        a_renewal_is_nothing_new
        a_dead_nodes_lease_ends
        garbage_is_told_once_and_harms_nobody
        leases_outside_the_network_are_garbage
        a_full_pool_is_a_trouble_until_a_lease_goes
        ten_thousand_leases_are_told_at_once_and_one_change_alone
        a_store_that_is_away_at_the_start_is_waited_for
        a_store_that_goes_away_and_comes_back_loses_nothing;
} }
