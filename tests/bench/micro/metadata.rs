//! The metadata room, in a cluster of thirty brokers.

use divan::{Bencher, black_box};
use strandline::metadata::plan;

use crate::thirty::image;

/// A tenth of the partitions lose a replica, a thirtieth their leader.
#[divan::bench]
fn plan_the_loss_of_a_broker(bencher: Bencher) {
    let image = image();
    bencher.bench(|| plan::fence_broker(black_box(&image), 7));
}

#[divan::bench]
fn apply_the_loss_of_a_broker(bencher: Bencher) {
    let image = image();
    let records = plan::fence_broker(&image, 7);
    bencher.with_inputs(|| image.clone()).bench_local_refs(|image| {
        records.iter().for_each(|record| image.apply(record).unwrap());
    });
}
