//! A headless Chromium, spoken to over a pair of pipes in the DevTools protocol: a JSON object and a zero byte, each way.
//!
//! The browser wants the pipes as its descriptors 3 and 4. A shell puts them there.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use serde_json::{Value, json};

/// What it is called on the systems that have it.
const PROGRAMS: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

const FLAGS: &str = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking \
                     --disable-component-update --disable-sync --window-size=1200,900 --remote-debugging-pipe";

/// A browser that is running.
pub(crate) struct Browser {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
    asked: u64,
    /// What it said without being asked.
    events: Vec<Value>,
}

/// One page in it.
pub(crate) struct Page {
    browser: Browser,
    session: String,
}

impl Browser {
    /// Starts one with a profile of its own; `None` when this machine has none and need not have.
    ///
    /// # Panics
    ///
    /// When there is none under `CI=true`.
    pub(crate) fn start(profile: &Path) -> Option<Self> {
        let has = |program: &String| {
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
        };
        let programs = env::var("CHROMIUM").into_iter().chain(PROGRAMS.map(str::to_owned));
        let Some(program) = programs.into_iter().find(has) else {
            assert!(
                env::var("CI").is_err(),
                "no Chromium on this machine: install it (`.ci/run` does) or set CHROMIUM"
            );
            eprintln!("skipped: no Chromium on this machine (looked for CHROMIUM, {})", PROGRAMS.join(", "));
            return None;
        };
        let line =
            format!("exec \"$0\" {FLAGS} --user-data-dir=\"$1\" about:blank 3<&0 4>&1 </dev/null >/dev/null 2>&1");
        let mut child = Command::new("sh")
            .args(["-c", &line, &program])
            .arg(profile)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (to, from) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Some(Self { child, to, from, asked: 0, events: Vec::new() })
    }

    /// Opens a file in a new page, for a reader who likes it `light` or `dark`, and waits until it is there.
    pub(crate) fn open(mut self, file: &Path, scheme: &str) -> Page {
        let target = self.ask(None, "Target.createTarget", &json!({ "url": "about:blank" }));
        let attached = json!({ "targetId": target["targetId"], "flatten": true });
        let session = self.ask(None, "Target.attachToTarget", &attached)["sessionId"].as_str().unwrap().to_owned();
        let mut page = Page { browser: self, session };
        for domain in ["Page.enable", "Runtime.enable", "Log.enable"] {
            page.ask(domain, &json!({}));
        }
        let features = json!([{ "name": "prefers-color-scheme", "value": scheme }]);
        page.ask("Emulation.setEmulatedMedia", &json!({ "features": features }));
        page.ask("Page.navigate", &json!({ "url": format!("file://{}", file.display()) }));
        while !page.browser.events.iter().any(|event| event["method"] == "Page.loadEventFired") {
            let event = page.browser.next();
            page.browser.events.push(event);
        }
        page
    }

    fn ask(&mut self, session: Option<&str>, method: &str, params: &Value) -> Value {
        self.asked += 1;
        let mut message = json!({ "id": self.asked, "method": method, "params": params });
        if let Some(session) = session {
            message["sessionId"] = session.into();
        }
        self.to.write_all(format!("{message}\0").as_bytes()).unwrap();
        loop {
            let answer = self.next();
            if answer["id"] == self.asked {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].clone();
            }
            self.events.push(answer);
        }
    }

    fn next(&mut self) -> Value {
        let mut message = Vec::new();
        let length = self.from.read_until(0, &mut message).unwrap();
        assert!(length > 0, "the browser has gone away");
        serde_json::from_slice(&message[..length - 1]).unwrap()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // It may have gone by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Page {
    fn ask(&mut self, method: &str, params: &Value) -> Value {
        self.browser.ask(Some(&self.session.clone()), method, params)
    }

    /// What an expression comes to in the page.
    pub(crate) fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.ask("Runtime.evaluate", &json!({ "expression": expression, "returnByValue": true }));
        assert!(answer["exceptionDetails"].is_null(), "{expression}: {}", answer["exceptionDetails"]);
        answer["result"]["value"].clone()
    }

    /// Presses and lets go of a key, as a keyboard does.
    pub(crate) fn press(&mut self, key: &str) {
        let text = if key.chars().count() == 1 { key } else { "" };
        for kind in ["keyDown", "keyUp"] {
            let text = if kind == "keyDown" { text } else { "" };
            self.ask("Input.dispatchKeyEvent", &json!({ "type": kind, "key": key, "text": text }));
        }
    }

    /// What the console and the browser complained about.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        self.evaluate("0");
        let is_bad = |event: &&Value| match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => true,
            Some("Runtime.consoleAPICalled") => event["params"]["type"] == "error",
            Some("Log.entryAdded") => event["params"]["entry"]["level"] == "error",
            _ => false,
        };
        self.browser.events.iter().filter(is_bad).map(|event| event["params"].to_string()).collect()
    }

    /// Keeps a picture of the whole page, if somebody wants one.
    pub(crate) fn screenshot(&mut self, name: &str) {
        let Ok(folder) = env::var("SCREENSHOTS") else { return };
        let answer = self.ask("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let thread = std::thread::current().name().unwrap_or("page").to_owned();
        fs::write(Path::new(&folder).join(format!("{thread}-{name}.base64")), answer["data"].as_str().unwrap())
            .unwrap();
    }
}
