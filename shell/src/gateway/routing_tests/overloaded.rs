//! Endpoints that have too much to do are not ill.

use super::scripted::{Scripted, explained, health, over, rows, send};
use super::*;
use tensorforge_core::Duration as CoreDuration;

fn overloaded(retry_after: Option<CoreDuration>) -> EndpointError {
    EndpointError::Overloaded { status: 503, message: "the queue is full".into(), retry_after }
}

const A_WHILE: Option<CoreDuration> = Some(CoreDuration::from_millis(400));

#[tokio::test(start_paused = true)]
async fn whoever_is_overloaded_rests_and_is_not_ejected() {
    let endpoints = [Scripted::new(), Scripted::new()];
    endpoints[0].does(|_, _| Err(overloaded(A_WHILE)));
    let gateway = over(&endpoints, IN_TURN);
    for round in 1..=50 {
        for _ in 0..10 {
            let (_, taken) = send(&gateway, None, rows(1)).await.unwrap();
            assert_eq!(taken.endpoint.as_deref(), Some("b"));
        }
        assert_eq!(endpoints[0].asked(), round, "once, and then it rests");
        let (_, taken) = send(&gateway, None, rows(1)).await.unwrap();
        assert_eq!(taken.excluded, [("a".to_owned(), "resting")]);
        let explained = explained(&gateway, None, "a");
        assert_eq!((&*explained.health, explained.excluded), ("healthy", Some("resting")));
        assert!(explained.problem.unwrap().contains("overloaded"), "{explained:?}");
        tokio::time::advance(Duration::from_millis(401)).await;
    }
    assert_eq!(health(&gateway, None, "a"), "healthy");
}

#[tokio::test(start_paused = true)]
async fn a_rest_is_no_longer_than_a_second_whatever_the_endpoint_asks_for() {
    let endpoints = [Scripted::new(), Scripted::new()];
    endpoints[0].does(|_, _| Err(overloaded(Some(CoreDuration::from_secs(3600)))));
    let gateway = over(&endpoints, IN_TURN);
    let until_asked = async |times: usize| {
        for _ in 0..4 {
            send(&gateway, None, rows(1)).await.unwrap();
        }
        assert_eq!(endpoints[0].asked(), times);
    };
    until_asked(1).await;
    tokio::time::advance(Duration::from_millis(999)).await;
    until_asked(1).await;
    tokio::time::advance(Duration::from_millis(2)).await;
    until_asked(2).await;
}

#[tokio::test(start_paused = true)]
async fn where_all_rest_they_are_asked_all_the_same() {
    let endpoints = [Scripted::new(), Scripted::new()];
    for (endpoint, after) in endpoints.iter().zip([A_WHILE, Some(CoreDuration::from_millis(70))]) {
        endpoint.does(move |_, _| Err(overloaded(after)));
    }
    let gateway = over(&endpoints, IN_TURN);
    let error = send(&gateway, None, rows(1)).await.unwrap_err();
    let GatewayError::Overloaded { retry_after, ref taken, .. } = error else { panic!("{error}") };
    assert_eq!((retry_after, taken.attempts), (Duration::from_millis(70), 2));
    assert!(error.to_string().contains("are full: a failed: the queue is full"), "{error}");
    // They may have room again before they said.
    for endpoint in &endpoints {
        endpoint.does(|version, request| {
            let outputs = vec![super::scripted::output(&[1, 2])];
            Ok(super::scripted::answer(version, request, outputs))
        });
    }
    send(&gateway, None, rows(1)).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn nobody_left_is_overload_only_where_nobody_failed_otherwise() {
    let endpoints = [Scripted::new(), Scripted::new()];
    endpoints[0].does(|_, _| Err(overloaded(A_WHILE)));
    endpoints[1].does(|_, _| Err(status(500)));
    let gateway = over(&endpoints, IN_TURN);
    for _ in 0..2 {
        // In either order.
        let error = send(&gateway, None, rows(1)).await.unwrap_err();
        assert!(matches!(error, GatewayError::NoEndpoint { .. }), "{error}");
        tokio::time::advance(Duration::from_secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_rests_is_better_than_one_that_is_ill() {
    let endpoints = [Scripted::new(), Scripted::new()];
    endpoints[1].does(|_, _| Err(status(500)));
    let gateway = over(&endpoints, IN_TURN);
    for _ in 0..20 {
        send(&gateway, None, rows(1)).await.unwrap();
    }
    assert_eq!(health(&gateway, None, "b"), "ejected");
    endpoints[0].does(|_, _| Err(overloaded(A_WHILE)));
    for _ in 0..10 {
        let error = send(&gateway, None, rows(1)).await.unwrap_err();
        let (GatewayError::NoEndpoint { taken, .. } | GatewayError::Overloaded { taken, .. }) =
            error
        else {
            panic!("{error}")
        };
        assert_eq!(taken.failed[0].0, "a", "{taken:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_overloaded_leaves_the_others_their_turns() {
    let endpoints = [Scripted::new(), Scripted::new()];
    endpoints[0].does(|version, request| match version {
        Some("2") => Err(overloaded(A_WHILE)),
        _ => Ok(super::scripted::answer(version, request, vec![super::scripted::output(&[1, 2])])),
    });
    let gateway = over(&endpoints, IN_TURN);
    for _ in 0..10 {
        send(&gateway, Some("2"), rows(1)).await.unwrap();
        send(&gateway, Some("1"), rows(1)).await.unwrap();
    }
    assert_eq!(explained(&gateway, Some("2"), "a").excluded, Some("resting"));
    assert_eq!(explained(&gateway, Some("1"), "a").excluded, None);
}
