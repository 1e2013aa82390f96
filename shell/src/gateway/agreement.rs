//! Which endpoints have another model than the others, and what answers are held to.
//!
//! Of endpoints that have the same version, those are odd, and get nothing, that tell something else than most,
//! or, where no answer has more, than the first. Who leaves out its inputs or outputs is compared only with those
//! that do so too. An answer is held to what its own endpoint told, or where that tells nothing, to what the
//! others agree on.

use super::Gateway;
use super::signature::{Kind, Signature, Told};
use super::versions::Seating;
use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

impl Gateway {
    /// Finds out whose model is another one than that of the others, and what answers are held to.
    pub(super) fn compare_signatures(&self) {
        let plan = self.plan.load_full();
        for (model, routes) in &plan.models {
            for seating in routes.by_version.all() {
                compare(model, &seating);
            }
        }
    }
}

/// What most tell of each kind, in the order in which that is told first. Each signature is looked
/// at once.
fn most_told(told: &[Option<Arc<Told>>]) -> Vec<Arc<Told>> {
    let mut counts: HashMap<&Signature, (usize, Reverse<usize>)> = HashMap::new();
    for (place, told) in told.iter().enumerate() {
        if let Some(told) = told {
            counts.entry(&told.signature).or_insert((0, Reverse(place))).0 += 1;
        }
    }
    let mut most: HashMap<Kind<'_>, (usize, Reverse<usize>)> = HashMap::new();
    for (signature, count) in counts {
        let kind = most.entry(signature.kind()).or_insert(count);
        *kind = (*kind).max(count);
    }
    let mut places: Vec<usize> = most.into_values().map(|(_, Reverse(place))| place).collect();
    places.sort_unstable();
    places.into_iter().filter_map(|place| told.get(place)?.clone()).collect()
}

fn compare(model: &str, seating: &Seating) {
    let told: Vec<_> = seating.seats.iter().map(|seat| seat.version.known.current()).collect();
    let mut agreed = most_told(&told);
    let odd: Vec<bool> = {
        // Another version may take and give what it likes.
        let of_kind: HashMap<Kind<'_>, &Signature> =
            agreed.iter().map(|it| (it.signature.kind(), &it.signature)).collect();
        let is_odd = |own: &Signature| of_kind.get(&own.kind()).is_some_and(|most| *most != own);
        told.iter().map(|own| own.as_ref().is_some_and(|own| is_odd(&own.signature))).collect()
    };
    agreed.retain(|it| it.signature.has_outputs());
    for ((seat, own), is_odd) in seating.seats.iter().zip(&told).zip(odd) {
        let known = &seat.version.known;
        if own.is_some() && known.set_odd(is_odd) != is_odd {
            let endpoint = &seat.member.name;
            tracing::warn!(model, endpoint, is_odd, "compared with the others' model");
        }
        known.hold_to(match own {
            // What this process answers is made by the model that answers, which may change at any time.
            _ if seat.member.url.is_none() => Vec::new(),
            Some(own) if own.signature.has_outputs() => vec![Arc::clone(own)],
            Some(own) => {
                let version = &own.signature.version;
                let is_of = |it: &&Arc<Told>| version.is_none() || it.signature.version == *version;
                agreed.iter().filter(is_of).cloned().collect()
            }
            None => agreed.clone(),
        });
    }
    // Whom only rules name may have another model: nothing speaks for it nor against it but itself.
    for seat in seating.only_ruled().filter(|seat| seat.member.url.is_some()) {
        if let Some(own) = seat.version.known.current() {
            seat.version.known.hold_to(vec![own]);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test that panics has failed
mod routing {
    use super::*;
    use crate::contracts::ModelMetadata;
    use crate::models::{DataType, TensorSpec};
    use proptest::prelude::*;

    fn any_told() -> impl Strategy<Value = Option<Arc<Told>>> {
        let tensors = |name: &'static str| {
            prop::option::weighted(0.9, 1..3_i64).prop_map(move |width| {
                let spec = |width| TensorSpec {
                    name: name.into(),
                    datatype: DataType::Fp32,
                    shape: vec![-1, width],
                };
                width.map(spec).into_iter().collect::<Vec<_>>()
            })
        };
        let version = prop::sample::select(vec![None, Some("1"), Some("2")]);
        let told = (version, tensors("x"), tensors("y"), any::<bool>());
        let told = told.prop_map(|(version, inputs, outputs, batches)| {
            let versions = version.into_iter().map(String::from).collect();
            let (name, platform) = ("m".into(), String::new());
            let metadata = ModelMetadata { name, versions, platform, inputs, outputs };
            Arc::new(Told::new(metadata, batches))
        });
        prop::option::weighted(0.9, told)
    }

    proptest! {
        #[test]
        fn of_each_kind_the_first_of_those_counts_that_no_other_is_told_more_often_than(
            told in prop::collection::vec(any_told(), 0..9),
        ) {
            // By definition: every signature counted again for every endpoint.
            let count = |of: &Told| {
                told.iter().flatten().filter(|it| it.signature == of.signature).count()
            };
            let most = |own: &&Arc<Told>| {
                let all = || told.iter().flatten();
                let peers = || all().filter(|it| it.signature.kind() == own.signature.kind());
                let top = peers().map(|it| count(it)).max().unwrap();
                Arc::ptr_eq(own, peers().find(|it| count(it) == top).unwrap())
            };
            let expected: Vec<_> = told.iter().flatten().filter(most).cloned().collect();
            prop_assert_eq!(most_told(&told), expected);
        }
    }
}
