//! A gibibyte up and down.

use crate::relay::memory::check_both_ways;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long: 4 GiB through a debug build; prints the peak of the memory"]
async fn a_gibibyte_in_either_direction_needs_no_more_memory_than_a_small_body() {
    check_both_ways(1 << 30).await;
}
