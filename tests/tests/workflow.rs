//! What the running server did, read back from its audit.
#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

mod workflow {
    use std::path::Path;

    use serde_json::Value;
    use tensorforge_tests::program::{Server, root, run};
    use tensorforge_tests::raw_http::post;

    const INFER: &str = "/v2/models/digits/infer";

    fn seven() -> Vec<u8> {
        std::fs::read(root().join("models/digits/requests/seven.json")).unwrap()
    }

    fn with_id(id: &str) -> Vec<u8> {
        let mut request: Value = serde_json::from_slice(&seven()).unwrap();
        request["id"] = id.into();
        request.to_string().into_bytes()
    }

    fn entries(file: &Path) -> Vec<Value> {
        let text = std::fs::read_to_string(file).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// The states an entity went through, and the cause of the last.
    fn way(entries: &[Value], name: impl Fn(&str) -> bool) -> (Vec<String>, String) {
        let of = |entry: &&Value| entry["entity"].as_str().is_some_and(&name);
        let mine: Vec<&Value> = entries.iter().filter(of).collect();
        assert!(mine.iter().all(|entry| entry["refused"].is_null()), "{mine:?}");
        assert!(mine.windows(2).all(|two| two[0]["to"] == two[1]["from"]), "{mine:?}");
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let mut states = vec![text(&mine[0]["from"])];
        states.extend(mine.iter().map(|entry| text(&entry["to"])));
        (states, text(&mine[mine.len() - 1]["cause"]))
    }

    #[test]
    fn every_request_and_model_is_read_back_from_the_audit() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.jsonl");
        let audit = file.to_str().unwrap();
        let server = Server::start(&["--audit", audit]);
        for id in ["first", "second"] {
            assert_eq!(post(server.address(), INFER, "", &with_id(id)).status, 200);
        }
        let mut wrong: Value = serde_json::from_slice(&with_id("wrong")).unwrap();
        wrong["inputs"][0]["name"] = "picture".into();
        assert_eq!(post(server.address(), INFER, "", wrong.to_string().as_bytes()).status, 400);
        let unknown = post(server.address(), "/v2/models/nobody/infer", "", &with_id("lost"));
        assert_eq!(unknown.status, 404);
        server.signal("TERM");
        assert!(server.wait().success());

        let verified = run(&["audit", "verify", audit]);
        let printed = String::from_utf8(verified.stdout).unwrap();
        assert_eq!(verified.status.code(), Some(0), "{printed}");
        assert!(printed.contains("each as it was written"), "{printed}");

        let entries = entries(&file);
        let forward =
            ["received", "admitted", "queued", "batched", "running", "succeeded"].map(String::from);
        for id in ["first", "second"] {
            let (states, cause) = way(&entries, |name| name.ends_with(&format!(":{id}")));
            assert_eq!((states, cause.as_str()), (forward.to_vec(), "answered"));
        }
        let (states, cause) = way(&entries, |name| name.ends_with(":wrong"));
        assert_eq!(states, ["received", "failed"]);
        assert!(cause.contains("picture"), "{cause}");
        let (states, cause) = way(&entries, |name| name.ends_with(":lost"));
        assert_eq!(states, ["received", "failed"]);
        assert!(cause.contains("nobody"), "{cause}");
        let (states, _) = way(&entries, |name| name == "digits/1");
        let deployed = ["registered", "validating", "staging", "canary", "production"];
        assert_eq!(states, deployed);

        let tail = run(&["audit", "tail", audit, "-n", "3", "--entity", ":second"]);
        let printed = String::from_utf8(tail.stdout).unwrap();
        let lines: Vec<_> = printed.lines().collect();
        assert_eq!(lines.len(), 3, "{printed}");
        assert!(lines[2].contains("running -> succeeded"), "{printed}");
        let tail = run(&["--json", "audit", "tail", audit, "-n", "1"]);
        let last: Value = serde_json::from_slice(&tail.stdout).unwrap();
        assert_eq!(Some(&last), entries.last());

        // Somebody changes a record.
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replacen("picture", "portrait", 1)).unwrap();
        let position =
            entries.iter().position(|entry| entry.to_string().contains("picture")).unwrap();
        let faulty = run(&["--json", "audit", "verify", audit]);
        let found: Value = serde_json::from_slice(&faulty.stdout).unwrap();
        assert_eq!(faulty.status.code(), Some(1));
        assert_eq!((&found["whole"], &found["line"]), (&false.into(), &(position + 1).into()));
        let fault = found["fault"].as_str().unwrap();
        assert!(fault.contains("was altered"), "{fault}");
    }

    #[test]
    fn an_audit_that_is_not_there_or_is_none_is_named_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none.jsonl");
        for command in ["verify", "tail"] {
            let ended = run(&["audit", command, missing.to_str().unwrap()]);
            assert_eq!(ended.status.code(), Some(4));
            let said = String::from_utf8(ended.stderr).unwrap();
            assert!(said.contains("none.jsonl") && said.contains("serve --audit"), "{said}");
        }
        let other = folder.path().join("other.txt");
        std::fs::write(&other, "hello\n").unwrap();
        let other = other.to_str().unwrap();
        assert_eq!(run(&["audit", "verify", other]).status.code(), Some(1));
        assert_eq!(run(&["audit", "tail", other]).status.code(), Some(4));
        let refused = run(&["serve", "--address", "127.0.0.1:0", "--audit", other]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(4), "{said}");
        assert!(said.contains("other.txt") && said.contains("audit verify"), "{said}");
        assert_eq!(std::fs::read_to_string(other).unwrap(), "hello\n", "left as it was");
    }
}
