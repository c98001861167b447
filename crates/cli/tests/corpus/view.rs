//! The output of a check in a short form: how it ended, each finding with place and words, each gap, the share of each
//! backend.

use std::fmt::Write as _;

use serde_json::Value;

/// The output of a check of the file `name`.
pub(crate) fn short(name: &str, code: i32, view: &Value) -> String {
    let confidence = view["confidence"].as_str().unwrap_or("none");
    let mut text = format!("exit {code}, confidence {confidence}\n");
    for finding in view["findings"].as_array().into_iter().flatten() {
        // Told by its cause; the text form shows that one only.
        if !finding["effect_of"].is_null() {
            continue;
        }
        let word = |key: &str| finding[key].as_str().unwrap_or("");
        let file = Some(word("file")).filter(|file| *file != name && !file.is_empty());
        let file = file.map_or_else(String::new, |file| format!("{file}:"));
        writeln!(
            text,
            "{} {} {file}{}:{} {}\n    {}\n    effect: {}\n    fix: {}",
            word("severity"),
            word("id"),
            finding["line"],
            finding["column"],
            word("path"),
            timeless(word("message")),
            word("effect"),
            word("fix"),
        )
        .unwrap();
    }
    for gap in view["gaps"].as_array().into_iter().flatten() {
        writeln!(
            text,
            "gap {} {}",
            gap["touches"].as_str().unwrap_or(""),
            gap["what"]
        )
        .unwrap();
    }
    for pool in view["forecast"]["pools"].as_array().into_iter().flatten() {
        write!(text, "share {}:", pool["name"].as_str().unwrap()).unwrap();
        for backend in pool["backends"].as_array().unwrap() {
            let name = backend["name"].as_str().unwrap();
            match backend["expected_share"].as_f64() {
                Some(share) => write!(text, " {name} {:.1}", share * 100.0).unwrap(),
                None => write!(text, " {name} ?").unwrap(),
            }
        }
        text.push('\n');
    }
    text
}

/// Words that hold tomorrow too: a number of days is left out.
fn timeless(message: &str) -> String {
    let words: Vec<&str> = message.split(' ').collect();
    let is_count =
        |index: usize| words[index].parse::<u64>().is_ok() && words.get(index + 1) == Some(&"days");
    let kept = words.iter().enumerate();
    let kept = kept.map(|(index, word)| if is_count(index) { "N" } else { word });
    kept.collect::<Vec<_>>().join(" ")
}
