//! What an endpoint over REST says of itself, by what its server answers.

use super::mock::{Mock, Reply};
use super::*;
use crate::gateway::{Endpoint, EndpointError};
use tensorforge_core::breaker::Outcome;

async fn refused(status: u16, headers: &'static str) -> EndpointError {
    let body = || r#"{"error":"not now"}"#.to_owned();
    let mock = Mock::start(move |_| Reply::Refusing(status, headers, body())).await;
    let endpoint = RemoteEndpoint::new(mock.url.clone());
    endpoint.infer("m", None, InferRequest::default()).await.unwrap_err()
}

#[tokio::test]
async fn overload_is_told_from_ill_health_as_far_as_the_server_says_so() {
    let (ignored, failure) = (Outcome::Ignored, Outcome::Failure);
    for (status, headers, outcome, millis) in [
        // Servers like this one.
        (
            503,
            "X-TensorForge-Reason: overload\r\nRetry-After: 1\r\nRetry-After-Ms: 20\r\n",
            ignored,
            20,
        ),
        (429, "x-tensorforge-reason: overload\r\n", ignored, 0),
        (503, "x-tensorforge-reason: loading\r\nRetry-After: 1\r\n", ignored, 1_000),
        (503, "x-tensorforge-reason: no_endpoint\r\nRetry-After: 1\r\n", failure, 0),
        (503, "x-tensorforge-reason: unhealthy\r\nRetry-After: 1\r\n", failure, 0),
        (503, "x-tensorforge-reason: draining\r\nRetry-After: 1\r\n", failure, 0),
        (503, "x-tensorforge-reason: from the future\r\nRetry-After: 1\r\n", failure, 0),
        (500, "x-tensorforge-reason: overload\r\n", failure, 0),
        // Others, which say less: 429, an Envoy's own limits, 503 with and without a time.
        (429, "", ignored, 0),
        (429, "Retry-After: 2\r\n", ignored, 2_000),
        (503, "x-envoy-overloaded: true\r\n", ignored, 0),
        (503, "Retry-After: 2\r\n", ignored, 2_000),
        (503, "Retry-After: Fri, 31 Dec 1999 23:59:59 GMT\r\n", failure, 0),
        (503, "", failure, 0),
        (500, "Retry-After: 2\r\n", failure, 0),
    ] {
        let error = refused(status, headers).await;
        assert_eq!(error.outcome(), outcome, "{status} {headers:?}");
        assert_eq!(error.is_overload(), outcome == ignored, "{status} {headers:?}");
        let after = (millis > 0).then(|| tensorforge_core::Duration::from_millis(millis));
        assert_eq!(error.retry_after(), after, "{status} {headers:?}");
        assert!(error.is_retryable());
        assert_eq!(error.to_string(), "not now");
    }
}

#[tokio::test]
async fn data_that_do_not_fit_their_shape_are_a_wrong_answer() {
    for (outputs, words) in [
        (r#"[{"name":"y","datatype":"FP32","shape":[2],"data":[1]}]"#, "takes 8 bytes, but 4 came"),
        (
            r#"[{"name":"y","datatype":"FP32","shape":[-1],"data":[1]}]"#,
            "the response is not valid",
        ),
        (r#"[{"name":"y","datatype":"FP9","shape":[1],"data":[1]}]"#, "unknown variant `FP9`"),
    ] {
        let body = format!(r#"{{"model_name":"m","model_version":"1","outputs":{outputs}}}"#);
        let mock = Mock::start(move |_| Reply::Answer(200, body.clone())).await;
        let endpoint = RemoteEndpoint::new(mock.url.clone());
        let error = endpoint.infer("m", None, InferRequest::default()).await.unwrap_err();
        let EndpointError::WrongAnswer(text) = &error else { panic!("{error:?}") };
        assert!(text.contains(words), "{text}");
        assert_eq!(error.outcome(), Outcome::Failure);
    }
}

#[tokio::test]
async fn what_a_server_says_of_a_model_is_read_where_the_protocol_has_it() {
    let mock = Mock::start(|path| match path {
        "/v2/models/m/versions/2/config" => Reply::Answer(200, r#"{"max_batch_size":8}"#.into()),
        "/v2/models/m/stats" => {
            let figures = r#"{"model_stats":[{"name":"m","version":"1","last_inference":5,
                "inference_count":3,"execution_count":2,"inference_stats":{
                "success":{"count":3,"ns":9},"fail":{"count":0,"ns":0},"queue":{"count":3,"ns":1},
                "compute_input":{"count":3,"ns":1},"compute_infer":{"count":3,"ns":1},
                "compute_output":{"count":3,"ns":1}},"batch_stats":[]}]}"#;
            Reply::Answer(200, figures.into())
        }
        "/v2/models/m/ready" => Reply::Answer(200, String::new()),
        "/v2/models/away/ready" => Reply::Answer(400, r#"{"error":"unknown"}"#.into()),
        _ => Reply::Answer(404, r#"{"error":"nothing there"}"#.into()),
    });
    let mock = mock.await;
    let endpoint = RemoteEndpoint::new(mock.url.clone());
    assert_eq!(endpoint.config("m", Some("2")).await.unwrap()["max_batch_size"], 8);
    assert!(endpoint.config("m", None).await.unwrap_err().is_unknown());
    let figures = endpoint.statistics("m", None).await.unwrap();
    assert_eq!((figures[0].inference_count, figures[0].inference_stats.success.ns), (3, 9));
    assert!(endpoint.is_model_ready("m", None).await);
    assert!(!endpoint.is_model_ready("away", None).await);
    assert_eq!(mock.connections(), 1, "all over one connection, refusals too");
}
