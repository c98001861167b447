//! The head of a file of the corpus: what is expected of it, and whether it holds.

use std::path::Path;

use serde_json::Value;

use crate::run::Ran;

/// How far a percentage may be off the one in the head.
const CLOSE: f64 = 0.1;

/// What the comments at the head say.
pub(crate) struct Head {
    pub(crate) flags: Vec<String>,
    code: i32,
    confidence: String,
    findings: Vec<Expected>,
    rows: Vec<Row>,
    /// Part of what is said of a file that is no text at all.
    said: Option<String>,
}

/// A finding.
struct Expected {
    /// Id and severity.
    what: String,
    /// Part of the line at which it is shown.
    at: Option<String>,
}

/// Shares or loads of a pool in per cent.
struct Row {
    key: &'static str,
    pool: String,
    values: Vec<f64>,
}

impl Head {
    /// Reads the head of the file at `path`; a side file beside it is among the flags.
    pub(crate) fn read(path: &Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let mut head = Self {
            flags: Vec::new(),
            code: -1,
            confidence: String::new(),
            findings: Vec::new(),
            rows: Vec::new(),
            said: None,
        };
        for line in text.lines().map_while(|line| line.strip_prefix("# ")) {
            head.take(line);
        }
        assert!(head.code >= 0, "{} has no `# expect: exit`", path.display());
        let side = path.with_extension("facts.toml");
        if side.exists() {
            let name = side.file_name().unwrap().to_str().unwrap();
            head.flags.extend(["--facts".to_owned(), name.to_owned()]);
        }
        head
    }

    fn take(&mut self, line: &str) {
        if let Some(flags) = line.strip_prefix("run: ") {
            self.flags
                .extend(flags.split_whitespace().map(str::to_owned));
        } else if let Some(rest) = line.strip_prefix("expect: exit ") {
            let (code, confidence) = rest.split_once(", confidence ").unwrap();
            self.code = code.parse().unwrap();
            confidence.clone_into(&mut self.confidence);
        } else if let Some(rest) = line.strip_prefix("expect: said ") {
            self.said = Some(rest.trim_matches('"').to_owned());
        } else if let Some(rest) = line.strip_prefix("expect: ") {
            let (what, at) = match rest.split_once(" \"") {
                Some((what, at)) => (what, Some(at.strip_suffix('"').unwrap())),
                None => (rest, None),
            };
            self.findings.push(Expected {
                what: what.to_owned(),
                at: at.map(|at| at.replace("\\\"", "\"")),
            });
        } else if let Some(rest) = line.strip_prefix("share: ") {
            self.rows.push(row("expected_share", rest));
        } else if let Some(rest) = line.strip_prefix("load: ") {
            self.rows.push(row("utilisation", rest));
        }
    }

    /// Whether the output of the command in `dir` is what is expected; all that differs, in words.
    pub(crate) fn holds(&self, dir: &Path, ran: &Ran, view: &Value) -> Result<(), String> {
        let mut wrong = Vec::new();
        let code = ran.code;
        let confidence = view["confidence"].as_str().unwrap_or("none");
        if (code, confidence) != (self.code, self.confidence.as_str()) {
            wrong.push(format!(
                "exit {code}, confidence {confidence} instead of {}, {}",
                self.code, self.confidence
            ));
        }
        if let Some(said) = self.said.as_ref().filter(|said| !ran.err.contains(*said)) {
            wrong.push(format!("`{said}` is missing in {}", ran.err));
        }
        let mut open: Vec<&Expected> = self.findings.iter().collect();
        for finding in view["findings"].as_array().into_iter().flatten() {
            if !finding["effect_of"].is_null() {
                continue;
            }
            let line = line_of(dir, finding);
            let what = format!(
                "{} {}",
                finding["id"].as_str().unwrap(),
                finding["severity"].as_str().unwrap()
            );
            let meets = |expected: &&Expected| {
                expected.what == what && expected.at.as_ref().is_none_or(|at| line.contains(at))
            };
            match open.iter().position(meets) {
                Some(met) => drop(open.remove(met)),
                None => wrong.push(format!(
                    "not expected: {what} at `{}`: {}",
                    line.trim(),
                    finding["message"].as_str().unwrap()
                )),
            }
        }
        let missing = open.iter().map(|expected| {
            let at = expected.at.as_deref().unwrap_or("anywhere");
            format!("missing: {} at `{at}`", expected.what)
        });
        wrong.extend(missing);
        wrong.extend(self.rows.iter().filter_map(|row| row.differs(view)));
        if wrong.is_empty() {
            Ok(())
        } else {
            Err(wrong.join("\n    "))
        }
    }
}

fn row(key: &'static str, text: &str) -> Row {
    let mut words = text.split_whitespace();
    let pool = words.next().unwrap().to_owned();
    let values = words.map(|word| word.parse().unwrap()).collect();
    Row { key, pool, values }
}

impl Row {
    fn differs(&self, view: &Value) -> Option<String> {
        let pools = view["forecast"]["pools"].as_array();
        let pool = pools.and_then(|pools| pools.iter().find(|pool| pool["name"] == *self.pool));
        let Some(pool) = pool else {
            return Some(format!("there is no pool `{}`", self.pool));
        };
        let backends = pool["backends"].as_array().unwrap();
        let value = |backend: &Value| backend[self.key].as_f64().map(|value| value * 100.0);
        let got: Vec<Option<f64>> = backends.iter().map(value).collect();
        let is_close = |(got, wanted): (&Option<f64>, &f64)| {
            got.is_some_and(|got| (got - wanted).abs() <= CLOSE)
        };
        let holds = got.len() == self.values.len() && got.iter().zip(&self.values).all(is_close);
        (!holds).then(|| {
            format!(
                "{} of `{}` is {got:.1?} instead of {:?}",
                self.key, self.pool, self.values
            )
        })
    }
}

/// The line at which a finding is shown; empty: it has no place.
fn line_of(dir: &Path, finding: &Value) -> String {
    let (Some(file), Some(line)) = (finding["file"].as_str(), finding["line"].as_u64()) else {
        return String::new();
    };
    let bytes = std::fs::read(dir.join(file)).unwrap();
    let text = String::from_utf8_lossy(&bytes);
    let index = usize::try_from(line).unwrap() - 1;
    text.lines().nth(index).unwrap_or("").to_owned()
}
