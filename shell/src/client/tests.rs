use super::mock::{Mock, Reply};
use super::*;

#[test]
fn urls_are_read_as_people_write_them() {
    for (text, authority) in [
        ("http://127.0.0.1:8000", "127.0.0.1:8000"),
        ("HTTP://gpu-1/", "gpu-1:80"),
        ("localhost:8000", "localhost:8000"),
        ("http://[::1]", "[::1]:80"),
        ("http://[::1]:8000/", "[::1]:8000"),
    ] {
        assert_eq!(text.parse::<Url>().unwrap().authority, authority);
    }
    for text in [
        "",
        "http://",
        "https://a",
        "http://a/v2",
        "http://a b",
        "ftp://a",
        "http://a?b",
        "http://a:",
        "http://a:port",
        "http://a:99999",
        "http://:80",
        "http://user@a",
        "http://::1",
    ] {
        assert!(text.parse::<Url>().is_err(), "{text}");
    }
}

#[test]
fn names_are_escaped_in_paths() {
    assert_eq!(model_path("a b/ü", Some("1")), "/v2/models/a%20b%2F%C3%BC/versions/1");
}

#[tokio::test]
async fn requests_share_one_connection() {
    let mock = Mock::start(|_| Reply::Answer(200, "42".into())).await;
    let mut client = Client::new(mock.url.clone());
    for _ in 0..100 {
        assert_eq!(client.get::<u32>("/").await.unwrap(), 42);
    }
    assert_eq!(mock.connections(), 1);
}

#[tokio::test]
async fn an_error_answer_keeps_the_connection() {
    let mock = Mock::start(|_| Reply::Answer(503, r#"{"error":"full"}"#.into())).await;
    let mut client = Client::new(mock.url.clone());
    for _ in 0..3 {
        let error = client.get::<u32>("/").await.unwrap_err().to_string();
        assert!(error.ends_with("answered 503: full"), "{error}");
    }
    assert_eq!(mock.connections(), 1);
}

#[tokio::test]
async fn an_idle_connection_that_was_closed_is_opened_again() {
    let mock = Mock::start(|_| Reply::Closing("42".into())).await;
    let mut client = Client::new(mock.url.clone());
    for _ in 0..3 {
        assert_eq!(client.get::<u32>("/").await.unwrap(), 42);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(mock.connections(), 3);
}

#[tokio::test]
async fn errors_name_the_server_and_what_it_said() {
    let mock = Mock::start(|path| match path {
        "/cut" => Reply::Cut,
        "/refused" => Reply::Answer(404, r#"{"error":"none"}"#.into()),
        "/page" => Reply::Answer(502, "<html>".into()),
        "/silent" => Reply::Silence,
        _ => Reply::Answer(200, "<html>".into()),
    });
    let mock = mock.await;
    let mut client = Client::new(mock.url.clone()).timeout(Duration::from_millis(200));
    for (path, words) in [
        ("/cut", "broke off the connection"),
        ("/refused", "answered 404: none"),
        ("/page", "answered 502: <html>"),
        ("/silent", "did not answer within 200ms"),
        ("/not-json", "does not speak the protocol"),
    ] {
        let error = client.get::<u32>(path).await.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(&mock.url.to_string()), "{error}");
    }
    // The answers that never came whole took their connections with them.
    assert_eq!(mock.connections(), 3);
}

#[tokio::test]
async fn nobody_there_is_said_so() {
    let nobody: Url = "http://127.0.0.1:1".parse().unwrap();
    let error = Client::new(nobody).get::<u32>("/").await.unwrap_err().to_string();
    assert!(error.contains("no server answers at http://127.0.0.1:1"), "{error}");
}
